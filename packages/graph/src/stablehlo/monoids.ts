import type { HloRegion } from "@shardserve/savedmodel";
import { type DType, DTYPES } from "@shardserve/tensor";
import { ELEMENTWISE } from "./elementwise.js";
import type { Ref } from "./function-builder.js";
import { constantItem, type OpTranslation, type Surroundings } from "./translation.js";

/** Bodies of reductions, scatters and windows: what joins two scalars, or two tuples of them, and can join tensors as well. */

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

/** True when operand `i` is a constant that changes nothing that it is combined with. */
export function isIdentity(t: OpTranslation, i: number, combiner: Combiner): boolean {
  const value = constantItem(t.operand(i), t.around);
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

/** Joins tuples of tensors element by element, as a body joins tuples of scalars. */
export type Join = (t: OpTranslation, a: readonly Ref[], b: readonly Ref[]) => Ref[];

/** @returns undefined for a body that does more than compute its results from scalars */
export function joinOf(t: OpTranslation, region: HloRegion): Join | undefined {
  const combiner = combinerOf(region);
  if (combiner) return (inner, [a], [b]) => [combined(inner, combiner, a!, b!)];
  if (!isElementwise(region, t.around)) return undefined;
  return (inner, a, b) => inner.around.inlined(region, [...a, ...b]).map((value) => value.full());
}

/** Functions that a body calls are no deeper inside one another than this. */
const CALLS_MAX = 16;

function isElementwise(region: HloRegion, around: Surroundings, depth = 0): boolean {
  return region.ops.every((op) => {
    if (op.regions.length > 0 || depth > CALLS_MAX) return false;
    if (op.name === "call") return isElementwise(around.calledBody(op.attrs.text("callee")), around, depth + 1);
    const [type] = op.results.map((value) => value.type);
    const isScalar = type === undefined || (type.kind === "tensor" && type.shape.length === 0);
    return isScalar && (Object.hasOwn(ELEMENTWISE, op.name) || OTHERS.has(op.name));
  });
}

/** Ops that make the same of tensors as of scalars, where their results are scalars, beside those of single elements. */
const OTHERS = new Set(["constant", "return", "reshape", "broadcast_in_dim", "composite", "optimization_barrier"]);
