/** Ops that order or search: Where, TopK, ArgMax, SearchSorted, Bucketize. */
import { ServingError } from "@shardserve/core";
import { elementCount, lanesOf, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { takeRuns, withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { allSafe, int64Data, storeAt } from "../call/int64.js";
import { allocate, checkOutput } from "../call/limits.js";
import { is64Bit, isComplex, isFloating, numberArray, numbersOf, packNumbers } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { topAsHeap, topWithNaN } from "./rows-with-nan.js";
import { countOf, indexData, integerOf } from "../call/shapes.js";

/** Flat positions of all elements that are not zero, in row-major order. */
function nonZeroPositions(value: Tensor): Float64Array {
  const count = elementCount(value.shape);
  let width = 1;
  let numbers: ArrayLike<number>;
  if (is64Bit(value.dtype)) {
    numbers = lanesOf(value.data as BigInt64Array);
    width = 2;
  } else {
    numbers = numbersOf(value);
    if (isComplex(value.dtype)) width = 2;
  }
  const positions = zeroedArray(Float64Array, count);
  let n = 0;
  for (let i = 0; i < count; i++) {
    if (numbers[i * width] !== 0 || (width === 2 && numbers[2 * i + 1] !== 0)) positions[n++] = i;
  }
  return positions.subarray(0, n);
}

/** Indices of the elements that are not zero: int64 [n, rank]. */
export function where(value: Tensor): Tensor<"int64"> {
  const rank = value.shape.length;
  check(rank >= 1 && rank <= 8, () => `WhereOp : Unhandled input dimensions: ${rank}`);
  const positions = nonZeroPositions(value);
  checkOutput("int64", positions.length * rank);
  const { data, lanes } = int64Data(positions.length * rank);
  for (let i = 0; i < positions.length; i++) {
    let rest = positions[i]!;
    for (let d = rank - 1; d >= 0; d--) {
      storeAt(lanes, i * rank + d, rest % value.shape[d]!);
      rest = Math.floor(rest / value.shape[d]!);
    }
  }
  return tensor("int64", [positions.length, rank], data);
}

/** Elements as numbers that order as the elements do. 64-bit integers beyond 2^53 are ranked first. */
function orderKeys(value: Tensor): ArrayLike<number> {
  if (!is64Bit(value.dtype) || allSafe(value.data as BigInt64Array)) return numbersOf(value);
  const data = value.data as BigInt64Array;
  const sorted = BigInt64Array.from(data).sort();
  const ranks = new Map<bigint, number>();
  for (const element of sorted) if (!ranks.has(element)) ranks.set(element, ranks.size);
  return Float64Array.from(data as unknown as ArrayLike<number>, (element) => ranks.get(element as unknown as bigint)!);
}

function topK(op: OpCall, k: number): Tensor[] {
  const value = op.tensor(0);
  check(k >= 0, () => `Need k >= 0, got ${k}`);
  check(value.shape.length >= 1, () => `input must be >= 1-D, got shape ${printShape(value.shape)}`);
  const dim = value.shape[value.shape.length - 1]!;
  check(dim >= k, () => `input must have at least k columns. Had ${dim}, needed ${k}`);
  const rows = countOf(value.shape, 0, value.shape.length - 1);
  const keys = orderKeys(value);
  const shape = value.shape.with(-1, k);
  const starts = new Float64Array(rows * k);
  const indices = new Int32Array(rows * k);
  const heap = new Int32Array(k);
  const lanes = value.dtype === "float64" ? 4 : 8;
  const mayHoldNaN = isFloating(value.dtype);
  const isHeap = k > 1 && k < dim && op.attrs.has("sorted") && !op.attrs.bool("sorted");
  for (let r = 0; r < rows; r++) {
    if (isHeap) topAsHeap(keys, r * dim, dim, heap);
    else if (k > 0 && mayHoldNaN && hasNaN(keys, r * dim, dim)) topWithNaN(keys, r * dim, dim, lanes, heap);
    else topOfRow(keys, r * dim, dim, heap);
    for (let i = 0; i < k; i++) {
      starts[r * k + i] = r * dim + heap[i]!;
      indices[r * k + i] = heap[i]!;
    }
  }
  const indexType = op.attrs.has("index_type") ? op.attrs.dtype("index_type") : "int32";
  return [
    takeRuns(value, starts, 1, shape),
    withData(indexType, shape, indexType === "int16" ? Int16Array.from(indices) : indexData(indexType, indices)),
  ];
}

function hasNaN(keys: ArrayLike<number>, from: number, count: number): boolean {
  for (let i = from; i < from + count; i++) if (Number.isNaN(keys[i]!)) return true;
  return false;
}

/** On the CPU TensorFlow's is exact, and has kernels for the largest along the last dimension alone. */
function approxTopK(op: OpCall): Tensor[] {
  if (op.attrs.int("reduction_dimension") !== -1 || !op.attrs.bool("is_max_k")) {
    throw new ServingError("UNIMPLEMENTED", "ApproxTopK is for the largest elements along the last dimension (-1)");
  }
  return topK(op, op.attrs.int("k"));
}

/** The n-th smallest, or largest, element of every row. */
function nthElement(op: OpCall): Tensor[] {
  const [value, position] = [op.tensor(0), op.tensor(1)];
  check(position.shape.length === 0, () => `N must be scalar but has rank ${position.shape.length}`);
  const n = integerOf(position);
  check(n >= 0, () => `n must be non-negative but is ${n}`);
  const { dtype, shape } = value;
  check(shape.length >= 1, () => `Input must be at least rank 1 but is rank ${shape.length}`);
  const dim = shape[shape.length - 1]!;
  check(dim > n, () => `Input must have last dimension > n = ${n}`);
  const at = op.attrs.bool("reverse") ? dim - 1 - n : n;
  const rows = countOf(shape, 0, shape.length - 1);
  const isBig = dtype === "int64" || dtype === "uint64";
  const source = isBig ? (value.data as BigInt64Array) : numbersOf(value);
  const out = isBig ? allocate(dtype, rows) : numberArray(dtype, rows);
  for (let row = 0; row < rows; row++) {
    const sorted = source.slice(row * dim, (row + 1) * dim).sort();
    (out as Float64Array)[row] = (sorted as Float64Array)[at]!;
  }
  const data = isBig ? (out as BigInt64Array) : packNumbers(dtype, out as Float64Array);
  return [withData(dtype, shape.slice(0, -1), data)];
}

/** Writes the positions (relative to `from`) of the largest keys in descending order; equal keys: the earlier first. */
function topOfRow(keys: ArrayLike<number>, from: number, count: number, heap: Int32Array): void {
  const k = heap.length;
  if (k === 0) return;
  // A heap of the k best with the worst at its root.
  const isWorse = (a: number, b: number) => {
    const [x, y] = [keys[from + a]!, keys[from + b]!];
    return x < y || (x === y && a > b);
  };
  const sink = (start: number, end: number) => {
    const item = heap[start]!;
    let at = start;
    for (let child = 2 * at + 1; child < end; child = 2 * at + 1) {
      if (child + 1 < end && isWorse(heap[child + 1]!, heap[child]!)) child++;
      if (!isWorse(heap[child]!, item)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = item;
  };
  for (let i = 0; i < k; i++) heap[i] = i;
  for (let i = (k >> 1) - 1; i >= 0; i--) sink(i, k);
  for (let i = k; i < count; i++) {
    if (isWorse(heap[0]!, i)) {
      heap[0] = i;
      sink(0, k);
    }
  }
  for (let end = k - 1; end > 0; end--) {
    const worst = heap[0]!;
    heap[0] = heap[end]!;
    heap[end] = worst;
    sink(0, end);
  }
}

function arg(sign: 1 | -1): Kernel {
  return (op) => {
    const value = op.tensor(0);
    const rank = value.shape.length;
    check(
      op.tensor(1).shape.length === 0,
      () => `dim must be a scalar, but received tensor of shape: ${printShape(op.tensor(1).shape)}`,
    );
    const given = integerOf(op.tensor(1));
    const axis = given < 0 ? given + rank : given;
    check(axis >= 0 && axis < rank, () => `Expected dimension in the range [${-rank}, ${rank}), but got ${given}`);
    const dim = value.shape[axis]!;
    check(dim > 0, () => `Reduction axis ${given} is empty in shape ${printShape(value.shape)}`);
    const keys = orderKeys(value);
    const outer = countOf(value.shape, 0, axis);
    const inner = countOf(value.shape, axis + 1);
    const out = new Int32Array(outer * inner);
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        let best = 0;
        // Starts below everything, so that a NaN is never the answer unless all are.
        let bestKey = -sign * Number.POSITIVE_INFINITY;
        for (let d = 0; d < dim; d++) {
          const key = keys[(o * dim + d) * inner + i]!;
          if (sign > 0 ? key > bestKey : key < bestKey) {
            best = d;
            bestKey = key;
          }
        }
        out[o * inner + i] = best;
      }
    }
    const dtype = op.attrs.dtype("output_type");
    const data = dtype === "int16" || dtype === "uint16" ? Uint16Array.from(out) : indexData(dtype, out);
    return [
      withData(
        dtype,
        value.shape.toSpliced(axis, 1),
        dtype === "int16" ? new Int16Array((data as Uint16Array).buffer) : data,
      ),
    ];
  };
}

/** First position in sorted `keys[from .. from + count)` whose key is >= x, or > x when `isUpper`. */
function searchSorted(keys: ArrayLike<number>, from: number, count: number, x: number, isUpper: boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const key = keys[from + middle]!;
    if (isUpper ? !(x < key) : key < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

function bound(isUpper: boolean): Kernel {
  return (op) => {
    const [sorted, values] = [op.tensor(0), op.tensor(1)];
    check(sorted.shape.length === 2 && values.shape.length === 2, () => "sorted input argument must be a matrix");
    check(sorted.shape[0] === values.shape[0], () => `Leading dim_size of both tensors must match.`);
    if (is64Bit(sorted.dtype) && !(allSafe(sorted.data as BigInt64Array) && allSafe(values.data as BigInt64Array))) {
      throw invalid(`${op.node.op} over integers beyond 2^53 is not supported`);
    }
    const [keys, wanted] = [numbersOf(sorted), numbersOf(values)];
    const [count, perRow] = [sorted.shape[1]!, values.shape[1]!];
    const out = new Int32Array(wanted.length);
    for (let i = 0; i < out.length; i++) {
      out[i] = searchSorted(keys, Math.floor(i / perRow) * count, count, wanted[i]!, isUpper);
    }
    const dtype = op.attrs.dtype("out_type");
    return [tensor(dtype, values.shape, indexData(dtype, out) as never)];
  };
}

function bucketize(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const boundaries = op.attrs.floats("boundaries");
  check(
    boundaries.every((boundary, i) => i === 0 || boundaries[i - 1]! <= boundary),
    () => "Expected sorted boundaries",
  );
  return [tensor("int32", value.shape, bucketsOf(value, boundaries))];
}

/** Number of boundaries that are <= each element. */
function bucketsOf(value: Tensor, boundaries: ArrayLike<number>): Int32Array {
  const numbers = numbersOf(value);
  const out = new Int32Array(numbers.length);
  for (let i = 0; i < out.length; i++) out[i] = searchSorted(boundaries, 0, boundaries.length, numbers[i]!, true);
  return out;
}

function bucketizeWithInputBoundaries(op: OpCall): Tensor[] {
  const boundaries = numbersOf(op.tensor(1));
  return [tensor("int32", op.tensor(0).shape, bucketsOf(op.tensor(0), boundaries))];
}

function boostedTreesBucketize(op: OpCall): Tensor[] {
  const features = op.attrs.int("num_features");
  return op.tensors(0, features).map((values, f) => {
    const boundaries = numbersOf(op.tensor(features + f));
    const numbers = numbersOf(values);
    const out = new Int32Array(numbers.length);
    // lower_bound, and the last boundary takes what lies above it.
    for (let i = 0; i < out.length; i++) {
      out[i] = Math.min(
        searchSorted(boundaries, 0, boundaries.length, numbers[i]!, false),
        Math.max(0, boundaries.length - 1),
      );
    }
    return tensor("int32", values.shape, out);
  });
}

export const SEARCH_KERNELS: Readonly<Record<string, Kernel>> = {
  Where: (op) => [where(op.tensor(0))],
  TopK: (op) => topK(op, op.attrs.int("k")),
  ApproxTopK: approxTopK,
  NthElement: nthElement,
  TopKV2: (op) => {
    check(op.tensor(1).shape.length === 0, () => `k must be scalar, got shape ${printShape(op.tensor(1).shape)}`);
    return topK(op, integerOf(op.tensor(1)));
  },
  ArgMax: arg(1),
  ArgMin: arg(-1),
  LowerBound: bound(false),
  UpperBound: bound(true),
  Bucketize: bucketize,
  BucketizeWithInputBoundaries: bucketizeWithInputBoundaries,
  BoostedTreesBucketize: boostedTreesBucketize,
};
