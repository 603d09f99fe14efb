/** Products and transposes of sparse matrices in rows. */
import { lanesPerElement, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { Growing } from "../call/growing.js";
import { allocate, checkedCount } from "../call/limits.js";
import { numberArray, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { addRow, adjoint, type Lanes, matricesOf, matrix, stacked, transposed } from "../linalg/matrix.js";
import { asVariant, csrAt, CsrMatrix, newStarts } from "./csr-matrix.js";

/** How an operand is turned: not both. */
interface Turn {
  readonly isTurned: boolean;
  readonly isConjugate: boolean;
}

function turnOf(op: OpCall, operand: "a" | "b"): Turn {
  const [isTransposed, isAdjoint] = [op.attrs.bool(`transpose_${operand}`), op.attrs.bool(`adjoint_${operand}`)];
  check(!(isTransposed && isAdjoint), () => `Only one of adjoint_${operand} and transpose_${operand} may be true.`);
  return { isTurned: isTransposed || isAdjoint, isConjugate: isAdjoint };
}

const valuesOf = (csr: CsrMatrix): Float64Array => Float64Array.from(numbersOf(csr.values));

/** With rows and columns changed for each other where asked, and conjugate numbers. */
function turned(csr: CsrMatrix, { isTurned, isConjugate }: Turn): CsrMatrix {
  const { dtype } = csr.values;
  const lanes = lanesPerElement(dtype);
  const count = csr.columns.length;
  const values = numberArray(dtype, count);
  const given = numbersOf(csr.values);
  const place = (from: number, to: number): void => {
    values[lanes * to] = given[lanes * from]!;
    if (lanes === 2) values[2 * to + 1] = (isConjugate ? -1 : 1) * given[2 * from + 1]!;
  };
  if (!isTurned) {
    for (let i = 0; i < count; i++) place(i, i);
    return new CsrMatrix(csr.shape, csr.starts, csr.columns, withData(dtype, [count], values));
  }
  const [rows, columns] = [csr.shape.at(-1)!, csr.shape.at(-2)!];
  const starts = newStarts(rows, csr.batch);
  for (const [b, , at] of csr.elements()) starts[b * (rows + 1) + csr.columns[at]! + 1]!++;
  const offsets = new Int32Array(csr.batch + 1);
  for (let b = 0; b < csr.batch; b++) {
    const first = b * (rows + 1);
    for (let row = 0; row < rows; row++) starts[first + row + 1]! += starts[first + row]!;
    offsets[b + 1] = offsets[b]! + starts[first + rows]!;
  }
  const next = starts.slice();
  const own = new Int32Array(count);
  for (const [b, row, at] of csr.elements()) {
    const to = offsets[b]! + next[b * (rows + 1) + csr.columns[at]!]!++;
    own[to] = row;
    place(at, to);
  }
  return new CsrMatrix([...csr.shape.slice(0, -2), rows, columns], starts, own, withData(dtype, [count], values));
}

function checkInner(a: CsrMatrix, b: readonly number[]): void {
  check(
    a.shape.at(-1) === b.at(-2),
    () => `Inner product dimensions of A and B do not agree.  Shapes are: ${printShape(a.shape)} vs. ${printShape(b)}`,
  );
}

/** Sparse times dense. */
function* timesDense(op: OpCall): Pieces<Tensor[]> {
  const [turnA, turnB] = [turnOf(op, "a"), turnOf(op, "b")];
  const given = csrAt(op, 0);
  const dense = op.tensor(1);
  const rank = given.shape.length;
  check(rank === dense.shape.length, () => `Ranks of a and b must match, saw: ${rank} vs. ${dense.shape.length}.`);
  const right = matricesOf(op, 1).matrices.map((b) =>
    turnB.isTurned ? (turnB.isConjugate ? adjoint : transposed)(b) : b,
  );
  check(
    given.batch === right.length,
    () => `Batch sizes of a and b must match, saw: ${given.batch} vs. ${right.length}.`,
  );
  const a = turnA.isTurned ? turned(given, turnA) : given;
  const shapeB = turnB.isTurned ? [...dense.shape.slice(0, -2), dense.shape.at(-1)!, dense.shape.at(-2)!] : dense.shape;
  checkInner(a, shapeB);
  const [isTurned, isConjugate] = [op.attrs.bool("transpose_output"), op.attrs.bool("conjugate_output")];
  const [rows, columns] = [a.rows, shapeB.at(-1)!];
  const inner = isTurned ? [columns, rows] : [rows, columns];
  checkedCount(dense.dtype, [...a.shape.slice(0, -2), ...inner]);
  const lanes = lanesPerElement(dense.dtype) as Lanes;
  const sums = Array.from({ length: a.batch }, () => matrix(rows, columns, lanes));
  const values = valuesOf(a);
  for (const [b, row, at] of a.elements()) {
    addRow(sums[b]!, row, right[b]!, a.columns[at]!, values[lanes * at]!, lanes === 2 ? values[2 * at + 1]! : 0);
    yield lanes ** 2 * columns;
  }
  const parts = sums.map((sum) => {
    const out = isTurned ? transposed(sum) : sum;
    if (isConjugate && lanes === 2) for (let k = 1; k < out.at.length; k += 2) out.at[k]! *= -1;
    return out.at;
  });
  return [stacked(dense.dtype, a.shape.slice(0, -2), inner, parts)];
}

/** Multiplications that take as long as a row without elements. */
const WORK_PER_ROW = 16;

/** One row of a product: sums by column, of which most are never touched. */
class RowSum {
  readonly #lanes: number;
  readonly #sums: Float64Array;
  readonly #isTouched: Uint8Array;
  readonly #columns: number[] = [];

  constructor(columns: number, lanes: number) {
    this.#lanes = lanes;
    this.#sums = allocate("float64", columns * lanes);
    this.#isTouched = allocate("uint8", columns);
  }

  add(column: number, re: number, im: number): void {
    if (this.#isTouched[column] === 0) {
      this.#isTouched[column] = 1;
      this.#columns.push(column);
    }
    this.#sums[this.#lanes * column]! += re;
    if (this.#lanes === 2) this.#sums[2 * column + 1]! += im;
  }

  /** Appends columns in their order and the sums, and begins anew. */
  flush(columns: Growing<Int32Array>, values: Growing<Float64Array>): void {
    this.#columns.sort((a, b) => a - b);
    for (const column of this.#columns) {
      columns.push(column);
      for (let k = this.#lanes * column; k < this.#lanes * (column + 1); k++) {
        values.push(this.#sums[k]!);
        this.#sums[k] = 0;
      }
      this.#isTouched[column] = 0;
    }
    this.#columns.length = 0;
  }
}

/** Sparse times sparse: sums that come out as 0 stay elements. */
function* timesSparse(op: OpCall): Pieces<Tensor[]> {
  const [turnA, turnB] = [turnOf(op, "a"), turnOf(op, "b")];
  const [givenA, givenB] = [csrAt(op, 0), csrAt(op, 1)];
  check(
    givenA.batch === givenB.batch && givenA.shape.length === givenB.shape.length,
    () => `Batch sizes of A and B do not agree.  Batch sizes are: ${givenA.batch} vs. ${givenB.batch}`,
  );
  const a = turnA.isTurned ? turned(givenA, turnA) : givenA;
  const b = turnB.isTurned ? turned(givenB, turnB) : givenB;
  checkInner(a, b.shape);
  const { dtype } = a.values;
  const lanes = lanesPerElement(dtype);
  const [x, y] = [valuesOf(a), valuesOf(b)];
  const columns = new Growing((count) => allocate("int32", count));
  const values = new Growing((count) => allocate("float64", count));
  const starts = newStarts(a.rows, a.batch);
  const width = b.shape.at(-1)!;
  const sum = new RowSum(width, lanes);
  let [beforeA, beforeB] = [0, 0];
  for (let k = 0; k < a.batch; k++) {
    const before = columns.length;
    for (let row = 0; row < a.rows; row++) {
      const first = k * (a.rows + 1) + row;
      for (let p = beforeA + a.starts[first]!; p < beforeA + a.starts[first + 1]!; p++) {
        const other = k * (b.rows + 1) + a.columns[p]!;
        const [c, d] = [x[lanes * p]!, lanes === 2 ? x[2 * p + 1]! : 0];
        yield lanes ** 2 * (b.starts[other + 1]! - b.starts[other]! + 1);
        for (let q = beforeB + b.starts[other]!; q < beforeB + b.starts[other + 1]!; q++) {
          const [e, f] = [y[lanes * q]!, lanes === 2 ? y[2 * q + 1]! : 0];
          sum.add(b.columns[q]!, c * e - d * f, c * f + d * e);
        }
      }
      sum.flush(columns, values);
      starts[first + 1] = columns.length - before;
      yield WORK_PER_ROW;
    }
    beforeA += a.count(k);
    beforeB += b.count(k);
  }
  const out = numberArray(dtype, columns.length);
  out.set(values.values);
  const shape = [...a.shape.slice(0, -1), width];
  const product = withData(dtype, [columns.length], out);
  return [asVariant(new CsrMatrix(shape, starts, columns.values.slice(), product))];
}

export const CSR_PRODUCT_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseMatrixTranspose: (op) => [
    asVariant(turned(csrAt(op, 0), { isTurned: true, isConjugate: op.attrs.bool("conjugate") })),
  ],
  SparseMatrixMatMul: inTurns(timesDense),
  SparseMatrixSparseMatMul: inTurns(timesSparse),
};
