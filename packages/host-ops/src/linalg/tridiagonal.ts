/** Systems with tridiagonal matrices, in double precision. Row i of a matrix is sub[i], main[i], sup[i] about the diagonal. */
import type { Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { each, inTurns, type Pieces } from "../call/turns.js";
import {
  addRow,
  divideAt,
  divideRow,
  type Lanes,
  magnitude,
  matricesOf,
  matrix,
  type Matrix,
  stacked,
  subtractRow,
  swapRows,
} from "./matrix.js";

/** Rows of a system: above the diagonal, on it, below it, and what a swap of rows brings in: the second above. */
const [SUP, MAIN, SUB, FAR] = [0, 1, 2, 3];

/**
 * Eliminates downwards, with the larger of two neighbouring rows as the pivot where asked, and substitutes back. `x` holds the right sides,
 * and NaN in the end where the elimination meets a zero.
 *
 * @param d  4 x n: the diagonals; they are changed
 */
function solve(d: Matrix, x: Matrix, isPivoting: boolean): void {
  const n = d.columns;
  const at = (row: number, i: number): number => d.lanes * (row * n + i);
  const swap = (p: number, q: number): void => {
    for (let lane = 0; lane < d.lanes; lane++) [d.at[p + lane], d.at[q + lane]] = [d.at[q + lane]!, d.at[p + lane]!];
  };
  for (let i = 0; i < n; i++) {
    if (i + 1 < n && isPivoting && magnitude(d, SUB, i + 1) > magnitude(d, MAIN, i)) {
      swap(at(MAIN, i), at(SUB, i + 1));
      swap(at(SUP, i), at(MAIN, i + 1));
      if (i + 2 < n) swap(at(FAR, i), at(SUP, i + 1));
      swapRows(x, i, i + 1);
    }
    if (magnitude(d, MAIN, i) === 0) return void x.at.fill(NaN);
    if (i + 1 === n) break;
    divideAt(d, SUB, i + 1, d, MAIN, i);
    for (const [own, above] of [
      [MAIN, SUP],
      [SUP, FAR],
    ] as const) {
      subtractProduct(d.at, at(own, i + 1), at(SUB, i + 1), at(above, i), d.lanes);
    }
    subtractRow(x, i + 1, x, i, d, SUB, i + 1);
  }
  for (let i = n - 1; i >= 0; i--) {
    if (i + 1 < n) subtractRow(x, i, x, i + 1, d, SUP, i);
    if (i + 2 < n) subtractRow(x, i, x, i + 2, d, FAR, i);
    divideRow(x, i, d.at[at(MAIN, i)]!, d.lanes === 2 ? d.at[at(MAIN, i) + 1]! : 0);
  }
}

/** Takes the product of the elements at `p` and `q` from that at `to`. */
function subtractProduct(values: Float64Array, to: number, p: number, q: number, lanes: Lanes): void {
  if (lanes === 1) {
    values[to]! -= values[p]! * values[q]!;
    return;
  }
  values[to]! -= values[p]! * values[q]! - values[p + 1]! * values[q + 1]!;
  values[to + 1]! -= values[p]! * values[q + 1]! + values[p + 1]! * values[q]!;
}

function* tridiagonalSolve(op: OpCall): Pieces<Tensor[]> {
  const [diagonals, right] = [op.tensor(0), op.tensor(1)];
  const rank = diagonals.shape.length;
  check(rank >= 2, () => `Expected diagonals to have rank at least 2, got ${rank}`);
  check(
    right.shape.length === rank && sameShape(diagonals.shape.slice(0, -2), right.shape.slice(0, -2)),
    () =>
      `Batch shapes of diagonals ${printShape(diagonals.shape)} and rhs ${printShape(right.shape)} are incompatible.`,
  );
  const n = diagonals.shape.at(-1)!;
  check(diagonals.shape.at(-2) === 3, () => `Expected 3 diagonals got ${diagonals.shape.at(-2)}`);
  check(right.shape.at(-2) === n, () => `The length of diagonals must be equal to the rows of rhs: ${n}`);
  const columns = right.shape.at(-1)!;
  const isPivoting = op.attrs.bool("partial_pivoting");
  const [systems, sides] = [matricesOf(op, 0).matrices, matricesOf(op, 1).matrices];
  const parts = yield* each(systems.length, function* (k) {
    const [given, x] = [systems[k]!, sides[k]!];
    const d = matrix(4, n, given.lanes);
    d.at.set(given.at);
    solve(d, x, isPivoting);
    yield d.lanes ** 2 * n * (columns + 1);
    return x.at;
  });
  return [stacked(right.dtype, right.shape.slice(0, -2), [n, columns], parts)];
}

function* tridiagonalMatMul(op: OpCall): Pieces<Tensor[]> {
  const right = op.tensor(3);
  const rank = right.shape.length;
  check(rank >= 2, () => `Input must have rank >= 2, but got ${rank}`);
  const [n, columns] = right.shape.slice(-2) as [number, number];
  const expected = [...right.shape.slice(0, -2), 1, n];
  for (const [i, name] of ["superdiag", "maindiag", "subdiag"].entries()) {
    const { shape } = op.tensor(i);
    check(
      sameShape(shape, expected),
      () => `${name} must have shape ${printShape(expected)}, got ${printShape(shape)}`,
    );
  }
  const [sup, main, sub, x] = [0, 1, 2, 3].map((i) => matricesOf(op, i).matrices);
  const parts = yield* each(x!.length, function* (k) {
    const out = matrix(n, columns, x![k]!.lanes);
    const add = (i: number, factors: Matrix, row: number): void => {
      const p = out.lanes * i;
      addRow(out, i, x![k]!, row, factors.at[p]!, out.lanes === 2 ? factors.at[p + 1]! : 0);
    };
    for (let i = 0; i < n; i++) {
      add(i, main![k]!, i);
      if (i > 0) add(i, sub![k]!, i - 1);
      if (i + 1 < n) add(i, sup![k]!, i + 1);
    }
    yield out.lanes ** 2 * n * columns;
    return out.at;
  });
  return [stacked(right.dtype, right.shape.slice(0, -2), [n, columns], parts)];
}

export const TRIDIAGONAL_KERNELS: Readonly<Record<string, Kernel>> = {
  TridiagonalSolve: inTurns(tridiagonalSolve),
  TridiagonalMatMul: inTurns(tridiagonalMatMul),
};
