import type { HloTensorType } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { attr } from "@shardserve/savedmodel";
import { rowOf } from "./slice-rows.js";
import {
  axesOf,
  checkedAxes,
  constantTensor,
  type OpTranslation,
  type Translate,
  type Translated,
} from "./translation.js";

/** Ops that make, move, cut and join elements. */

const constant: Translate = (t) => {
  const found = constantTensor(t.op) ?? t.fail("its elements are of an unknown type");
  const value = t.b.constant(found.value);
  if (!found.isSplat) return [value];
  return [{ full: lazily(() => t.filled(value, t.b.ints(t.resultType().shape))), narrow: value, isScalar: true }];
};

export function lazily(make: () => Ref): () => Ref {
  let made: Ref | undefined;
  return () => (made ??= make());
}

/**
 * A value spread over a larger shape. Its dimensions become those of `axes`; the narrow form has ones in the place of the
 * others, so that chains of broadcasts end in one, and elementwise ops need none.
 *
 * @param shape  gives the result's shape as a vector
 */
function broadcast(t: OpTranslation, axes: readonly number[], shape: () => Ref): Translated {
  const result = t.resultType().shape;
  checkedAxes(t, axes, result.length, "broadcast dimensions");
  const source = t.type(0).shape;
  if (axes.length !== source.length) t.fail(`${axes.length} broadcast dimensions for rank ${source.length}`);
  const operand = t.around.translated(t.operand(0));
  if (source.length === 0 || operand.isScalar) {
    const scalar = operand.narrow ?? operand.full();
    if (result.length === 0) return operand;
    return { full: lazily(() => t.filled(scalar, shape())), narrow: scalar, isScalar: true };
  }
  const order = axesOf(axes.length).sort((a, b) => axes[a]! - axes[b]!);
  let narrow = t.transpose(operand.narrow ?? operand.full(), order);
  for (const axis of axesOf(result.length)) if (!axes.includes(axis)) narrow = t.expand(narrow, axis);
  const isSame = (dim: number, axis: number): boolean => {
    const from = axes.indexOf(axis);
    return from < 0 ? dim === 1 : source[from] === dim;
  };
  if (operand.narrow === undefined && result.every(isSame)) return { full: () => narrow };
  return { full: lazily(() => t.emit("BroadcastTo", [narrow, shape()])), narrow };
}

const broadcastInDim: Translate = (t) => [
  broadcast(t, t.attrs.ints("broadcast_dimensions"), () => t.b.ints(t.resultType().shape)),
];

const dynamicBroadcastInDim: Translate = (t) => [broadcast(t, t.attrs.ints("broadcast_dimensions"), () => t.in(1))];

const iota: Translate = (t) => [
  iotaOver(
    t,
    (axis) => t.b.scalar("int32", t.resultType().shape[axis]!),
    () => t.b.ints(t.resultType().shape),
  ),
];

const dynamicIota: Translate = (t) => {
  const shape = t.b.cast(t.in(0), "int32");
  return [
    iotaOver(
      t,
      (axis) => t.at(shape, axis),
      () => shape,
    ),
  ];
};

function iotaOver(t: OpTranslation, size: (axis: number) => Ref, shape: () => Ref): Translated {
  const axis = t.attrs.int("iota_dimension");
  const rank = t.resultType().shape.length;
  checkedAxes(t, [axis], rank, "an iota dimension");
  const dtype = t.resultDType();
  const made = dtype === "int64" || dtype === "float32" || dtype === "float64" ? dtype : "int32";
  const limit = t.b.cast(size(axis), made);
  const range = t.emit("Range", [t.b.scalar(made, 0), limit, t.b.scalar(made, 1)]);
  let narrow = t.b.cast(range, dtype);
  for (let i = axis + 1; i < rank; i++) narrow = t.expand(narrow, i - axis);
  for (let i = 0; i < axis; i++) narrow = t.expand(narrow, 0);
  return rank === 1 ? { full: () => narrow } : { full: lazily(() => t.emit("BroadcastTo", [narrow, shape()])), narrow };
}

const reshape: Translate = (t) => {
  const { shape } = t.resultType();
  if (shape.filter((dim) => dim < 0).length > 1) t.fail("more than one dimension is not known");
  return [t.reshape(t.in(0), shape)];
};

const dynamicReshape: Translate = (t) => [t.emit("Reshape", [t.in(0), t.in(1)])];

const transpose: Translate = (t) => {
  const permutation = t.attrs.ints("permutation");
  if (permutation.length !== t.rank(0)) t.fail("a permutation of another rank");
  return [t.transpose(t.in(0), checkedAxes(t, permutation, t.rank(0), "a permutation"))];
};

const reverse: Translate = (t) => {
  const axes = checkedAxes(t, t.attrs.ints("dimensions"), t.rank(0), "dimensions");
  return [t.emit("ReverseV2", [t.in(0), t.b.ints(axes)])];
};

const concatenate: Translate = (t) => [t.emit("ConcatV2", [...t.ins(), t.b.scalar("int32", t.attrs.int("dimension"))])];

const slice: Translate = (t) => {
  const [start, limit, strides] = ["start_indices", "limit_indices", "strides"].map((name) => t.attrs.ints(name));
  return [strided(t, t.in(0), t.b.ints(start!), t.b.ints(limit!), t.b.ints(strides!))];
};

const realDynamicSlice: Translate = (t) => {
  const row = rowOf(t);
  if (!row) return [strided(t, t.in(0), t.in(1), t.in(2), t.in(3))];
  const { axis, start } = row;
  const at = t.around.translated(start).full();
  const index = t.b.cast(startInside(t, { at, limit: t.around.limitOf(start) }, axis, 1), "int32");
  return [rowAt(t, index, axis)];
};

/** Row `index` along `axis`, which the slice keeps: a lookup, where the operand is a table. */
function rowAt(t: OpTranslation, index: Ref, axis: number): Ref {
  return t.expand(t.emit("GatherV2", [t.in(0), index, t.b.scalar("int32", axis)]), axis);
}

function strided(t: OpTranslation, value: Ref, start: Ref, limit: Ref, strides: Ref): Ref {
  return t.emit("StridedSlice", [value, start, limit, strides]);
}

/** The starts of a dynamic slice as int32, moved so that the slice lies inside. */
export function startsInside(t: OpTranslation, first: number, sizes: readonly (number | Ref)[]): Ref[] {
  return sizes.map((size, axis) => {
    const dim = t.type(0).shape[axis]!;
    if (size === dim || t.constantInts(first + axis)?.[0] === 0) return t.b.scalar("int32", 0);
    const start = { at: t.in(first + axis), limit: t.around.limitOf(t.operand(first + axis)) };
    return t.b.cast(startInside(t, start, axis, size), "int32");
  });
}

/** @param start  with what it is known to be below of */
function startInside(
  t: OpTranslation,
  { at, limit }: { readonly at: Ref; readonly limit: number | undefined },
  axis: number,
  size: number | Ref,
): Ref {
  const dim = t.type(0).shape[axis]!;
  if (limit !== undefined && typeof size === "number" && dim >= limit + size - 1) return at;
  const isKnown = typeof size === "number" && dim >= 0;
  const most = isKnown
    ? t.b.scalar(at.dtype, Math.max(0, dim - size))
    : t.b.cast(t.emit("Sub", [t.dim(0, axis), typeof size === "number" ? t.b.scalar("int32", size) : size]), at.dtype);
  return t.clampToRange(at, t.b.scalar(at.dtype, 0), most);
}

const dynamicSlice: Translate = (t) => {
  const sizes = t.attrs.ints("slice_sizes");
  if (sizes.length !== t.rank(0)) t.fail("slice sizes of another rank");
  const cut = axesOf(sizes.length).filter((axis) => sizes[axis] !== t.type(0).shape[axis]);
  const [axis] = cut;
  if (axis !== undefined && cut.length === 1 && sizes[axis] === 1) {
    return [rowAt(t, startsInside(t, 1, sizes)[axis]!, axis)];
  }
  return [t.emit("Slice", [t.in(0), t.stack(startsInside(t, 1, sizes)), t.b.ints(sizes)])];
};

/** States what is known of a shape that the compiler cannot see. */
export function shaped(t: OpTranslation, value: Ref, type: HloTensorType): Ref {
  return type.shape.length === 0 ? value : t.emit("EnsureShape", [value], { shape: attr.shape(type.shape) });
}

const pad: Translate = (t) => {
  const [low, high, interior] = ["edge_padding_low", "edge_padding_high", "interior_padding"].map((name) =>
    t.attrs.ints(name),
  );
  const rank = t.rank(0);
  for (const list of [low!, high!, interior!]) if (list.length !== rank) t.fail("paddings of another rank");
  const spread = spreadOut(t, t.in(0), t.type(0), interior!, t.in(1));
  return [padded(t, spread, low!, high!, t.in(1))];
};

/** Pads, and cuts where a padding is negative. */
export function padded(
  t: OpTranslation,
  value: Ref,
  low: readonly number[],
  high: readonly number[],
  filler: Ref,
): Ref {
  const pairs = low.flatMap((before, axis) => [Math.max(0, before), Math.max(0, high[axis]!)]);
  let result = value;
  if (pairs.some((size) => size > 0)) {
    result = t.emit("PadV2", [result, t.reshape(t.b.ints(pairs), [low.length, 2]), filler]);
  }
  if ([...low, ...high].every((size) => size >= 0)) return result;
  const shape = t.emit("Shape", [result]);
  const limit = t.emit("AddV2", [shape, t.b.ints(high.map((size) => Math.min(0, size)))]);
  const start = t.b.ints(low.map((size) => Math.max(0, -size)));
  return strided(t, result, start, limit, t.b.ints(low.map(() => 1)));
}

/** Puts `interior` fillers between the elements of each axis: behind every element, and off again behind the last. */
export function spreadOut(
  t: OpTranslation,
  value: Ref,
  type: HloTensorType,
  interior: readonly number[],
  filler: Ref,
): Ref {
  let result = value;
  for (const [axis, gap] of interior.entries()) {
    if (gap === 0) continue;
    if (gap < 0) t.fail("a negative interior padding");
    const rank = type.shape.length;
    const paddings = axesOf(rank + 1).flatMap((i) => [0, i === axis + 1 ? gap : 0]);
    const apart = t.emit("PadV2", [t.expand(result, axis + 1), t.reshape(t.b.ints(paddings), [rank + 1, 2]), filler]);
    const shape = t.emit("Shape", [result]);
    const scale = t.b.ints(axesOf(rank).map((i) => (i === axis ? gap + 1 : 1)));
    const joined = t.emit("Reshape", [apart, t.emit("Mul", [shape, scale])]);
    const cut = t.b.ints(axesOf(rank).map((i) => (i === axis ? gap : 0)));
    const size = t.emit("Maximum", [t.emit("Sub", [t.emit("Mul", [shape, scale]), cut]), t.b.scalar("int32", 0)]);
    result = t.emit("Slice", [joined, t.b.ints(axesOf(rank).map(() => 0)), size]);
  }
  return result;
}

/** @param pairs  [rank, 2], none negative */
export function dynamicallyPadded(t: OpTranslation, value: Ref, pairs: Ref, filler: Ref): Ref {
  return t.emit("PadV2", [value, pairs, filler]);
}

const dynamicPad: Translate = (t) => {
  if (!t.constantInts(4)?.every((gap) => gap === 0)) t.fail("an interior padding that is not known to be 0");
  const paddings = t.emit("Pack", [t.in(2), t.in(3)], { axis: attr.int(1) });
  return [dynamicallyPadded(t, t.in(0), paddings, t.in(1))];
};

const getDimensionSize: Translate = (t) => [t.b.cast(t.dim(0, t.attrs.int("dimension")), t.resultDType())];

/** What XLA calls a dynamic size: only so many elements of a dimension count. */
const setDimensionSize: Translate = (t) => {
  const axis = t.attrs.int("dimension");
  const rank = t.rank(0);
  checkedAxes(t, [axis], rank, "a dimension");
  if (t.constantInts(1)?.[0] === t.type(0).shape[axis]) return [t.in(0)];
  const size = t.b.cast(t.in(1), "int32");
  const sizes = t.stack(axesOf(rank).map((i) => (i === axis ? size : t.b.scalar("int32", -1))));
  return [t.emit("Slice", [t.in(0), t.b.ints(axesOf(rank).map(() => 0)), sizes])];
};

export const ARRAYS: Readonly<Record<string, Translate>> = {
  broadcast_in_dim: broadcastInDim,
  concatenate,
  constant,
  dynamic_broadcast_in_dim: dynamicBroadcastInDim,
  dynamic_iota: dynamicIota,
  dynamic_pad: dynamicPad,
  dynamic_reshape: dynamicReshape,
  dynamic_slice: dynamicSlice,
  get_dimension_size: getDimensionSize,
  iota,
  optimization_barrier: (t) => t.op.operands.map((value) => t.around.translated(value)),
  pad,
  real_dynamic_slice: realDynamicSlice,
  reshape,
  reverse,
  set_dimension_size: setDimensionSize,
  slice,
  transpose,
};
