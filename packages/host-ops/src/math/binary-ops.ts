/** What each elementwise op of two operands computes, in each arithmetic that it has. */
import { ServingError } from "@shardserve/core";
import { invalid } from "../call/errors.js";
import type { BinaryOp } from "./binary-op.js";

function nonZero(b: number): number {
  if (b === 0) throw invalid("Integer division by zero");
  return b;
}

function nonZeroBig(b: bigint): bigint {
  if (b === 0n) throw invalid("Integer division by zero");
  return b;
}

/** TruncateDiv and TruncateMod fail with a worse text and code than the others; clients may know it. */
function truncating(b: number): number {
  if (b === 0) throw new ServingError("INTERNAL", TRUNCATE_ERROR);
  return b;
}

function truncatingBig(b: bigint): bigint {
  if (b === 0n) throw new ServingError("INTERNAL", TRUNCATE_ERROR);
  return b;
}

const TRUNCATE_ERROR = "Unexpected error in binary operator (only integer div and mod should have errors)";

function floorMod(a: number, b: number): number {
  const rest = a % b;
  return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
}

function floorDivBig(a: bigint, b: bigint): bigint {
  const quotient = a / nonZeroBig(b);
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
}

function floorModBig(a: bigint, b: bigint): bigint {
  const rest = a % nonZeroBig(b);
  return rest !== 0n && rest < 0n !== b < 0n ? rest + b : rest;
}

/** Exact integer power modulo 2^32: what wraps on store is right for every width up to 32. */
function powInt32(a: number, b: number): number {
  if (b < 0) throw invalid("Integers to negative integer powers are not allowed");
  let result = 1;
  for (let base = a, rest = b; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = Math.imul(result, base);
    base = Math.imul(base, base);
  }
  return result;
}

function powBig(a: bigint, b: bigint): bigint {
  if (b < 0n) throw invalid("Integers to negative integer powers are not allowed");
  let result = 1n;
  for (let base = a, rest = b; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = BigInt.asIntN(64, result * base);
    base = BigInt.asIntN(64, base * base);
  }
  return result;
}

/** C's pow, which JavaScript follows but for bases of magnitude 1. */
function pow(a: number, b: number): number {
  if (a === 1 || (a === -1 && (b === Number.POSITIVE_INFINITY || b === Number.NEGATIVE_INFINITY))) return 1;
  return a ** b;
}

/** TensorFlow's Maximum keeps a NaN on either side. */
function maximum(a: number, b: number): number {
  return Number.isNaN(a) ? a : Number.isNaN(b) ? b : a < b ? b : a;
}

function minimum(a: number, b: number): number {
  return Number.isNaN(a) ? a : Number.isNaN(b) ? b : b < a ? b : a;
}

const ADD: BinaryOp = {
  float: (a, b) => a + b,
  floats: (out, a, aStep, b, bStep) => {
    for (let i = 0; i < out.length; i++) out[i] = a[i * aStep]! + b[i * bStep]!;
  },
  int: (a, b) => a + b,
  big: (a, b) => a + b,
};
const SUB: BinaryOp = {
  float: (a, b) => a - b,
  floats: (out, a, aStep, b, bStep) => {
    for (let i = 0; i < out.length; i++) out[i] = a[i * aStep]! - b[i * bStep]!;
  },
  int: (a, b) => a - b,
  big: (a, b) => a - b,
};
const MUL: BinaryOp = {
  float: (a, b) => a * b,
  floats: (out, a, aStep, b, bStep) => {
    for (let i = 0; i < out.length; i++) out[i] = a[i * aStep]! * b[i * bStep]!;
  },
  int: (a, b) => a * b,
  int32: Math.imul,
  big: (a, b) => a * b,
};
const MAXIMUM: BinaryOp = { float: maximum, int: Math.max, big: (a, b) => (a > b ? a : b) };
const MINIMUM: BinaryOp = { float: minimum, int: Math.min, big: (a, b) => (a < b ? a : b) };
const TRUNCATE_DIV: BinaryOp = {
  float: (a, b) => a / b,
  int: (a, b) => Math.trunc(a / nonZero(b)),
  big: (a, b) => a / nonZeroBig(b),
};
const TRUNCATE_MOD: BinaryOp = {
  float: (a, b) => a % b,
  int: (a, b) => a % nonZero(b),
  big: (a, b) => a % nonZeroBig(b),
};

export const BINARY_OPS: Readonly<Record<string, BinaryOp>> = {
  Add: ADD,
  AddV2: ADD,
  Sub: SUB,
  Mul: MUL,
  Div: TRUNCATE_DIV,
  RealDiv: { float: (a, b) => a / b },
  TruncateDiv: {
    float: (a, b, round) => Math.trunc(round(a / b)),
    int: (a, b) => Math.trunc(a / truncating(b)),
    big: (a, b) => a / truncatingBig(b),
  },
  FloorDiv: {
    float: (a, b, round) => Math.floor(round(a / b)),
    int: (a, b) => Math.floor(a / nonZero(b)),
    big: floorDivBig,
  },
  FloorMod: {
    float: (a, b) => floorMod(a, b),
    int: (a, b) => floorMod(a, nonZero(b)),
    big: floorModBig,
  },
  Mod: TRUNCATE_MOD,
  TruncateMod: { float: (a, b) => a % b, int: (a, b) => a % truncating(b), big: (a, b) => a % truncatingBig(b) },
  Maximum: MAXIMUM,
  Minimum: MINIMUM,
  Pow: { float: pow, int32: powInt32, big: powBig },
  DivNoNan: { float: (a, b) => (b === 0 ? 0 : a / b) },
  MulNoNan: { float: (a, b) => (b === 0 ? 0 : a * b) },
  Xdivy: { float: (a, b) => (a === 0 ? 0 : a / b) },
  Xlogy: { float: (a, b, round) => (a === 0 ? 0 : a * round(Math.log(b))) },
  Atan2: { float: Math.atan2 },
  SquaredDifference: {
    float: (a, b, round) => round(a - b) ** 2,
    int32: (a, b) => Math.imul(a - b, a - b),
    big: (a, b) => (a - b) * (a - b),
  },
  BitwiseAnd: { int32: (a, b) => a & b, big: (a, b) => a & b },
  BitwiseOr: { int32: (a, b) => a | b, big: (a, b) => a | b },
  BitwiseXor: { int32: (a, b) => a ^ b, big: (a, b) => a ^ b },
};
