/**
 * Linear algebra on batches of small matrices: factors, inverses, determinants, solutions. The work is in double precision and
 * rounded once; answers are TensorFlow's as far as its own precision goes.
 */
import type { Tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import { multiply } from "../complex/complex-math.js";
import {
  adjoint,
  checkSquare,
  conjugateDot,
  copied,
  divideAt,
  dot,
  identity,
  isFiniteMatrix,
  magnitude,
  matricesOf,
  matrix,
  type Matrix,
  stacked,
  subtractRow,
  swapRows,
  times,
} from "./matrix.js";
import { solveTriangle } from "./triangles.js";

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
  const lu = copied(a);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  let sign: 1 | -1 = 1;
  let isSingular = false;
  for (let k = 0; k < n; k++) {
    yield a.lanes ** 2 * (n - k) ** 2;
    let pivot = k;
    let most = magnitude(lu, k, k);
    for (let i = k + 1; i < n; i++) {
      const size = magnitude(lu, i, k);
      if (size > most) [pivot, most] = [i, size];
    }
    if (pivot !== k) {
      swapRows(lu, k, pivot);
      [order[k], order[pivot]] = [order[pivot]!, order[k]!];
      sign = sign === 1 ? -1 : 1;
    }
    if (!(most > 0)) isSingular = true;
    if (most === 0) continue;
    for (let i = k + 1; i < n; i++) {
      divideAt(lu, i, k, lu, k, k);
      subtractRow(lu, i, lu, k, lu, i, k, k + 1);
    }
  }
  return { lu, order, sign, isSingular };
}

/** @throws ServingError INVALID_ARGUMENT where there is no one solution */
export function* solved(a: Matrix, b: Matrix): Pieces<Matrix> {
  const { lu, order, isSingular } = yield* factored(a);
  if (isSingular) throw invalid("Input matrix is not invertible.");
  const x = matrix(b.rows, b.columns, b.lanes);
  const width = b.columns * b.lanes;
  for (let i = 0; i < b.rows; i++) x.at.set(b.at.subarray(order[i]! * width, (order[i]! + 1) * width), i * width);
  yield* solveTriangle(lu, x, true, true);
  yield* solveTriangle(lu, x, false, false);
  return x;
}

function* inverse(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const isAdjoint = op.attrs.bool("adjoint");
  const n = op.tensor(0).shape.at(-1)!;
  const parts = yield* each(matrices.length, function* (k) {
    const a = matrices[k]!;
    return (yield* solved(isAdjoint ? adjoint(a) : a, identity(n, a.lanes))).at;
  });
  return [stacked(op.tensor(0).dtype, batch, [n, n], parts)];
}

/** The product of the pivots' values, or of their directions alone; one number, or the parts of a complex one. */
function pivotProduct({ lu, sign }: Factors, isDirection: boolean): Float64Array {
  const { rows: n, lanes, at } = lu;
  const product = Float64Array.of(sign, 0).subarray(0, lanes);
  for (let i = 0; i < n; i++) {
    const k = lanes * i * (n + 1);
    const divisor = isDirection ? magnitude(lu, i, i) : 1;
    if (lanes === 1) product[0]! *= at[k]! / divisor;
    else multiply(product[0]!, product[1]!, at[k]! / divisor, at[k + 1]! / divisor, product, 0);
  }
  return product;
}

function* determinant(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const parts = yield* each(matrices.length, function* (k) {
    return pivotProduct(yield* factored(matrices[k]!), false);
  });
  return [stacked(op.tensor(0).dtype, batch, [], parts)];
}

/** Sign (or direction), and logarithm of the magnitude. */
function* logDeterminant(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const parts = yield* each(matrices.length, function* (k): Pieces<[Float64Array, Float64Array]> {
    const factors = yield* factored(matrices[k]!);
    const { rows: n, lanes } = factors.lu;
    const log = new Float64Array(lanes);
    for (let i = 0; i < n; i++) log[0]! += Math.log(magnitude(factors.lu, i, i));
    return [log[0] === -Infinity ? new Float64Array(lanes) : pivotProduct(factors, true), log];
  });
  const { dtype } = op.tensor(0);
  return [0, 1].map((k) =>
    stacked(
      dtype,
      batch,
      [],
      parts.map((part) => part[k]!),
    ),
  );
}

/** The lower triangle L of A = L L'; reads the lower triangle only. */
function* cholesky(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const { batch, matrices } = matricesOf(op, 0);
  const n = op.tensor(0).shape.at(-1)!;
  const parts = yield* each(matrices.length, function* (index) {
    const a = matrices[index]!;
    const { lanes } = a;
    const out = matrix(n, n, lanes);
    for (let j = 0; j < n; j++) {
      yield lanes ** 2 * (n - j) * (j + 1);
      for (let i = j; i < n; i++) {
        const k = lanes * (i * n + j);
        conjugateDot(out, j, out, i, j);
        const sum = a.at[k]! - dot.re;
        if (i === j) {
          // Of what has no factor TensorFlow answers NaN too.
          out.at[k] = sum > 0 ? Math.sqrt(sum) : Number.NaN;
          continue;
        }
        out.at[k] = sum;
        if (lanes === 2) out.at[k + 1] = a.at[k + 1]! - dot.im;
        divideAt(out, i, j, out, j, j);
      }
    }
    return out.at;
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
  const isAdjoint = op.attrs.bool("adjoint");
  const inner = op.tensor(1).shape.slice(-2);
  const parts = yield* each(left.matrices.length, function* (k) {
    const a = left.matrices[k]!;
    return (yield* solved(isAdjoint ? adjoint(a) : a, right.matrices[k]!)).at;
  });
  return [stacked(op.tensor(0).dtype, left.batch, inner, parts)];
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
    if (!isFiniteMatrix(a)) return new Float64Array(n * columns * a.lanes).fill(Number.NaN);
    // min |A x - b|^2 + r |x|^2: of (A'A + r) x = A'b where there are more rows, else x = A' (AA' + r)^-1 b.
    const turned = adjoint(a);
    if (m >= n) return (yield* solved(yield* gram(turned, regulariser), yield* times(turned, b))).at;
    return (yield* times(turned, yield* solved(yield* gram(a, regulariser), b))).at;
  });
  return [stacked(op.tensor(0).dtype, left.batch, [n, columns], parts)];
}

function* gram(a: Matrix, regulariser: number): Pieces<Matrix> {
  const out = yield* times(a, adjoint(a));
  for (let i = 0; i < out.rows; i++) out.at[out.lanes * i * (out.rows + 1)]! += regulariser;
  return out;
}

export const MATRIX_SOLVE_KERNELS: Readonly<Record<string, Kernel>> = {
  Cholesky: inTurns(cholesky),
  BatchCholesky: inTurns(cholesky),
  MatrixInverse: inTurns(inverse),
  BatchMatrixInverse: inTurns(inverse),
  MatrixDeterminant: inTurns(determinant),
  BatchMatrixDeterminant: inTurns(determinant),
  LogMatrixDeterminant: inTurns(logDeterminant),
  MatrixSolve: inTurns(solve),
  BatchMatrixSolve: inTurns(solve),
  MatrixSolveLs: inTurns(leastSquares),
  BatchMatrixSolveLs: inTurns(leastSquares),
  Lu: inTurns(lu),
};
