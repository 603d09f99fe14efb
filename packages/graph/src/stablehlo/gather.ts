import { attr, type HloTensorType } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { checked, type Dimensions, extent, type Extent, optionalInts, rowsOf, startsOf } from "./indexed-rows.js";
import { axesOf, type OpTranslation, type Translate } from "./translation.js";

/** Gathers: windows of an operand at starts, which are moved so that each window lies inside. */

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

export const GATHERS: Readonly<Record<string, Translate>> = { dynamic_gather: dynamicGather, gather };
