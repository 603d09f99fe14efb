/** Rows of a table, added up by segment: see `PooledLookup` in the compiler's IR. */
import { lanesOf, newData, type Tensor, tensor } from "@shardserve/tensor";
import { gather } from "../arrays/array-gather.js";
import { distinct } from "../arrays/unique.js";
import { takeRuns, withData } from "../call/elements.js";
import { checkedCount } from "../call/limits.js";
import { wordsOf } from "../call/int64.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { SEGMENT_KERNELS } from "../math/segments.js";

type Combiner = "sum" | "mean" | "sqrtn";

const OPS = { sum: "SparseSegmentSum", mean: "SparseSegmentMean", sqrtn: "SparseSegmentSqrtN" } as const;

function pooledLookup(op: OpCall): Tensor[] {
  const combiner = op.attrs.text("combiner") as Combiner;
  const [table, ids, segments] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const isEmpty = op.inputCount > 3 ? (op.tensor(3).data as Uint8Array) : undefined;
  const isQuick =
    (table.dtype === "float32" || table.dtype === "float64") &&
    areInRange(ids, table.shape[0]!) &&
    areInOrder(segments, ids.data.length);
  return [isQuick ? inOneGo(table, ids, segments, isEmpty, combiner) : stepByStep(op, combiner)];
}

function areInRange(ids: Tensor, rows: number): boolean {
  const { words, width } = wordsOf(ids);
  for (let i = 0; i < words.length; i += width) {
    if (words[i]! < 0 || words[i]! >= rows || (width === 2 && words[i + 1] !== 0)) return false;
  }
  return true;
}

/** Segments so far apart that most of the sums would be 0 are no case to be quick in, and may be an error. */
const SEGMENTS_MAX = 2 ** 24;

/** True for a segment for each id, none below 0 or below the one before. */
function areInOrder(segments: Tensor, count: number): boolean {
  if (segments.data.length !== count) return false;
  const lanes = lanesOf(segments.data as BigInt64Array);
  for (let i = 0, last = 0; i < count; i++) {
    if (lanes[2 * i + 1] !== 0 || lanes[2 * i]! < last) return false;
    last = lanes[2 * i]!;
  }
  return count === 0 || lanes[2 * count - 2]! < SEGMENTS_MAX;
}

/**
 * @param ids  int64 or int32, rows of the table
 * @param segments  int64, from 0 on and in order; those that no id has are 0
 * @param isEmpty  segments that stay 0
 */
function inOneGo(
  table: Tensor,
  ids: Tensor,
  segments: Tensor,
  isEmpty: Uint8Array | undefined,
  combiner: Combiner,
): Tensor {
  const { words, width } = wordsOf(ids);
  const segmentLanes = lanesOf(segments.data as BigInt64Array);
  const count = ids.data.length;
  const dim = table.shape[1]!;
  const shape = [count === 0 ? 0 : segmentLanes[2 * count - 2]! + 1, dim];
  const dtype = table.dtype as "float32" | "float64";
  const out = newData(dtype, checkedCount(dtype, shape));
  const add = table.dtype === "float32" ? addFloats : addDoubles;
  for (let i = 0; i < count; ) {
    const segment = segmentLanes[2 * i]!;
    let end = i + 1;
    while (end < count && segmentLanes[2 * end] === segment) end++;
    if (isEmpty?.[segment] !== 1) {
      const divisor = divisorOf(combiner, end - i, dtype);
      add(out as never, segment * dim, table.data as never, words, width * i, width * end, width, dim, divisor);
    }
    i = end;
  }
  return withData(dtype, shape, out);
}

/** What the sum of `count` rows is divided by: a number of the dtype, as TensorFlow and the device have it. */
function divisorOf(combiner: Combiner, count: number, dtype: "float32" | "float64"): number {
  if (combiner === "sum" || count === 1) return 1;
  if (combiner === "mean") return count;
  return dtype === "float32" ? Math.fround(Math.sqrt(count)) : Math.sqrt(count);
}

/**
 * Stores the sum of the rows that every `width`-th of `ids[start .. end)` names in `out[at .. at + dim)`, which is 0. One row after the other is
 * added, each sum rounded to the dtype; four columns at a time, whose sums stay in registers.
 */
function addFloats(
  out: Float32Array,
  at: number,
  table: Float32Array,
  ids: Int32Array,
  start: number,
  end: number,
  width: number,
  dim: number,
  divisor: number,
): void {
  let k = 0;
  for (; k + 4 <= dim; k += 4) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let i = start; i < end; i += width) {
      const from = ids[i]! * dim + k;
      a = Math.fround(a + table[from]!);
      b = Math.fround(b + table[from + 1]!);
      c = Math.fround(c + table[from + 2]!);
      d = Math.fround(d + table[from + 3]!);
    }
    out[at + k] = a;
    out[at + k + 1] = b;
    out[at + k + 2] = c;
    out[at + k + 3] = d;
  }
  for (; k < dim; k++) {
    for (let i = start; i < end; i += width) out[at + k] = out[at + k]! + table[ids[i]! * dim + k]!;
  }
  if (divisor !== 1) for (let k = at; k < at + dim; k++) out[k] = out[k]! / divisor;
}

/** {@link addFloats} for the other kind of array: a function that saw both would be slow for each. */
function addDoubles(
  out: Float64Array,
  at: number,
  table: Float64Array,
  ids: Int32Array,
  start: number,
  end: number,
  width: number,
  dim: number,
  divisor: number,
): void {
  for (let i = start; i < end; i += width) {
    const from = ids[i]! * dim;
    for (let k = 0; k < dim; k++) out[at + k] = out[at + k]! + table[from + k]!;
  }
  if (divisor !== 1) for (let k = at; k < at + dim; k++) out[k] = out[k]! / divisor;
}

/** The ops of the graph, one after the other: Unique, Gather, SparseSegment, Select. */
function stepByStep(op: OpCall, combiner: Combiner): Tensor {
  const [table, ids, segments] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const { firsts, ordinals } = distinct(ids);
  const rows = gather(table, takeRuns(ids, firsts, 1, [firsts.length]), 0, 0);
  const positions = tensor("int32", [ordinals.length], ordinals);
  const [sums] = SEGMENT_KERNELS[OPS[combiner]]!(op.withInputs([rows, positions, segments])) as Tensor[];
  if (op.inputCount > 3) {
    const isEmpty = op.tensor(3).data as Uint8Array;
    const dim = sums!.data.length / Math.max(isEmpty.length, 1);
    for (let row = 0; row < isEmpty.length; row++) {
      if (isEmpty[row] === 1) (sums!.data as Float32Array).fill(0, row * dim, (row + 1) * dim);
    }
  }
  return sums!;
}

export const POOLED_LOOKUP_KERNELS: Readonly<Record<string, Kernel>> = { PooledLookup: pooledLookup };
