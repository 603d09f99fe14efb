/** Lists as values: made, taken apart, resized, stacked. */
import { ServingError } from "@shardserve/core";
import { isTensor, type Shape, TensorList } from "@shardserve/graph";
import { type DType, elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { appender, build, takeRuns } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { type OpCall, zeroTensor } from "../call/op-call.js";
import { countOf, sameShape } from "../call/shapes.js";
import { printPartial, isCompatible, mergedShape, isFull } from "./partial-shape.js";

/** A request may choose a list's length; no list of a real model comes near this. */
const LENGTH_MAX = 2 ** 22;

export function checkLength(length: number): void {
  if (length <= LENGTH_MAX) return;
  throw new ServingError("RESOURCE_EXHAUSTED", `a list of ${length} tensors exceeds the limit of ${LENGTH_MAX}`);
}

/** The highest of some indices, of which a request may give millions: more than a call takes arguments. -1 = none is there. */
export function highestOf(indices: Iterable<number>): number {
  let highest = -1;
  for (const index of indices) highest = Math.max(highest, index);
  return highest;
}

/**
 * Input i as a list.
 *
 * @throws ServingError INVALID_ARGUMENT for another kind of variant, as a sparse matrix
 */
export function listOf(op: OpCall, i: number): TensorList {
  const value = op.value(i);
  if (value instanceof TensorList) return value;
  // An element of a list of lists, or of a tensor of lists.
  const element = isTensor(value) && value.dtype === "variant" ? (value.data as readonly object[])[0] : undefined;
  if (element instanceof TensorList && isTensor(value) && value.shape.length === 0) return element;
  throw invalid(`Input handle is not a list: input ${i} of ${op.node.op} ${op.node.name}`);
}

/** A list as an element that lists and tensors may hold. */
export function asVariant(list: TensorList): Tensor {
  return tensor("variant", [], [list]);
}

/** The full shape of elements, from those that are set where nothing else says it. */
export function fullShape(
  shape: Shape,
  items: readonly (Tensor | undefined)[],
  failure: (shape: Shape) => string,
): readonly number[] {
  let current = shape;
  if (!isFull(current)) {
    for (const item of items) if (item) current = mergedShape(current, item.shape)?.shape;
  }
  if (!isFull(current)) throw invalid(failure(current));
  return current;
}

export function unset(count: number): (Tensor | undefined)[] {
  return Array.from({ length: count }, () => undefined);
}

/** The parts of a tensor along its first dimension, whose lengths are given; none keeps that dimension if `drop`. */
export function partsOf(value: Tensor, lengths: readonly number[] | undefined): Tensor[] {
  const inner = value.shape.slice(1);
  const run = countOf(inner, 0);
  const counts = lengths ?? Array.from({ length: value.shape[0]! }, () => 1);
  let at = 0;
  return counts.map((count) => {
    const part = takeRuns(value, [at * run], count * run, lengths ? [count, ...inner] : inner);
    at += count;
    return part;
  });
}

export function checkElement(list: TensorList, value: Tensor): void {
  check(
    isCompatible(list.elementShape, value.shape),
    () =>
      `Tried to set a tensor with incompatible shape at a list index. Item element shape: ${printPartial(value.shape)} list shape: ${printPartial(list.elementShape)}`,
  );
}

export function resized(list: TensorList, length: number): TensorList {
  const items = list.items.slice(0, length);
  return new TensorList(list.elementDType, list.elementShape, [...items, ...unset(length - items.length)]);
}

/** The elements at `positions` as one tensor; those that are not set are zeros. */
export function stacked(dtype: DType, shape: readonly number[], items: readonly (Tensor | undefined)[]): Tensor {
  const result = [items.length, ...shape];
  const run = elementCount(shape);
  const out = appender(dtype, checkedCount(dtype, result));
  const zeros = items.includes(undefined) ? zeroTensor(dtype, shape) : undefined;
  for (const item of items) {
    check(
      !item || sameShape(item.shape, shape),
      () =>
        `Tried to stack list which contains tensors of different shapes: ${printPartial(item!.shape)} and ${printPartial(shape)}`,
    );
    out.append((item ?? zeros!).data, 0, run);
  }
  return build(dtype, result, out);
}
