/** Sparse tensors as (indices [n, rank], values [n], dense shape [rank]). */
import { elementCount, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { appender, build, stridesOf, takeRuns } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { fromIntegers, int64Data, storeAt } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf, integersOf, shapeOf } from "../call/shapes.js";

/** One sparse tensor, its indices as numbers. */
export interface Sparse {
  readonly indices: ArrayLike<number>;
  readonly values: Tensor;
  readonly shape: number[];
  readonly count: number;
}

/**
 * The sparse tensor that three inputs hold.
 *
 * @throws ServingError INVALID_ARGUMENT when they do not fit each other
 */
export function sparseAt(op: OpCall, indicesAt: number, valuesAt: number, shapeAt: number): Sparse {
  const indices = op.tensor(indicesAt);
  const values = op.tensor(valuesAt);
  check(
    indices.shape.length === 2,
    () => `Input indices should be a matrix but received shape ${printShape(indices.shape)}`,
  );
  check(
    values.shape.length === 1,
    () => `Input values should be a vector but received shape ${printShape(values.shape)}`,
  );
  const shape = shapeOf(op.tensor(shapeAt), "Input shape");
  check(
    indices.shape[1] === shape.length && indices.shape[0] === values.shape[0],
    () =>
      `Sparse tensor of ${printShape(indices.shape)} indices does not fit ${printShape(values.shape)} values and a shape of ${shape.length} dims`,
  );
  return { indices: integersOf(indices), values, shape, count: values.shape[0]! };
}

export function indicesTensor(indices: ArrayLike<number>, rank: number): Tensor {
  return tensor("int64", [rank === 0 ? 0 : indices.length / rank, rank], fromIntegers(indices));
}

export function shapeTensor(shape: readonly number[]): Tensor {
  return tensor("int64", [shape.length], fromIntegers(shape));
}

export function pick(values: Tensor, from: ArrayLike<number>): Tensor {
  return takeRuns(values, from, 1, [from.length]);
}

function sparseReshape(op: OpCall): Tensor[] {
  const indices = op.tensor(0);
  check(
    indices.shape.length === 2,
    () => `Input indices should be a matrix but received shape ${printShape(indices.shape)}`,
  );
  check(
    op.tensor(1).shape.length === 1,
    () => `Input shape should be a vector but received shape ${printShape(op.tensor(1).shape)}`,
  );
  check(
    op.tensor(2).shape.length === 1,
    () => `Target shape should be a vector but received shape ${printShape(op.tensor(2).shape)}`,
  );
  const shape = shapeOf(op.tensor(1));
  const wanted = shapeOf(op.tensor(2));
  check(indices.shape[1] === shape.length, () => `Input tensor rank must match input shape length.`);
  const dense = elementCount(shape);
  const unknown = wanted.indexOf(-1);
  check(
    unknown < 0 || !wanted.includes(-1, unknown + 1),
    () => "only one output dimension may be -1, not both " + `${unknown} and ${wanted.indexOf(-1, unknown + 1)}`,
  );
  wanted.forEach((dim, d) => check(dim >= -1, () => `size ${d} must be non-negative, not ${dim}`));
  if (unknown >= 0) {
    const known = wanted.reduce((product, dim, d) => (d === unknown ? product : product * dim), 1);
    check(
      known > 0,
      () =>
        "reshape cannot infer the missing input size for an empty tensor unless all specified input sizes are non-zero",
    );
    wanted[unknown] = Math.floor(dense / known);
    check(
      wanted[unknown] * known === dense,
      () =>
        `Input to reshape is a SparseTensor with ${dense} dense values, but the requested shape requires a multiple of ${known}. input_shape=${printShape(shape)} output_shape=${printShape(wanted)}`,
    );
  }
  check(
    elementCount(wanted) === dense,
    () =>
      `Input to reshape is a tensor with ${dense} dense values, but the requested shape has ${elementCount(wanted)}. input_shape=${printShape(shape)} output_shape=${printShape(wanted)}`,
  );
  const ids = integersOf(indices);
  const count = indices.shape[0]!;
  check(
    count === 0 || dense > 0,
    () =>
      `Input tensor has ${count} non zero elements but input shape (${printShape(shape)}) or output shape (${printShape(wanted)}) is empty`,
  );
  const [from, to] = [stridesOf(shape), stridesOf(wanted)];
  const out = zeroedArray(Float64Array, count * wanted.length);
  for (let i = 0; i < count; i++) {
    let at = 0;
    for (let d = 0; d < shape.length; d++) at += ids[i * shape.length + d]! * from[d]!;
    // An index outside of the shape stays outside: whoever comes next refuses it.
    for (let d = 0; d < wanted.length; d++) {
      const index = Math.trunc(at / to[d]!);
      out[i * wanted.length + d] = index;
      at -= index * to[d]!;
    }
  }
  return [tensor("int64", [count, wanted.length], fromIntegers(out)), shapeTensor(wanted)];
}

export function sparseFillEmptyRows(op: OpCall): Tensor[] {
  const { indices, values, shape, count } = sparseAt(op, 0, 1, 2);
  const filler = op.tensor(3);
  check(shape.length > 0, () => "Dense shape cannot be empty.");
  check(filler.shape.length === 0, () => `default_value must be a scalar, saw: ${printShape(filler.shape)}`);
  const [rows, rank] = [shape[0]!, shape.length];
  checkOutput("int64", (rows + count) * rank);
  const perRow = zeroedArray(Int32Array, rows);
  for (let i = 0; i < count; i++) {
    const row = indices[i * rank]!;
    check(row >= 0 && row < rows, () => `indices(${i}, 0) is invalid: ${row} >= ${rows}`);
    perRow[row] = perRow[row]! + 1;
  }
  const isEmpty = zeroedArray(Uint8Array, rows);
  const next = zeroedArray(Float64Array, rows);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    isEmpty[row] = perRow[row] === 0 ? 1 : 0;
    next[row] = total;
    total += Math.max(1, perRow[row]!);
  }
  const outIndices = int64Data(total * rank);
  const from = zeroedArray(Int32Array, total).fill(-1);
  const reverse = int64Data(count);
  for (let row = 0; row < rows; row++) if (isEmpty[row]) storeAt(outIndices.lanes, next[row]! * rank, row);
  for (let i = 0; i < count; i++) {
    const row = indices[i * rank]!;
    const to = next[row]!;
    next[row] = to + 1;
    for (let d = 0; d < rank; d++) storeAt(outIndices.lanes, to * rank + d, indices[i * rank + d]!);
    from[to] = i;
    storeAt(reverse.lanes, i, to);
  }
  const out = appender(values.dtype, total);
  for (let i = 0; i < total; i++) {
    if (from[i]! < 0) out.append(filler.data, 0, 1);
    else out.append(values.data, from[i]!, 1);
  }
  return [
    tensor("int64", [total, rank], outIndices.data),
    build(values.dtype, [total], out),
    tensor("bool", [rows], isEmpty),
    tensor("int64", [count], reverse.data),
  ];
}

/** Positions of the entries in row-major order of their indices; equal ones keep their order. */
function sortedOrder(indices: ArrayLike<number>, rank: number, count: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  return order.sort((a, b) => {
    for (let d = 0; d < rank; d++) {
      const difference = indices[a * rank + d]! - indices[b * rank + d]!;
      if (difference !== 0) return difference;
    }
    return a - b;
  });
}

function rowsOf(indices: ArrayLike<number>, rank: number, order: ArrayLike<number>): Float64Array {
  const out = new Float64Array(order.length * rank);
  for (let i = 0; i < order.length; i++)
    for (let d = 0; d < rank; d++) out[i * rank + d] = indices[order[i]! * rank + d]!;
  return out;
}

function sparseReorder(op: OpCall): Tensor[] {
  const { indices, values, shape, count } = sparseAt(op, 0, 1, 2);
  const order = sortedOrder(indices, shape.length, count);
  const rows = rowsOf(indices, shape.length, order);
  return [tensor("int64", [count, shape.length], fromIntegers(rows)), pick(values, order)];
}

function sparseConcat(op: OpCall): Tensor[] {
  const n = op.attrs.int("N");
  const parts = Array.from({ length: n }, (_, k) => sparseAt(op, k, n + k, 2 * n + k));
  const rank = parts[0]!.shape.length;
  const given = op.attrs.int("concat_dim");
  check(given >= -rank && given < rank, () => `Concat dimension must be in range [${-rank}, ${rank}), got ${given}`);
  const axis = given < 0 ? given + rank : given;
  const shape = [...parts[0]!.shape];
  shape[axis] = 0;
  const total = parts.reduce((sum, part) => sum + part.count, 0);
  const indices = new Float64Array(total * rank);
  const all = appender(parts[0]!.values.dtype, total);
  let at = 0;
  for (const part of parts) {
    check(
      part.shape.length === rank,
      () => `Ranks of all input tensors must match: expected ${rank} but got ${part.shape.length}`,
    );
    check(
      part.shape.every((dim, d) => d === axis || dim === shape[d]),
      () => `Input shapes must match: expected ${printShape(shape)} but got ${printShape(part.shape)}`,
    );
    for (let i = 0; i < part.count; i++) {
      for (let d = 0; d < rank; d++) indices[at++] = part.indices[i * rank + d]! + (d === axis ? shape[axis]! : 0);
    }
    all.append(part.values.data, 0, part.count);
    shape[axis] = shape[axis]! + part.shape[axis]!;
  }
  const values = build(parts[0]!.values.dtype, [total], all);
  const order = sortedOrder(indices, rank, total);
  return [indicesTensor(rowsOf(indices, rank, order), rank), pick(values, order), shapeTensor(shape)];
}

/** Entries with start <= index < start + size, moved to the origin. */
function sliced(
  { indices, values, shape, count }: Sparse,
  start: readonly number[],
  size: readonly number[],
): [Tensor, Tensor, Tensor] {
  const rank = shape.length;
  const kept: number[] = [];
  for (let i = 0; i < count; i++) {
    let isInside = true;
    for (let d = 0; d < rank; d++) {
      const id = indices[i * rank + d]!;
      isInside &&= id >= start[d]! && id < start[d]! + size[d]!;
    }
    if (isInside) kept.push(i);
  }
  const rows = rowsOf(indices, rank, kept);
  for (let i = 0; i < kept.length; i++)
    for (let d = 0; d < rank; d++) rows[i * rank + d] = rows[i * rank + d]! - start[d]!;
  return [tensor("int64", [kept.length, rank], fromIntegers(rows)), pick(values, kept), shapeTensor(size)];
}

function sparseSlice(op: OpCall): Tensor[] {
  const input = sparseAt(op, 0, 1, 2);
  const start = shapeOf(op.tensor(3), "start");
  const size = shapeOf(op.tensor(4), "size");
  const rank = input.shape.length;
  check(
    start.length === rank && size.length === rank,
    () => `Expected start and size to be vectors of length ${rank} but got length ${start.length} and ${size.length}`,
  );
  check(
    size.every((dim) => dim >= 0),
    () => "Expected size to be non-negative",
  );
  return sliced(
    input,
    start,
    input.shape.map((dim, d) => Math.max(0, Math.min(size[d]!, dim - start[d]!))),
  );
}

function sparseSplit(op: OpCall): Tensor[] {
  const axisGiven = integerOf(op.tensor(0));
  const input = sparseAt(op, 1, 2, 3);
  const rank = input.shape.length;
  const count = op.attrs.int("num_split");
  check(
    axisGiven >= -rank && axisGiven < rank,
    () => `Input split_dim should be between ${-rank} and ${rank - 1}, but got ${axisGiven}`,
  );
  const axis = axisGiven < 0 ? axisGiven + rank : axisGiven;
  const dim = input.shape[axis]!;
  check(
    count >= 1 && count <= dim,
    () => `Input num_split should be between 1 and the splitting dimension size (${dim}), got ${count}`,
  );
  const parts: [Tensor, Tensor, Tensor][] = [];
  let at = 0;
  for (let k = 0; k < count; k++) {
    // The first pieces take one more where it does not divide.
    const size = Math.floor(dim / count) + (k < dim % count ? 1 : 0);
    const start = input.shape.map((_, d) => (d === axis ? at : 0));
    parts.push(sliced(input, start, input.shape.with(axis, size)));
    at += size;
  }
  return [0, 1, 2].flatMap((k) => parts.map((part) => part[k]!));
}

export const SPARSE_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseReshape: sparseReshape,
  SparseFillEmptyRows: sparseFillEmptyRows,
  SparseReorder: sparseReorder,
  SparseConcat: sparseConcat,
  SparseSlice: sparseSlice,
  SparseSplit: sparseSplit,
};
