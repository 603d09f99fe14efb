/** Eigenvalues and eigenvectors of batches of small self-adjoint matrices, by rotations. */
import type { Tensor } from "@shardserve/tensor";
import { invalid } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import { eigenTensors } from "./eigen-tensors.js";
import {
  checkSquare,
  identity,
  isFiniteMatrix,
  matricesOf,
  type Matrix,
  matrix,
  scaleOf,
  stacked,
  transposed,
} from "./matrix.js";
import { lengthOf, picked, rotate, rotatePairs, ROTATION_WORK, rotationOf, SWEEPS_MAX, widened } from "./rotations.js";

/** Values ascending, and the vectors as the rows of a matrix. */
interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Matrix;
}

/** Against a matrix whose largest element is 1; numbers that are not exact any more would make no rotation. */
const NOTHING = 1e-290;

/** Jacobi's: rotates rows and columns of a self-adjoint matrix until it is diagonal; reads the lower triangle. */
function* eigenOf(a: Matrix): Pieces<Eigen> {
  const { rows: n, lanes } = a;
  const s = matrix(n, n, lanes);
  const scale = scaleOf(a);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const [own, other] = [lanes * (i * n + j), lanes * (j * n + i)];
      s.at[own] = s.at[other] = a.at[own]! / scale;
      if (lanes === 1 || i === j) continue;
      s.at[own + 1] = a.at[own + 1]! / scale;
      s.at[other + 1] = -s.at[own + 1]!;
    }
  }
  const vectors = identity(n, lanes);
  const size = lengthOf(s.at);
  for (let sweep = 0; ; sweep++) {
    if (!(offDiagonal(s) > 1e-16 * n * size)) break;
    if (sweep === SWEEPS_MAX) throw invalid(NO_EIGENVALUES);
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        yield ROTATION_WORK * lanes * n;
        const k = lanes * (p * n + q);
        const [re, im] = [s.at[k]!, lanes === 2 ? s.at[k + 1]! : 0];
        if (Math.abs(re) + Math.abs(im) < NOTHING) continue;
        const rotation = rotationOf(s.at[lanes * q * (n + 1)]! - s.at[lanes * p * (n + 1)]!, re, im, lanes);
        rotate(s, p, q, lanes === 1 ? rotation : { ...rotation, im: -rotation.im });
        rotatePairs(s, lanes * p, lanes * q, n, lanes * n, rotation);
        const turned = lanes * (q * n + p);
        for (let lane = 0; lane < lanes; lane++) s.at[k + lane] = s.at[turned + lane] = 0;
        rotate(vectors, p, q, rotation);
      }
    }
  }
  const diagonal = (i: number): number => s.at[lanes * i * (n + 1)]!;
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => diagonal(i) - diagonal(j));
  return { values: Float64Array.from(order, (i) => diagonal(i) * scale), vectors: picked(vectors, order, n) };
}

/** Euclid's length of what is below the diagonal. */
function offDiagonal({ rows: n, lanes, at }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < n; i++) for (let k = lanes * i * n; k < lanes * (i * n + i); k++) sum += at[k]! ** 2;
  return Math.sqrt(sum);
}

const NO_EIGENVALUES = "Self-adjoint eigen decomposition was not successful. The input might not be valid.";

function* eigens(op: OpCall): Pieces<{ batch: readonly number[]; parts: Eigen[] }> {
  const { batch, matrices } = matricesOf(op, 0);
  checkSquare(op);
  const parts = yield* each(matrices.length, (k) => {
    if (!isFiniteMatrix(matrices[k]!)) throw invalid(NO_EIGENVALUES);
    return eigenOf(matrices[k]!);
  });
  return { batch, parts };
}

/** Eigenvalues ascending; vectors up to their sign, as singular ones. */
function* selfAdjointEig(op: OpCall): Pieces<Tensor[]> {
  const { dtype } = op.tensor(0);
  const { batch, parts } = yield* eigens(op);
  const values = parts.map((part) => widened(part.values, part.vectors.lanes));
  return eigenTensors(op, dtype, batch, values, () => parts.map(({ vectors }) => transposed(vectors).at));
}

function joined(a: Float64Array, b: Float64Array): Float64Array {
  const out = new Float64Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

/** The op's first version: one tensor with the values as its first row, and the vectors below. */
function* selfAdjointEigOnce(op: OpCall): Pieces<Tensor[]> {
  const { dtype, shape } = op.tensor(0);
  const n = shape.at(-1)!;
  const { batch, parts } = yield* eigens(op);
  const rows = parts.map(({ values, vectors }) => joined(values, transposed(vectors).at));
  return [stacked(dtype, batch, [n + 1, n], rows)];
}

export const SELF_ADJOINT_KERNELS: Readonly<Record<string, Kernel>> = {
  SelfAdjointEig: inTurns(selfAdjointEigOnce),
  BatchSelfAdjointEig: inTurns(selfAdjointEigOnce),
  SelfAdjointEigV2: inTurns(selfAdjointEig),
  BatchSelfAdjointEigV2: inTurns(selfAdjointEig),
};
