/** Matrices of real or complex numbers in double precision, and what can be done with whole rows of them. */
import { type DType, elementCount, lanesPerElement, type Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { allocate, checkedCount, checkOutput } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { OpCall } from "../call/op-call.js";
import type { Pieces } from "../call/turns.js";
import { divide } from "../complex/complex-math.js";

/** Numbers of one element: itself, or its real and its imaginary part. */
export type Lanes = 1 | 2;

/** A matrix, row-major: element (i, j) begins at `lanes * (i * columns + j)`. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly lanes: Lanes;
  readonly at: Float64Array;
}

/**
 * Zeros.
 *
 * @throws ServingError RESOURCE_EXHAUSTED for more than an output may take
 */
export function matrix(rows: number, columns: number, lanes: Lanes): Matrix {
  return { rows, columns, lanes, at: allocate("float64", rows * columns * lanes) };
}

export function identity(n: number, lanes: Lanes): Matrix {
  const out = matrix(n, n, lanes);
  for (let i = 0; i < n; i++) out.at[lanes * i * (n + 1)] = 1;
  return out;
}

export function copied(a: Matrix): Matrix {
  return { ...a, at: a.at.slice() };
}

/** The same numbers as complex ones. */
export function asComplex(a: Matrix): Matrix {
  if (a.lanes === 2) return copied(a);
  const out = matrix(a.rows, a.columns, 2);
  for (let i = 0; i < a.at.length; i++) out.at[2 * i] = a.at[i]!;
  return out;
}

export function scaled(a: Matrix, factor: number): Matrix {
  return { ...a, at: a.at.map((x) => x * factor) };
}

export const SMALLEST_NORMAL = 2 ** -1022;

/** The largest magnitude, 1 where all is 0: divided by it, squares neither overflow nor vanish. */
export function scaleOf({ at }: Matrix): number {
  const most = at.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  return most === 0 ? 1 : Math.max(most, SMALLEST_NORMAL);
}

/** @param sign  of the imaginary parts: -1 makes the adjoint */
function turned({ rows, columns, lanes, at }: Matrix, sign: 1 | -1): Matrix {
  const out = matrix(columns, rows, lanes);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const [from, to] = [lanes * (i * columns + j), lanes * (j * rows + i)];
      out.at[to] = at[from]!;
      if (lanes === 2) out.at[to + 1] = sign * at[from + 1]!;
    }
  }
  return out;
}

export function transposed(a: Matrix): Matrix {
  return turned(a, 1);
}

/** Transposed, of conjugate numbers. */
export function adjoint(a: Matrix): Matrix {
  return turned(a, -1);
}

/** The magnitude of an element. */
export function magnitude({ columns, lanes, at }: Matrix, i: number, j: number): number {
  const k = lanes * (i * columns + j);
  return lanes === 1 ? Math.abs(at[k]!) : Math.hypot(at[k]!, at[k + 1]!);
}

export function isFiniteMatrix({ at }: Matrix): boolean {
  return at.every(Number.isFinite);
}

export function swapRows({ columns, lanes, at }: Matrix, i: number, k: number): void {
  const width = columns * lanes;
  const kept = at.slice(i * width, (i + 1) * width);
  at.copyWithin(i * width, k * width, (k + 1) * width);
  at.set(kept, k * width);
}

/** Adds re + im i times row k of `from` to row i of `to`, from column `start` on. */
export function addRow(to: Matrix, i: number, from: Matrix, k: number, re: number, im: number, start = 0): void {
  const { columns, lanes, at } = to;
  const source = from.at;
  const end = lanes * (i + 1) * columns;
  const shift = lanes * (k - i) * columns;
  if (lanes === 1) {
    for (let p = i * columns + start; p < end; p++) at[p]! += re * source[p + shift]!;
    return;
  }
  for (let p = 2 * (i * columns + start); p < end; p += 2) {
    const [x, y] = [source[p + shift]!, source[p + shift + 1]!];
    at[p]! += re * x - im * y;
    at[p + 1]! += re * y + im * x;
  }
}

/** The latest of {@link conjugateDot}: none allocates. */
export const dot = { re: 0, im: 0 };

/** The sum of the conjugates of row i of `a` times row k of `b`, of the first `count` columns, into {@link dot}. */
export function conjugateDot(a: Matrix, i: number, b: Matrix, k: number, count: number): void {
  const { lanes } = a;
  const [p, q] = [lanes * i * a.columns, lanes * k * b.columns];
  let [re, im] = [0, 0];
  if (lanes === 1) {
    for (let t = 0; t < count; t++) re += a.at[p + t]! * b.at[q + t]!;
  } else {
    for (let t = 0; t < 2 * count; t += 2) {
      const [c, d, e, f] = [a.at[p + t]!, a.at[p + t + 1]!, b.at[q + t]!, b.at[q + t + 1]!];
      re += c * e + d * f;
      im += c * f - d * e;
    }
  }
  dot.re = re;
  dot.im = im;
}

/** Divides an element by one of another matrix, or of the same. */
export function divideAt(a: Matrix, i: number, j: number, b: Matrix, k: number, l: number): void {
  const { lanes, at } = a;
  const [p, q] = [lanes * (i * a.columns + j), lanes * (k * b.columns + l)];
  if (lanes === 1) at[p]! /= b.at[q]!;
  else divide(at[p]!, at[p + 1]!, b.at[q]!, b.at[q + 1]!, at, p);
}

/** Divides row i by re + im i. */
export function divideRow({ columns, lanes, at }: Matrix, i: number, re: number, im: number): void {
  const [start, end] = [lanes * i * columns, lanes * (i + 1) * columns];
  if (lanes === 1) for (let p = start; p < end; p++) at[p]! /= re;
  else for (let p = start; p < end; p += 2) divide(at[p]!, at[p + 1]!, re, im, at, p);
}

/** Row i of `to`, from column `start` on, less row k of `from` times element (r, s) of `factors`. */
export function subtractRow(
  to: Matrix,
  i: number,
  from: Matrix,
  k: number,
  factors: Matrix,
  r: number,
  s: number,
  start = 0,
): void {
  const p = factors.lanes * (r * factors.columns + s);
  addRow(to, i, from, k, -factors.at[p]!, factors.lanes === 2 ? -factors.at[p + 1]! : 0, start);
}

export function* times(a: Matrix, b: Matrix): Pieces<Matrix> {
  const { lanes } = a;
  const out = matrix(a.rows, b.columns, lanes);
  for (let i = 0; i < a.rows; i++) {
    yield lanes ** 2 * a.columns * b.columns;
    for (let k = 0; k < a.columns; k++) {
      const p = lanes * (i * a.columns + k);
      addRow(out, i, b, k, a.at[p]!, lanes === 2 ? a.at[p + 1]! : 0);
    }
  }
  return out;
}

/** What a matrix takes beside its elements; a batch of empty ones has as many as the request says. */
const BYTES_PER_MATRIX = 256;

/**
 * Input i as matrices, and the dimensions of the batch.
 *
 * @throws ServingError INVALID_ARGUMENT for a rank below 2, RESOURCE_EXHAUSTED for more matrices than memory is for
 */
export function matricesOf(op: OpCall, i: number): { batch: readonly number[]; matrices: Matrix[] } {
  const input = op.tensor(i);
  const rank = input.shape.length;
  check(rank >= 2, () => `Input tensor ${i} must have rank >= 2, got ${rank}`);
  const [rows, columns] = input.shape.slice(-2) as [number, number];
  const numbers = numbersOf(input);
  const lanes = lanesPerElement(input.dtype) as Lanes;
  const size = rows * columns * lanes;
  const count = elementCount(input.shape.slice(0, -2));
  checkOutput("float64", size * count, BYTES_PER_MATRIX * count);
  const matrices = Array.from({ length: count }, (_, k) => ({
    rows,
    columns,
    lanes,
    at: new Float64Array(numbers.subarray(k * size, (k + 1) * size)),
  }));
  return { batch: input.shape.slice(0, -2), matrices };
}

/** Equal matrices of a batch as one tensor; parts of complex numbers are pairs. */
export function stacked(
  dtype: DType,
  batch: readonly number[],
  inner: readonly number[],
  parts: readonly Float64Array[],
): Tensor {
  const shape = [...batch, ...inner];
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const size = elementCount(inner) * lanesPerElement(dtype);
  for (const [k, part] of parts.entries()) out.set(part, k * size);
  return numbersTensor(dtype, shape, out);
}

export function checkSquare(op: OpCall, i = 0): void {
  const { shape } = op.tensor(i);
  const [rows, columns] = shape.slice(-2);
  check(shape.length >= 2 && rows === columns, () => `Input matrix must be square, got ${printShape(shape)}`);
}
