import { type Tensor, zeroedArray } from "@shardserve/tensor";
import { countOf, integersOf, printElement, printIndex } from "../call/shapes.js";

/** Where the index tuples of GatherNd and ScatterNd point. */
export interface Slices {
  /** By tuple: number of the slice. */
  readonly numbers: Float64Array;
  /** Elements of a slice. */
  readonly size: number;
  /** Of a slice. */
  readonly shape: readonly number[];
  /** First tuple that points outside; -1 when there is none. */
  readonly bad: number;
}

/** The slices of a tensor of `shape` that the innermost dimension of `indices` names. */
export function slicesOf(indices: Tensor, shape: readonly number[]): Slices {
  const depth = indices.shape[indices.shape.length - 1]!;
  const count = countOf(indices.shape, 0, indices.shape.length - 1);
  const ids = integersOf(indices);
  const numbers = zeroedArray(Float64Array, count);
  let bad = -1;
  for (let i = 0; i < count; i++) {
    let number = 0;
    for (let d = 0; d < depth; d++) {
      const id = ids[i * depth + d]!;
      if (!(id >= 0 && id < shape[d]!) && bad < 0) bad = i;
      number = number * shape[d]! + id;
    }
    numbers[i] = number;
  }
  return { numbers, size: countOf(shape, depth), shape: shape.slice(depth), bad };
}

/** "indices[1,0] = [3, 7]": how TensorFlow prints a tuple that is wrong. */
export function printTuple(indices: Tensor, i: number): string {
  const depth = indices.shape[indices.shape.length - 1]!;
  const ids = Array.from({ length: depth }, (_, d) => printElement(indices, i * depth + d));
  return `indices${printIndex(indices.shape.slice(0, -1), i)} = [${ids.join(", ")}]`;
}
