/** Arithmetic and reductions over sparse tensors. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { appender, build, stridesOf, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, numberArray, numbersOf, numbersTensor, packNumbers, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf, sameShape } from "../call/shapes.js";
import { applyBinary, type BinaryOp } from "../math/binary-op.js";
import { BINARY_OPS } from "../math/binary-ops.js";
import { indicesTensor, pick, shapeTensor, type Sparse, sparseAt } from "./sparse.js";

/**
 * Flat row-major positions of all elements over the dims `dims`.
 *
 * @throws ServingError INVALID_ARGUMENT for an index out of bounds
 */
function positions({ indices, shape, count }: Sparse, dims: readonly number[]): Float64Array {
  const out = new Float64Array(count);
  const rank = shape.length;
  for (let i = 0; i < count; i++) {
    let at = 0;
    for (const d of dims) {
      const id = indices[i * rank + d]!;
      check(id >= 0 && id < shape[d]!, () => `Index out of bounds: ${id} of dimension ${d} is not in [0, ${shape[d]})`);
      at = at * shape[d]! + id;
    }
    out[i] = at;
  }
  return out;
}

function unflatten(position: number, shape: readonly number[]): number[] {
  const out: number[] = [];
  let rest = position;
  for (let d = shape.length - 1; d >= 0; d--) {
    out.unshift(rest % shape[d]!);
    rest = Math.floor(rest / shape[d]!);
  }
  return out;
}

/** Which dims the axes name, negative ones counted from the last. */
function reducedDims(axes: Tensor, rank: number): boolean[] {
  check(
    axes.shape.length <= 1,
    () => `Expected reduction_axes to be a scalar or a vector; got shape: ${printShape(axes.shape)}`,
  );
  const isReduced = Array.from({ length: rank }, () => false);
  for (const axis of integersOf(axes)) {
    check(
      axis >= -rank && axis < rank,
      () => `Invalid reduction dimension ${axis}, for input with ${rank} dimensions.`,
    );
    isReduced[axis < 0 ? axis + rank : axis] = true;
  }
  return isReduced;
}

/** What the elements of each group give, groups ascending; within one in row-major order, which decides how sums are rounded. */
function reduceGroups(
  { values, count }: Sparse,
  groups: Float64Array,
  within: Float64Array,
  fold: (before: number, value: number) => number,
  op: OpCall,
): { readonly found: number[]; readonly results: number[] } {
  const order = Array.from({ length: count }, (_, i) => i).sort(
    (i, j) => groups[i]! - groups[j]! || within[i]! - within[j]!,
  );
  const numbers = exactNumbersOf(values, op.node.op);
  const found: number[] = [];
  const results: number[] = [];
  for (const i of order) {
    const last = results.length - 1;
    if (last < 0 || found[last] !== groups[i]) {
      found.push(groups[i]!);
      results.push(numbers[i]!);
    } else results[last] = fold(results[last]!, numbers[i]!);
  }
  return { found, results };
}

function sparseReduce(kind: "sum" | "max", isSparseResult: boolean): Kernel {
  return (op) => {
    const input = sparseAt(op, 0, 1, 2);
    const isReduced = reducedDims(op.tensor(3), input.shape.length);
    const dims = input.shape.map((_, d) => d);
    const kept = dims.filter((d) => !isReduced[d]);
    const reduced = dims.filter((d) => isReduced[d]);
    const keepDims = op.attrs.bool("keep_dims");
    const keptShape = kept.map((d) => input.shape[d]!);
    const shape = keepDims ? input.shape.map((dim, d) => (isReduced[d] ? 1 : dim)) : keptShape;
    const { dtype } = input.values;
    const round = roundingOf(dtype);
    const fold = kind === "sum" ? (sum: number, value: number) => round(sum + value) : Math.max;
    const { found, results } = reduceGroups(input, positions(input, kept), positions(input, reduced), fold, op);
    if (!isSparseResult) {
      const out = numberArray(dtype, checkedCount(dtype, shape));
      found.forEach((group, k) => {
        out[group] = results[k]!;
      });
      return [numbersTensor(dtype, shape, out)];
    }
    const out = numberArray(dtype, results.length);
    out.set(results);
    const indices = found.flatMap((group) => {
      const index = unflatten(group, keptShape);
      if (!keepDims) return index;
      const full = input.shape.map(() => 0);
      kept.forEach((d, k) => {
        full[d] = index[k]!;
      });
      return full;
    });
    return [
      withData("int64", [results.length, shape.length], indicesTensor(indices, 1).data),
      numbersTensor(dtype, [results.length], out),
      shapeTensor(shape),
    ];
  };
}

function compareIndices(a: Sparse, i: number, b: Sparse, j: number): number {
  const rank = a.shape.length;
  for (let d = 0; d < rank; d++) {
    const difference = a.indices[i * rank + d]! - b.indices[j * rank + d]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Elements of both in order of their indices; -1 where one side has none. */
function matched(a: Sparse, b: Sparse): [number, number][] {
  check(
    sameShape(a.shape, b.shape),
    () => `Operands' shapes do not match: got ${printShape(a.shape)} and ${printShape(b.shape)}`,
  );
  const out: [number, number][] = [];
  let [i, j] = [0, 0];
  while (i < a.count || j < b.count) {
    const order = i === a.count ? 1 : j === b.count ? -1 : compareIndices(a, i, b, j);
    out.push([order <= 0 ? i++ : -1, order >= 0 ? j++ : -1]);
  }
  return out;
}

function indicesOf(a: Sparse, b: Sparse, pairs: readonly [number, number][]): Tensor {
  const rank = a.shape.length;
  const out = pairs.flatMap(([i, j]) => {
    const [from, at] = i >= 0 ? [a, i] : [b, j];
    return Array.from({ length: rank }, (_, d) => from.indices[at * rank + d]!);
  });
  return withData("int64", [pairs.length, rank], indicesTensor(out, 1).data);
}

/** The values at `at`, 0 where it is -1. */
function valuesOrZero({ values }: Sparse, at: readonly number[]): Tensor {
  const padded = appender(values.dtype, elementCount(values.shape) + 1);
  padded.append(values.data, 0, elementCount(values.shape));
  padded.append(withData(values.dtype, [1], packNumbers(values.dtype, numberArray(values.dtype, 1))).data, 0, 1);
  const all = build(values.dtype, [elementCount(values.shape) + 1], padded);
  return pick(
    all,
    at.map((i) => (i < 0 ? elementCount(values.shape) : i)),
  );
}

function sparseSparse(name: string, operation: BinaryOp): Kernel {
  return (op) => {
    const [a, b] = [sparseAt(op, 0, 1, 2), sparseAt(op, 3, 4, 5)];
    const pairs = matched(a, b);
    const [x, y] = [pairs.map(([i]) => i), pairs.map(([, j]) => j)];
    return [indicesOf(a, b, pairs), applyBinary(name, operation, valuesOrZero(a, x), valuesOrZero(b, y))];
  };
}

function sparseAdd(op: OpCall): Tensor[] {
  const [a, b] = [sparseAt(op, 0, 1, 2), sparseAt(op, 3, 4, 5)];
  const threshold = numbersOf(op.tensor(6))[0] ?? 0;
  let pairs = matched(a, b);
  const add = BINARY_OPS.AddV2!;
  const sums = () =>
    applyBinary(
      "SparseAdd",
      add,
      valuesOrZero(
        a,
        pairs.map(([i]) => i),
      ),
      valuesOrZero(
        b,
        pairs.map(([, j]) => j),
      ),
    );
  // Only sums of two elements may vanish.
  const numbers = numbersOf(sums());
  pairs = pairs.filter(([i, j], k) => i < 0 || j < 0 || Math.abs(numbers[k]!) >= threshold);
  return [indicesOf(a, b, pairs), sums(), shapeTensor(a.shape)];
}

/** Elements of the dense operand at the sparse one's indices; the dense one may broadcast. */
function denseAt(input: Sparse, dense: Tensor): Tensor {
  const { shape } = input;
  const rank = shape.length;
  const lead = rank - dense.shape.length;
  check(
    lead >= 0 && dense.shape.every((dim, d) => dim === 1 || dim === shape[lead + d]),
    () =>
      `SparseDenseBinaryOpShared broadcasts dense to sparse only; got incompatible shapes: [${shape.join(",")}] vs. [${dense.shape.join(",")}]`,
  );
  const strides = stridesOf(dense.shape);
  const at = new Float64Array(input.count);
  for (let i = 0; i < input.count; i++) {
    for (let d = 0; d < dense.shape.length; d++) {
      const id = input.indices[i * rank + lead + d]!;
      check(
        id >= 0 && id < shape[lead + d]!,
        () => `Provided indices are out-of-bounds w.r.t. dense side with broadcasted shape`,
      );
      if (dense.shape[d] !== 1) at[i] = at[i]! + id * strides[d]!;
    }
  }
  return pick(dense, at);
}

function sparseDense(name: string): Kernel {
  return (op) => {
    const input = sparseAt(op, 0, 1, 2);
    const dense = denseAt(input, op.tensor(3));
    return [applyBinary(name, BINARY_OPS[name]!, input.values, dense)];
  };
}

function sparseTensorDenseAdd(op: OpCall): Tensor[] {
  const input = sparseAt(op, 0, 1, 2);
  const dense = op.tensor(3);
  check(
    sameShape(input.shape, dense.shape),
    () =>
      `Dimensions of sparse and dense operands do not match: ${printShape(input.shape)} vs. ${printShape(dense.shape)}`,
  );
  const at = positions(
    input,
    input.shape.map((_, d) => d),
  );
  const { dtype } = dense;
  const round = roundingOf(dtype);
  const sums = Float64Array.from(exactNumbersOf(dense, op.node.op));
  const numbers = exactNumbersOf(input.values, op.node.op);
  for (let i = 0; i < input.count; i++) sums[at[i]!] = round(sums[at[i]!]! + numbers[i]!);
  const out = numberArray(dtype, sums.length);
  out.set(sums);
  return [numbersTensor(dtype, dense.shape, out)];
}

/** Softmax over the last dim, of the elements that are there. */
function sparseSoftmax(op: OpCall): Tensor[] {
  const input = sparseAt(op, 0, 1, 2);
  const rank = input.shape.length;
  check(rank >= 2, () => `Input should have rank >= 2, but got: ${rank}`);
  const groups = positions(input, input.shape.map((_, d) => d).slice(0, -1));
  const { dtype } = input.values;
  const numbers = numbersOf(input.values);
  const members = new Map<number, number[]>();
  for (let i = 0; i < input.count; i++) members.set(groups[i]!, [...(members.get(groups[i]!) ?? []), i]);
  const out = numberArray(dtype, input.count);
  const round = roundingOf(dtype);
  for (const list of members.values()) {
    const highest = list.reduce((best, i) => Math.max(best, numbers[i]!), Number.NEGATIVE_INFINITY);
    const sum = list.reduce((total, i) => round(total + round(Math.exp(round(numbers[i]! - highest)))), 0);
    for (const i of list) out[i] = round(Math.exp(round(numbers[i]! - highest))) / sum;
  }
  return [numbersTensor(dtype, [input.count], out)];
}

export const SPARSE_MATH_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseReduceSum: sparseReduce("sum", false),
  SparseReduceSumSparse: sparseReduce("sum", true),
  SparseReduceMax: sparseReduce("max", false),
  SparseReduceMaxSparse: sparseReduce("max", true),
  SparseAdd: sparseAdd,
  SparseSparseMaximum: sparseSparse("SparseSparseMaximum", BINARY_OPS.Maximum!),
  SparseSparseMinimum: sparseSparse("SparseSparseMinimum", BINARY_OPS.Minimum!),
  SparseDenseCwiseAdd: sparseDense("AddV2"),
  SparseDenseCwiseMul: sparseDense("Mul"),
  SparseDenseCwiseDiv: sparseDense("Div"),
  SparseTensorDenseAdd: sparseTensorDenseAdd,
  SparseSoftmax: sparseSoftmax,
};
