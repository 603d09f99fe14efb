/** Comparisons and predicates: results are bool. */
import { lanesOf, type StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { type Operand, operand } from "../call/broadcast.js";
import { invalid } from "../call/errors.js";
import { isSafeAt, signedAt } from "../call/int64.js";
import { allocate, checkedCount } from "../call/limits.js";
import { is64Bit, isComplex, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape } from "../call/shapes.js";

type Predicate = (a: number, b: number) => boolean;

/** -1, 0 or 1 as 64-bit element j of `a` is below, equal to or above element k of `b`. */
function compare64(a: Int32Array, j: number, b: Int32Array, k: number, isSigned: boolean): number {
  const [p, q] = [a[2 * j + 1]!, b[2 * k + 1]!];
  if (p !== q) return (isSigned ? p < q : p >>> 0 < q >>> 0) ? -1 : 1;
  const [u, v] = [a[2 * j]! >>> 0, b[2 * k]! >>> 0];
  return u < v ? -1 : u > v ? 1 : 0;
}

/** -1, 0 or 1 as string j of `a` is below, equal to or above string k of `b`, by bytes. */
export function compareBytes(a: StringColumn, j: number, b: StringColumn, k: number): number {
  const p = a.offsets[j]!;
  const q = b.offsets[k]!;
  const n = a.offsets[j + 1]! - p;
  const m = b.offsets[k + 1]! - q;
  for (let i = 0; i < Math.min(n, m); i++) {
    const difference = a.bytes[p + i]! - b.bytes[q + i]!;
    if (difference !== 0) return difference < 0 ? -1 : 1;
  }
  return Math.sign(n - m);
}

function fill(out: Uint8Array, test: Predicate, x: Operand, y: Operand): void {
  const { dtype } = x.value;
  const sx = x.step;
  const sy = y.step;
  if (dtype === "string") {
    const p = x.value.data as StringColumn;
    const q = y.value.data as StringColumn;
    for (let i = 0; i < out.length; i++) out[i] = test(compareBytes(p, i * sx, q, i * sy), 0) ? 1 : 0;
  } else if (is64Bit(dtype)) {
    const p = lanesOf(x.value.data as BigInt64Array);
    const q = lanesOf(y.value.data as BigInt64Array);
    const isSigned = dtype === "int64";
    for (let i = 0; i < out.length; i++) {
      const isMatch =
        isSigned && isSafeAt(p, i * sx) && isSafeAt(q, i * sy)
          ? test(signedAt(p, i * sx), signedAt(q, i * sy))
          : test(compare64(p, i * sx, q, i * sy, isSigned), 0);
      out[i] = isMatch ? 1 : 0;
    }
  } else {
    const p = numbersOf(x.value);
    const q = numbersOf(y.value);
    if (isComplex(dtype)) {
      for (let i = 0; i < out.length; i++) {
        const [j, k] = [2 * i * sx, 2 * i * sy];
        // Only Equal and NotEqual exist for complex numbers.
        out[i] = test(p[j] === q[k] && p[j + 1] === q[k + 1] ? 0 : 1, 0) ? 1 : 0;
      }
    } else {
      for (let i = 0; i < out.length; i++) out[i] = test(p[i * sx]!, q[i * sy]!) ? 1 : 0;
    }
  }
}

function comparison(test: Predicate): Kernel {
  return (op) => {
    const a = op.tensor(0);
    const b = op.tensor(1);
    const lenient = op.attrs.has("incompatible_shape_error") && !op.attrs.bool("incompatible_shape_error");
    let shape: number[];
    try {
      shape = broadcastShape(a.shape, b.shape);
    } catch (error) {
      // Python's == between tensors of unlike shapes: one answer for all, "not equal".
      if (lenient) return [tensor("bool", [], Uint8Array.of(test(0, 1) ? 1 : 0))];
      throw error;
    }
    const out = allocate("bool", checkedCount("bool", shape));
    fill(out, test, operand(a, shape), operand(b, shape));
    return [tensor("bool", shape, out)];
  };
}

function predicate(test: (value: number) => boolean): Kernel {
  return (op: OpCall): Tensor[] => {
    const value = op.tensor(0);
    if (is64Bit(value.dtype)) throw invalid(`${op.node.op} of ${value.dtype} is not supported`);
    const numbers = numbersOf(value);
    const out = new Uint8Array(numbers.length);
    for (let i = 0; i < out.length; i++) out[i] = test(numbers[i]!) ? 1 : 0;
    return [tensor("bool", value.shape, out)];
  };
}

export const COMPARE_KERNELS: Readonly<Record<string, Kernel>> = {
  Equal: comparison((a, b) => a === b),
  NotEqual: comparison((a, b) => a !== b),
  Less: comparison((a, b) => a < b),
  LessEqual: comparison((a, b) => a <= b),
  Greater: comparison((a, b) => a > b),
  GreaterEqual: comparison((a, b) => a >= b),
  IsNan: predicate(Number.isNaN),
  IsInf: predicate((value) => value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY),
  IsFinite: predicate(Number.isFinite),
  LogicalNot: predicate((value) => value === 0),
  ApproximateEqual: (op) => {
    const tolerance = op.attrs.float("tolerance");
    return comparison((a, b) => Math.abs(a - b) < tolerance)(op);
  },
};
