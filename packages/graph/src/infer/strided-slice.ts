import type { Attrs } from "../ir/attrs.js";

/** One axis of a strided slice over the input: `index` for a picked element (axis dropped), else a range. */
export interface SliceAxis {
  /** Axis of the input; undefined for a new axis of length 1. */
  readonly input?: number;
  /** The axis disappears; `begin` is the element. */
  readonly shrink: boolean;
  /** undefined = unknown, or all of the axis where the mask says so. */
  readonly begin: number | undefined;
  readonly end: number | undefined;
  readonly beginMask: boolean;
  readonly endMask: boolean;
  readonly stride: number | undefined;
}

/** The operands of StridedSlice, an entry for each position of the specification; undefined = not known before a run. */
export interface SliceSpec {
  readonly begin: readonly (number | undefined)[];
  readonly end: readonly (number | undefined)[];
  readonly strides: readonly (number | undefined)[];
}

/**
 * Resolves the masks of StridedSlice for an input of `rank` axes, as ValidateStridedSliceOp of TensorFlow does.
 * undefined when the spec has more axes than the input.
 */
export function sliceAxes(attrs: Attrs, spec: SliceSpec, rank: number): SliceAxis[] | undefined {
  const bit = (name: string, i: number): boolean => ((attrs.int(name) >> i) & 1) === 1;
  const count = spec.begin.length;
  let explicit = 0;
  for (let i = 0; i < count; i++) {
    if (!bit("ellipsis_mask", i) && !bit("new_axis_mask", i)) explicit++;
  }
  if (explicit > rank) return undefined;
  const axes: SliceAxis[] = [];
  const all = { shrink: false, begin: undefined, end: undefined, beginMask: true, endMask: true, stride: 1 };
  let input = 0;
  let ellipsisSeen = false;
  for (let i = 0; i < count; i++) {
    if (bit("ellipsis_mask", i) && !ellipsisSeen) {
      ellipsisSeen = true;
      for (let skip = rank - explicit; skip > 0; skip--) axes.push({ ...all, input: input++ });
    } else if (bit("new_axis_mask", i)) {
      axes.push(all);
    } else {
      axes.push({
        input: input++,
        shrink: bit("shrink_axis_mask", i),
        begin: spec.begin[i],
        end: spec.end[i],
        beginMask: bit("begin_mask", i),
        endMask: bit("end_mask", i),
        stride: spec.strides[i],
      });
    }
  }
  while (input < rank) axes.push({ ...all, input: input++ });
  return axes;
}

/** Elements [first, first + step, ...) of a range over an axis of known length; undefined when a bound is unknown. */
export function sliceRange(
  axis: SliceAxis,
  length: number,
): { first: number; count: number; step: number } | undefined {
  const step = axis.stride;
  if (step === undefined || step === 0) return undefined;
  if (axis.shrink) {
    if (axis.begin === undefined) return undefined;
    return { first: axis.begin < 0 ? axis.begin + length : axis.begin, count: 1, step: 1 };
  }
  const low = step > 0 ? 0 : -1;
  const high = step > 0 ? length : length - 1;
  const clamp = (value: number): number => Math.min(Math.max(value < 0 ? value + length : value, low), high);
  if ((!axis.beginMask && axis.begin === undefined) || (!axis.endMask && axis.end === undefined)) return undefined;
  const first = axis.beginMask ? (step > 0 ? 0 : length - 1) : clamp(axis.begin!);
  const last = axis.endMask ? (step > 0 ? length : -1) : clamp(axis.end!);
  return { first, count: Math.max(0, Math.ceil((last - first) / step)), step };
}
