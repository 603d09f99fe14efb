/** Singular values and vectors of batches of small matrices, by rotations. */
import { lanesPerElement, type Tensor } from "@shardserve/tensor";
import { invalid } from "../call/errors.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { inTurns, type Pieces } from "../call/turns.js";
import {
  addRow,
  adjoint,
  conjugateDot,
  divideRow,
  dot,
  identity,
  isFiniteMatrix,
  type Lanes,
  matricesOf,
  type Matrix,
  matrix,
  scaleOf,
  stacked,
  transposed,
} from "./matrix.js";
import { lengthOf, picked, rotate, ROTATION_WORK, rotationOf, SWEEPS_MAX, widened } from "./rotations.js";

/** Of the length of the whole matrix. */
const NOISE = 1e-15;

interface Singular {
  /** Left vectors times their values, as rows. */
  readonly scaled: Matrix;
  /** Right vectors, as rows. */
  readonly right: Matrix;
  readonly values: Float64Array;
  /** Values up to this are 0 but for rounding. */
  readonly noise: number;
  /** What the values and `scaled` are to be multiplied by. */
  readonly scale: number;
  /** Positions of the values, largest first. */
  readonly order: readonly number[];
}

/** Hestenes's: rotates pairs of columns until all are orthogonal. */
function* singularOf(a: Matrix): Pieces<Singular> {
  // Columns as rows, to walk memory in order.
  const work = transposed(a);
  const scale = scaleOf(a);
  for (let i = 0; i < work.at.length; i++) work.at[i]! /= scale;
  const { rows: n, columns: m, lanes } = work;
  const width = lanes * m;
  // Columns this short are what rounding left of a matrix that has not full rank; they have no direction.
  const noise = NOISE * lengthOf(work.at);
  const right = identity(n, lanes);
  for (let sweep = 0, isDone = false; !isDone; sweep++) {
    if (sweep === SWEEPS_MAX) throw invalid("the singular values do not converge: is the matrix finite?");
    isDone = true;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        yield ROTATION_WORK * lanes * m;
        const [pp, qq] = [squareOf(work, p), squareOf(work, q)];
        conjugateDot(work, p, work, q, m);
        const { re, im } = dot;
        const size = lanes === 1 ? Math.abs(re) : Math.hypot(re, im);
        if (Math.min(pp, qq) <= noise * noise || !(size > 1e-15 * Math.sqrt(pp * qq))) continue;
        isDone = false;
        const rotation = rotationOf(qq - pp, re, im, lanes);
        rotate(work, p, q, rotation);
        rotate(right, p, q, rotation);
      }
    }
  }
  const values = Float64Array.from({ length: n }, (_, k) => lengthOf(work.at.subarray(k * width, (k + 1) * width)));
  const order = Array.from(values.keys()).sort((i, j) => values[j]! - values[i]!);
  return { scaled: work, right, values, order, noise, scale };
}

function squareOf(a: Matrix, row: number): number {
  conjugateDot(a, row, a, row, a.columns);
  return dot.re;
}

/** Rows that continue the first `kept` orthonormal ones to all of `basis`. */
function* complete(basis: Matrix, kept: number): Pieces<void> {
  const { rows, columns: length, lanes, at } = basis;
  for (let row = kept, axis = 0; row < rows && axis < length; axis++) {
    const next = at.subarray(lanes * row * length, lanes * (row + 1) * length);
    next.fill(0);
    next[lanes * axis] = 1;
    // Twice, against rounding.
    for (let other = 0; other < 2 * row; other++) {
      yield 2 * lanes * length;
      conjugateDot(basis, other % row, basis, row, length);
      addRow(basis, row, basis, other % row, -dot.re, -dot.im);
    }
    const norm = lengthOf(next);
    if (norm <= 1e-3) continue;
    divideRow(basis, row, norm, 0);
    row++;
  }
}

interface SvdParts {
  readonly values: Float64Array;
  readonly u: Float64Array;
  readonly v: Float64Array;
}

/** Singular vectors are told up to their sign: TensorFlow's depend on the build of its library. */
function* svd(op: OpCall): Pieces<Tensor[]> {
  const { batch, matrices } = matricesOf(op, 0);
  const { dtype, shape } = op.tensor(0);
  const [m, n] = shape.slice(-2) as [number, number];
  const least = Math.min(m, n);
  const full = op.attrs.bool("full_matrices");
  const parts: SvdParts[] = [];
  for (const a of matrices) {
    if (!isFiniteMatrix(a)) {
      parts.push(notNumbers(m, n, full, a.lanes));
      continue;
    }
    const isTall = m >= n;
    const { scaled, right, values, order, noise, scale } = yield* singularOf(isTall ? a : adjoint(a));
    const sorted = Float64Array.from(order.slice(0, least), (k) => values[k]! * scale);
    const rightVectors = picked(right, order, least);
    const kept = order.filter((k) => values[k]! > noise);
    const leftVectors = picked(scaled, kept, full ? Math.max(m, n) : least, values);
    yield* complete(leftVectors, kept.length);
    const [u, v] = (isTall ? [leftVectors, rightVectors] : [rightVectors, leftVectors]).map(transposed);
    parts.push({ values: sorted, u: u!.at, v: v!.at });
  }
  const values = stacked(
    dtype,
    batch,
    [least],
    parts.map((part) => widened(part.values, lanesPerElement(dtype) as Lanes)),
  );
  if (!op.attrs.bool("compute_uv")) return [values, zeroTensor(dtype, []), zeroTensor(dtype, [])];
  return [
    values,
    stacked(
      dtype,
      batch,
      [m, full ? m : least],
      parts.map(({ u }) => u),
    ),
    stacked(
      dtype,
      batch,
      [n, full ? n : least],
      parts.map(({ v }) => v),
    ),
  ];
}

function notNumbers(m: number, n: number, full: boolean, lanes: Lanes): SvdParts {
  const least = Math.min(m, n);
  const nan = (rows: number): Float64Array => matrix(rows, full ? rows : least, lanes).at.fill(Number.NaN);
  return { values: new Float64Array(least).fill(Number.NaN), u: nan(m), v: nan(n) };
}

export const SINGULAR_KERNELS: Readonly<Record<string, Kernel>> = {
  Svd: inTurns(svd),
  BatchSvd: inTurns(svd),
};
