import type { HloTensorType } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import { padded } from "./arrays.js";
import type { Ref } from "./function-builder.js";
import { type Combiner, combinerOf } from "./reductions.js";
import { axesOf, checkedAxes, type OpTranslation, type Translate } from "./translation.js";

/**
 * Gathers and scatters in general: windows of an operand at starts that a tensor of indices gives. Both become gathers and
 * scatters of whole rows of the operand with the indexed dimensions in front; a lookup in a table, one row an index, becomes
 * a GatherV2 along axis 0, which the compiler finds tables by.
 */

/** The parts of the operand's and of the indices' dimensions, by the names of StableHLO's gather. */
interface Dimensions {
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

function optionalInts(t: OpTranslation, name: string): readonly number[] {
  return t.attrs.get(name) === undefined ? [] : t.attrs.ints(name);
}

function checked(
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
interface Starts {
  readonly values: readonly Ref[];
  /** Dimensions of the indices that are no index vector. */
  readonly batchAxes: readonly number[];
  /** Size of a batch dimension, an int32 scalar. */
  readonly batchSize: (i: number) => Ref;
}

function startsOf(t: OpTranslation, operand: number, dims: Dimensions): Starts {
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
interface Rows {
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
type Extent = number | Ref | "whole";

function extent(t: OpTranslation, size: Extent, axis: number): Ref {
  if (size === "whole") return t.dim(0, axis);
  return typeof size === "number" ? t.b.scalar("int32", size) : size;
}

/** @param sizes  extent of the window in each dimension of the operand */
function rowsOf(
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

/** Indices of one shape, side by side in a last dimension. */
function joined(t: OpTranslation, indices: readonly Ref[], shapeOfFirst: () => Ref): Ref {
  const [only] = indices;
  if (indices.length === 1) return t.expand(only!, -1);
  const shape = shapeOfFirst();
  const same = indices.map((index) => t.emit("BroadcastTo", [index, shape]));
  return t.emit("Pack", same, { axis: attr.int(-1) });
}

function commonShape(t: OpTranslation, indices: readonly Ref[]): Ref {
  return indices.map((index) => t.emit("Shape", [index])).reduce((a, b) => t.emit("BroadcastArgs", [a, b]));
}

const gather: Translate = (t) => [gathered(t, t.attrs.ints("slice_sizes"))];

const dynamicGather: Translate = (t) => {
  const known = t.constantInts(2);
  if (known) return [gathered(t, known)];
  const computed = t.b.cast(t.in(2), "int32");
  return [
    gathered(
      t,
      t.type(0).shape.map((_, axis) => knownExtent(t, axis) ?? t.at(computed, axis)),
    ),
  ];
};

/** What the result's type says of a computed extent. */
function knownExtent(t: OpTranslation, axis: number): number | undefined {
  const gone = [...t.attrs.ints("collapsed_slice_dims"), ...optionalInts(t, "operand_batching_dims")];
  if (gone.includes(axis)) return 1;
  const kept = axesOf(t.rank(0)).filter((other) => !gone.includes(other));
  const size = t.resultType().shape[t.attrs.ints("offset_dims")[kept.indexOf(axis)]!];
  return size === undefined || size < 0 ? undefined : size;
}

function gathered(t: OpTranslation, sliceSizes: readonly (number | Ref)[]): Ref {
  const type = t.type(0);
  const rank = type.shape.length;
  const resultRank = t.resultType().shape.length;
  const dims = checked(
    t,
    {
      mapped: t.attrs.ints("start_index_map"),
      collapsed: t.attrs.ints("collapsed_slice_dims"),
      operandBatch: optionalInts(t, "operand_batching_dims"),
      indexBatch: optionalInts(t, "start_indices_batching_dims"),
      indexVectorDim: t.attrs.int("index_vector_dim"),
      window: t.attrs.ints("offset_dims"),
    },
    rank,
    t.rank(1),
    resultRank,
  );
  if (sliceSizes.length !== rank) t.fail("slice sizes of another rank");
  const sizes = sliceSizes.map((size, axis): Extent => (size === type.shape[axis] ? "whole" : size));
  const given = startsOf(t, 1, dims);
  const values = given.values.map((start, i) => inside(t, start, dims.mapped[i]!, sizes));
  const starts = { ...given, values };
  // A window that is the whole dimension starts at 0, whatever the index says; but a dimension of one that collapses is gone.
  const mapped = dims.mapped.filter((axis) => sizes[axis] !== "whole" || dims.collapsed.includes(axis));
  const operand = cutToWindow(t, type, sizes, mapped, dims);
  if (
    mapped.length === 1 &&
    dims.collapsed.includes(mapped[0]!) &&
    dims.operandBatch.length === 0 &&
    dims.collapsed.length === 1
  ) {
    const axis = mapped[0]!;
    const rows = t.emit("GatherV2", [operand, starts.values[dims.mapped.indexOf(axis)]!, t.b.scalar("int32", axis)]);
    const kept = axesOf(rank).filter((other) => other !== axis);
    const batch = starts.batchAxes.length;
    const where = kept.map((other) => (other < axis ? other : other - 1 + batch));
    return ordered(
      t,
      rows,
      dims.window,
      where,
      axesOf(batch).map((i) => axis + i),
    );
  }
  if (mapped.length === 0 && dims.operandBatch.length === 0) t.fail("no dimension is indexed");
  const rows = rowsOf(t, dims, starts, sizes, mapped);
  const index = joined(t, rows.indices, () => commonShape(t, rows.indices));
  const found = t.emit("GatherNd", [t.transpose(operand, rows.order), index]);
  const batch = starts.batchAxes.length;
  const trailing = rows.order.slice(rows.indexed).filter((axis) => !dims.collapsed.includes(axis));
  const dropped = rows.order.slice(rows.indexed).filter((axis) => dims.collapsed.includes(axis));
  if (dropped.length > 0) t.fail("a dimension collapses that is not indexed");
  const layout = [...rows.windowed, ...trailing];
  const kept = axesOf(rank).filter((axis) => !dims.collapsed.includes(axis) && !dims.operandBatch.includes(axis));
  return ordered(
    t,
    found,
    dims.window,
    kept.map((axis) => batch + layout.indexOf(axis)),
    axesOf(batch),
  );
}

/** Puts the dimensions of windows where the result has them, and those of the batch, in order, where it has no others. */
function ordered(
  t: OpTranslation,
  value: Ref,
  window: readonly number[],
  windowAt: readonly number[],
  batchAt: readonly number[],
): Ref {
  const permutation: number[] = [];
  let batch = 0;
  for (const axis of axesOf(windowAt.length + batchAt.length)) {
    const position = window.indexOf(axis);
    permutation.push(position >= 0 ? windowAt[position]! : batchAt[batch++]!);
  }
  return t.transpose(value, permutation);
}

/** A start, moved so that the window lies inside of the operand. */
function inside(t: OpTranslation, start: Ref, axis: number, sizes: readonly Extent[]): Ref {
  const [dim, size] = [t.type(0).shape[axis]!, sizes[axis]!];
  if (size === "whole") return t.emit("ZerosLike", [start]);
  const most =
    dim >= 0 && typeof size === "number"
      ? t.b.scalar(start.dtype, Math.max(0, dim - size))
      : t.b.cast(t.emit("Sub", [t.dim(0, axis), extent(t, size, axis)]), start.dtype);
  return t.clampToRange(start, t.b.scalar(start.dtype, 0), most);
}

/** Dimensions that no index moves in are cut to the window's size beforehand. */
function cutToWindow(
  t: OpTranslation,
  type: HloTensorType,
  sizes: readonly Extent[],
  mapped: readonly number[],
  dims: Dimensions,
): Ref {
  const isWhole = (axis: number): boolean =>
    sizes[axis] === "whole" || mapped.includes(axis) || dims.operandBatch.includes(axis);
  const axes = axesOf(type.shape.length);
  if (axes.every(isWhole)) return t.in(0);
  const all = t.b.scalar("int32", -1);
  const size = t.stack(axes.map((axis) => (isWhole(axis) ? all : extent(t, sizes[axis]!, axis))));
  return t.emit("Slice", [t.in(0), t.b.ints(axes.map(() => 0)), size]);
}

const SCATTERS: Partial<Record<Combiner, string>> = {
  add: "TensorScatterAdd",
  maximum: "TensorScatterMax",
  minimum: "TensorScatterMin",
  second: "TensorScatterUpdate",
};

/**
 * Writes into rows of the operand as a matrix [indexed elements + 1, rest]; updates whose window is not wholly inside go to the
 * last row, which is cut off again: XLA leaves them out.
 */
const scatter: Translate = (t) => {
  if (t.op.operands.length !== 3) t.fail(`it writes into ${(t.op.operands.length - 1) / 2} tensors at once`);
  const combiner = combinerOf(t.region(0));
  const op = combiner && SCATTERS[combiner];
  if (!op || (combiner !== "second" && t.dtype(0) === "bool"))
    return t.fail("its body is none of add, maximum, minimum, assign");
  const type = t.type(0);
  const rank = type.shape.length;
  const dims = checked(
    t,
    {
      mapped: t.attrs.ints("scatter_dims_to_operand_dims"),
      collapsed: t.attrs.ints("inserted_window_dims"),
      operandBatch: optionalInts(t, "input_batching_dims"),
      indexBatch: optionalInts(t, "scatter_indices_batching_dims"),
      indexVectorDim: t.attrs.int("index_vector_dim"),
      window: t.attrs.ints("update_window_dims"),
    },
    rank,
    t.rank(1),
    t.rank(2),
  );
  const kept = axesOf(rank).filter((axis) => !dims.collapsed.includes(axis) && !dims.operandBatch.includes(axis));
  const sizes = axesOf(rank).map((axis): Extent => {
    const at = kept.indexOf(axis);
    if (at < 0) return 1;
    const size = t.type(2).shape[dims.window[at]!]!;
    if (size === type.shape[axis] && !dims.mapped.includes(axis)) return "whole";
    return size >= 0 ? size : t.dim(2, dims.window[at]!);
  });
  const starts = startsOf(t, 1, dims);
  if (dims.collapsed.some((axis) => !dims.mapped.includes(axis))) t.fail("a dimension is inserted that is not indexed");
  if (sizes.some((size, axis) => size !== "whole" && kept.includes(axis) && !dims.mapped.includes(axis))) {
    t.fail("a window that is smaller than a dimension without an index");
  }
  const rows = rowsOf(t, dims, starts, sizes, dims.mapped);
  const moved = t.transpose(t.in(0), rows.order);
  const shape = t.emit("Shape", [moved]);
  const dimensions = rows.order.map((axis) => t.dim(0, axis));
  const [front, rest] = [dimensions.slice(0, rows.indexed), dimensions.slice(rows.indexed)];
  const one = t.b.scalar("int32", 1);
  const product = (parts: readonly Ref[]): Ref => parts.reduce((a, b) => t.emit("Mul", [a, b]), one);
  const [count, width] = [product(front), product(rest)];
  const matrix = t.emit("Reshape", [moved, t.stack([count, width])]);
  const rowsAndOne = padded(t, matrix, [0, 0], [1, 0], t.b.scalar(moved.dtype, 0));
  const linear = t.emit("Reshape", [linearIndex(t, dims, starts, rows, front, count, sizes), t.b.ints([-1, 1])]);
  const batch = t.rank(2) - dims.window.length;
  const updates = movedUpdates(t, dims, kept, rows, batch);
  const flat = t.emit("Reshape", [updates, t.stack([t.emit("Size", [linear]), width])]);
  const written = t.emit(op, [rowsAndOne, linear, flat]);
  const back = t.emit("Reshape", [t.emit("Slice", [written, t.b.ints([0, 0]), t.stack([count, width])]), shape]);
  return [
    t.transpose(
      back,
      axesOf(rank).map((axis) => rows.order.indexOf(axis)),
    ),
  ];
};

/** Row of the matrix for every element of batch and windowed dimensions; `count` for windows that reach outside. */
function linearIndex(
  t: OpTranslation,
  dims: Dimensions,
  starts: Starts,
  rows: Rows,
  front: readonly Ref[],
  count: Ref,
  sizes: readonly Extent[],
): Ref {
  const dtype = starts.values[0]!.dtype;
  let linear: Ref | undefined;
  for (const [i, index] of rows.indices.entries()) {
    const scaled = linear === undefined ? undefined : t.emit("Mul", [linear, t.b.cast(front[i]!, dtype)]);
    linear = scaled === undefined ? index : t.emit("AddV2", [scaled, index]);
  }
  let isInside: Ref | undefined;
  for (const [i, axis] of dims.mapped.entries()) {
    const start = starts.values[i]!;
    const most = t.b.cast(t.emit("Sub", [t.dim(0, axis), extent(t, sizes[axis]!, axis)]), dtype);
    const fits = t.emit("LogicalAnd", [
      t.emit("GreaterEqual", [start, t.b.scalar(dtype, 0)]),
      t.emit("LessEqual", [start, most]),
    ]);
    isInside = isInside ? t.emit("LogicalAnd", [isInside, fits]) : fits;
  }
  for (let i = 0; i < rows.windowed.length; i++) isInside = t.expand(isInside!, starts.batchAxes.length + i);
  return t.select(isInside!, linear!, t.b.cast(count, dtype));
}

/** Updates as [batch..., windowed..., other dimensions of a window...]. */
function movedUpdates(t: OpTranslation, dims: Dimensions, kept: readonly number[], rows: Rows, batch: number): Ref {
  const rank = t.rank(2);
  const batchAxes = axesOf(rank).filter((axis) => !dims.window.includes(axis));
  if (batchAxes.length !== batch) t.fail("updates of another rank");
  const at = (axis: number): number => dims.window[kept.indexOf(axis)]!;
  const trailing = rows.order.slice(rows.indexed);
  return t.transpose(t.in(2), [...batchAxes, ...rows.windowed.map(at), ...trailing.map(at)]);
}

export const INDEXING: Readonly<Record<string, Translate>> = { dynamic_gather: dynamicGather, gather, scatter };
