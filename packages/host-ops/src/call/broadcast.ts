import { elementCount, type Tensor } from "@shardserve/tensor";
import { copyStrided, stridesOf } from "./elements.js";
import { checkedCount } from "./limits.js";
import { sameShape } from "./shapes.js";

/**
 * An operand of an elementwise op: its data and the step from one result element to the next, 1 or 0 (a scalar).
 */
export interface Operand {
  readonly value: Tensor;
  readonly step: 0 | 1;
}

/**
 * Brings an operand to the result's shape: as is, as a repeated scalar, or copied out. Copying the rare mixed
 * broadcasts keeps every elementwise loop down to two steps.
 */
export function operand(value: Tensor, shape: readonly number[]): Operand {
  if (sameShape(value.shape, shape)) return { value, step: 1 };
  const count = elementCount(value.shape);
  if (count === 1 && elementCount(shape) !== 0) return { value, step: 0 };
  if (count === elementCount(shape)) return { value, step: 1 };
  return { value: broadcastTo(value, shape), step: 1 };
}

/** Copies `value` out to `shape`, which it must broadcast to. */
export function broadcastTo(value: Tensor, shape: readonly number[]): Tensor {
  checkedCount(value.dtype, shape);
  const strides = stridesOf(value.shape);
  const lead = shape.length - value.shape.length;
  return copyStrided(
    value,
    0,
    shape,
    shape.map((_, i) => (i < lead || value.shape[i - lead] === 1 ? 0 : strides[i - lead]!)),
  );
}
