/** Orthogonal factors of batches of small matrices: QR by reflections, eigenvectors and singular vectors by rotations. */
import type { Tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import { matricesOf, type Matrix, matrix, stacked, transposed } from "./matrix-solve.js";

/** Q (rows x rows) and R (rows x columns), with the signs of Householder's reflections, which Eigen and so TensorFlow have. */
function* qrOf(a: Matrix): Pieces<{ q: Matrix; r: Matrix }> {
  const { rows: m, columns: n } = a;
  const r = { ...a, at: a.at.slice() };
  const q = matrix(m, m);
  for (let i = 0; i < m; i++) q.at[i * m + i] = 1;
  const v = new Float64Array(m);
  for (let k = 0; k < Math.min(m - 1, n); k++) {
    let tail = 0;
    for (let i = k + 1; i < m; i++) tail += r.at[i * n + k]! ** 2;
    const head = r.at[k * n + k]!;
    if (tail === 0) continue;
    const beta = head >= 0 ? -Math.hypot(head, Math.sqrt(tail)) : Math.hypot(head, Math.sqrt(tail));
    v[k] = 1;
    for (let i = k + 1; i < m; i++) v[i] = r.at[i * n + k]! / (head - beta);
    yield* reflect(r, v, k, (beta - head) / beta);
    yield* reflect(q, v, k, (beta - head) / beta);
  }
  // Reflections of the identity in this order make Q transposed.
  return { q: transposed(q), r };
}

/** a - tau v (v' a), of the rows from k on. */
function* reflect({ rows, columns, at }: Matrix, v: Float64Array, k: number, tau: number): Pieces<void> {
  const sums = new Float64Array(columns);
  for (let i = k; i < rows; i++) {
    for (let j = 0; j < columns; j++) sums[j]! += v[i]! * at[i * columns + j]!;
  }
  yield (rows - k) * columns;
  for (let j = 0; j < columns; j++) sums[j]! *= tau;
  for (let i = k; i < rows; i++) {
    for (let j = 0; j < columns; j++) at[i * columns + j]! -= sums[j]! * v[i]!;
  }
  yield (rows - k) * columns;
}

/** The first `rows` x `columns` of a matrix; `isUpper`: zeros below the diagonal. */
function corner(a: Matrix, rows: number, columns: number, isUpper = false): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = isUpper ? i : 0; j < columns; j++) out[i * columns + j] = a.at[i * a.columns + j]!;
  }
  return out;
}

function* qr(op: OpCall): Pieces<Tensor[]> {
  const { batch, matrices } = matricesOf(op, 0);
  const { dtype, shape } = op.tensor(0);
  const [m, n] = shape.slice(-2) as [number, number];
  const inner = op.attrs.bool("full_matrices") ? m : Math.min(m, n);
  const factors = yield* each(matrices.length, (k) => qrOf(matrices[k]!));
  return [
    stacked(
      dtype,
      batch,
      [m, inner],
      factors.map(({ q }) => corner(q, m, inner)),
    ),
    stacked(
      dtype,
      batch,
      [inner, n],
      factors.map(({ r }) => corner(r, inner, n, true)),
    ),
  ];
}

/** Rounds of rotations: each makes what is off the diagonal quadratically smaller. */
const SWEEPS_MAX = 60;

/** Multiplications of one rotation, by the element of a column. */
const ROTATION_WORK = 12;

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

/** Euclid's, of elements up to 1: nothing overflows, and what vanishes is noise. (Math.hypot takes no more arguments than the stack has room for.) */
function lengthOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return Math.sqrt(sum);
}

/** The largest magnitude, 1 where all is 0: divided by it, squares neither overflow nor vanish. */
function scaleOf({ at }: Matrix): number {
  return at.reduce((most, x) => Math.max(most, Math.abs(x)), 0) || 1;
}

/** Hestenes's: rotates pairs of columns until all are orthogonal. */
function* singularOf(a: Matrix): Pieces<Singular> {
  // Columns as rows, to walk memory in order.
  const work = transposed(a);
  const scale = scaleOf(a);
  for (let i = 0; i < work.at.length; i++) work.at[i]! /= scale;
  const { rows: n, columns: m } = work;
  // Columns this short are what rounding left of a matrix that has not full rank; they have no direction.
  const noise = NOISE * lengthOf(work.at);
  const right = matrix(n, n);
  for (let i = 0; i < n; i++) right.at[i * n + i] = 1;
  for (let sweep = 0, isDone = false; !isDone; sweep++) {
    if (sweep === SWEEPS_MAX) throw invalid("the singular values do not converge: is the matrix finite?");
    isDone = true;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        yield ROTATION_WORK * m;
        let [pp, qq, pq] = [0, 0, 0];
        for (let i = 0; i < m; i++) {
          const [x, y] = [work.at[p * m + i]!, work.at[q * m + i]!];
          pp += x * x;
          qq += y * y;
          pq += x * y;
        }
        if (Math.min(pp, qq) <= noise * noise || !(Math.abs(pq) > 1e-15 * Math.sqrt(pp * qq))) continue;
        isDone = false;
        const zeta = (qq - pp) / (2 * pq);
        const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cos = 1 / Math.sqrt(1 + t * t);
        rotate(work, p, q, cos, cos * t);
        rotate(right, p, q, cos, cos * t);
      }
    }
  }
  const values = Float64Array.from({ length: n }, (_, k) => lengthOf(work.at.subarray(k * m, (k + 1) * m)));
  const order = Array.from(values.keys()).sort((i, j) => values[j]! - values[i]!);
  return { scaled: work, right, values, order, noise, scale };
}

function rotate({ columns, at }: Matrix, p: number, q: number, cos: number, sin: number): void {
  for (let i = 0; i < columns; i++) {
    const [x, y] = [at[p * columns + i]!, at[q * columns + i]!];
    at[p * columns + i] = cos * x - sin * y;
    at[q * columns + i] = sin * x + cos * y;
  }
}

/** Columns that continue the orthonormal ones of `basis` (as rows) to `count`. */
function* completed(basis: Float64Array[], length: number, count: number): Pieces<Float64Array[]> {
  for (let axis = 0; basis.length < count && axis < length; axis++) {
    const next = new Float64Array(length);
    next[axis] = 1;
    // Twice, against rounding.
    for (const other of [...basis, ...basis]) {
      yield 2 * length;
      const dot = next.reduce((sum, x, i) => sum + x * other[i]!, 0);
      for (let i = 0; i < length; i++) next[i]! -= dot * other[i]!;
    }
    const norm = lengthOf(next);
    if (norm > 1e-3) basis.push(next.map((x) => x / norm));
  }
  return basis;
}

/** Vectors as the columns of a matrix. */
function asColumns(vectors: readonly Float64Array[], length: number): Float64Array {
  const out = new Float64Array(length * vectors.length);
  for (const [j, vector] of vectors.entries()) {
    for (let i = 0; i < length; i++) out[i * vectors.length + j] = vector[i]!;
  }
  return out;
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
    if (!a.at.every(Number.isFinite)) {
      parts.push(notNumbers(m, n, full));
      continue;
    }
    const isTall = m >= n;
    const { scaled, right, values, order, noise, scale } = yield* singularOf(isTall ? a : transposed(a));
    const sorted = Float64Array.from(order.slice(0, least), (k) => values[k]!);
    const rightVectors = order.map((k) => right.at.slice(k * least, (k + 1) * least));
    const long = Math.max(m, n);
    const kept = order.filter((k) => values[k]! > noise);
    const found = kept.map((k) => scaled.at.slice(k * long, (k + 1) * long).map((x) => x / values[k]!));
    const leftVectors = yield* completed(found, long, full ? long : least);
    const [u, v] = isTall ? [leftVectors, rightVectors] : [rightVectors, leftVectors];
    parts.push({ values: sorted.map((value) => value * scale), u: asColumns(u, m), v: asColumns(v, n) });
  }
  const values = stacked(
    dtype,
    batch,
    [least],
    parts.map((part) => part.values),
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

function notNumbers(m: number, n: number, full: boolean): SvdParts {
  const least = Math.min(m, n);
  const nan = (count: number): Float64Array => new Float64Array(count).fill(Number.NaN);
  return { values: nan(least), u: nan(m * (full ? m : least)), v: nan(n * (full ? n : least)) };
}

/** Values ascending, and the vector of each. */
interface Eigen {
  readonly values: Float64Array;
  readonly vectors: readonly Float64Array[];
}

/** Jacobi's: rotates rows and columns of a symmetric matrix until it is diagonal; reads the lower triangle. */
function* eigenOf(a: Matrix): Pieces<Eigen> {
  const n = a.rows;
  const s = matrix(n, n);
  const scale = scaleOf(a);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) s.at[i * n + j] = s.at[j * n + i] = a.at[i * n + j]! / scale;
  const vectors = matrix(n, n);
  for (let i = 0; i < n; i++) vectors.at[i * n + i] = 1;
  const size = lengthOf(s.at);
  for (let sweep = 0; ; sweep++) {
    let off = 0;
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) off += s.at[i * n + j]! ** 2;
    if (!(Math.sqrt(off) > 1e-16 * n * size)) break;
    if (sweep === SWEEPS_MAX) {
      throw invalid("Self-adjoint eigen decomposition was not successful. The input might not be valid.");
    }
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        yield ROTATION_WORK * n;
        const pq = s.at[p * n + q]!;
        if (pq === 0) continue;
        const theta = (s.at[q * n + q]! - s.at[p * n + p]!) / (2 * pq);
        const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const cos = 1 / Math.sqrt(t * t + 1);
        rotate(s, p, q, cos, cos * t);
        rotateColumns(s, p, q, cos, cos * t);
        s.at[p * n + q] = s.at[q * n + p] = 0;
        rotate(vectors, p, q, cos, cos * t);
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => s.at[i * n + i]! - s.at[j * n + j]!);
  return {
    values: Float64Array.from(order, (i) => s.at[i * n + i]! * scale),
    vectors: order.map((i) => vectors.at.slice(i * n, (i + 1) * n)),
  };
}

function rotateColumns({ rows, columns, at }: Matrix, p: number, q: number, cos: number, sin: number): void {
  for (let i = 0; i < rows; i++) {
    const [x, y] = [at[i * columns + p]!, at[i * columns + q]!];
    at[i * columns + p] = cos * x - sin * y;
    at[i * columns + q] = sin * x + cos * y;
  }
}

/** Eigenvalues ascending; vectors up to their sign, as singular ones. */
function* selfAdjointEig(op: OpCall): Pieces<Tensor[]> {
  const { dtype, shape } = op.tensor(0);
  const n = shape.at(-1)!;
  const { batch, matrices } = matricesOf(op, 0);
  check(shape.at(-2) === n, () => `Input matrix must be square, got ${printShape(shape)}`);
  const parts: Eigen[] = [];
  for (const a of matrices) {
    if (!a.at.every(Number.isFinite)) {
      throw invalid("Self-adjoint eigen decomposition was not successful. The input might not be valid.");
    }
    parts.push(yield* eigenOf(a));
  }
  const values = stacked(
    dtype,
    batch,
    [n],
    parts.map((part) => part.values),
  );
  if (!op.attrs.bool("compute_v")) return [values, zeroTensor(dtype, [])];
  return [
    values,
    stacked(
      dtype,
      batch,
      [n, n],
      parts.map(({ vectors }) => asColumns(vectors, n)),
    ),
  ];
}

export const MATRIX_FACTOR_KERNELS: Readonly<Record<string, Kernel>> = {
  Qr: inTurns(qr),
  Svd: inTurns(svd),
  SelfAdjointEigV2: inTurns(selfAdjointEig),
};
