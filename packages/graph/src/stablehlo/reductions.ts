import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { freeValues } from "./control.js";
import { type Combiner, combined, combinerOf, isIdentity, type Join, joinOf } from "./monoids.js";
import { axesOf, checkedAxes, OpTranslation, type Translate } from "./translation.js";

/** Reductions: those that TensorFlow has an op for, searches for the place of the largest element, and by any body in halves. */

const REDUCTIONS: Partial<Record<Combiner, string>> = { add: "Sum", multiply: "Prod", maximum: "Max", minimum: "Min" };
const BOOL_REDUCTIONS: Partial<Record<Combiner, string>> = {
  add: "Any",
  multiply: "All",
  maximum: "Any",
  minimum: "All",
  and: "All",
  or: "Any",
};

const reduce: Translate = (t) => {
  const axes = checkedAxes(t, t.attrs.ints("dimensions"), t.rank(0), "dimensions");
  const combiner = t.op.operands.length === 2 ? combinerOf(t.region(0)) : undefined;
  const op = combiner && (t.dtype(0) === "bool" ? BOOL_REDUCTIONS : REDUCTIONS)[combiner];
  if (op) {
    const reduced = t.emit(op, [t.in(0), t.b.ints(axes)]);
    return [isIdentity(t, 1, combiner) ? reduced : combined(t, combiner, t.in(1), reduced)];
  }
  const found = t.op.operands.length === 4 && t.op.results.length === 2 ? arg(t, axes) : undefined;
  if (found) return found;
  return halved(t, axes, joinOf(t, t.region(0)) ?? t.fail("its body does more than compute with scalars"));
};

/** Joins neighbours until one row is left; the start is the first row, so that there is one. */
function halved(t: OpTranslation, axes: readonly number[], join: Join): Ref[] {
  const count = t.op.operands.length / 2;
  const { shape } = t.type(0);
  const kept = axesOf(shape.length).filter((axis) => !axes.includes(axis));
  const keptDims = kept.map((axis) => t.dim(0, axis));
  const rowShape = t.stack([t.b.scalar("int32", 1), ...keptDims]);
  const length = axes.map((axis) => t.dim(0, axis)).reduce((a, b) => t.emit("Mul", [a, b]), t.b.scalar("int32", 1));
  const zero = t.b.scalar("int32", 0);
  const rows = t.ins(0, count).map((value, i) => {
    const moved = t.emit("Reshape", [t.transpose(value, [...axes, ...kept]), t.stack([length, ...keptDims])]);
    return t.emit("ConcatV2", [t.filled(t.in(count + i), rowShape), moved, zero]);
  });
  const size = axes.reduce((product, axis) => (shape[axis]! < 0 ? Number.NaN : product * shape[axis]!), 1) + 1;
  const last = Number.isNaN(size) ? halvedInTurns(t, rows, join) : halvedSpelledOut(t, rows, size, join);
  return last.map((value) => t.emit("Squeeze", [value], { squeeze_dims: attr.ints([0]) }));
}

function halvedSpelledOut(t: OpTranslation, rows: readonly Ref[], size: number, join: Join): readonly Ref[] {
  let current = rows;
  for (let left = size; left > 1; left = Math.ceil(left / 2)) {
    const even = left - (left % 2);
    const every = (from: number, to: number, step: number) => (value: Ref) =>
      t.emit("StridedSlice", [value, t.b.ints([from]), t.b.ints([to]), t.b.ints([step])]);
    const pairs = join(t, current.map(every(0, even, 2)), current.map(every(1, even, 2)));
    const odd = left === even ? undefined : current.map(every(even, left, 1));
    current = odd ? pairs.map((pair, i) => t.emit("ConcatV2", [pair, odd[i]!, t.b.scalar("int32", 0)])) : pairs;
  }
  return current;
}

/** A loop, where the number of rows is known only when the module runs. */
function halvedInTurns(t: OpTranslation, rows: readonly Ref[], join: Join): readonly Ref[] {
  const captures = freeValues(t.op.regions);
  const dtypes = rows.map(({ dtype }) => dtype);
  const length = (inner: OpTranslation, value: Ref): Ref => inner.at(inner.emit("Shape", [value]), 0);
  const cond = t.around.writtenFunction(dtypes, captures, (around, [first]) => {
    const inner = new OpTranslation(t.op, around);
    return [inner.emit("Greater", [length(inner, first!), inner.b.scalar("int32", 1)])];
  });
  const body = t.around.writtenFunction(dtypes, captures, (around, args) => {
    const inner = new OpTranslation(t.op, around);
    const size = length(inner, args[0]!);
    const one = inner.b.scalar("int32", 1);
    const even = inner.emit("Sub", [size, inner.emit("BitwiseAnd", [size, one])]);
    const every = (from: Ref, to: Ref, step: number) => (value: Ref) =>
      inner.emit("StridedSlice", [value, inner.stack([from]), inner.stack([to]), inner.b.ints([step])]);
    const zero = inner.b.scalar("int32", 0);
    const pairs = join(inner, args.map(every(zero, even, 2)), args.map(every(one, even, 2)));
    const odd = args.map(every(even, size, 1));
    const joined = pairs.map((pair, i) => inner.emit("ConcatV2", [pair, odd[i]!, zero]));
    return [...joined, ...captures.map((value) => around.translated(value).full())];
  });
  const carried = [...rows, ...captures.map((value) => t.around.translated(value).full())];
  const done = t.b.emitAll("StatelessWhile", carried, { cond: attr.func(cond), body: attr.func(body) });
  return done.slice(0, rows.length);
}

/**
 * Argmax and argmin: values and a count along the reduced axis, of which the body keeps the pair whose value is above, or
 * below; of equal ones the first, and NaN before all. This is what jax.numpy.argmax becomes. Undefined for other reductions.
 */
function arg(t: OpTranslation, axes: readonly number[]): Ref[] | undefined {
  const [axis] = axes;
  const counted = t.around.definition(t.operand(1));
  const isCount = axes.length === 1 && counted !== undefined && countsAlong(t, counted, axis!);
  const direction = directionOf(t.region(0));
  if (!isCount || !direction) return undefined;
  const x = t.in(0);
  const dimension = t.b.scalar("int32", axis!);
  const place = (value: Ref, op: string): Ref => t.emit(op, [value, dimension], { output_type: attr.type("int64") });
  const found = direction === "greater" ? "ArgMax" : "ArgMin";
  const values = t.emit(direction === "greater" ? "Max" : "Min", [x, t.b.ints(axes)]);
  let index = place(x, found);
  if (x.dtype.includes("float")) {
    const isNan = t.emit("IsNan", [x]);
    const first = place(t.b.cast(isNan, "int32"), "ArgMax");
    index = t.select(t.emit("Any", [isNan, t.b.ints(axes)]), first, index);
  }
  return [values, t.b.cast(index, t.resultDType(1))];
}

function countsAlong(t: OpTranslation, op: HloOp, axis: number): boolean {
  if (op.name === "iota" || op.name === "dynamic_iota") return op.attrs.int("iota_dimension") === axis;
  if (!/^(dynamic_)?broadcast_in_dim$/.test(op.name)) return false;
  const source = op.operands[0] && t.around.definition(op.operands[0]);
  const from = op.attrs.ints("broadcast_dimensions").indexOf(axis);
  return source !== undefined && from >= 0 && countsAlong(t, source, from);
}

const [GREATER, LESS] = [3, 5];

/** Of a body of two pairs: how the first value must compare with the second for the first pair to be kept. */
function directionOf(region: HloRegion): "greater" | "less" | undefined {
  if (region.args.length !== 4) return undefined;
  const isPair = (op: HloOp, a: HloValue | undefined, b: HloValue | undefined): boolean =>
    op.name === "compare" && op.operands[0] === a && op.operands[1] === b;
  const [value, index, other, otherIndex] = region.args;
  const ofValues = region.ops.filter((op) => isPair(op, value, other));
  const directions = ofValues
    .map((op) => op.attrs.enum("comparison_direction"))
    .filter((code) => code === GREATER || code === LESS);
  const hasTie = region.ops.some(
    (op) => isPair(op, index, otherIndex) && op.attrs.enum("comparison_direction") === LESS,
  );
  const isKnown = region.ops.every((op) => /^(compare|or|and|select|return)$/.test(op.name));
  if (!isKnown || !hasTie || directions.length !== 1) return undefined;
  return directions[0] === GREATER ? "greater" : "less";
}

export const REDUCING: Readonly<Record<string, Translate>> = { reduce };
