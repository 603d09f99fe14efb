/** Eigenvalues and eigenvectors of batches of small square matrices of any kind. */
import type { Tensor } from "@shardserve/tensor";
import { invalid } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import { divide } from "../complex/complex-math.js";
import { eigenTensors } from "./eigen-tensors.js";
import {
  checkSquare,
  isFiniteMatrix,
  magnitude,
  matricesOf,
  type Matrix,
  matrix,
  scaled,
  scaleOf,
  SMALLEST_NORMAL,
  times,
} from "./matrix.js";
import { realSchurOf } from "./real-schur.js";
import { schurOf } from "./schur.js";

/** Values by their magnitude, or of real matrices as the steps find them, and the vectors as columns. */
interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

function* eigenOf(a: Matrix): Pieces<Eigen> {
  const n = a.rows;
  const isReal = a.lanes === 1;
  const scale = scaleOf(a);
  const near1 = scaled(a, 1 / scale);
  const schur = isFiniteMatrix(a) ? yield* isReal ? realSchurOf(near1) : schurOf(near1) : undefined;
  if (!schur) throw invalid("Eigen decomposition was not successful. The input might not be valid.");
  const { t, u } = schur;
  const vectors = yield* times(u, yield* trianglesVectors(t));
  const order = isReal ? [...Array(n).keys()] : byMagnitude(t);
  const out: Eigen = { values: new Float64Array(2 * n), vectors: new Float64Array(2 * n * n) };
  for (const [j, from] of order.entries()) {
    for (let lane = 0; lane < 2; lane++) out.values[2 * j + lane] = scale * t.at[2 * from * (n + 1) + lane]!;
    let square = 0;
    for (let i = 0; i < n; i++) square += magnitude(vectors, i, from) ** 2;
    for (let i = 0; i < n; i++) {
      const k = 2 * (i * n + from);
      for (let lane = 0; lane < 2; lane++)
        out.vectors[2 * (i * n + j) + lane] = vectors.at[k + lane]! / Math.sqrt(square);
    }
  }
  return out;
}

/** The eigenvectors of an upper triangle as columns, with 1 on the diagonal. */
function* trianglesVectors(t: Matrix): Pieces<Matrix> {
  const n = t.rows;
  const out = matrix(n, n, 2);
  const length = Math.max(Math.sqrt(t.at.reduce((sum, x) => sum + x * x, 0)), SMALLEST_NORMAL);
  for (let k = n - 1; k >= 0; k--) {
    yield 2 * k * k;
    out.at[2 * k * (n + 1)] = 1;
    for (let i = k - 1; i >= 0; i--) {
      let [re, im] = [0, 0];
      for (let j = i + 1; j <= k; j++) {
        const [p, q] = [2 * (i * n + j), 2 * (j * n + k)];
        re -= t.at[p]! * out.at[q]! - t.at[p + 1]! * out.at[q + 1]!;
        im -= t.at[p]! * out.at[q + 1]! + t.at[p + 1]! * out.at[q]!;
      }
      const [own, other] = [2 * i * (n + 1), 2 * k * (n + 1)];
      const [c, d] = [t.at[own]! - t.at[other]!, t.at[own + 1]! - t.at[other + 1]!];
      // Values that come twice are held a rounding apart.
      const least = Number.EPSILON * length;
      if (Math.abs(c) + Math.abs(d) < least) divide(re, im, least, 0, out.at, 2 * (i * n + k));
      else divide(re, im, c, d, out.at, 2 * (i * n + k));
    }
  }
  return out;
}

/** Positions on the diagonal, by selection as Eigen sorts: it shows where magnitudes are equal. */
function byMagnitude(t: Matrix): number[] {
  const order = Array.from({ length: t.rows }, (_, i) => i);
  for (let i = 0; i < order.length; i++) {
    let least = i;
    for (let k = i + 1; k < order.length; k++) {
      if (magnitude(t, order[k]!, order[k]!) < magnitude(t, order[least]!, order[least]!)) least = k;
    }
    [order[i], order[least]] = [order[least]!, order[i]!];
  }
  return order;
}

function* eig(op: OpCall): Pieces<Tensor[]> {
  const { batch, matrices } = matricesOf(op, 0);
  checkSquare(op);
  const parts = yield* each(matrices.length, (k) => eigenOf(matrices[k]!));
  const values = parts.map((part) => part.values);
  return eigenTensors(op, op.attrs.dtype("Tout"), batch, values, () => parts.map(({ vectors }) => vectors));
}

export const EIG_KERNELS: Readonly<Record<string, Kernel>> = { Eig: inTurns(eig) };
