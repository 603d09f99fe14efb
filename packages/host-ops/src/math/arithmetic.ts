/** Elementwise ops of two operands with broadcasting: arithmetic, bitwise and logical ops. */
import { ServingError } from "@shardserve/core";
import {
  type DType,
  elementCount,
  lanesOf,
  StringColumnBuilder,
  type StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { type Operand, operand } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { invalid, printShape } from "../call/errors.js";
import { isSafeAt, signedAt, storeAt } from "../call/int64.js";
import { allocate, checkedCount, checkOutput } from "../call/limits.js";
import {
  is64Bit,
  isFloating,
  type NumberArray,
  numberArray,
  numbersOf,
  packNumbers,
  roundingOf,
} from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, sameShape } from "../call/shapes.js";

type Round = (value: number) => number;

/** One operation in the three arithmetics that it may run in. */
export interface BinaryOp {
  /** On floats; `round` rounds an intermediate result to the dtype's precision. */
  readonly float?: (a: number, b: number, round: Round) => number;
  /** `float` over all elements, where a call for each would cost several times the operation. */
  readonly floats?: (out: NumberArray, a: NumberArray, aStep: number, b: NumberArray, bStep: number) => void;
  /**
   * On integers given exactly; the result is wrapped when it is stored. For 64-bit integers the result counts only when it
   * is a safe integer, else `big` decides.
   */
  readonly int?: (a: number, b: number) => number;
  /** On 64-bit integers beyond 2^53; the result is wrapped. */
  readonly big?: (a: bigint, b: bigint) => bigint;
}

/**
 * Applies an operation elementwise with broadcasting.
 *
 * @throws ServingError INVALID_ARGUMENT for shapes that do not broadcast, dtypes that the op lacks, division by zero
 */
export function applyBinary(name: string, op: BinaryOp, a: Tensor, b: Tensor): Tensor {
  const shape = broadcastShape(a.shape, b.shape);
  const count = checkedCount(a.dtype, shape);
  const x = operand(a, shape);
  const y = operand(b, shape);
  if (is64Bit(a.dtype)) {
    if (!op.int || !op.big) throw unsupported(name, a.dtype);
    return withData(a.dtype, shape, binary64(op.int, op.big, a.dtype, x, y, count));
  }
  const out = numberArray(a.dtype, count);
  const p = numbersOf(x.value);
  const q = numbersOf(y.value);
  if (isFloating(a.dtype)) {
    const f = op.float;
    if (!f) throw unsupported(name, a.dtype);
    if (op.floats) op.floats(out, p, x.step, q, y.step);
    else {
      const round = roundingOf(a.dtype);
      for (let i = 0; i < count; i++) out[i] = f(p[i * x.step]!, q[i * y.step]!, round);
    }
  } else {
    const f = op.int;
    if (!f) throw unsupported(name, a.dtype);
    for (let i = 0; i < count; i++) out[i] = f(p[i * x.step]!, q[i * y.step]!);
  }
  return withData(a.dtype, shape, packNumbers(a.dtype, out));
}

function unsupported(name: string, dtype: DType) {
  return invalid(`${name} of ${dtype} is not supported`);
}

function binary64(
  int: (a: number, b: number) => number,
  big: (a: bigint, b: bigint) => bigint,
  dtype: "int64" | "uint64",
  x: Operand,
  y: Operand,
  count: number,
): BigInt64Array | BigUint64Array {
  const out = allocate(dtype, count);
  const lanes = lanesOf(out);
  const p = x.value.data as BigInt64Array;
  const q = y.value.data as BigInt64Array;
  const pl = lanesOf(p);
  const ql = lanesOf(q);
  const least = dtype === "int64" ? Number.MIN_SAFE_INTEGER : 0;
  for (let i = 0; i < count; i++) {
    const j = i * x.step;
    const k = i * y.step;
    if (isSafeAt(pl, j) && isSafeAt(ql, k)) {
      // Also right for uint64: a high lane that reads as negative there means beyond 2^53, and `least` sends it on.
      const u = signedAt(pl, j);
      const v = signedAt(ql, k);
      if (u >= least && v >= least) {
        const result = int(u, v);
        if (result >= least && result <= Number.MAX_SAFE_INTEGER) {
          storeAt(lanes, i, result);
          continue;
        }
      }
    }
    out[i] = big(p[j]!, q[k]!); // wraps on store
  }
  return out;
}

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
function powInt(a: number, b: number): number {
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
  Pow: { float: pow, int: powInt, big: powBig },
  DivNoNan: { float: (a, b) => (b === 0 ? 0 : a / b) },
  MulNoNan: { float: (a, b) => (b === 0 ? 0 : a * b) },
  Xdivy: { float: (a, b) => (a === 0 ? 0 : a / b) },
  Xlogy: { float: (a, b, round) => (a === 0 ? 0 : a * round(Math.log(b))) },
  Atan2: { float: Math.atan2 },
  SquaredDifference: {
    float: (a, b, round) => round(a - b) ** 2,
    int: (a, b) => Math.imul(a - b, a - b),
    big: (a, b) => (a - b) * (a - b),
  },
  BitwiseAnd: { int: (a, b) => a & b, big: (a, b) => a & b },
  BitwiseOr: { int: (a, b) => a | b, big: (a, b) => a | b },
  BitwiseXor: { int: (a, b) => a ^ b, big: (a, b) => a ^ b },
};

/** Ops whose number form is exact modulo 2^32 only, so that 64-bit integers must go through BigInt. */
const NARROW = new Set(["Pow", "SquaredDifference", "BitwiseAnd", "BitwiseOr", "BitwiseXor"]);

/** 32-bit products beyond 2^53 are not exact as numbers; all other widths are. */
export function binaryOp(name: string, dtype: DType): BinaryOp {
  return forDtype(name, BINARY_OPS[name]!, dtype);
}

function forDtype(name: string, op: BinaryOp, dtype: DType): BinaryOp {
  if (is64Bit(dtype) && NARROW.has(name)) return { ...op, int: () => Number.NaN };
  if (name === "Mul" && (dtype === "int32" || dtype === "uint32")) return { ...op, int: Math.imul };
  return op;
}

function binaryKernel(name: string, op: BinaryOp): Kernel {
  return (call) => {
    const a = call.tensor(0);
    const b = call.tensor(1);
    if (a.dtype === "string") return [concatStrings(name, a, b)];
    return [applyBinary(name, forDtype(name, op, a.dtype), a, b)];
  };
}

function concatStrings(name: string, a: Tensor, b: Tensor): Tensor {
  if (name !== "Add" && name !== "AddV2") throw unsupported(name, "string");
  const shape = broadcastShape(a.shape, b.shape);
  const count = checkedCount("string", shape);
  const [x, y] = [operand(a, shape), operand(b, shape)];
  const [p, q] = [x.value.data as StringColumn, y.value.data as StringColumn];
  checkOutput("string", count, p.bytes.length * (x.step ? 1 : count) + q.bytes.length * (y.step ? 1 : count));
  return joined(
    [
      { column: p, step: x.step },
      { column: q, step: y.step },
    ],
    shape,
    new Uint8Array(0),
  );
}

/** Element i of the result is the i-th elements of all columns (the first, where the step is 0) with `separator` between. */
export function joined(
  parts: readonly { readonly column: StringColumn; readonly step: 0 | 1 }[],
  shape: readonly number[],
  separator: Uint8Array,
): Tensor {
  const count = elementCount(shape);
  const offsets = new Uint32Array(count + 1);
  let length = 0;
  for (let i = 0; i < count; i++) {
    for (const { column, step } of parts) length += column.offsets[i * step + 1]! - column.offsets[i * step]!;
    length += separator.length * Math.max(0, parts.length - 1);
    offsets[i + 1] = length;
  }
  checkOutput("string", count, length);
  const builder = new StringColumnBuilder(count);
  const row = new Uint8Array(offsets.reduce((widest, end, i) => Math.max(widest, i ? end - offsets[i - 1]! : 0), 0));
  for (let i = 0; i < count; i++) {
    let at = 0;
    parts.forEach(({ column, step }, k) => {
      if (k > 0) {
        row.set(separator, at);
        at += separator.length;
      }
      const from = column.offsets[i * step]!;
      const end = column.offsets[i * step + 1]!;
      row.set(column.bytes.subarray(from, end), at);
      at += end - from;
    });
    builder.pushRange(row, 0, at);
  }
  return tensor("string", shape, builder.build());
}

/**
 * Adds (or subtracts, ...) row i of `updates` into slice `numbers[i]` of `target`, in order.
 *
 * @param target  overwritten; its data must not be shared
 * @param size  elements per slice
 */
export function addInto(
  target: Tensor,
  numbers: ArrayLike<number>,
  size: number,
  updates: Tensor,
  kind: "add" | "sub" | "mul" | "div" | "max" | "min",
): void {
  // Bools add up to true.
  const add = target.dtype === "bool" ? MAXIMUM : ADD;
  const op = { add, sub: SUB, mul: MUL, div: TRUNCATE_DIV, max: MAXIMUM, min: MINIMUM }[kind];
  if (is64Bit(target.dtype)) {
    const out = target.data as BigInt64Array;
    const data = updates.data as BigInt64Array;
    for (let i = 0; i < numbers.length; i++) {
      const at = numbers[i]! * size;
      for (let j = 0; j < size; j++) out[at + j] = op.big!(out[at + j]!, data[i * size + j]!);
    }
    return;
  }
  const out = numbersOf(target);
  const data = numbersOf(updates);
  const round = roundingOf(target.dtype);
  for (let i = 0; i < numbers.length; i++) {
    const at = numbers[i]! * size;
    for (let j = 0; j < size; j++) out[at + j] = round(op.float!(out[at + j]!, data[i * size + j]!, round));
  }
  if (out !== (target.data as unknown)) (target.data as Uint16Array).set(packNumbers(target.dtype, out) as Uint16Array);
}

function addN(op: OpCall): Tensor[] {
  const values = op.tensors();
  for (const value of values) {
    if (!sameShape(value.shape, values[0]!.shape)) {
      throw invalid(
        `Inputs to operation ${op.node.name} of type AddN must have the same size and shape.  Input 0: ${printShape(values[0]!.shape)} != input ${values.indexOf(value)}: ${printShape(value.shape)}`,
      );
    }
  }
  return [values.reduce((sum, value) => applyBinary("AddN", ADD, sum, value))];
}

function clip(op: OpCall): Tensor[] {
  const [value, low, high] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  return [applyBinary("ClipByValue", MAXIMUM, applyBinary("ClipByValue", MINIMUM, value, high), low)];
}

function logical(f: (a: number, b: number) => number): Kernel {
  return (op) => [applyBinary(op.node.op, { int: f }, op.tensor(0), op.tensor(1))];
}

function shift(isLeft: boolean): Kernel {
  return (op) => {
    const [a, b] = [op.tensor(0), op.tensor(1)];
    const bits = a.dtype.endsWith("64") ? 64 : Number(/\d+$/.exec(a.dtype)![0]);
    // TensorFlow clamps the distance to [0, bits - 1]: shifting further is undefined in C++.
    const clamp = (by: number) => Math.min(Math.max(by, 0), bits - 1);
    return [
      applyBinary(
        op.node.op,
        {
          int: is64Bit(a.dtype)
            ? () => Number.NaN
            : isLeft
              ? (x, y) => x << clamp(y)
              : (x, y) => (a.dtype === "uint32" ? x >>> clamp(y) : x >> clamp(y)),
          big: (x, y) => {
            const by = BigInt(clamp(Number(y)));
            return isLeft ? x << by : x >> by;
          },
        },
        a,
        b,
      ),
    ];
  };
}

export const ARITHMETIC_KERNELS: Readonly<Record<string, Kernel>> = {
  ...Object.fromEntries(Object.entries(BINARY_OPS).map(([name, op]) => [name, binaryKernel(name, op)])),
  AddN: addN,
  AccumulateNV2: addN,
  ClipByValue: clip,
  LogicalAnd: logical((a, b) => a & b),
  LogicalOr: logical((a, b) => a | b),
  LeftShift: shift(true),
  RightShift: shift(false),
};
