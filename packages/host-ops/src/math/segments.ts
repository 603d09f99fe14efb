/** Reductions of rows by segment id: Segment*, UnsortedSegment*, SparseSegment*. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { allSafe } from "../call/int64.js";
import { checkedCount } from "../call/limits.js";
import {
  extremeOf,
  FINITE_MAX,
  is64Bit,
  isFloating,
  numberArray,
  numbersOf,
  packNumbers,
  roundingOf,
} from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, integerOf, integersOf, printElement, printIndex, sameShape } from "../call/shapes.js";

interface SegmentRule {
  /** Where a segment starts; "lowest" and "highest" of the dtype. */
  readonly start: number | "lowest" | "highest";
  readonly step: (sum: number, x: number) => number;
  /** Applied to a segment of `count` rows, count > 0; `round` brings a number to the dtype. */
  readonly finish?: (sum: number, count: number, round: (x: number) => number) => number;
  /** What a segment without rows holds, where that is not the start. */
  readonly empty?: number;
}

const SUM: SegmentRule = { start: 0, step: (sum, x) => sum + x };
const PROD: SegmentRule = { start: 1, step: (sum, x) => sum * x };
// TensorFlow's order of comparing: NaN goes, and infinities beat the start.
const MAX: SegmentRule = { start: "lowest", step: (best, x) => (x < best ? best : x) };
const MIN: SegmentRule = { start: "highest", step: (best, x) => (best < x ? best : x) };
const MEAN: SegmentRule = { ...SUM, finish: (sum, count) => sum / count };
// TensorFlow divides by a root of the dtype; so does the device, and both must answer with the same bits.
const SQRT_N: SegmentRule = { ...SUM, finish: (sum, count, round) => sum / round(Math.sqrt(count)) };

function startOf(rule: SegmentRule, value: Tensor): number {
  if (typeof rule.start === "number") return rule.start;
  const sign = rule.start === "lowest" ? -1 : 1;
  const { dtype } = value;
  return isFloating(dtype) ? sign * FINITE_MAX[dtype as keyof typeof FINITE_MAX] : Number(extremeOf(dtype, sign));
}

/**
 * Reduces row `rows[i]` of `data` into output row `ids[i]`; ids below 0 are dropped.
 *
 * @param size  elements per row
 */
function reduceRows(
  data: Tensor,
  rows: ArrayLike<number> | undefined,
  ids: ArrayLike<number>,
  segmentCount: number,
  size: number,
  rule: SegmentRule,
  shape: readonly number[],
): Tensor {
  if (is64Bit(data.dtype) && !allSafe(data.data as BigInt64Array)) {
    throw invalid("segment reductions of integers beyond 2^53 are not supported");
  }
  const numbers = numbersOf(data);
  const out = numberArray(data.dtype, checkedCount(data.dtype, shape));
  const counts = new Int32Array(segmentCount);
  out.fill(startOf(rule, data));
  const round = roundingOf(data.dtype);
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (id < 0) continue;
    counts[id] = counts[id]! + 1;
    const from = (rows ? rows[i]! : i) * size;
    const to = id * size;
    for (let k = 0; k < size; k++) out[to + k] = round(rule.step(out[to + k]!, numbers[from + k]!));
  }
  for (let s = 0; s < segmentCount; s++) {
    if (counts[s] === 0 && rule.empty !== undefined) out.fill(rule.empty, s * size, (s + 1) * size);
    else if (counts[s]! > 0 && rule.finish) {
      for (let k = s * size; k < (s + 1) * size; k++) out[k] = finished(rule.finish(out[k]!, counts[s]!, round), data);
    }
  }
  const packed = packNumbers(data.dtype, out);
  if (is64Bit(data.dtype) && typeof rule.start === "string" && rule.empty === undefined) {
    // The extremes of 64-bit integers are no numbers.
    const extreme = BigInt(extremeOf(data.dtype, rule.start === "lowest" ? -1 : 1));
    for (let s = 0; s < segmentCount; s++) {
      if (counts[s] === 0) (packed as BigInt64Array).fill(extreme, s * size, (s + 1) * size);
    }
  }
  return withData(data.dtype, shape, packed);
}

function finished(value: number, data: Tensor): number {
  return isFloating(data.dtype) ? value : Math.trunc(value);
}

/** Checks that ids grow and returns the number of segments. */
function sortedSegments(ids: ArrayLike<number>): number {
  for (let i = 0; i < ids.length; i++) {
    check(ids[i]! >= 0, () => "segment ids must be >= 0");
    check(i === 0 || ids[i - 1]! <= ids[i]!, () => "segment ids are not increasing");
  }
  return ids.length === 0 ? 0 : ids[ids.length - 1]! + 1;
}

function segment(rule: SegmentRule): Kernel {
  return (op) => {
    const [data, segments] = [op.tensor(0), op.tensor(1)];
    check(segments.shape.length === 1, () => "segment_ids should be a vector.");
    check(data.shape.length >= 1, () => "data must be at least rank 1");
    check(data.shape[0] === segments.shape[0], () => `segment_ids should be the same size as dimension 0 of input.`);
    const ids = integersOf(segments);
    const count = sortedSegments(ids);
    const shape = [count, ...data.shape.slice(1)];
    return [reduceRows(data, undefined, ids, count, countOf(data.shape, 1), rule, shape)];
  };
}

function unsortedSegment(rule: SegmentRule): Kernel {
  return (op) => {
    const [data, segments] = [op.tensor(0), op.tensor(1)];
    const rank = segments.shape.length;
    check(
      sameShape(data.shape.slice(0, rank), segments.shape),
      () =>
        `data.shape = ${printShape(data.shape)} does not start with segment_ids.shape = ${printShape(segments.shape)}`,
    );
    const count = integerOf(op.tensor(2));
    check(count >= 0, () => `Input num_segments == ${count} must not be negative.`);
    const ids = integersOf(segments);
    for (let i = 0; i < ids.length; i++) {
      check(
        ids[i]! < count,
        () =>
          `segment_ids${printIndex(segments.shape, i)} = ${printElement(segments, i)} is out of range [0, ${count})`,
      );
    }
    const shape = [count, ...data.shape.slice(rank)];
    return [reduceRows(data, undefined, ids, count, countOf(data.shape, rank), rule, shape)];
  };
}

function sparseSegment(rule: SegmentRule, hasCount: boolean): Kernel {
  return (op: OpCall): Tensor[] => {
    const [data, indices, segments] = [op.tensor(0), op.tensor(1), op.tensor(2)];
    check(indices.shape.length === 1, () => "indices should be a vector.");
    check(segments.shape.length === 1, () => "segment_ids should be a vector.");
    check(indices.shape[0] === segments.shape[0], () => "segment_ids and indices should have same size.");
    check(data.shape.length >= 1, () => "input must be at least rank 1");
    const ids = integersOf(segments);
    let count = sortedSegments(ids);
    if (hasCount) {
      const given = integerOf(op.tensor(3));
      check(given >= 0 && count <= given, () => "segment ids must be < num_segments");
      count = given;
    }
    const rows = integersOf(indices);
    for (let i = 0; i < rows.length; i++) {
      check(
        rows[i]! >= 0 && rows[i]! < data.shape[0]!,
        () => `Bad: indices[${i}] == ${printElement(indices, i)} out of range [0, ${data.shape[0]})`,
      );
    }
    return [
      reduceRows(data, rows, ids, count, elementCount(data.shape.slice(1)), rule, [count, ...data.shape.slice(1)]),
    ];
  };
}

export const SEGMENT_KERNELS: Readonly<Record<string, Kernel>> = {
  SegmentSum: segment(SUM),
  SegmentMean: segment(MEAN),
  SegmentProd: segment(PROD),
  SegmentMax: segment({ ...MAX, empty: 0 }),
  SegmentMin: segment({ ...MIN, empty: 0 }),
  UnsortedSegmentSum: unsortedSegment(SUM),
  UnsortedSegmentProd: unsortedSegment(PROD),
  UnsortedSegmentMax: unsortedSegment(MAX),
  UnsortedSegmentMin: unsortedSegment(MIN),
  SparseSegmentSum: sparseSegment(SUM, false),
  SparseSegmentMean: sparseSegment(MEAN, false),
  SparseSegmentSqrtN: sparseSegment(SQRT_N, false),
  SparseSegmentSumWithNumSegments: sparseSegment(SUM, true),
  SparseSegmentMeanWithNumSegments: sparseSegment(MEAN, true),
  SparseSegmentSqrtNWithNumSegments: sparseSegment(SQRT_N, true),
};
