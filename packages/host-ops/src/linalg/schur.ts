/**
 * Schur's form of a complex matrix, U T U' with T upper triangular, by Hessenberg's form and shifted QR steps as Eigen takes them: what is
 * chosen freely (the order of the eigenvalues, the phases of the vectors) is so what TensorFlow has, as far as rounding lets it.
 */
import type { Pieces } from "../call/turns.js";
import { result as root, sqrt } from "../complex/complex-functions.js";
import { divide } from "../complex/complex-math.js";
import { adjoint, copied, identity, type Matrix, scaled, scaleOf } from "./matrix.js";
import { reflect, reflectionOf } from "./qr.js";

/** Steps for one eigenvalue before it is given up. */
export const STEPS_PER_ROW_MAX = 30;

/** Steps after which a shift that leads nowhere is replaced by another. */
const EXCEPTIONAL_STEPS = new Set([10, 20]);

export interface Schur {
  readonly t: Matrix;
  readonly u: Matrix;
}

/** @returns undefined where the steps do not converge: the matrix is not finite */
export function* schurOf(a: Matrix): Pieces<Schur | undefined> {
  const n = a.rows;
  const scale = scaleOf(a);
  const { t, u } = yield* hessenbergOf(scaled(a, 1 / scale));
  let [last, step, steps] = [n - 1, 0, 0];
  for (;;) {
    while (last > 0 && isNegligible(t, last - 1)) {
      last--;
      step = 0;
    }
    if (last <= 0) break;
    step++;
    if (++steps > STEPS_PER_ROW_MAX * n) return undefined;
    let first = last - 1;
    while (first > 0 && !isNegligible(t, first - 1)) first--;
    yield 16 * n * (last - first);
    chase(t, u, first, last, shiftOf(t, last, step));
  }
  for (let i = 0; i < n; i++) t.at.fill(0, 2 * i * n, 2 * (i * n + i));
  return { t: scaled(t, scale), u };
}

/** The matrix with zeros below its first subdiagonal, and what it was turned by. */
export function* hessenbergOf(a: Matrix): Pieces<Schur> {
  const n = a.rows;
  // Columns are turned as the rows of the adjoint.
  let t = copied(a);
  const turns = identity(n, a.lanes);
  for (let j = 0; j < n - 1; j++) {
    const reflection = reflectionOf(t, j + 1, j);
    if (!reflection) continue;
    yield* reflect(t, reflection);
    const turned = adjoint(t);
    yield* reflect(turned, reflection);
    t = adjoint(turned);
    yield* reflect(turns, reflection);
    yield a.lanes * n * n;
  }
  return { t, u: adjoint(turns) };
}

/** One step of QR on rows and columns `first` to `last`: a bulge is made by the shift and chased down. */
function chase(t: Matrix, u: Matrix, first: number, last: number, [re, im]: readonly [number, number]): void {
  const n = t.rows;
  const at = (i: number, j: number): number => 2 * (i * n + j);
  for (let i = first; i < last; i++) {
    const [p, q] = i === first ? [at(i, i), at(i + 1, i)] : [at(i, i - 1), at(i + 1, i - 1)];
    const [x, y] = i === first ? [re, im] : [0, 0];
    const turn = givens(t.at[p]! - x, t.at[p + 1]! - y, t.at[q]!, t.at[q + 1]!);
    turnPlane(t, u, i, turn, i === first ? i : i - 1, Math.min(i + 2, last));
    if (i > first) t.at.fill(0, q, q + 2);
  }
}

/** Turns rows i and i + 1 of the matrix, from column `start` on, its columns of these numbers, down to row `end`, and those of `u`. */
export function turnPlane(t: Matrix, u: Matrix, i: number, turn: Givens, start: number, end: number): void {
  const n = t.rows;
  const at = (row: number, column: number): number => 2 * (row * n + column);
  turnPairs(t.at, at(i, start), at(i + 1, start), n - start, 2, turn.cos, -turn.re, turn.im);
  turnPairs(t.at, at(0, i), at(0, i + 1), end + 1, 2 * n, turn.cos, -turn.re, -turn.im);
  turnPairs(u.at, at(0, i), at(0, i + 1), n, 2 * n, turn.cos, -turn.re, -turn.im);
}

/** x' = cos x + (re + im i) y, y' = cos y - (re - im i) x for `count` pairs of elements, `step` apart. */
function turnPairs(
  at: Float64Array,
  p: number,
  q: number,
  count: number,
  step: number,
  cos: number,
  re: number,
  im: number,
): void {
  for (let k = 0; k < count; k++, p += step, q += step) {
    const [a, b, c, d] = [at[p]!, at[p + 1]!, at[q]!, at[q + 1]!];
    at[p] = cos * a + re * c - im * d;
    at[p + 1] = cos * b + re * d + im * c;
    at[q] = cos * c - re * a - im * b;
    at[q + 1] = cos * d - re * b + im * a;
  }
}

interface Givens {
  readonly cos: number;
  readonly re: number;
  readonly im: number;
}

/** Cosine and (complex) sine s that take (p, q) to (r, 0): r = cos p - conj(s) q. */
export function givens(a: number, b: number, c: number, d: number): Givens {
  if (c === 0 && d === 0) return { cos: a < 0 ? -1 : 1, re: 0, im: 0 };
  const size = Math.hypot(c, d);
  if (a === 0 && b === 0) return { cos: 0, re: -c / size, im: -d / size };
  const p = Math.hypot(a, b);
  const whole = Math.hypot(p, size) * (a < 0 ? -1 : 1);
  // s = -q conj(p) / (|p| whole), with the direction of p: products of small numbers would be 0.
  const [x, y] = [a / p, b / p];
  return { cos: p / whole, re: -(c * x + d * y) / whole, im: -(d * x - c * y) / whole };
}

const norm1 = (at: Float64Array, k: number): number => Math.abs(at[k]!) + Math.abs(at[k + 1]!);

/** Makes the element below (i, i) 0 where it is nothing against its neighbours. */
function isNegligible({ rows: n, at }: Matrix, i: number): boolean {
  const below = 2 * ((i + 1) * n + i);
  const size = norm1(at, 2 * i * (n + 1)) + norm1(at, 2 * (i + 1) * (n + 1));
  if (!(norm1(at, below) <= size * Number.EPSILON)) return false;
  at.fill(0, below, below + 2);
  return true;
}

/** Wilkinson's: the eigenvalue of the last 2 x 2 elements that is nearer to the last. */
function shiftOf({ rows: n, at }: Matrix, last: number, step: number): [number, number] {
  const k = (i: number, j: number): number => 2 * ((last - 1 + i) * n + last - 1 + j);
  if (EXCEPTIONAL_STEPS.has(step) && last > 1) {
    return [Math.abs(at[k(1, 0)]!) + Math.abs(at[k(0, -1)]!), 0];
  }
  const size = [k(0, 0), k(0, 1), k(1, 0), k(1, 1)].reduce((sum, p) => sum + Math.hypot(at[p]!, at[p + 1]!), 0);
  const [a, b, c, d] = [k(0, 0), k(0, 1), k(1, 0), k(1, 1)].map((p) => [at[p]! / size, at[p + 1]! / size]) as Pair[];
  const cross = product(b!, c!);
  const gap: Pair = [a![0] - d![0], a![1] - d![1]];
  const square = product(gap, gap);
  sqrt(square[0] + 4 * cross[0], square[1] + 4 * cross[1]);
  const [re, im] = [root.real, root.imaginary];
  const trace: Pair = [a![0] + d![0], a![1] + d![1]];
  let one: Pair = [(trace[0] + re) / 2, (trace[1] + im) / 2];
  let other: Pair = [(trace[0] - re) / 2, (trace[1] - im) / 2];
  const whole = product(a!, d!);
  const determinant: Pair = [whole[0] - cross[0], whole[1] - cross[1]];
  if (length1(one) > length1(other)) other = quotient(determinant, one);
  else if (length1(other) !== 0) one = quotient(determinant, other);
  const isOne = length1([one[0] - d![0], one[1] - d![1]]) < length1([other[0] - d![0], other[1] - d![1]]);
  const [x, y] = isOne ? one : other;
  return [size * x, size * y];
}

type Pair = [re: number, im: number];

const length1 = ([re, im]: Pair): number => Math.abs(re) + Math.abs(im);
const product = ([a, b]: Pair, [c, d]: Pair): Pair => [a * c - b * d, a * d + b * c];

function quotient([a, b]: Pair, [c, d]: Pair): Pair {
  const out = new Float64Array(2);
  divide(a, b, c, d, out, 0);
  return [out[0]!, out[1]!];
}
