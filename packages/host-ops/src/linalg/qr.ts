/** Q and R of batches of small matrices, by reflections. */
import type { Tensor } from "@shardserve/tensor";
import type { Kernel, OpCall } from "../call/op-call.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import { addRow, copied, matricesOf, type Matrix, matrix, SMALLEST_NORMAL, stacked } from "./matrix.js";

/** A vector whose elements before `start` are 0, and the factor of the reflection 1 - tau v v' by it. */
interface Reflection {
  readonly v: Float64Array;
  readonly start: number;
  readonly tau: readonly [re: number, im: number];
  /** What becomes of the vector's first element; the others become 0. */
  readonly beta: number;
}

/**
 * Householder's reflection that leaves of column j, from row `start` on, the first element alone, and makes it real: with the signs
 * that Eigen has, and so TensorFlow. Undefined where it is so already.
 */
export function reflectionOf(a: Matrix, start: number, j: number): Reflection | undefined {
  const { rows, columns, lanes, at } = a;
  let tail = 0;
  for (let i = start + 1; i < rows; i++) {
    for (let k = lanes * (i * columns + j), p = 0; p < lanes; p++) tail += at[k + p]! ** 2;
  }
  const head = lanes * (start * columns + j);
  const [re, im] = [at[head]!, lanes === 2 ? at[head + 1]! : 0];
  if (tail <= SMALLEST_NORMAL && im * im <= SMALLEST_NORMAL) return undefined;
  const size = Math.sqrt(re * re + im * im + tail);
  const beta = re >= 0 ? -size : size;
  const v = new Float64Array(rows * lanes);
  const [x, y] = [re - beta, im];
  const norm = x * x + y * y;
  v[lanes * start] = 1;
  for (let i = start + 1; i < rows; i++) {
    const k = lanes * (i * columns + j);
    if (lanes === 1) {
      v[i] = at[k]! / x;
    } else {
      v[2 * i] = (at[k]! * x + at[k + 1]! * y) / norm;
      v[2 * i + 1] = (at[k + 1]! * x - at[k]! * y) / norm;
    }
  }
  return { v, start, tau: [(beta - re) / beta, im / beta], beta };
}

/** (1 - tau v v') a */
export function* reflect(a: Matrix, { v, start, tau: [re, im] }: Reflection): Pieces<void> {
  const { rows, columns, lanes } = a;
  const sums = matrix(1, columns, lanes);
  const at = (i: number, p: number): number => (p < lanes ? v[lanes * i + p]! : 0);
  for (let i = start; i < rows; i++) addRow(sums, 0, a, i, at(i, 0), -at(i, 1));
  yield lanes ** 2 * (rows - start) * columns;
  for (let i = start; i < rows; i++) {
    const [x, y] = [at(i, 0), at(i, 1)];
    addRow(a, i, sums, 0, im * y - re * x, -(re * y + im * x));
  }
  yield lanes ** 2 * (rows - start) * columns;
}

/** The first `width` columns of Q, and R (rows x columns). */
function* qrOf(a: Matrix, width: number): Pieces<{ q: Matrix; r: Matrix }> {
  const r = copied(a);
  const reflections: Reflection[] = [];
  for (let k = 0; k < Math.min(a.rows, a.columns); k++) {
    const reflection = reflectionOf(r, k, k);
    if (!reflection) continue;
    yield* reflect(r, reflection);
    reflections.push(reflection);
  }
  const q = matrix(a.rows, width, a.lanes);
  for (let i = 0; i < width; i++) q.at[a.lanes * i * (width + 1)] = 1;
  // Q is the product of the adjoint reflections: of the columns that are asked for, the last comes first.
  for (const { tau, ...reflection } of reflections.reverse()) {
    yield* reflect(q, { ...reflection, tau: [tau[0], -tau[1]] });
  }
  return { q, r };
}

/** The first `rows` rows of a matrix, with zeros below the diagonal. */
function upper(a: Matrix, rows: number): Float64Array {
  const { columns, lanes, at } = a;
  const out = new Float64Array(rows * columns * lanes);
  for (let i = 0; i < rows; i++) {
    const start = Math.min(i, columns);
    out.set(at.subarray(lanes * (i * columns + start), lanes * (i + 1) * columns), lanes * (i * columns + start));
  }
  return out;
}

function* qr(op: OpCall): Pieces<Tensor[]> {
  const { batch, matrices } = matricesOf(op, 0);
  const { dtype, shape } = op.tensor(0);
  const [m, n] = shape.slice(-2) as [number, number];
  const inner = op.attrs.bool("full_matrices") ? m : Math.min(m, n);
  const factors = yield* each(matrices.length, (k) => qrOf(matrices[k]!, inner));
  return [
    stacked(
      dtype,
      batch,
      [m, inner],
      factors.map(({ q }) => q.at),
    ),
    stacked(
      dtype,
      batch,
      [inner, n],
      factors.map(({ r }) => upper(r, inner)),
    ),
  ];
}

export const QR_KERNELS: Readonly<Record<string, Kernel>> = { Qr: inTurns(qr) };
