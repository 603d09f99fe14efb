/** Gradients of lookups in embedding tables, by the table and by the values that stand where a row has none. Sums are in double precision. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { appender, build } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { is64Bit, numbersOf, roundedTensor } from "../call/numeric.js";
import { rounded } from "../call/rounded.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, indexData, integerOf, integersOf } from "../call/shapes.js";
import { inRanges, inTurns, type Pieces } from "../call/turns.js";

/** What a row takes, in multiplications, where its place is known and where it is searched. */
const [ROW_WORK, SEARCH_WORK] = [16, 128];

/** What a row of a segment counts for, by the number of its rows. */
type Share = (count: number) => number;

interface Lookup {
  readonly gradient: Tensor;
  readonly rows: ArrayLike<number>;
  readonly segments: ArrayLike<number>;
  /** Rows of the table. */
  readonly tableRows: number;
}

function* lookupOf(op: OpCall): Pieces<Lookup> {
  const [gradient, indices, segments] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(indices.shape.length === 1, () => "indices should be a vector.");
  check(segments.shape.length === 1, () => "segment_ids should be a vector.");
  check(indices.shape[0] === segments.shape[0], () => "segment_ids and indices should have same size.");
  const [rows, ids] = [integersOf(indices), integersOf(segments)];
  const [tableRows, segmentCount] = [integerOf(op.tensor(3)), gradient.shape[0] ?? 0];
  yield* inRanges(rows.length, 4, (from, end) => {
    for (let i = from; i < end; i++) {
      check(rows[i]! >= 0 && rows[i]! < tableRows, () => `Index ${rows[i]} out of range [0, ${tableRows}).`);
      check(ids[i]! >= 0 && ids[i]! < segmentCount, () => `Segment id ${ids[i]} out of range [0, ${segmentCount}).`);
    }
  });
  return { gradient, rows, segments: ids, tableRows };
}

/** Adds to the row's place in `unique`, or to `row` itself where there is none, what the segments that took the row pass back. */
function* summed(
  { gradient, rows, segments }: Lookup,
  share: Share,
  count: number,
  unique?: Float64Array,
): Pieces<Tensor> {
  const size = countOf(gradient.shape, 1);
  const counts = new Int32Array(gradient.shape[0]!);
  for (let i = 0; i < segments.length; i++) counts[segments[i]!]!++;
  const shape = [count, ...gradient.shape.slice(1)];
  const by = numbersOf(gradient);
  const sums = new Float64Array(checkedCount(gradient.dtype, shape));
  yield* inRanges(rows.length, (unique ? SEARCH_WORK : ROW_WORK) + size, (first, end) => {
    for (let i = first; i < end; i++) {
      const [from, to] = [segments[i]! * size, (unique ? placeIn(unique, rows[i]!) : rows[i]!) * size];
      const factor = share(counts[segments[i]!]!);
      for (let k = 0; k < size; k++) sums[to + k]! += by[from + k]! * factor;
    }
  });
  return yield* rounded(gradient.dtype, shape, sums);
}

/** The gradient of the whole table. */
function dense(share: Share): Kernel {
  return inTurns(function* (op) {
    const lookup = yield* lookupOf(op);
    return [yield* summed(lookup, share, lookup.tableRows)];
  });
}

/** Rows that are sorted at once. */
const PART_ROWS = 2 ** 12;

/** The rows in order. Those of each part of the table are put together first, so that no sort is of all. */
function* sorted(rows: ArrayLike<number>, tableRows: number): Pieces<Float64Array> {
  const perPart = Math.max(1, Math.ceil((tableRows / Math.max(1, rows.length)) * PART_ROWS));
  const ends = new Int32Array(Math.ceil(tableRows / perPart) + 1);
  yield* inRanges(rows.length, 4, (from, end) => {
    for (let i = from; i < end; i++) ends[Math.floor(rows[i]! / perPart) + 1]!++;
  });
  for (let part = 1; part < ends.length; part++) ends[part]! += ends[part - 1]!;
  const inOrder = new Float64Array(rows.length);
  // Until its rows are there, a part's end is where the next of them goes; then it is its end.
  yield* inRanges(rows.length, 4, (from, end) => {
    for (let i = from; i < end; i++) inOrder[ends[Math.floor(rows[i]! / perPart)]!++] = rows[i]!;
  });
  for (let part = 0, from = 0; part < ends.length; from = ends[part++]!) {
    yield (ends[part]! - from) * ROW_WORK;
    inOrder.subarray(from, ends[part]).sort();
  }
  return inOrder;
}

/** The rows that were looked up, in order and each once. */
function* uniqueOf({ rows, tableRows }: Lookup): Pieces<Float64Array> {
  const inOrder = yield* sorted(rows, tableRows);
  let count = 0;
  yield* inRanges(inOrder.length, 2, (from, end) => {
    for (let i = from; i < end; i++) if (i === 0 || inOrder[i] !== inOrder[count - 1]) inOrder[count++] = inOrder[i]!;
  });
  return inOrder.subarray(0, count);
}

/** Where a row stands among those in order. */
function placeIn(unique: Float64Array, row: number): number {
  let [low, high] = [0, unique.length - 1];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (unique[middle]! < row) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The gradients of the rows that were looked up, and which those are, in order. */
function compact(share: Share): Kernel {
  return inTurns(function* (op) {
    const lookup = yield* lookupOf(op);
    const unique = yield* uniqueOf(lookup);
    const { dtype } = op.tensor(1);
    return [
      yield* summed(lookup, share, unique.length, unique),
      tensor(dtype, [unique.length], indexData(dtype, unique) as never),
    ];
  });
}

/** To the values, by where each went, and all else to the default. */
function* fillEmptyRowsGrad(op: OpCall): Pieces<Tensor[]> {
  const [places, gradient] = [op.tensor(0), op.tensor(1)];
  check(places.shape.length === 1, () => `reverse_index_map must be a vector, saw: ${printShape(places.shape)}`);
  check(gradient.shape.length === 1, () => `grad_values must be a vector, saw: ${printShape(gradient.shape)}`);
  const at = integersOf(places);
  const count = gradient.shape[0]!;
  const isTaken = new Uint8Array(count);
  yield* inRanges(at.length, 4, (from, end) => {
    for (let i = from; i < end; i++) {
      const place = at[i]!;
      check(place >= 0 && place < count, () => `Elements in reverse index must be in [0, ${count}) but got ${place}`);
      isTaken[place] = 1;
    }
  });
  const values = appender(gradient.dtype, at.length);
  values.appendRuns(gradient.data, at, 1);
  yield at.length;
  return [build(gradient.dtype, [at.length], values), yield* sumOfRest(gradient, isTaken)];
}

/** The sum of the elements that are not taken, a scalar. */
function* sumOfRest(gradient: Tensor, isTaken: Uint8Array): Pieces<Tensor> {
  const { dtype, data } = gradient;
  if (is64Bit(dtype)) {
    let sum = 0n;
    yield* inRanges(isTaken.length, ROW_WORK, (from, end) => {
      for (let i = from; i < end; i++) if (isTaken[i] === 0) sum += (data as BigInt64Array)[i]!;
    });
    return tensor(dtype, [], (dtype === "int64" ? BigInt64Array.of(sum) : BigUint64Array.of(sum)) as never);
  }
  const by = numbersOf(gradient);
  let sum = 0;
  yield* inRanges(isTaken.length, 2, (from, end) => {
    for (let i = from; i < end; i++) if (isTaken[i] === 0) sum += by[i]!;
  });
  return roundedTensor(dtype, [], Float64Array.of(sum));
}

const ALL: Share = () => 1;
const MEAN: Share = (count) => 1 / count;
const SQRT_N: Share = (count) => 1 / Math.sqrt(count);

export const LOOKUP_GRADIENT_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseSegmentSumGrad: dense(ALL),
  SparseSegmentMeanGrad: dense(MEAN),
  SparseSegmentSqrtNGrad: dense(SQRT_N),
  SparseSegmentSumGradV2: compact(ALL),
  SparseSegmentMeanGradV2: compact(MEAN),
  SparseSegmentSqrtNGradV2: compact(SQRT_N),
  SparseFillEmptyRowsGrad: inTurns(fillEmptyRowsGrad),
};
