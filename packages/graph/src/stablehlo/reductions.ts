import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import { type DType, DTYPES } from "@shardserve/tensor";
import type { Ref } from "./function-builder.js";
import { checkedAxes, constantTensor, type OpTranslation, type Translate } from "./translation.js";

/** Reductions whose body is one op, and those that look for the place of the largest or least element. */

/** What a body of two scalars does: an op of StableHLO, or the second argument alone. */
export type Combiner = "add" | "multiply" | "maximum" | "minimum" | "and" | "or" | "xor" | "second";

/** @returns undefined for a body that does something else */
export function combinerOf(region: HloRegion): Combiner | undefined {
  const [first, second] = region.args;
  if (region.args.length !== 2) return undefined;
  const result = region.ops.at(-1);
  if (result?.name !== "return" || result.operands.length !== 1) return undefined;
  if (region.ops.length === 1) return result.operands[0] === second ? "second" : undefined;
  const [op] = region.ops;
  if (region.ops.length !== 2 || result.operands[0] !== op!.results[0]) return undefined;
  const isOfBoth =
    (op!.operands[0] === first && op!.operands[1] === second) ||
    (op!.operands[0] === second && op!.operands[1] === first);
  return isOfBoth && /^(add|multiply|maximum|minimum|and|or|xor)$/.test(op!.name) ? (op!.name as Combiner) : undefined;
}

/** The TensorFlow op that joins two tensors as a body does. */
export function combined(t: OpTranslation, combiner: Combiner, a: Ref, b: Ref): Ref {
  const ofBools = {
    add: "LogicalOr",
    multiply: "LogicalAnd",
    maximum: "LogicalOr",
    minimum: "LogicalAnd",
    and: "LogicalAnd",
    or: "LogicalOr",
    xor: "NotEqual",
  };
  const ofNumbers = {
    add: "AddV2",
    multiply: "Mul",
    maximum: "Maximum",
    minimum: "Minimum",
    and: "BitwiseAnd",
    or: "BitwiseOr",
    xor: "BitwiseXor",
  };
  if (combiner === "second") return b;
  return t.emit((a.dtype === "bool" ? ofBools : ofNumbers)[combiner], [a, b]);
}

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
  if (t.op.operands.length === 4 && t.op.results.length === 2) return arg(t, axes);
  if (t.op.operands.length !== 2) t.fail(`it reduces ${t.op.operands.length / 2} tensors at once`);
  const combiner = combinerOf(t.region(0));
  const dtype = t.dtype(0);
  const op = combiner && (dtype === "bool" ? BOOL_REDUCTIONS : REDUCTIONS)[combiner];
  if (!op) return t.fail("its body is none of sum, product, maximum, minimum, and, or");
  const reduced = t.emit(op, [t.in(0), t.b.ints(axes)]);
  return [isIdentity(t, 1, combiner) ? reduced : combined(t, combiner, t.in(1), reduced)];
};

/** True when operand `i` is a constant that changes nothing that it is combined with. */
export function isIdentity(t: OpTranslation, i: number, combiner: Combiner): boolean {
  const definition = t.around.definition(t.operand(i));
  if (definition?.name !== "constant" || definition.attrs.tensor("value").bytes.length > 8) return false;
  const value = constantTensor(definition)?.value;
  if (value?.data.length !== 1) return false;
  const dtype = value.dtype;
  const item = Number((value.data as ArrayLike<number | bigint>)[0]);
  const [least, most] = limits(dtype);
  switch (combiner) {
    case "add":
    case "or":
    case "xor":
      return item === 0;
    case "multiply":
      return item === one(dtype);
    case "and":
      return dtype === "bool" && item === 1;
    case "maximum":
      return item === least;
    case "minimum":
      return item === most;
    default:
      return false;
  }
}

/** 16-bit floats are compared as their bits. */
function one(dtype: DType): number {
  return dtype === "float16" ? 0x3c00 : dtype === "bfloat16" ? 0x3f80 : 1;
}

function limits(dtype: DType): readonly [number, number] {
  if (dtype === "float16") return [0xfc00, 0x7c00];
  if (dtype === "bfloat16") return [0xff80, 0x7f80];
  if (dtype === "float32" || dtype === "float64") return [-Infinity, Infinity];
  const bits = DTYPES[dtype].bytes * 8;
  if (dtype === "bool") return [0, 1];
  return dtype.startsWith("u") ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), Number(2n ** BigInt(bits - 1) - 1n)];
}

/**
 * Argmax and argmin: values and a count along the reduced axis, of which the body keeps the pair whose value is above, or
 * below; of equal ones the first, and NaN before all. This is what jax.numpy.argmax becomes.
 */
function arg(t: OpTranslation, axes: readonly number[]): Ref[] {
  const [axis] = axes;
  const counted = t.around.definition(t.operand(1));
  const isCount = axes.length === 1 && counted !== undefined && countsAlong(t, counted, axis!);
  const direction = directionOf(t.region(0));
  if (!isCount || !direction) return t.fail("its body is no search for the place of the largest or least element");
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
