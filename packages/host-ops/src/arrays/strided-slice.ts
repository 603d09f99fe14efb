import { check, invalid } from "../call/errors.js";

/** The five bit masks of StridedSlice, bit i for entry i of the sparse spec. */
export interface SliceMasks {
  readonly begin: number;
  readonly end: number;
  readonly ellipsis: number;
  readonly newAxis: number;
  readonly shrinkAxis: number;
}

/** A strided slice resolved against a shape: one entry per source dim, and the result's shape. */
export interface SliceView {
  readonly begin: number[];
  readonly size: number[];
  readonly step: number[];
  readonly resultShape: number[];
}

/**
 * Resolves NumPy-style slicing (tensorflow/core/util/strided_slice_op.cc): the sparse spec is made dense (ellipsis
 * expanded, new axes noted), then each dim's bounds are made canonical.
 *
 * @throws ServingError INVALID_ARGUMENT with TensorFlow's text for bad specs and out-of-range single indices
 */
export function resolveStridedSlice(
  shape: readonly number[],
  begin: ArrayLike<number>,
  end: ArrayLike<number>,
  steps: ArrayLike<number>,
  masks: SliceMasks,
): SliceView {
  check(
    begin.length === end.length && begin.length === steps.length,
    () =>
      `Expected begin, end, and strides to be 1D equal size tensors, but got sizes ${begin.length}, ${end.length}, and ${steps.length} instead.`,
  );
  const view: SliceView = { begin: [], size: [], step: [], resultShape: [] };
  const bit = (mask: number, i: number) => ((mask >> i) & 1) === 1;
  const count = begin.length;
  let ellipsis = -1;
  let newAxesAfter = 0;
  for (let i = 0; i < count; i++) {
    if (ellipsis >= 0 && bit(masks.newAxis, i)) newAxesAfter++;
    if (bit(masks.ellipsis, i)) {
      if (ellipsis >= 0) throw invalid("Multiple ellipses in slice spec not allowed");
      ellipsis = i;
    }
  }
  const keepDim = (d: number) => {
    view.begin.push(0);
    view.size.push(shape[d]!);
    view.step.push(1);
    view.resultShape.push(shape[d]!);
  };
  for (let i = 0; i < count; i++) {
    const d = view.begin.length;
    if (i === ellipsis) {
      // TensorFlow counts dims that the entries behind the ellipsis take, new axes excepted.
      const next = Math.min(shape.length - (count - i) + 1 + newAxesAfter, shape.length);
      while (view.begin.length < next) keepDim(view.begin.length);
    } else if (bit(masks.newAxis, i)) {
      view.resultShape.push(1);
    } else {
      if (d >= shape.length)
        throw invalid(`Index out of range using input dim ${d}; input has only ${shape.length} dims`);
      sliceDim(
        view,
        d,
        shape[d]!,
        begin[i]!,
        end[i]!,
        steps[i]!,
        bit(masks.begin, i),
        bit(masks.end, i),
        bit(masks.shrinkAxis, i),
      );
    }
  }
  while (view.begin.length < shape.length) keepDim(view.begin.length);
  return view;
}

function sliceDim(
  view: SliceView,
  d: number,
  dim: number,
  begin: number,
  end: number,
  step: number,
  isBeginMasked: boolean,
  isEndMasked: boolean,
  isShrunk: boolean,
): void {
  check(step !== 0, () => `strides[${d}] must be non-zero`);
  if (isShrunk) {
    check(step > 0, () => "only stride 1 allowed on non-range indexing.");
    const at = begin < 0 ? begin + dim : begin; // a begin mask does not count here
    check(at >= 0 && at < dim, () => `slice index ${begin} of dimension ${d} out of bounds.`);
    view.begin.push(at);
    view.size.push(1);
    view.step.push(1);
    return;
  }
  const low = step > 0 ? 0 : -1;
  const high = step > 0 ? dim : dim - 1;
  const canonical = (x: number, isMasked: boolean, isEnd: boolean) => {
    if (isMasked) return step > 0 === isEnd ? high : low;
    const forward = x < 0 ? dim + x : x;
    return Math.min(Math.max(forward, low), high);
  };
  const from = canonical(begin, isBeginMasked, false);
  const to = canonical(end, isEndMasked, true);
  const size = Math.max(0, Math.ceil((to - from) / step));
  view.begin.push(size === 0 ? 0 : from);
  view.size.push(size);
  view.step.push(step);
  view.resultShape.push(size);
}
