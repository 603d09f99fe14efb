import type { Shape } from "../ir/attrs.js";
import {
  knownScalar,
  merge,
  normalAxis,
  repeat,
  same,
  type ShapeCall,
  type ShapeFunction,
  shapeFromValue,
  sumDims,
  UNKNOWN,
  unknowns,
  withDim,
} from "./shapes.js";
import { sliceAxes, sliceRange } from "./strided-slice.js";

/** Shapes of ops that join tensors and cut parts out of them. */
export const PART_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  Pack: (call) => [pack(call)],
  Unpack: (call) => unpack(call),
  ConcatV2: (call) => [
    concat(
      call,
      call.inputs.slice(0, -1).map((info) => info.shape),
      knownScalar(call.value(call.inputs.length - 1)),
    ),
  ],
  Concat: (call) => [
    concat(
      call,
      call.inputs.slice(1).map((info) => info.shape),
      knownScalar(call.value(0)),
    ),
  ],
  Split: (call) => split(call),
  SplitV: (call) => splitV(call),
  Slice: (call) => [slice(call)],
  StridedSlice: (call) => [stridedSlice(call)],
  XlaDynamicSlice: (call) => [shapeFromValue(call.value(2), call.shape(2))],
  XlaDynamicUpdateSlice: same(),
};

function pack(call: ShapeCall): Shape {
  const item = call.inputs.map((info) => info.shape).reduce(merge);
  if (!item) return undefined;
  const axis = normalAxis(call.attrs.int("axis"), item.length + 1);
  return axis === undefined ? undefined : [...item.slice(0, axis), call.inputs.length, ...item.slice(axis)];
}

function unpack(call: ShapeCall): Shape[] {
  const input = call.shape(0);
  const axis = input && normalAxis(call.attrs.int("axis"), input.length);
  const item = axis === undefined ? undefined : input!.filter((_, i) => i !== axis);
  return repeat<Shape>(item, call.attrs.int("num"));
}

function concat(call: ShapeCall, shapes: readonly Shape[], axis: number | undefined): Shape {
  const known = shapes.find((shape) => shape !== undefined);
  if (!known) return undefined;
  const at = axis === undefined ? undefined : normalAxis(axis, known.length);
  if (at === undefined) return unknowns(known.length);
  const rest = shapes.map((shape): Shape => shape && withDim(shape, at, UNKNOWN)).reduce(merge)!;
  return withDim(rest, at, sumDims(shapes.map((shape) => shape?.[at] ?? UNKNOWN)));
}

function split(call: ShapeCall): Shape[] {
  const count = call.attrs.int("num_split");
  const input = call.shape(1);
  const axis = knownScalar(call.value(0));
  const at = input && axis !== undefined ? normalAxis(axis, input.length) : undefined;
  const part =
    at === undefined
      ? input && unknowns(input.length)
      : withDim(input!, at, input![at]! === UNKNOWN ? UNKNOWN : Math.floor(input![at]! / count));
  return repeat<Shape>(part, count);
}

function splitV(call: ShapeCall): Shape[] {
  const count = call.attrs.int("num_split");
  const input = call.shape(0);
  const axis = knownScalar(call.value(2));
  const at = input && axis !== undefined ? normalAxis(axis, input.length) : undefined;
  if (at === undefined) return repeat<Shape>(input && unknowns(input.length), count);
  const sizes = call.value(1)?.values ?? [];
  const known = sizes.reduce<number>((sum, size) => sum + Math.max(size ?? 0, 0), 0);
  return Array.from({ length: count }, (_, i) => {
    const size = sizes[i];
    if (size !== undefined && size >= 0) return withDim(input!, at, size);
    const inferable = input![at] !== UNKNOWN && sizes.length === count && !sizes.includes(undefined);
    return withDim(input!, at, inferable ? input![at]! - known : UNKNOWN);
  });
}

function slice(call: ShapeCall): Shape {
  const input = call.shape(0);
  const [begin, size] = [call.value(1), call.value(2)];
  const rank = input?.length ?? size?.values.length ?? begin?.values.length ?? call.shape(1)?.[0] ?? UNKNOWN;
  if (rank === UNKNOWN) return undefined;
  return Array.from({ length: rank }, (_, i) => {
    const wanted = size?.values[i];
    if (wanted === undefined) return UNKNOWN;
    if (wanted >= 0) return wanted;
    const start = begin?.values[i];
    const dim = input?.[i] ?? UNKNOWN;
    return start === undefined || dim === UNKNOWN ? UNKNOWN : dim - start;
  });
}

function stridedSlice(call: ShapeCall): Shape {
  const input = call.shape(0);
  if (!input) return undefined;
  const count = call.shape(1)?.[0] ?? UNKNOWN;
  if (count === UNKNOWN) return undefined;
  const values = (i: number): readonly (number | undefined)[] => call.value(i)?.values ?? repeat(undefined, count);
  const axes = sliceAxes(call.attrs, { begin: values(1), end: values(2), strides: values(3) }, input.length);
  return axes?.flatMap((axis) => {
    if (axis.shrink) return [];
    if (axis.input === undefined) return [1];
    const dim = input[axis.input]!;
    if (axis.beginMask && axis.endMask && axis.stride === 1) return [dim];
    return [dim === UNKNOWN ? UNKNOWN : (sliceRange(axis, dim)?.count ?? UNKNOWN)];
  });
}
