/** Elementwise ops of one operand. */
import { lanesOf, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { isSafeAt, signedAt, storeAt } from "../call/int64.js";
import { allocate } from "../call/limits.js";
import { is64Bit, isFloating, numberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";

export interface UnaryOp {
  readonly float: (value: number, round: (value: number) => number) => number;
  readonly int?: (value: number) => number;
  readonly big?: (value: bigint) => bigint;
  /** `int` is exact modulo 2^32 only, so that 64-bit integers must go through `big`. */
  readonly isNarrow?: true;
}

export function unary(op: UnaryOp): Kernel {
  return (call: OpCall): Tensor[] => {
    const value = call.tensor(0);
    const { dtype } = value;
    const name = call.node.op;
    if (is64Bit(dtype)) {
      const { int, big } = op;
      if (!int || !big) throw invalid(`${name} of ${dtype} is not supported`);
      const data = value.data as BigInt64Array;
      const out = allocate(dtype, data.length);
      const lanes = lanesOf(data);
      const outLanes = lanesOf(out);
      const isSigned = dtype === "int64";
      for (let i = 0; i < data.length; i++) {
        const result = isSigned && !op.isNarrow && isSafeAt(lanes, i) ? int(signedAt(lanes, i)) : Number.NaN;
        if (Number.isSafeInteger(result)) storeAt(outLanes, i, result);
        else out[i] = big(data[i]!);
      }
      return [withData(dtype, value.shape, out)];
    }
    const numbers = numbersOf(value);
    const out = numberArray(dtype, numbers.length);
    if (isFloating(dtype)) {
      const round = roundingOf(dtype);
      const { float } = op;
      for (let i = 0; i < out.length; i++) out[i] = float(numbers[i]!, round);
    } else {
      const { int } = op;
      if (!int) throw invalid(`${name} of ${dtype} is not supported`);
      for (let i = 0; i < out.length; i++) out[i] = int(numbers[i]!);
    }
    return [numbersTensor(dtype, value.shape, out)];
  };
}

/** Rounds halves to the even neighbour. */
export function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  // Math.round takes halves up; an odd result from a half goes back down.
  const result = rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
  return result === 0 ? value * 0 || (Object.is(value, -0) || value < 0 ? -0 : 0) : result;
}

function sign(value: number): number {
  return Number.isNaN(value) ? value : value > 0 ? 1 : value < 0 ? -1 : 0;
}

const SAME: UnaryOp = { float: (x) => x, int: (x) => x, big: (x) => x };

export const UNARY_KERNELS: Readonly<Record<string, Kernel>> = {
  Neg: unary({ float: (x) => -x, int: (x) => 0 - x, big: (x) => -x }),
  Abs: unary({ float: Math.abs, int: Math.abs, big: (x) => (x < 0n ? -x : x) }),
  Sign: unary({ float: sign, int: sign, big: (x) => (x > 0n ? 1n : x < 0n ? -1n : 0n) }),
  Square: unary({ float: (x) => x * x, int: (x) => Math.imul(x, x), big: (x) => x * x, isNarrow: true }),
  Sqrt: unary({ float: Math.sqrt }),
  Rsqrt: unary({ float: (x) => 1 / Math.sqrt(x) }),
  Reciprocal: unary({ float: (x) => 1 / x }),
  Inv: unary({ float: (x) => 1 / x }),
  Exp: unary({ float: Math.exp }),
  Expm1: unary({ float: Math.expm1 }),
  Log: unary({ float: Math.log }),
  Log1p: unary({ float: Math.log1p }),
  Floor: unary({ ...SAME, float: Math.floor }),
  Ceil: unary({ ...SAME, float: Math.ceil }),
  Round: unary({ ...SAME, float: roundHalfToEven }),
  Rint: unary({ float: roundHalfToEven }),
  Sigmoid: unary({ float: (x) => 1 / (1 + Math.exp(-x)) }),
  Tanh: unary({ float: Math.tanh }),
  Sin: unary({ float: Math.sin }),
  Cos: unary({ float: Math.cos }),
  Tan: unary({ float: Math.tan }),
  Asin: unary({ float: Math.asin }),
  Asinh: unary({ float: Math.asinh }),
  Acosh: unary({ float: Math.acosh }),
  Atanh: unary({ float: Math.atanh }),
  Acos: unary({ float: Math.acos }),
  Atan: unary({ float: Math.atan }),
  Sinh: unary({ float: Math.sinh }),
  Cosh: unary({ float: Math.cosh }),
  Relu: unary({ float: relu, int: (x) => Math.max(x, 0), big: (x) => (x > 0n ? x : 0n) }),
  Invert: unary({
    float: () => Number.NaN,
    int: (x) => ~x,
    big: (x) => ~x,
    isNarrow: true,
  }),
};

function relu(x: number): number {
  return x < 0 ? 0 : x;
}
