/**
 * Linear algebra on batches of small matrices: factors, inverses, determinants, solutions. The work is in double precision and
 * rounded once; answers are TensorFlow's as far as its own precision goes.
 */
import { ServingError } from "@shardserve/core";
import { type DType, elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { is64Bit, isFloating, numberArray, numbersOf, packNumbers } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { each, inTurns, type Pieces } from "../call/turns.js";

/** A matrix, row-major. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly at: Float64Array;
}

export function matrix(rows: number, columns: number): Matrix {
  return { rows, columns, at: new Float64Array(rows * columns) };
}

export function transposed({ rows, columns, at }: Matrix): Matrix {
  const out = matrix(columns, rows);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out.at[j * rows + i] = at[i * columns + j]!;
  return out;
}

/** Input i as matrices, and the dimensions of the batch. */
export function matricesOf(op: OpCall, i: number): { batch: readonly number[]; matrices: Matrix[] } {
  const input = op.tensor(i);
  const rank = input.shape.length;
  check(rank >= 2, () => `Input tensor ${i} must have rank >= 2`);
  const [rows, columns] = input.shape.slice(-2) as [number, number];
  const numbers = numbersOf(input);
  const size = rows * columns;
  const count = elementCount(input.shape.slice(0, -2));
  const matrices = Array.from({ length: count }, (_, k) => ({
    rows,
    columns,
    at: new Float64Array(numbers.subarray(k * size, (k + 1) * size)),
  }));
  return { batch: input.shape.slice(0, -2), matrices };
}

/** Equal matrices of a batch as one tensor. */
export function stacked(
  dtype: DType,
  batch: readonly number[],
  inner: readonly number[],
  parts: readonly Float64Array[],
): Tensor {
  const shape = [...batch, ...inner];
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const size = elementCount(inner);
  for (const [k, part] of parts.entries()) out.set(part, k * size);
  return withData(dtype, shape, packNumbers(dtype, out));
}

function checkSquare(op: OpCall, i = 0): void {
  const { shape } = op.tensor(i);
  const [rows, columns] = shape.slice(-2);
  check(shape.length >= 2 && rows === columns, () => `Input matrix must be square, got ${printShape(shape)}`);
}

/** Rows in the order of the pivots, L below the diagonal and U from it on. */
interface Factors {
  readonly lu: Matrix;
  readonly order: Int32Array;
  readonly sign: 1 | -1;
  readonly isSingular: boolean;
}

/** With partial pivoting. */
function* factored(a: Matrix): Pieces<Factors> {
  const n = a.rows;
  const at = a.at.slice();
  const order = Int32Array.from({ length: n }, (_, i) => i);
  let sign: 1 | -1 = 1;
  let isSingular = false;
  for (let k = 0; k < n; k++) {
    yield (n - k) ** 2;
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(at[i * n + k]!) > Math.abs(at[pivot * n + k]!)) pivot = i;
    if (pivot !== k) {
      for (let j = 0; j < n; j++) [at[k * n + j], at[pivot * n + j]] = [at[pivot * n + j]!, at[k * n + j]!];
      [order[k], order[pivot]] = [order[pivot]!, order[k]!];
      sign = sign === 1 ? -1 : 1;
    }
    const diagonal = at[k * n + k]!;
    if (!(Math.abs(diagonal) > 0)) isSingular = true;
    if (diagonal === 0) continue;
    for (let i = k + 1; i < n; i++) {
      const factor = at[i * n + k]! / diagonal;
      at[i * n + k] = factor;
      for (let j = k + 1; j < n; j++) at[i * n + j]! -= factor * at[k * n + j]!;
    }
  }
  return { lu: { rows: n, columns: n, at }, order, sign, isSingular };
}

/** Replaces the columns of `b` by the solution of a triangle. */
function* solveTriangle(
  { rows: n, at }: Matrix,
  { columns, at: b }: Matrix,
  isLower: boolean,
  hasUnitDiagonal: boolean,
): Pieces<void> {
  for (let step = 0; step < n; step++) {
    yield (step + 1) * columns;
    const i = isLower ? step : n - 1 - step;
    const [from, to] = isLower ? [0, i] : [i + 1, n];
    const own = i * columns;
    for (let j = from; j < to; j++) {
      const factor = at[i * n + j]!;
      for (let c = 0; c < columns; c++) b[own + c]! -= factor * b[j * columns + c]!;
    }
    if (!hasUnitDiagonal) for (let c = 0; c < columns; c++) b[own + c]! /= at[i * n + i]!;
  }
}

/** @throws ServingError INVALID_ARGUMENT where there is no one solution */
function* solved(a: Matrix, b: Matrix): Pieces<Matrix> {
  const { lu, order, isSingular } = yield* factored(a);
  if (isSingular) throw invalid("Input matrix is not invertible.");
  const x = matrix(b.rows, b.columns);
  for (let i = 0; i < b.rows; i++)
    x.at.set(b.at.subarray(order[i]! * b.columns, (order[i]! + 1) * b.columns), i * b.columns);
  yield* solveTriangle(lu, x, true, true);
  yield* solveTriangle(lu, x, false, false);
  return x;
}

function identity(n: number): Matrix {
  const out = matrix(n, n);
  for (let i = 0; i < n; i++) out.at[i * n + i] = 1;
  return out;
}

function* inverse(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const adjoint = op.attrs.bool("adjoint");
  const n = op.tensor(0).shape.at(-1)!;
  const parts = yield* each(matrices.length, function* (k) {
    const a = matrices[k]!;
    return (yield* solved(adjoint ? transposed(a) : a, identity(n))).at;
  });
  return [stacked(op.tensor(0).dtype, batch, [n, n], parts)];
}

/** Sign, and logarithm of the magnitude. */
function* logDeterminantOf(a: Matrix): Pieces<[number, number]> {
  const { lu, sign } = yield* factored(a);
  let [total, log]: [number, number] = [sign, 0];
  for (let i = 0; i < a.rows; i++) {
    const diagonal = lu.at[i * a.rows + i]!;
    total *= Math.sign(diagonal);
    log += Math.log(Math.abs(diagonal));
  }
  return [total, log];
}

function* determinant(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const parts = yield* each(matrices.length, function* (k) {
    const a = matrices[k]!;
    const { lu, sign } = yield* factored(a);
    let product: number = sign;
    for (let i = 0; i < a.rows; i++) product *= lu.at[i * a.rows + i]!;
    return Float64Array.of(product);
  });
  return [stacked(op.tensor(0).dtype, batch, [], parts)];
}

function* logDeterminant(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const parts = yield* each(matrices.length, (k) => logDeterminantOf(matrices[k]!));
  const { dtype } = op.tensor(0);
  return [0, 1].map((k) =>
    stacked(
      dtype,
      batch,
      [],
      parts.map((part) => Float64Array.of(part[k]!)),
    ),
  );
}

/** The lower triangle L of A = L L'; reads the lower triangle only. */
function* cholesky(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const n = op.tensor(0).shape.at(-1)!;
  const parts = yield* each(matrices.length, function* (index) {
    const { at } = matrices[index]!;
    const out = new Float64Array(n * n);
    for (let j = 0; j < n; j++) {
      yield (n - j) * (j + 1);
      for (let i = j; i < n; i++) {
        let sum = at[i * n + j]!;
        for (let k = 0; k < j; k++) sum -= out[i * n + k]! * out[j * n + k]!;
        // Of what has no factor TensorFlow answers NaN too.
        out[i * n + j] = i === j ? (sum > 0 ? Math.sqrt(sum) : Number.NaN) : sum / out[j * n + j]!;
      }
    }
    return out;
  });
  return [stacked(op.tensor(0).dtype, batch, [n, n], parts)];
}

function* solve(op: OpCall): Pieces<Tensor[]> {
  const [left, right] = [matricesOf(op, 0), matricesOf(op, 1)];
  checkSquare(op);
  check(
    sameShape(left.batch, right.batch) && op.tensor(0).shape.at(-1) === op.tensor(1).shape.at(-2),
    () =>
      `Input matrix and rhs are incompatible: ${printShape(op.tensor(0).shape)} and ${printShape(op.tensor(1).shape)}`,
  );
  const adjoint = op.attrs.bool("adjoint");
  const inner = op.tensor(1).shape.slice(-2);
  const parts = yield* each(left.matrices.length, function* (k) {
    const a = left.matrices[k]!;
    return (yield* solved(adjoint ? transposed(a) : a, right.matrices[k]!)).at;
  });
  return [stacked(op.tensor(0).dtype, left.batch, inner, parts)];
}

/** Number k of a batch that is broadcast, for element `index` of the whole. */
function broadcastIndex(batch: readonly number[], whole: readonly number[], index: number): number {
  let [rest, at, stride] = [index, 0, 1];
  for (let d = 1; d <= whole.length; d++) {
    const position = rest % whole[whole.length - d]!;
    rest = Math.floor(rest / whole[whole.length - d]!);
    const own = batch[batch.length - d] ?? 1;
    if (own !== 1) at += position * stride;
    stride *= own;
  }
  return at;
}

function* triangularSolve(op: OpCall): Pieces<Tensor[]> {
  const [left, right] = [matricesOf(op, 0), matricesOf(op, 1)];
  checkSquare(op);
  const [a, b] = [op.tensor(0).shape, op.tensor(1).shape];
  check(
    a.at(-1) === b.at(-2),
    () => `In[0] mismatch In[1] shape: ${a.at(-1)} vs. ${b.at(-2)}: ${printShape(a)} ${printShape(b)}`,
  );
  const batch = broadcastBatch(left.batch, right.batch);
  const [isLower, adjoint] = [op.attrs.bool("lower"), op.attrs.bool("adjoint")];
  const inner = b.slice(-2);
  const parts = yield* each(elementCount(batch), function* (k) {
    const given = left.matrices[broadcastIndex(left.batch, batch, k)]!;
    const source = right.matrices[broadcastIndex(right.batch, batch, k)]!;
    const x = { ...source, at: source.at.slice() };
    yield* solveTriangle(adjoint ? transposed(given) : given, x, adjoint !== isLower, false);
    return x.at;
  });
  return [stacked(op.tensor(0).dtype, batch, inner, parts)];
}

function broadcastBatch(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    check(
      x === y || x === 1 || y === 1,
      () => `In[0] and In[1] have different batch dimensions: ${printShape(a)} and ${printShape(b)}`,
    );
    return x === 1 ? y : x;
  });
}

/** Permutation, and L and U in one matrix. */
function* lu(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const n = op.tensor(0).shape.at(-1)!;
  const factors = yield* each(matrices.length, function* (k) {
    const found = yield* factored(matrices[k]!);
    if (found.isSingular) throw invalid("Input is not invertible.");
    return found;
  });
  const dtype = op.attrs.dtype("output_idx_type");
  return [
    stacked(
      op.tensor(0).dtype,
      batch,
      [n, n],
      factors.map((each) => each.lu.at),
    ),
    stacked(
      dtype,
      batch,
      [n],
      factors.map(({ order }) => Float64Array.from(order)),
    ),
  ];
}

/** Solutions of least squares: of the normal equations (fast), or by the pseudo-inverse of full-rank systems. */
function* leastSquares(op: OpCall): Pieces<Tensor[]> {
  const [left, right] = [matricesOf(op, 0), matricesOf(op, 1)];
  const [m, n] = op.tensor(0).shape.slice(-2) as [number, number];
  const columns = op.tensor(1).shape.at(-1)!;
  check(
    sameShape(left.batch, right.batch) && m === op.tensor(1).shape.at(-2),
    () =>
      `Input matrix and rhs are incompatible: ${printShape(op.tensor(0).shape)} and ${printShape(op.tensor(1).shape)}`,
  );
  const regulariser = numbersOf(op.tensor(2))[0]!;
  check(regulariser >= 0, () => "l2_regularizer must be >= 0.");
  const parts = yield* each(left.matrices.length, function* (k) {
    const [a, b] = [left.matrices[k]!, right.matrices[k]!];
    if (!a.at.every(Number.isFinite)) return new Float64Array(n * columns).fill(Number.NaN);
    // min |A x - b|^2 + r |x|^2: of (A'A + r) x = A'b where there are more rows, else x = A' (AA' + r)^-1 b.
    const turned = transposed(a);
    if (m >= n) return (yield* solved(yield* gram(turned, regulariser), yield* times(turned, b))).at;
    return (yield* times(turned, yield* solved(yield* gram(a, regulariser), b))).at;
  });
  return [stacked(op.tensor(0).dtype, left.batch, [n, columns], parts)];
}

function* times(a: Matrix, b: Matrix): Pieces<Matrix> {
  const out = matrix(a.rows, b.columns);
  for (let i = 0; i < a.rows; i++) {
    yield a.columns * b.columns;
    for (let k = 0; k < a.columns; k++) {
      const factor = a.at[i * a.columns + k]!;
      for (let j = 0; j < b.columns; j++) out.at[i * b.columns + j]! += factor * b.at[k * b.columns + j]!;
    }
  }
  return out;
}

function* gram(a: Matrix, regulariser: number): Pieces<Matrix> {
  const out = yield* times(a, transposed(a));
  for (let i = 0; i < out.rows; i++) out.at[i * out.rows + i]! += regulariser;
  return out;
}

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
  return [withData(a.dtype, a.shape, packNumbers(a.dtype, out))];
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

export const MATRIX_SOLVE_KERNELS: Readonly<Record<string, Kernel>> = {
  Cholesky: inTurns(cholesky),
  MatrixInverse: inTurns(inverse),
  MatrixDeterminant: inTurns(determinant),
  LogMatrixDeterminant: inTurns(logDeterminant),
  MatrixSolve: inTurns(solve),
  MatrixTriangularSolve: inTurns(triangularSolve),
  MatrixSolveLs: inTurns(leastSquares),
  Lu: inTurns(lu),
  Cross: cross,
};
