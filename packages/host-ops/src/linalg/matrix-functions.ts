/** Functions of batches of small square matrices: exponential, logarithm, square root. */
import type { Tensor } from "@shardserve/tensor";
import type { Kernel, OpCall } from "../call/op-call.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import { log, result, sqrt } from "../complex/complex-functions.js";
import { divide } from "../complex/complex-math.js";
import {
  addRow,
  adjoint,
  asComplex,
  checkSquare,
  copied,
  identity,
  matricesOf,
  type Matrix,
  matrix,
  scaled,
  stacked,
  times,
} from "./matrix.js";
import { solved } from "./matrix-solve.js";
import { schurOf } from "./schur.js";

/** Coefficients of Padé's approximant of degree 13 to the exponential (Higham, "The scaling and squaring method revisited"). */
const PADE = [
  64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
  670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
];

/** Up to this norm the approximant is exact in doubles. */
const PADE_NORM_MAX = 5.371920351148152;

/** `to` plus a multiple of `a`. */
function add(to: Matrix, a: Matrix, factor: number): void {
  for (let i = 0; i < to.rows; i++) addRow(to, i, a, i, factor, 0);
}

/** The largest sum of a column's magnitudes. */
function norm1({ columns, rows, lanes, at }: Matrix): number {
  const sums = new Float64Array(columns);
  for (let k = 0; k < rows * columns; k++) {
    sums[k % columns]! += lanes === 1 ? Math.abs(at[k]!) : Math.hypot(at[2 * k]!, at[2 * k + 1]!);
  }
  return sums.reduce((most, sum) => (sum > most || Number.isNaN(sum) ? sum : most), 0);
}

function* exponentialOf(a: Matrix): Pieces<Matrix> {
  const { rows: n, lanes } = a;
  const norm = norm1(a);
  if (!Number.isFinite(norm)) return scaled(a, NaN);
  const squarings = Math.max(0, Math.ceil(Math.log2(norm / PADE_NORM_MAX)));
  const x = scaled(a, 2 ** -squarings);
  const square = yield* times(x, x);
  // Even and odd terms, by Horner's scheme.
  const [even, odd] = [matrix(n, n, lanes), matrix(n, n, lanes)];
  let [e, o] = [even, odd];
  for (let k = PADE.length - 2; k >= 0; k -= 2) {
    e = yield* times(e, square);
    o = yield* times(o, square);
    for (let i = 0; i < n; i++) {
      e.at[lanes * i * (n + 1)]! += PADE[k]!;
      o.at[lanes * i * (n + 1)]! += PADE[k + 1]!;
    }
  }
  o = yield* times(x, o);
  const [above, below] = [copied(e), copied(e)];
  add(above, o, 1);
  add(below, o, -1);
  let out = yield* solved(below, above);
  for (let k = 0; k < squarings; k++) out = yield* times(out, out);
  return out;
}

/** The square root of an upper triangle (Björck and Hammarling). */
function* triangleRoot(t: Matrix): Pieces<Matrix> {
  const n = t.rows;
  const out = matrix(n, n, 2);
  for (let j = 0; j < n; j++) {
    const own = 2 * j * (n + 1);
    sqrt(t.at[own]!, t.at[own + 1]!);
    out.at[own] = result.real;
    out.at[own + 1] = result.imaginary;
    for (let i = j - 1; i >= 0; i--) {
      const k = 2 * (i * n + j);
      let [re, im] = [t.at[k]!, t.at[k + 1]!];
      for (let m = i + 1; m < j; m++) {
        const [p, q] = [2 * (i * n + m), 2 * (m * n + j)];
        re -= out.at[p]! * out.at[q]! - out.at[p + 1]! * out.at[q + 1]!;
        im -= out.at[p]! * out.at[q + 1]! + out.at[p + 1]! * out.at[q]!;
      }
      const other = 2 * i * (n + 1);
      if (re === 0 && im === 0) continue;
      divide(re, im, out.at[other]! + out.at[own]!, out.at[other + 1]! + out.at[own + 1]!, out.at, k);
    }
    yield 4 * j * j;
  }
  return out;
}

/** From this distance to 1 on the series of the logarithm is cut short enough. */
const NEAR_ONE = 0.01;
const LOG_ROOTS_MAX = 100;
const LOG_TERMS = 8;

/** Inverse scaling and squaring: roots until the triangle is near 1, then 2 (z + z^3 / 3 + ...) with z = (t - 1) / (t + 1). */
function* triangleLog(t: Matrix): Pieces<Matrix> {
  const n = t.rows;
  const one = identity(n, 2);
  let [near, roots] = [t, 0];
  const distance = (): number => {
    const rest = copied(near);
    add(rest, one, -1);
    return norm1(rest);
  };
  while (distance() > NEAR_ONE) {
    if (roots++ === LOG_ROOTS_MAX) break;
    near = yield* triangleRoot(near);
  }
  const [above, below] = [copied(near), copied(near)];
  add(above, one, -1);
  add(below, one, 1);
  const z = yield* solved(below, above);
  const square = yield* times(z, z);
  let sum = matrix(n, n, 2);
  for (let k = LOG_TERMS; k >= 0; k--) {
    sum = yield* times(sum, square);
    add(sum, one, 1 / (2 * k + 1));
  }
  const out = scaled(yield* times(z, sum), 2 ** (roots + 1));
  // The diagonal is known better than by the series.
  for (let i = 0; i < n; i++) {
    const k = 2 * i * (n + 1);
    log(t.at[k]!, t.at[k + 1]!);
    out.at[k] = result.real;
    out.at[k + 1] = result.imaginary;
  }
  return out;
}

/** U f(T) U', of Schur's form. */
const bySchur = (f: (t: Matrix) => Pieces<Matrix>) =>
  function* (a: Matrix): Pieces<Matrix> {
    const schur = yield* schurOf(asComplex(a));
    if (!schur) return scaled(a, NaN);
    const { t, u } = schur;
    return yield* times(yield* times(u, yield* f(t)), adjoint(u));
  };

/** Imaginary parts up to this, of the largest part, are rounding. */
const ROUNDING = 1e-7;

/** The real matrix that a complex one is; NaN where it is none, as a root of negative numbers. */
function realOf(a: Matrix): Matrix {
  const most = a.at.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  const isReal = a.at.every((x, i) => i % 2 === 0 || Math.abs(x) <= ROUNDING * most);
  const out = matrix(a.rows, a.columns, 1);
  for (let i = 0; i < out.at.length; i++) out.at[i] = isReal ? a.at[2 * i]! : NaN;
  return out;
}

const kernel = (f: (a: Matrix) => Pieces<Matrix>): Kernel =>
  inTurns(function* (op: OpCall): Pieces<Tensor[]> {
    const { batch, matrices } = matricesOf(op, 0);
    checkSquare(op);
    const n = op.tensor(0).shape.at(-1)!;
    const parts = yield* each(matrices.length, function* (k) {
      const found = yield* f(matrices[k]!);
      return (found.lanes > matrices[k]!.lanes ? realOf(found) : found).at;
    });
    return [stacked(op.tensor(0).dtype, batch, [n, n], parts)];
  });

export const MATRIX_FUNCTION_KERNELS: Readonly<Record<string, Kernel>> = {
  MatrixExponential: kernel(exponentialOf),
  MatrixLogarithm: kernel(bySchur(triangleLog)),
  MatrixSquareRoot: kernel(bySchur(triangleRoot)),
};
