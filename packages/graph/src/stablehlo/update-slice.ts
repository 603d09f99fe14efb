import { attr } from "@shardserve/savedmodel";
import { shaped, startsInside } from "./arrays.js";
import type { Ref } from "./function-builder.js";
import { axesOf, type OpTranslation, type Translate } from "./translation.js";

/** Updates of a box inside of a tensor: caches of keys and values, results that a loop writes. */

const dynamicUpdateSlice: Translate = (t) => {
  const [operand, update] = [t.type(0), t.type(1)];
  if (update.shape.length !== operand.shape.length) t.fail("an update of another rank");
  const target = t.in(0);
  if (target.dtype === "variant") {
    const row = t.emit("Squeeze", [t.in(1)], { squeeze_dims: attr.ints([0]) });
    return [t.emit("TensorListSetItem", [target, t.b.cast(t.in(2), "int32"), row])];
  }
  const sizes = update.shape.map((dim, axis) => (dim >= 0 ? dim : t.dim(1, axis)));
  const starts = startsInside(t, 2, sizes);
  const axes = axesOf(operand.shape.length).filter(
    (axis) => update.shape[axis] === -1 || update.shape[axis] !== operand.shape[axis],
  );
  if (axes.length === 0) return [t.in(1)];
  const depth = axes.at(-1)! + 1;
  const rows = update.shape.slice(0, depth).reduce((product, dim) => product * Math.abs(dim), 1);
  const made = rows <= ROWS_MAX ? scattered(t, starts, sizes, depth) : joined(t, axes, starts, sizes);
  return [shaped(t, made, operand)];
};

/** An update of more rows than this is faster cut and joined than written row by row. */
const ROWS_MAX = 1024;

/** Row by row, where a row is what lies behind the last axis that is cut: one copy of the operand, or none. */
function scattered(t: OpTranslation, starts: readonly Ref[], sizes: readonly (number | Ref)[], depth: number): Ref {
  const scalars = axesOf(depth).map((axis) => extentOf(t, sizes[axis]!));
  const grid = t.stack(scalars);
  const places = axesOf(depth).map((axis) => {
    const range = t.emit("Range", [t.b.scalar("int32", 0), scalars[axis]!, t.b.scalar("int32", 1)]);
    const shape = axesOf(depth).map((i) => (i === axis ? -1 : 1));
    return t.emit("BroadcastTo", [t.reshape(range, shape), grid]);
  });
  const inUpdate = t.emit("Pack", places, { axis: attr.int(-1) });
  const index = t.emit("AddV2", [inUpdate, t.stack(starts.slice(0, depth))]);
  return t.emit("TensorScatterUpdate", [t.in(0), index, t.in(1)]);
}

function extentOf(t: OpTranslation, size: number | Ref): Ref {
  return typeof size === "number" ? t.b.scalar("int32", size) : size;
}

/** Axis by axis: what lies before, the update in what lies there, what lies behind. */
function joined(
  t: OpTranslation,
  axes: readonly number[],
  starts: readonly Ref[],
  sizes: readonly (number | Ref)[],
): Ref {
  const rank = starts.length;
  const piece = (value: Ref, axis: number, from: Ref, size: Ref): Ref => {
    const at = (scalar: Ref, other: number): Ref =>
      t.stack(axesOf(rank).map((i) => (i === axis ? scalar : t.b.scalar("int32", other))));
    return t.emit("Slice", [value, at(from, 0), at(size, -1)]);
  };
  const write = (value: Ref, index: number): Ref => {
    const axis = axes[index];
    if (axis === undefined) return t.in(1);
    const size = extentOf(t, sizes[axis]!);
    const start = starts[axis]!;
    const zero = t.b.scalar("int32", 0);
    const inner = index === axes.length - 1 ? t.in(1) : write(piece(value, axis, start, size), index + 1);
    const after = piece(value, axis, t.emit("AddV2", [start, size]), t.b.scalar("int32", -1));
    return t.emit("ConcatV2", [piece(value, axis, zero, start), inner, after, t.b.scalar("int32", axis)]);
  };
  return write(t.in(0), 0);
}

export const UPDATING: Readonly<Record<string, Translate>> = { dynamic_update_slice: dynamicUpdateSlice };
