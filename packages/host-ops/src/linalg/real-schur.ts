/**
 * Schur's form of a real matrix by double shifted steps (Francis), with 2 x 2 blocks on the diagonal where eigenvalues are no real numbers; then
 * made complex, block by block. The steps are as Eigen takes them: the order of the eigenvalues is so what TensorFlow has.
 */
import type { Pieces } from "../call/turns.js";
import { asComplex, type Matrix, scaled, scaleOf, SMALLEST_NORMAL } from "./matrix.js";
import { givens, hessenbergOf, type Schur, STEPS_PER_ROW_MAX, turnPlane } from "./schur.js";

/** Every so many steps without success the shift is another: by Wilkinson, then by MATLAB. */
const EXCEPTIONAL_EVERY = 16;

/** What a step works on: all of the matrix, and the sum of the exceptional shifts. */
interface Work {
  readonly n: number;
  readonly t: Float64Array;
  readonly u: Float64Array;
  shifted: number;
}

/** Trace and determinant of a shift, in parts: two diagonal elements, and the product of the others. */
type Shift = [x: number, y: number, product: number];

/** @returns undefined where the steps do not converge */
export function* realSchurOf(a: Matrix): Pieces<Schur | undefined> {
  const n = a.rows;
  const scale = scaleOf(a);
  const { t, u } = yield* hessenbergOf(scaled(a, 1 / scale));
  const work: Work = { n, t: t.at, u: u.at, shifted: 0 };
  const tiny = Math.max(tridiagonalNorm(work) * Number.EPSILON ** 2, SMALLEST_NORMAL);
  let steps = 0;
  for (let last = n - 1, step = 0; last >= 0; ) {
    const first = firstOf(work, last, tiny);
    if (last - first <= 1) {
      if (first === last) t.at[last * (n + 1)]! += work.shifted;
      else splitPair(work, last);
      if (first > 0) t.at[first * n + first - 1] = 0;
      last = first - 1;
      step = 0;
      continue;
    }
    const shift = shiftOf(work, last, step++);
    if (++steps > STEPS_PER_ROW_MAX * n) return undefined;
    francisStep(work, first, last, shift);
    yield 16 * n * (last - first);
  }
  return complexOf(scaled(t, scale), u);
}

function tridiagonalNorm({ n, t }: Work): number {
  let sum = 0;
  for (let i = 0; i < n; i++) for (let j = Math.max(0, i - 1); j < n; j++) sum += Math.abs(t[i * n + j]!);
  return sum;
}

/** Where the block that ends at `last` begins: behind the nearest small element below the diagonal. */
function firstOf({ n, t }: Work, last: number, tiny: number): number {
  let at = last;
  for (; at > 0; at--) {
    const size = Math.abs(t[(at - 1) * (n + 1)]!) + Math.abs(t[at * (n + 1)]!);
    if (Math.abs(t[at * n + at - 1]!) <= Math.max(size * Number.EPSILON, tiny)) break;
  }
  return at;
}

/** Makes the 2 x 2 block that ends at `i` triangular where its eigenvalues are real. */
function splitPair({ n, t, u, shifted }: Work, i: number): void {
  const [first, second] = [(i - 1) * (n + 1), i * (n + 1)];
  const half = (t[first]! - t[second]!) / 2;
  const square = half * half + t[second - 1]! * t[first + 1]!;
  t[first]! += shifted;
  t[second]! += shifted;
  if (square < 0) return;
  const root = Math.sqrt(square);
  const [x, y] = [half >= 0 ? half + root : half - root, t[second - 1]!];
  const size = Math.hypot(x, y);
  if (size === 0) return;
  // The rotation that takes (x, y) to (size, 0).
  const [cos, sin] = [x / size, y / size];
  const turn = (at: Float64Array, p: number, q: number, count: number, step: number): void => {
    for (let k = 0; k < count; k++, p += step, q += step) {
      [at[p], at[q]] = [cos * at[p]! + sin * at[q]!, cos * at[q]! - sin * at[p]!];
    }
  };
  turn(t, first, second - 1, n - i + 1, 1);
  turn(t, i - 1, i, i + 1, n);
  turn(u, i - 1, i, n, n);
  t[second - 1] = 0;
}

function shiftOf(work: Work, last: number, step: number): Shift {
  const { n, t } = work;
  const [end, before] = [last * (n + 1), (last - 1) * (n + 1)];
  const [x, y, product] = [t[end]!, t[before]!, t[end - 1]! * t[before + 1]!];
  if (step === 0 || step % EXCEPTIONAL_EVERY !== 0) return [x, y, product];
  const shiftAll = (by: number): void => {
    work.shifted += by;
    for (let i = 0; i <= last; i++) t[i * (n + 1)]! -= by;
  };
  if (step % (2 * EXCEPTIONAL_EVERY) !== 0) {
    shiftAll(x);
    const size = Math.abs(t[end - 1]!) + Math.abs(t[before - 1]!);
    return [0.75 * size, 0.75 * size, -0.4375 * size * size];
  }
  const half = (y - x) / 2;
  const square = half * half + product;
  if (!(square > 0)) return [x, y, product];
  shiftAll(x - product / (half + (y < x ? -1 : 1) * Math.sqrt(square)));
  return [0.964, 0.964, 0.964];
}

/** Makes a bulge by the shift where it may begin, and chases it down. */
function francisStep({ n, t, u }: Work, first: number, last: number, [x, y, product]: Shift): void {
  const at = (i: number, j: number): number => t[i * n + j]!;
  let start = last - 2;
  const v: [number, number, number] = [0, 0, 0];
  for (; ; start--) {
    const own = at(start, start);
    const [r, s] = [x - own, y - own];
    v[0] = (r * s - product) / at(start + 1, start) + at(start, start + 1);
    v[1] = at(start + 1, start + 1) - own - r - s;
    v[2] = at(start + 2, start + 1);
    if (start === first) break;
    const left = at(start, start - 1) * (Math.abs(v[1]) + Math.abs(v[2]));
    const near = Math.abs(at(start - 1, start - 1)) + Math.abs(own) + Math.abs(at(start + 1, start + 1));
    if (Math.abs(left) < Number.EPSILON * v[0] * near) break;
  }
  for (let k = start; k < last; k++) {
    const size = Math.min(3, last - k + 1);
    const given = k === start ? v : Array.from({ length: size }, (_, i) => at(k + i, k - 1));
    const beta = reflectBlock(t, u, n, k, given, Math.min(last, k + 3));
    if (beta === 0) continue;
    if (k > start) t[k * n + k - 1] = beta;
    else if (k > first) t[k * n + k - 1]! *= -1;
  }
  for (let i = start + 2; i <= last; i++) {
    t[i * n + i - 2] = 0;
    if (i > start + 2) t[i * n + i - 3] = 0;
  }
}

/** Reflects rows and columns from k on so that `given` keeps its first element alone, and tells what becomes of that. */
function reflectBlock(
  t: Float64Array,
  u: Float64Array,
  n: number,
  k: number,
  given: readonly number[],
  rowMax: number,
): number {
  const tail = given.slice(1).reduce((sum, x) => sum + x * x, 0);
  const head = given[0]!;
  // Squares below it are too few bits to turn by.
  if (tail <= SMALLEST_NORMAL) return head;
  const beta = head >= 0 ? -Math.sqrt(head * head + tail) : Math.sqrt(head * head + tail);
  const v = given.map((x, i) => (i === 0 ? 1 : x / (head - beta)));
  const tau = (beta - head) / beta;
  const reflect = (data: Float64Array, from: number, count: number, step: number, apart: number): void => {
    for (let c = 0, p = from; c < count; c++, p += step) {
      const sum = tau * v.reduce((total, x, i) => total + x * data[p + i * apart]!, 0);
      for (const [i, x] of v.entries()) data[p + i * apart]! -= sum * x;
    }
  };
  reflect(t, k * (n + 1), n - k, 1, n);
  reflect(t, k, rowMax + 1, n, 1);
  reflect(u, k, n, n, 1);
  return beta;
}

/** Blocks of two become triangular, the eigenvalue with the positive imaginary part first. */
function complexOf(real: Matrix, turns: Matrix): Schur {
  const n = real.rows;
  const [t, u] = [asComplex(real), asComplex(turns)];
  for (let i = 0; i + 1 < n; i++) {
    const below = 2 * ((i + 1) * n + i);
    if (t.at[below] === 0) continue;
    const [own, next] = [i * (n + 1), (i + 1) * (n + 1)];
    const half = (real.at[own]! - real.at[next]!) / 2;
    const im = Math.sqrt(Math.abs(half * half + real.at[own + 1]! * real.at[next - 1]!));
    turnPlane(t, u, i, givens(half, im, real.at[next - 1]!, 0), i, i + 1);
    t.at.set([real.at[next]! + half, im], 2 * own);
    t.at.set([real.at[next]! + half, -im], 2 * next);
    t.at.fill(0, below, below + 2);
    i++;
  }
  return { t, u };
}
