/** Systems with triangular matrices, whole or as bands, with batches that are broadcast. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import {
  addRow,
  adjoint,
  checkSquare,
  copied,
  divideRow,
  matricesOf,
  type Matrix,
  stacked,
  subtractRow,
} from "./matrix.js";

/** Replaces the columns of `b` by the solution of a triangle. */
export function* solveTriangle(a: Matrix, b: Matrix, isLower: boolean, hasUnitDiagonal: boolean): Pieces<void> {
  const n = a.rows;
  for (let step = 0; step < n; step++) {
    yield a.lanes ** 2 * (step + 1) * b.columns;
    const i = isLower ? step : n - 1 - step;
    const [from, to] = isLower ? [0, i] : [i + 1, n];
    for (let j = from; j < to; j++) subtractRow(b, i, b, j, a, i, j);
    if (!hasUnitDiagonal) {
      const k = a.lanes * i * (n + 1);
      divideRow(b, i, a.at[k]!, a.lanes === 2 ? a.at[k + 1]! : 0);
    }
  }
}

/** Number k of a batch that is broadcast, for element `index` of the whole. */
function broadcastIndex(batch: readonly number[], whole: readonly number[], index: number): number {
  let [rest, at, stride] = [index, 0, 1];
  for (let d = 1; d <= whole.length; d++) {
    const position = rest % whole[whole.length - d]!;
    rest = Math.floor(rest / whole[whole.length - d]!);
    const own = batch[batch.length - d] ?? 1;
    if (own !== 1) at += position * stride;
    stride *= own;
  }
  return at;
}

function broadcastBatch(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    check(
      x === y || x === 1 || y === 1,
      () => `In[0] and In[1] have different batch dimensions: ${printShape(a)} and ${printShape(b)}`,
    );
    return x === 1 ? y : x;
  });
}

function* triangularSolve(op: OpCall): Pieces<Tensor[]> {
  checkSquare(op);
  const [isLower, isAdjoint] = [op.attrs.bool("lower"), op.attrs.bool("adjoint")];
  return yield* solveBroadcast(op, function* (given, x) {
    yield* solveTriangle(isAdjoint ? adjoint(given) : given, x, isAdjoint !== isLower, false);
  });
}

/** Replaces `x`, the right-hand sides of each matrix, by the solution; batches are broadcast. */
function* solveBroadcast(op: OpCall, solveOne: (given: Matrix, x: Matrix) => Pieces<void>): Pieces<Tensor[]> {
  const [left, right] = [matricesOf(op, 0), matricesOf(op, 1)];
  const [a, b] = [op.tensor(0).shape, op.tensor(1).shape];
  check(
    a.at(-1) === b.at(-2),
    () => `In[0] mismatch In[1] shape: ${a.at(-1)} vs. ${b.at(-2)}: ${printShape(a)} ${printShape(b)}`,
  );
  const batch = broadcastBatch(left.batch, right.batch);
  checkedCount("float64", [...batch, ...b.slice(-2)]);
  const parts = yield* each(elementCount(batch), function* (k) {
    const given = left.matrices[broadcastIndex(left.batch, batch, k)]!;
    const x = copied(right.matrices[broadcastIndex(right.batch, batch, k)]!);
    yield* solveOne(given, x);
    return x.at;
  });
  return [stacked(op.tensor(0).dtype, batch, b.slice(-2), parts)];
}

/** One triangle in bands: element (i, j) stands in column i, in band |i - j| from the diagonal's, the first of a lower triangle and the last of an upper. */
class Bands {
  readonly #isLower: boolean;
  readonly bands: Matrix;

  constructor(bands: Matrix, isLower: boolean) {
    this.bands = bands;
    this.#isLower = isLower;
  }

  /** Where an element begins. */
  at(i: number, j: number): number {
    const { rows, columns, lanes } = this.bands;
    const band = this.#isLower ? i - j : rows - 1 - (j - i);
    return lanes * (band * columns + i);
  }

  hasZeroOnDiagonal(): boolean {
    const { columns, lanes, at } = this.bands;
    return Array.from({ length: columns }, (_, i) => this.at(i, i)).some(
      (k) => at[k] === 0 && (lanes === 1 || at[k + 1] === 0),
    );
  }
}

/** Replaces the columns of `x` by the solution of a triangle, or of its adjoint. */
function* solveBands(triangle: Bands, x: Matrix, isDown: boolean, isAdjoint: boolean): Pieces<void> {
  const { rows: count, columns: n, lanes, at } = triangle.bands;
  for (let step = 0; step < n; step++) {
    yield lanes ** 2 * count * x.columns;
    const i = isDown ? step : n - 1 - step;
    for (let distance = Math.min(count - 1, step); distance >= 0; distance--) {
      const j = isDown ? i - distance : i + distance;
      const k = isAdjoint ? triangle.at(j, i) : triangle.at(i, j);
      const im = lanes === 1 ? 0 : isAdjoint ? -at[k + 1]! : at[k + 1]!;
      if (distance > 0) addRow(x, i, x, j, -at[k]!, -im);
      else divideRow(x, i, at[k]!, im);
    }
  }
}

function* bandedTriangularSolve(op: OpCall): Pieces<Tensor[]> {
  for (const i of [0, 1]) {
    check(elementCount(op.tensor(i).shape) > 0, () => `In[${i}] must not be an empty tensor`);
  }
  const [isLower, isAdjoint] = [op.attrs.bool("lower"), op.attrs.bool("adjoint")];
  let isFirst = true;
  return yield* solveBroadcast(op, function* (bands, x) {
    const triangle = new Bands(bands, isLower);
    // TensorFlow looks at the first matrix of a batch alone.
    if (isFirst && triangle.hasZeroOnDiagonal()) throw invalid("Input matrix is not invertible.");
    isFirst = false;
    yield* solveBands(triangle, x, isAdjoint !== isLower, isAdjoint);
  });
}

export const TRIANGLE_KERNELS: Readonly<Record<string, Kernel>> = {
  MatrixTriangularSolve: inTurns(triangularSolve),
  BatchMatrixTriangularSolve: inTurns(triangularSolve),
  BandedTriangularSolve: inTurns(bandedTriangularSolve),
};
