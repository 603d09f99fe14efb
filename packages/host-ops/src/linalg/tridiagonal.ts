/** Systems with tridiagonal matrices, in double precision. Row i of a matrix is sub[i], main[i], sup[i] about the diagonal. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, packNumbers } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";

interface Diagonals {
  readonly sup: Float64Array;
  readonly main: Float64Array;
  readonly sub: Float64Array;
}

/**
 * Eliminates downwards, with the larger of two neighbouring rows as the pivot where asked, and substitutes back. `x` holds the right sides,
 * and NaN in the end where the elimination meets a zero.
 */
function solve({ sup, main, sub }: Diagonals, x: Float64Array, columns: number, isPivoting: boolean): void {
  const n = main.length;
  if (n === 0) return;
  // What a swap of rows brings in: the second diagonal above.
  const far = new Float64Array(n);
  for (let i = 0; i + 1 < n; i++) {
    if (isPivoting && Math.abs(sub[i + 1]!) > Math.abs(main[i]!)) {
      [main[i], sub[i + 1]] = [sub[i + 1]!, main[i]!];
      [sup[i], main[i + 1]] = [main[i + 1]!, sup[i]!];
      if (i + 2 < n) [far[i], sup[i + 1]] = [sup[i + 1]!, 0];
      for (let c = 0; c < columns; c++) {
        const [a, b] = [i * columns + c, (i + 1) * columns + c];
        [x[a], x[b]] = [x[b]!, x[a]!];
      }
    }
    if (main[i] === 0) return void x.fill(NaN);
    const factor = sub[i + 1]! / main[i]!;
    main[i + 1]! -= factor * sup[i]!;
    sup[i + 1]! -= factor * far[i]!;
    for (let c = 0; c < columns; c++) x[(i + 1) * columns + c]! -= factor * x[i * columns + c]!;
  }
  if (main[n - 1] === 0) return void x.fill(NaN);
  for (let i = n - 1; i >= 0; i--) {
    for (let c = 0; c < columns; c++) {
      let value = x[i * columns + c]!;
      if (i + 1 < n) value -= sup[i]! * x[(i + 1) * columns + c]!;
      if (i + 2 < n) value -= far[i]! * x[(i + 2) * columns + c]!;
      x[i * columns + c] = value / main[i]!;
    }
  }
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
  const [d, b] = [numbersOf(diagonals), numbersOf(right)];
  const out = numberArray(right.dtype, checkedCount(right.dtype, right.shape));
  const batch = elementCount(diagonals.shape.slice(0, -2));
  const size = n * columns;
  for (let k = 0; k < batch; k++) {
    const part = (row: number): Float64Array => new Float64Array(d.subarray((3 * k + row) * n, (3 * k + row + 1) * n));
    const x = new Float64Array(b.subarray(k * size, (k + 1) * size));
    solve({ sup: part(0), main: part(1), sub: part(2) }, x, columns, isPivoting);
    out.set(x, k * size);
    yield n * (columns + 1);
  }
  return [withData(right.dtype, right.shape, packNumbers(right.dtype, out))];
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
  const [sup, main, sub, x] = op.tensors(0, 4).map(numbersOf);
  const out = numberArray(right.dtype, checkedCount(right.dtype, right.shape));
  const batch = elementCount(right.shape.slice(0, -2));
  for (let k = 0; k < batch; k++) {
    for (let i = 0; i < n; i++) {
      const at = (k * n + i) * columns;
      for (let c = 0; c < columns; c++) {
        let value = main![k * n + i]! * x![at + c]!;
        if (i > 0) value += sub![k * n + i]! * x![at + c - columns]!;
        if (i + 1 < n) value += sup![k * n + i]! * x![at + c + columns]!;
        out[at + c] = value;
      }
    }
    yield n * columns;
  }
  return [withData(right.dtype, right.shape, packNumbers(right.dtype, out))];
}

export const TRIDIAGONAL_KERNELS: Readonly<Record<string, Kernel>> = {
  TridiagonalSolve: inTurns(tridiagonalSolve),
  TridiagonalMatMul: inTurns(tridiagonalMatMul),
};
