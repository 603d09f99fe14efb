/** Sparse matrices in rows, as elements of variant tensors: what they are, and from and to tensors. */
import { lanesPerElement, type Tensor, tensor } from "@shardserve/tensor";
import { takeRuns } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { countOf, integerOf, integersOf } from "../call/shapes.js";
import { indicesTensor, pick, shapeTensor, sparseAt } from "./sparse.js";

/** A matrix, or a batch of them, of elements that are told; no others are but zeros. */
export class CsrMatrix {
  /** [rows, columns], or [batch, rows, columns]. */
  readonly shape: readonly number[];
  /** Where the rows of each matrix begin among its own elements, and their end: rows + 1 for each matrix. */
  readonly starts: Int32Array;
  /** Of each element. */
  readonly columns: Int32Array;
  /** One an element, of all matrices. */
  readonly values: Tensor;

  constructor(shape: readonly number[], starts: Int32Array, columns: Int32Array, values: Tensor) {
    this.shape = shape;
    this.starts = starts;
    this.columns = columns;
    this.values = values;
  }

  get batch(): number {
    return countOf(this.shape, 0, this.shape.length - 2);
  }

  get rows(): number {
    return this.shape.at(-2)!;
  }

  /** Elements of matrix b. */
  count(b: number): number {
    return this.starts[(b + 1) * (this.rows + 1) - 1]!;
  }

  /** The elements in order: matrix, row, and their number among all. */
  *elements(): Generator<readonly [b: number, row: number, at: number]> {
    let before = 0;
    for (let b = 0; b < this.batch; b++) {
      const first = b * (this.rows + 1);
      for (let row = 0; row < this.rows; row++) {
        for (let k = this.starts[first + row]!; k < this.starts[first + row + 1]!; k++) yield [b, row, before + k];
      }
      before += this.count(b);
    }
  }
}

export function asVariant(matrix: CsrMatrix): Tensor {
  return tensor("variant", [], [matrix]);
}

/** Input i, which must hold one, of the dtype that the op states. */
export function csrAt(op: OpCall, i: number): CsrMatrix {
  const { shape, data } = op.tensor(i);
  const [item] = data as readonly object[];
  if (shape.length > 0 || !(item instanceof CsrMatrix)) {
    throw invalid(`input ${i} of ${op.node.op} must be a CSRSparseMatrix`);
  }
  check(item.batch > 0, () => "CSRSparseMatrix is not valid: it has no matrix");
  const stated = ["type", "T"].find((name) => op.attrs.has(name));
  check(
    stated === undefined || op.attrs.dtype(stated) === item.values.dtype,
    () => `dtype of a is not equal to 'type': ${item.values.dtype} vs. ${op.attrs.dtype(stated!)}`,
  );
  return item;
}

/** Zeros for where rows begin, of all matrices. */
export function newStarts(rows: number, batch: number): Int32Array {
  const count = (rows + 1) * batch;
  check(
    count <= STARTS_MAX,
    () =>
      `The csr row index size, computed based on the dense_shape, must be <= Int32Max, but is too large. Current value is ${count}`,
  );
  return allocate("int32", count);
}

/** The most that int32 can tell: of rows of a batch, and of columns. */
const STARTS_MAX = 2 ** 31 - 1;

/** Of elements at [batch, row, column] in row-major order. */
function csrOf(indices: ArrayLike<number>, values: Tensor, shape: readonly number[]): CsrMatrix {
  const rank = shape.length;
  const [rows, batch] = [shape.at(-2)!, countOf(shape, 0, rank - 2)];
  const starts = newStarts(rows, batch);
  const columns = new Int32Array(indices.length / rank);
  for (let i = 0; i < columns.length; i++) {
    const b = rank === 3 ? indices[rank * i]! : 0;
    starts[b * (rows + 1) + indices[rank * i + rank - 2]! + 1]!++;
    columns[i] = indices[rank * i + rank - 1]!;
  }
  for (let b = 0; b < batch; b++) {
    for (let row = 0; row < rows; row++) starts[b * (rows + 1) + row + 1]! += starts[b * (rows + 1) + row]!;
  }
  return new CsrMatrix(shape, starts, columns, values);
}

/** @throws ServingError INVALID_ARGUMENT for an index outside of the shape */
function checkIndices(indices: ArrayLike<number>, shape: readonly number[]): void {
  for (let i = 0; i < indices.length; i++) {
    const dim = i % shape.length;
    check(
      indices[i]! >= 0 && indices[i]! < shape[dim]!,
      () => `indices[${Math.floor(i / shape.length)}] has ${indices[i]} in dimension ${dim} of ${printShape(shape)}`,
    );
  }
}

function fromSparseTensor(op: OpCall): Tensor[] {
  const { indices, values, shape } = sparseAt(op, 0, 1, 2);
  check(
    shape.length === 2 || shape.length === 3,
    () => `SparseTensor must have rank 2 or 3; but indices has rank: ${shape.length}`,
  );
  for (const dim of shape) {
    check(dim >= 0 && dim <= STARTS_MAX, () => `Sparse dense_shape must have dimensions of int32, got ${dim}`);
  }
  checkIndices(indices, shape);
  return [asVariant(csrOf(indices, values, shape))];
}

function fromDense(op: OpCall): Tensor[] {
  const [dense, indices] = [op.tensor(0), op.tensor(1)];
  const { shape } = dense;
  const rank = shape.length;
  check(rank === 2 || rank === 3, () => `params must have rank == 2 or 3; but saw shape: ${printShape(shape)}`);
  check(indices.shape.length === 2, () => `indices must be a matrix, but saw shape: ${printShape(indices.shape)}`);
  check(
    indices.shape[1] === rank,
    () => `indices.shape[1] must be equal to the rank of params, but saw: ${indices.shape[1]} vs. ${rank}`,
  );
  const at = integersOf(indices);
  checkIndices(at, shape);
  const from = Float64Array.from({ length: indices.shape[0]! }, (_, i) => {
    let position = 0;
    for (let d = 0; d < rank; d++) position = position * shape[d]! + at[i * rank + d]!;
    return position;
  });
  return [asVariant(csrOf(at, pick(dense, from), shape))];
}

function toDense(op: OpCall): Tensor[] {
  const matrix = csrAt(op, 0);
  const { shape, values, columns, rows } = matrix;
  const { dtype } = values;
  const zero = zeroTensor(dtype, shape);
  const out = zero.data as Float64Array;
  const lanes = lanesPerElement(dtype);
  const data = values.data as Float64Array;
  for (const [b, row, at] of matrix.elements()) {
    const position = (b * rows + row) * shape.at(-1)! + columns[at]!;
    for (let lane = 0; lane < lanes; lane++) out[lanes * position + lane] = data[lanes * at + lane]!;
  }
  return [zero];
}

function toSparseTensor(op: OpCall): Tensor[] {
  const matrix = csrAt(op, 0);
  const rank = matrix.shape.length;
  const indices = new Float64Array(rank * matrix.columns.length);
  for (const [b, row, at] of matrix.elements()) {
    if (rank === 3) indices[rank * at] = b;
    indices[rank * at + rank - 2] = row;
    indices[rank * at + rank - 1] = matrix.columns[at]!;
  }
  return [indicesTensor(indices, rank), matrix.values, shapeTensor(matrix.shape)];
}

/** Number of elements of each matrix. */
function elementCounts(op: OpCall): Tensor[] {
  const matrix = csrAt(op, 0);
  const counts = Int32Array.from({ length: matrix.batch }, (_, b) => matrix.count(b));
  return [tensor("int32", matrix.shape.slice(0, -2), counts)];
}

/** Starts, columns and values of one matrix. */
function components(op: OpCall): Tensor[] {
  const matrix = csrAt(op, 0);
  const index = integerOf(op.tensor(1));
  check(index >= 0 && index < matrix.batch, () => `index (${index}) not in [0, ${matrix.batch})`);
  let before = 0;
  for (let b = 0; b < index; b++) before += matrix.count(b);
  const [count, width] = [matrix.count(index), matrix.rows + 1];
  return [
    tensor("int32", [width], matrix.starts.slice(index * width, (index + 1) * width)),
    tensor("int32", [count], matrix.columns.slice(before, before + count)),
    takeRuns(matrix.values, [before], count, [count]),
  ];
}

export const CSR_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseTensorToCSRSparseMatrix: fromSparseTensor,
  DenseToCSRSparseMatrix: fromDense,
  CSRSparseMatrixToDense: toDense,
  CSRSparseMatrixToSparseTensor: toSparseTensor,
  SparseMatrixNNZ: elementCounts,
  CSRSparseMatrixComponents: components,
};
