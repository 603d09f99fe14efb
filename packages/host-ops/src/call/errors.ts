import { ServingError } from "@shardserve/core";
import type { Tensor } from "@shardserve/tensor";

/** TensorFlow's INVALID_ARGUMENT with its text. */
export function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}

/**
 * @throws ServingError INVALID_ARGUMENT unless `condition` holds
 */
export function check(condition: boolean, message: () => string): void {
  if (!condition) throw invalid(message());
}

/** "[2,3]", as TensorFlow prints shapes. */
export function printShape(shape: readonly number[]): string {
  return `[${shape.join(",")}]`;
}

/** @throws ServingError INVALID_ARGUMENT unless the tensor has one element and at most `rankMax` dims */
export function checkScalar(value: Tensor, name: string): void {
  check(value.shape.length === 0, () => `${name} must be scalar, got shape ${printShape(value.shape)}`);
}

/** @throws ServingError INVALID_ARGUMENT unless the tensor has one dim */
export function checkVector(value: Tensor, name: string): void {
  check(value.shape.length === 1, () => `${name} must be a vector, got shape ${printShape(value.shape)}`);
}
