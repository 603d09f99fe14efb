/** What decompositions by rotations have in common. */
import { divideRow, type Lanes, type Matrix, matrix } from "./matrix.js";

/** Rounds of rotations: each makes what is off the diagonal quadratically smaller. */
export const SWEEPS_MAX = 60;

/** Multiplications of one rotation, by the element of a column. */
export const ROTATION_WORK = 12;

/** Euclid's, of elements up to 1: nothing overflows, and what vanishes is noise. (Math.hypot takes no more arguments than the stack has room for.) */
export function lengthOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return Math.sqrt(sum);
}

/**
 * Cosine and sine of the rotation of a pair, behind a turn of its second vector by (re, im), by which the product of the two is
 * real: 1, where the matrix is.
 */
export interface Rotation {
  readonly cos: number;
  readonly sin: number;
  readonly re: number;
  readonly im: number;
}

/**
 * The smaller rotation that makes a pair orthogonal.
 *
 * @param gap  the second's square less the first's
 * @param re   with `im` the product of the two, which is not 0
 */
export function rotationOf(gap: number, re: number, im: number, lanes: Lanes): Rotation {
  const size = lanes === 1 ? re : Math.hypot(re, im);
  const zeta = gap / (2 * size);
  const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cos = 1 / Math.sqrt(1 + t * t);
  return lanes === 1 ? { cos, sin: cos * t, re: 1, im: 0 } : { cos, sin: cos * t, re: re / size, im: -im / size };
}

/** Rotates two rows. */
export function rotate(a: Matrix, p: number, q: number, rotation: Rotation): void {
  const { columns, lanes } = a;
  rotatePairs(a, lanes * p * columns, lanes * q * columns, columns, lanes, rotation);
}

/** Rotates `count` elements from `p` on against those from `q` on, `step` apart. */
export function rotatePairs(
  { lanes, at }: Matrix,
  p: number,
  q: number,
  count: number,
  step: number,
  { cos, sin, re, im }: Rotation,
): void {
  if (lanes === 2) return rotateComplex(at, p, q, count, step, cos, sin, re, im);
  for (let i = 0; i < count; i++) {
    const x = at[p]!;
    const y = at[q]!;
    at[p] = cos * x - sin * y;
    at[q] = sin * x + cos * y;
    p += step;
    q += step;
  }
}

function rotateComplex(
  at: Float64Array,
  p: number,
  q: number,
  count: number,
  step: number,
  cos: number,
  sin: number,
  re: number,
  im: number,
): void {
  for (let i = 0; i < count; i++) {
    const [x, w] = [at[p]!, at[p + 1]!];
    const [y, z] = [re * at[q]! - im * at[q + 1]!, re * at[q + 1]! + im * at[q]!];
    at[p] = cos * x - sin * y;
    at[p + 1] = cos * w - sin * z;
    at[q] = sin * x + cos * y;
    at[q + 1] = sin * w + cos * z;
    p += step;
    q += step;
  }
}

/** The given rows of a matrix, divided by `lengths` where they are told, in a matrix of `count` rows. */
export function picked(a: Matrix, rows: readonly number[], count: number, lengths?: Float64Array): Matrix {
  const out = matrix(count, a.columns, a.lanes);
  const width = a.columns * a.lanes;
  for (const [i, row] of rows.entries()) {
    out.at.set(a.at.subarray(row * width, (row + 1) * width), i * width);
    if (lengths) divideRow(out, i, lengths[row]!, 0);
  }
  return out;
}

/** Real values as elements of a matrix. */
export function widened(values: Float64Array, lanes: Lanes): Float64Array {
  if (lanes === 1) return values;
  const out = new Float64Array(2 * values.length);
  for (let i = 0; i < values.length; i++) out[2 * i] = values[i]!;
  return out;
}
