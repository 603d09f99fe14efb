/** Shapes with dimensions, or a rank, that are not known: what lists say of their elements. */
import type { Shape } from "@shardserve/graph";
import { type Tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { integerOf, integersOf } from "../call/shapes.js";

/** "[2,?]", "<unknown>": how TensorFlow prints partial shapes. */
export function printPartial(shape: Shape): string {
  return shape ? `[${shape.map((dim) => (dim < 0 ? "?" : dim)).join(",")}]` : "<unknown>";
}

/** A shape input: a scalar -1 for an unknown rank, else dims with -1 for unknown ones. */
export function partialShape(value: Tensor): Shape {
  if (value.shape.length === 0) {
    check(
      integerOf(value) === -1,
      () => `The only valid scalar shape tensor is the fully unknown shape specified as -1.`,
    );
    return undefined;
  }
  return Array.from(integersOf(value), (dim) => {
    check(dim >= -1, () => `Dimension ${dim} must be >= -1`);
    return dim;
  });
}

export function isCompatible(partial: Shape, shape: Shape): boolean {
  if (!partial || !shape) return true;
  return partial.length === shape.length && partial.every((dim, i) => dim < 0 || shape[i]! < 0 || dim === shape[i]);
}

/** Both together; undefined on a contradiction. */
export function mergedShape(a: Shape, b: Shape): { readonly shape: Shape } | undefined {
  if (!a || !b) return { shape: a ?? b };
  return isCompatible(a, b) ? { shape: a.map((dim, i) => (dim < 0 ? b[i]! : dim)) } : undefined;
}

export function isFull(shape: Shape): shape is readonly number[] {
  return shape !== undefined && shape.every((dim) => dim >= 0);
}
