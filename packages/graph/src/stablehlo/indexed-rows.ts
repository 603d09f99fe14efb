import { attr } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { axesOf, checkedAxes, type OpTranslation } from "./translation.js";

/**
 * Gathers and scatters in general: windows of an operand at starts that a tensor of indices gives. Both become gathers and
 * scatters of whole rows of the operand with the indexed dimensions in front; a lookup in a table, one row an index, becomes
 * a GatherV2 along axis 0, which the compiler finds tables by.
 */

/** The parts of the operand's and of the indices' dimensions, by the names of StableHLO's gather. */
export interface Dimensions {
  /** Dimensions of the operand that an index gives the start in, in the order of the index vector. */
  readonly mapped: readonly number[];
  /** Dimensions of the operand that the result has not. */
  readonly collapsed: readonly number[];
  /** Dimensions of the operand that go along with one of the indices each. */
  readonly operandBatch: readonly number[];
  readonly indexBatch: readonly number[];
  readonly indexVectorDim: number;
  /** Positions, in the result or the updates, of the dimensions of a window. */
  readonly window: readonly number[];
}

export function optionalInts(t: OpTranslation, name: string): readonly number[] {
  return t.attrs.get(name) === undefined ? [] : t.attrs.ints(name);
}

export function checked(
  t: OpTranslation,
  dims: Dimensions,
  operandRank: number,
  indexRank: number,
  resultRank: number,
): Dimensions {
  checkedAxes(t, [...dims.mapped, ...dims.operandBatch], operandRank, "indexed dimensions");
  checkedAxes(t, [...dims.collapsed, ...dims.operandBatch], operandRank, "dimensions without extent");
  checkedAxes(t, dims.indexBatch, indexRank, "batch dimensions of the indices");
  checkedAxes(t, dims.window, resultRank, "dimensions of a window");
  checkedAxes(t, [dims.indexVectorDim], indexRank + 1, "the dimension of index vectors");
  if (dims.operandBatch.length !== dims.indexBatch.length) t.fail("batch dimensions that do not go together");
  if (dims.window.length !== operandRank - dims.collapsed.length - dims.operandBatch.length)
    t.fail("a window of another rank");
  return dims;
}

/** Starts, one int32 or int64 tensor [batch...] for each mapped dimension of the operand. */
export interface Starts {
  readonly values: readonly Ref[];
  /** Dimensions of the indices that are no index vector. */
  readonly batchAxes: readonly number[];
  /** Size of a batch dimension, an int32 scalar. */
  readonly batchSize: (i: number) => Ref;
}

export function startsOf(t: OpTranslation, operand: number, dims: Dimensions): Starts {
  const type = t.type(operand);
  const indices = t.in(operand);
  // The kernels take int32 and int64 alone.
  const wide = /^(uint32|int64|uint64)$/.test(indices.dtype) ? t.b.cast(indices, "int64") : t.b.cast(indices, "int32");
  const rank = type.shape.length;
  const batchAxes = axesOf(rank).filter((axis) => axis !== dims.indexVectorDim);
  const batchSize = (i: number): Ref => t.dim(operand, batchAxes[i]!);
  if (dims.indexVectorDim === rank) return { values: [wide], batchAxes, batchSize };
  const vector = type.shape[dims.indexVectorDim];
  if (vector !== dims.mapped.length) t.fail(`index vectors of ${vector} elements`);
  if (vector === 1) {
    return {
      values: [t.emit("Squeeze", [wide], { squeeze_dims: attr.ints([dims.indexVectorDim]) })],
      batchAxes,
      batchSize,
    };
  }
  const values = t.b.emitAll("Unpack", [wide], { num: attr.int(vector), axis: attr.int(dims.indexVectorDim) });
  return { values, batchAxes, batchSize };
}

/** A vector [0, size) along axis `axis` of `rank`, for broadcasting. */
function along(t: OpTranslation, size: Ref, dtype: Ref["dtype"], axis: number, rank: number): Ref {
  const range = t.emit("Range", [t.b.scalar("int32", 0), size, t.b.scalar("int32", 1)]);
  return t.reshape(
    t.b.cast(range, dtype),
    axesOf(rank).map((i) => (i === axis ? -1 : 1)),
  );
}

/** What a gather or scatter comes down to: rows of the operand, moved so that the indexed dimensions are in front. */
export interface Rows {
  /** Dimensions of the operand in the order in which they are moved. */
  readonly order: readonly number[];
  /** How many of them are indexed. */
  readonly indexed: number;
  /** Index of each of those, all of rank `batch + windowed`, to be broadcast against each other. */
  readonly indices: readonly Ref[];
  /** Dimensions of the operand whose window is longer than one element but not the whole, in order: axes of `indices`. */
  readonly windowed: readonly number[];
}

/** How far a window reaches: elements, an int32 scalar where that is computed, or the whole dimension. */
export type Extent = number | Ref | "whole";

export function extent(t: OpTranslation, size: Extent, axis: number): Ref {
  if (size === "whole") return t.dim(0, axis);
  return typeof size === "number" ? t.b.scalar("int32", size) : size;
}

/** @param sizes  extent of the window in each dimension of the operand */
export function rowsOf(
  t: OpTranslation,
  dims: Dimensions,
  starts: Starts,
  sizes: readonly Extent[],
  mapped: readonly number[],
): Rows {
  const rank = sizes.length;
  const [batch, dtype] = [starts.batchAxes.length, starts.values[0]?.dtype ?? "int32"];
  const windowed = mapped.filter((axis) => !dims.collapsed.includes(axis));
  const total = batch + windowed.length;
  const indices = mapped.map((axis) => {
    let start = starts.values[dims.mapped.indexOf(axis)]!;
    for (let i = 0; i < windowed.length; i++) start = t.expand(start, batch + i);
    const at = windowed.indexOf(axis);
    if (at < 0 || sizes[axis] === 1) return start;
    return t.emit("AddV2", [start, along(t, extent(t, sizes[axis]!, axis), dtype, batch + at, total)]);
  });
  const batched = dims.operandBatch.map((_, i) => {
    const position = starts.batchAxes.indexOf(dims.indexBatch[i]!);
    if (position < 0) t.fail("a batch dimension that is the index vector");
    return along(t, starts.batchSize(position), dtype, position, total);
  });
  const front = [...mapped, ...dims.operandBatch];
  const order = [...front, ...axesOf(rank).filter((axis) => !front.includes(axis))];
  return { order, indexed: front.length, indices: [...indices, ...batched], windowed };
}
