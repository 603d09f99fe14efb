/** Counting integers into bins that their values number. */
import { elementCount, type NumericData, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import { exactNumbersOf, type NumberArray, numberArray, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf, integersOf, sameShape } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";

/** Integers that are counted between two places where others may run. */
const PIECE_IDS = 2 ** 14;
/** What counting one takes, in multiplications. */
const WORK_PER_ID = 16;

/** Rows of integers, of which each is counted into `size` bins of its own. */
interface Rows {
  readonly rowCount: number;
  readonly rowIds: number;
  readonly size: number;
  readonly isBinary: boolean;
}

/** Adds weights (or ones) into bins [rowCount, size]; ids at or beyond `size` do not count. */
function* countInto(op: OpCall, rows: Rows): Pieces<NumberArray> {
  const { dtype, shape } = op.tensor(2);
  checkOutput(dtype, rows.rowCount * rows.size);
  const bins = numberArray(dtype, rows.rowCount * rows.size);
  const weights = elementCount(shape) > 0 ? exactNumbersOf(op.tensor(2), op.node.op) : undefined;
  const round = roundingOf(dtype);
  const all = op.tensor(0);
  for (let from = 0; from < all.data.length; from += PIECE_IDS) {
    const ids = integersOf(partOf(all, from));
    countPiece(ids, from, rows, bins, (sum, i) => round(sum + (weights ? weights[i]! : 1)));
    yield ids.length * WORK_PER_ID;
  }
  return bins;
}

/** @param from  where the ids begin among those of all rows */
function countPiece(
  ids: ArrayLike<number>,
  from: number,
  { rowIds, size, isBinary }: Rows,
  bins: NumberArray,
  added: (sum: number, i: number) => number,
): void {
  const row = Math.floor(from / rowIds);
  let [first, rowEnd] = [row * size, (row + 1) * rowIds];
  for (let i = 0; i < ids.length; i++) {
    if (from + i === rowEnd) [first, rowEnd] = [first + size, rowEnd + rowIds];
    const id = ids[i]!;
    if (id < 0) throw invalid("Input arr must be non-negative!");
    if (id < size) bins[first + id] = isBinary ? 1 : added(bins[first + id]!, from + i);
  }
}

/** The next piece of integers. */
function partOf({ dtype, data }: Tensor, from: number): Tensor {
  const part = (data as NumericData).subarray(from, from + PIECE_IDS);
  return withData(dtype, [part.length], part);
}

function* bincount(op: OpCall): Pieces<Tensor[]> {
  const size = integerOf(op.tensor(1));
  check(
    op.tensor(1).shape.length <= 1 && elementCount(op.tensor(1).shape) === 1,
    () => `Shape must be rank 0 but is rank ${op.tensor(1).shape.length}`,
  );
  check(size >= 0, () => `size (${size}) must be non-negative`);
  const rows = { rowCount: 1, rowIds: elementCount(op.tensor(0).shape), size, isBinary: false };
  return [numbersTensor(op.tensor(2).dtype, [size], yield* countInto(op, rows))];
}

function* denseBincount(op: OpCall): Pieces<Tensor[]> {
  const value = op.tensor(0);
  check(
    elementCount(op.tensor(1).shape) === 1 && op.tensor(1).shape.length === 0,
    () => `Shape must be rank 0 but is rank ${op.tensor(1).shape.length}`,
  );
  const size = integerOf(op.tensor(1));
  const weights = op.tensor(2);
  check(value.shape.length <= 2, () => `Shape must be at most rank 2 but is rank ${value.shape.length}`);
  check(size >= 0, () => `size (${size}) must be non-negative`);
  check(
    elementCount(weights.shape) === 0 || sameShape(weights.shape, value.shape),
    () =>
      "`weights` must be the same shape as `input` or a length-0 `Tensor`, in which case it acts as all weights equal to 1. Received " +
      printShape(weights.shape),
  );
  const isMatrix = value.shape.length === 2;
  const rows = {
    rowCount: isMatrix ? value.shape[0]! : 1,
    rowIds: isMatrix ? value.shape[1]! : elementCount(value.shape),
    size,
    isBinary: op.attrs.bool("binary_output"),
  };
  const bins = yield* countInto(op, rows);
  return [numbersTensor(weights.dtype, isMatrix ? [rows.rowCount, size] : [size], bins)];
}

export const BIN_KERNELS: Readonly<Record<string, Kernel>> = {
  Bincount: inTurns(bincount),
  DenseBincount: inTurns(denseBincount),
};
