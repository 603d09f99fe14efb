/** Counting how often each integer occurs, row by row: to dense bins and to sparse counts. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, numberArray, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf, integersOf, sameShape, shapeOf } from "../call/shapes.js";
import { sparseAt } from "../sparse/sparse.js";

/** Values with the row of each; `rows` is undefined for one row without a dim of rows. */
interface Rows {
  readonly values: ArrayLike<number>;
  readonly rowOf: (i: number) => number;
  readonly rowCount: number;
  readonly isFlat: boolean;
}

function checkSplits(op: OpCall, count: number): ArrayLike<number> {
  const splits = integersOf(op.tensor(0));
  check(splits.length > 0, () => "Splits must be non-empty");
  check(splits[0] === 0, () => `Splits must start with 0, not with ${splits[0]}`);
  check(
    splits[splits.length - 1] === count,
    () => `Splits must end with the number of values, got ${splits[splits.length - 1]} instead of ${count}`,
  );
  for (let i = 1; i < splits.length; i++) check(splits[i]! >= splits[i - 1]!, () => "Splits must not decrease");
  return splits;
}

function raggedRows(op: OpCall): Rows {
  const values = integersOf(op.tensor(1));
  const splits = checkSplits(op, values.length);
  const rows = new Int32Array(values.length);
  for (let r = 0; r + 1 < splits.length; r++) rows.fill(r, splits[r], splits[r + 1]);
  return { values, rowOf: (i) => rows[i]!, rowCount: splits.length - 1, isFlat: false };
}

function sparseRows(op: OpCall): Rows {
  const shape = shapeOf(op.tensor(2));
  const { indices, values } = sparseAt(op, 0, 1, 2);
  const rank = shape.length;
  check(rank > 0, () => "The shape argument requires at least one element.");
  for (let i = 0; i < values.shape[0]!; i++) {
    for (let d = 0; d < rank; d++) {
      const id = indices[i * rank + d]!;
      check(
        id >= 0 && id < shape[d]!,
        () => `Invalid index value at ${i}: dimension ${d} has value ${id} which is not in [0, ${shape[d]})`,
      );
    }
  }
  const isFlat = rank === 1;
  if (!isFlat) check(shape[0]! > 0, () => `Cannot allocate ${shape[0]} batches, is the dense shape too wide?`);
  return {
    values: integersOf(values),
    rowOf: (i) => (isFlat ? 0 : indices[i * rank]!),
    rowCount: isFlat ? 1 : shape[0]!,
    isFlat,
  };
}

function denseRows(op: OpCall): Rows {
  const value = op.tensor(0);
  check(
    value.shape.length === 1 || value.shape.length === 2,
    () => `Input must be a 1 or 2-dimensional tensor. Got: ${printShape(value.shape)}`,
  );
  const isFlat = value.shape.length === 1;
  check(isFlat || value.shape[0] !== 0, () => "Invalid input: Shapes dimension cannot be 0.");
  const width = value.shape[value.shape.length - 1]!;
  return {
    values: integersOf(value),
    rowOf: (i) => (isFlat ? 0 : Math.floor(i / width)),
    rowCount: isFlat ? 1 : value.shape[0]!,
    isFlat,
  };
}

/** Weights of the values, or undefined where an empty tensor says that all weigh 1. */
function weightsOf(weights: Tensor, values: Tensor): ArrayLike<number> | undefined {
  if (elementCount(weights.shape) === 0) return undefined;
  check(
    sameShape(weights.shape, values.shape),
    () =>
      `Weights and values must have the same shape. Weight shape: ${printShape(weights.shape)}; values shape: ${printShape(values.shape)}`,
  );
  return exactNumbersOf(weights, "counts with weights");
}

function sparseCounts(op: OpCall, rows: Rows, values: Tensor, weightsInput: Tensor): Tensor[] {
  const weights = weightsOf(weightsInput, values);
  const isBinary = op.attrs.bool("binary_output");
  const [least, most] = [op.attrs.int("minlength"), op.attrs.int("maxlength")];
  const dtype = op.attrs.dtype("output_type");
  const round = roundingOf(dtype);
  checkedCount("int64", [rows.rowCount]);
  const counts = new Map<number, Map<number, number>>();
  let highest = 0;
  for (let i = 0; i < rows.values.length; i++) {
    const value = rows.values[i]!;
    if (value < 0) throw invalid(`Input values must all be non-negative`);
    if (most > 0 && value >= most) continue;
    highest = Math.max(highest, value);
    const row = counts.get(rows.rowOf(i)) ?? new Map<number, number>();
    counts.set(rows.rowOf(i), row);
    row.set(value, isBinary ? 1 : round((row.get(value) ?? 0) + (weights ? weights[i]! : 1)));
  }
  const indices: number[] = [];
  const out: number[] = [];
  for (const r of [...counts.keys()].sort((a, b) => a - b)) {
    for (const [value, count] of [...counts.get(r)!].sort((a, b) => a[0] - b[0])) {
      indices.push(...(rows.isFlat ? [value] : [r, value]));
      out.push(count);
    }
  }
  const width = most > 0 ? most : Math.max(highest + 1, least);
  const shape = rows.isFlat ? [width] : [rows.rowCount, width];
  const numbers = numberArray(dtype, out.length);
  numbers.set(out);
  return [
    tensor("int64", [out.length, shape.length], fromIntegers(indices)),
    numbersTensor(dtype, [out.length], numbers),
    tensor("int64", [shape.length], fromIntegers(shape)),
  ];
}

function bins(op: OpCall, rows: Rows, sizeAt: number): Tensor[] {
  const size = integerOf(op.tensor(sizeAt));
  check(size >= 0, () => `size (${size}) must be non-negative`);
  const weightsInput = op.tensor(sizeAt + 1);
  const weights = elementCount(weightsInput.shape) > 0 ? exactNumbersOf(weightsInput, op.node.op) : undefined;
  check(!weights || weights.length === rows.values.length, () => "Input indices and weights must have the same size.");
  const { dtype } = weightsInput;
  const isBinary = op.attrs.bool("binary_output");
  const shape = rows.isFlat ? [size] : [rows.rowCount, size];
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const round = roundingOf(dtype);
  for (let i = 0; i < rows.values.length; i++) {
    const value = rows.values[i]!;
    check(value >= 0, () => "Input arr must be non-negative!");
    if (value >= size) continue;
    const at = rows.rowOf(i) * size + value;
    out[at] = isBinary ? 1 : round(out[at]! + (weights ? weights[i]! : 1));
  }
  return [numbersTensor(dtype, shape, out)];
}

export const COUNT_KERNELS: Readonly<Record<string, Kernel>> = {
  DenseCountSparseOutput: (op) => sparseCounts(op, denseRows(op), op.tensor(0), op.tensor(1)),
  SparseCountSparseOutput: (op) => sparseCounts(op, sparseRows(op), op.tensor(1), op.tensor(3)),
  RaggedCountSparseOutput: (op) => {
    const hasRows = op.tensor(0).shape[0]! >= 2;
    check(hasRows, () => "Must provide at least 2 elements for the splits argument");
    return sparseCounts(op, raggedRows(op), op.tensor(1), op.tensor(2));
  },
  SparseBincount: (op) => bins(op, sparseRows(op), 3),
  RaggedBincount: (op) => bins(op, raggedRows(op), 2),
};
