/** Applies an operation of two operands to tensors: broadcasting, and which of its arithmetics a dtype takes. */
import type { ServingError } from "@shardserve/core";
import { type DType, lanesOf, type Tensor } from "@shardserve/tensor";
import { type Operand, operand } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { isSafeAt, signedAt, storeAt } from "../call/int64.js";
import { allocate, checkedCount } from "../call/limits.js";
import {
  is64Bit,
  isFloating,
  type NumberArray,
  numberArray,
  numbersOf,
  numbersTensor,
  roundingOf,
} from "../call/numeric.js";
import { broadcastShape } from "../call/shapes.js";

type Round = (value: number) => number;

/** One operation in the three arithmetics that it may run in. */
export interface BinaryOp {
  /** On floats; `round` rounds an intermediate result to the dtype's precision. */
  readonly float?: (a: number, b: number, round: Round) => number;
  /** `float` over all elements, where a call for each would cost several times the operation. */
  readonly floats?: (out: NumberArray, a: NumberArray, aStep: number, b: NumberArray, bStep: number) => void;
  /**
   * On integers, exactly; the result is wrapped when it is stored. For 64-bit integers it counts only when it is a safe
   * integer, else `big` decides.
   */
  readonly int?: (a: number, b: number) => number;
  /** On integers of at most 32 bits, exact modulo 2^32 only: where `int` would have to leave the safe integers, or has no exact form. */
  readonly int32?: (a: number, b: number) => number;
  /** On 64-bit integers; the result is wrapped. */
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
    if (!op.big) throw unsupported(name, a.dtype);
    return withData(a.dtype, shape, binary64(op.int ?? never, op.big, a.dtype, x, y, count));
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
    const f = op.int32 ?? op.int;
    if (!f) throw unsupported(name, a.dtype);
    for (let i = 0; i < count; i++) out[i] = f(p[i * x.step]!, q[i * y.step]!);
  }
  return numbersTensor(a.dtype, shape, out);
}

/** For ops without an exact form on numbers. */
function never(): number {
  return Number.NaN;
}

export function unsupported(name: string, dtype: DType): ServingError {
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
