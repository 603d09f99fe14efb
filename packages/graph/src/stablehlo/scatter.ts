import { padded } from "./arrays.js";
import type { Ref } from "./function-builder.js";
import {
  checked,
  type Dimensions,
  extent,
  type Extent,
  optionalInts,
  type Rows,
  rowsOf,
  type Starts,
  startsOf,
} from "./indexed-rows.js";
import { writtenRows } from "./row-updates.js";
import { axesOf, type OpTranslation, type Translate } from "./translation.js";

/** Scatters: updates of windows of an operand; a window that is not wholly inside is left out. */

/**
 * Writes into rows of the operand as a matrix [indexed elements + 1, rest]; updates whose window is not wholly inside go to the
 * last row, which is cut off again: XLA leaves them out.
 */
const scatter: Translate = (t) => {
  if (t.op.operands.length !== 3) t.fail(`it writes into ${(t.op.operands.length - 1) / 2} tensors at once`);
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
  const written = writtenRows(t, rowsAndOne, linear, flat);
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

export const SCATTERING: Readonly<Record<string, Translate>> = { scatter };
