/** Cross products of vectors of three. */
import { ServingError } from "@shardserve/core";
import type { Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { is64Bit, isFloating, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";

/** Elements 0, 1, 2 of vectors along the last dimension. */
function cross(op: OpCall): Tensor[] {
  const [a, b] = [op.tensor(0), op.tensor(1)];
  check(
    sameShape(a.shape, b.shape),
    () => `Both inputs must be of same shape: ${printShape(a.shape)} vs. ${printShape(b.shape)}`,
  );
  check(a.shape.length >= 1, () => `Input must be at least 1D${printShape(a.shape)}`);
  if (a.shape.at(-1) !== 3) {
    throw new ServingError("FAILED_PRECONDITION", "Cross-products are only defined for 3-element vectors.");
  }
  if (is64Bit(a.dtype))
    return [withData(a.dtype, a.shape, wideCross(a.data as BigInt64Array, b.data as BigInt64Array))];
  const [x, y] = [numbersOf(a), numbersOf(b)];
  const product = isFloating(a.dtype) ? (p: number, q: number): number => p * q : Math.imul;
  const out = numberArray(a.dtype, x.length);
  for (let i = 0; i < x.length; i += 3) {
    for (let d = 0; d < 3; d++) {
      const [p, q] = [i + ((d + 1) % 3), i + ((d + 2) % 3)];
      out[i + d] = product(x[p]!, y[q]!) - product(x[q]!, y[p]!);
    }
  }
  return [numbersTensor(a.dtype, a.shape, out)];
}

function wideCross(x: BigInt64Array, y: BigInt64Array): BigInt64Array {
  const out = x.slice();
  for (let i = 0; i < x.length; i++) {
    const first = i - (i % 3);
    const [p, q] = [first + ((i + 1) % 3), first + ((i + 2) % 3)];
    out[i] = x[p]! * y[q]! - x[q]! * y[p]!;
  }
  return out;
}

export const CROSS_PRODUCT_KERNELS: Readonly<Record<string, Kernel>> = { Cross: cross };
