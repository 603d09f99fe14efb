import { ServingError } from "@shardserve/core";
import type { Shape } from "../ir/attrs.js";
import { type DimensionNumbers, readDimensionNumbers } from "../xla/dimension-numbers.js";
import { each, repeat, same, type ShapeCall, type ShapeFunction, UNKNOWN, unknowns, withDim } from "./shapes.js";

/** Shapes of the ops that stand for one of XLA's. */
export const XLA_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each("XlaConv XlaConvV2", (call) => [convolution(call)]),
  ...each("XlaDot XlaDotV2", (call) => [dot(call)]),
  XlaGather: (call) => [gather(call)],
  XlaPad: (call) => [pad(call)],
  XlaReduce: (call) => [reduced(call)],
  ...each("XlaVariadicReduce XlaVariadicReduceV2", (call) => repeat(reduced(call), call.dtypes.length)),
  XlaReduceWindow: (call) => [windows(call)],
  ...each("XlaVariadicSort XlaKeyValueSort", (call) => call.dtypes.map((_, i) => call.shape(i))),
  ...each("XlaScatter XlaSort XlaReducePrecision", same()),
  XlaBroadcastHelper: (call) => broadcasts(call),
};

/** Element `i` of input `input`, where it is known. */
function element(call: ShapeCall, input: number, i: number): number {
  return call.value(input)?.values[i] ?? UNKNOWN;
}

/** Undefined where they cannot be read: what translates the node says why, and fails no other. */
function numbersOf(call: ShapeCall, kind: Parameters<typeof readDimensionNumbers>[0]): DimensionNumbers | undefined {
  try {
    return readDimensionNumbers(kind, call.attrs.bytes("dimension_numbers"));
  } catch (error) {
    if (error instanceof ServingError) return undefined;
    throw error;
  }
}

/** What a window of `size` makes of a dimension. @param spread  the dimension with gaps and paddings */
function places(spread: number, size: number, stride: number): number {
  if (spread === UNKNOWN || size === UNKNOWN || stride < 1) return UNKNOWN;
  return spread < size ? 0 : Math.floor((spread - size) / stride) + 1;
}

/** `size` elements with `factor - 1` places between them. */
function spreadBy(size: number, factor: number): number {
  if (size === UNKNOWN || factor < 1) return UNKNOWN;
  return size === 0 ? 0 : (size - 1) * factor + 1;
}

/** A padding may be negative, and unknown: that is -1, too. */
function paddedBy(call: ShapeCall, size: number, input: number, axis: number): number {
  const values = call.value(input)?.values;
  const [low, high] = [values?.[2 * axis], values?.[2 * axis + 1]];
  if (size === UNKNOWN || low === undefined || high === undefined) return UNKNOWN;
  return Math.max(0, size + low + high);
}

function convolution(call: ShapeCall): Shape {
  const [image, kernel] = [call.shape(0), call.shape(1)];
  const known = numbersOf(call, "CONVOLUTION");
  if (!known || !image || kernel?.length !== image.length) return undefined;
  const { numbers, lists } = known;
  const result = unknowns(image.length);
  const groups = call.node.op === "XlaConvV2" ? call.attrs.int("batch_group_count") : 1;
  const batch = image[numbers["input_batch_dimension"]!] ?? UNKNOWN;
  result[numbers["output_batch_dimension"]!] = batch === UNKNOWN ? UNKNOWN : Math.floor(batch / groups);
  result[numbers["output_feature_dimension"]!] = kernel[numbers["kernel_output_feature_dimension"]!] ?? UNKNOWN;
  for (const [i, axis] of lists["input_spatial_dimensions"]!.entries()) {
    const stretched = spreadBy(image[axis] ?? UNKNOWN, element(call, 4, i));
    const taps = kernel[lists["kernel_spatial_dimensions"]![i] ?? -1] ?? UNKNOWN;
    const size = spreadBy(taps, element(call, 5, i));
    const at = lists["output_spatial_dimensions"]![i];
    if (at !== undefined) result[at] = places(paddedBy(call, stretched, 3, i), size, element(call, 2, i));
  }
  return result.length === image.length ? result : undefined;
}

function dot(call: ShapeCall): Shape {
  const [left, right] = [call.shape(0), call.shape(1)];
  const known = numbersOf(call, "DOT");
  if (!known || !left || !right) return undefined;
  const { lists } = known;
  const side = (name: string): readonly number[] => lists[name]!;
  const batch = side("lhs_batching_dimensions").map((axis, i) => {
    const other = right[side("rhs_batching_dimensions")[i] ?? -1] ?? UNKNOWN;
    return left[axis] === undefined || left[axis] === UNKNOWN ? other : left[axis];
  });
  const free = (shape: readonly number[], name: "lhs" | "rhs"): number[] => {
    const bound = [...side(`${name}_batching_dimensions`), ...side(`${name}_contracting_dimensions`)];
    return shape.filter((_, axis) => !bound.includes(axis));
  };
  return [...batch, ...free(left, "lhs"), ...free(right, "rhs")];
}

function gather(call: ShapeCall): Shape {
  const [operand, indices] = [call.shape(0), call.shape(1)];
  const known = numbersOf(call, "GATHER");
  if (!known || !operand || !indices) return undefined;
  const { numbers, lists } = known;
  const batch = indices.filter((_, axis) => axis !== numbers["index_vector_dim"]);
  const gone = [...lists["collapsed_slice_dims"]!, ...lists["operand_batching_dims"]!];
  const window = operand.flatMap((_, axis) => (gone.includes(axis) ? [] : [element(call, 2, axis)]));
  const offsets = lists["offset_dims"]!;
  if (offsets.length !== window.length) return undefined;
  return Array.from({ length: batch.length + window.length }, (_, i) => {
    const at = offsets.indexOf(i);
    return at < 0 ? (batch.shift() ?? UNKNOWN) : window[at]!;
  });
}

function pad(call: ShapeCall): Shape {
  return call.shape(0)?.map((size, axis) => {
    const [low, high, gap] = [2, 3, 4].map((input) => call.value(input)?.values[axis]);
    const spread = spreadBy(size, (gap ?? -1) + 1);
    return spread === UNKNOWN || low === undefined || high === undefined ? UNKNOWN : Math.max(0, spread + low + high);
  });
}

function reduced(call: ShapeCall): Shape {
  const axes = call.attrs.ints("dimensions_to_reduce");
  return call.shape(0)?.filter((_, axis) => !axes.includes(axis));
}

function windows(call: ShapeCall): Shape {
  return call.shape(0)?.map((size, axis) => {
    const stretched = paddedBy(call, spreadBy(size, element(call, 4, axis)), 6, axis);
    return places(stretched, spreadBy(element(call, 2, axis), element(call, 5, axis)), element(call, 3, axis));
  });
}

/** The one of lower rank gets dimensions of one. */
function broadcasts(call: ShapeCall): Shape[] {
  const [left, right] = [call.shape(0), call.shape(1)];
  const axes = call.value(2)?.values;
  if (!left || !right) return [undefined, undefined];
  if (left.length === right.length || axes?.length === 0) return [left, right];
  const [narrow, rank] = [left.length < right.length ? left : right, Math.max(left.length, right.length)];
  const spread = axes
    ? axes.reduce<number[]>((shape, axis, i) => withDim(shape, axis ?? -1, narrow[i] ?? UNKNOWN), repeat(1, rank))
    : unknowns(rank);
  return left.length < right.length ? [spread, right] : [left, spread];
}
