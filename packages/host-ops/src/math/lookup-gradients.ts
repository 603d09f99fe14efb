/** Gradients of lookups in embedding tables, by the table and by the values that stand where a row has none. Sums are in double precision. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { appender, build } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { is64Bit, numbersOf, roundedTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, indexData, integerOf, integersOf } from "../call/shapes.js";

/** What a row of a segment counts for, by the number of its rows. */
type Share = (count: number) => number;

interface Lookup {
  readonly gradient: Tensor;
  readonly rows: readonly number[];
  readonly segments: ArrayLike<number>;
  /** Rows of the table. */
  readonly tableRows: number;
}

function lookupOf(op: OpCall): Lookup {
  const [gradient, indices, segments] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(indices.shape.length === 1, () => "indices should be a vector.");
  check(segments.shape.length === 1, () => "segment_ids should be a vector.");
  check(indices.shape[0] === segments.shape[0], () => "segment_ids and indices should have same size.");
  const [rows, ids] = [integersOf(indices), integersOf(segments)];
  const [tableRows, segmentCount] = [integerOf(op.tensor(3)), gradient.shape[0] ?? 0];
  for (let i = 0; i < rows.length; i++) {
    check(rows[i]! >= 0 && rows[i]! < tableRows, () => `Index ${rows[i]} out of range [0, ${tableRows}).`);
    check(ids[i]! >= 0 && ids[i]! < segmentCount, () => `Segment id ${ids[i]} out of range [0, ${segmentCount}).`);
  }
  return { gradient, rows: Array.from(rows), segments: ids, tableRows };
}

/** Adds to row `places.get(row)` of the result, or to `row` itself, what the segments that took the row pass back. */
function summed(
  { gradient, rows, segments }: Lookup,
  share: Share,
  count: number,
  places?: ReadonlyMap<number, number>,
): Tensor {
  const size = countOf(gradient.shape, 1);
  const counts = new Map<number, number>();
  for (let i = 0; i < segments.length; i++) counts.set(segments[i]!, (counts.get(segments[i]!) ?? 0) + 1);
  const shape = [count, ...gradient.shape.slice(1)];
  const by = numbersOf(gradient);
  const sums = new Float64Array(checkedCount(gradient.dtype, shape));
  for (const [i, row] of rows.entries()) {
    const [from, to] = [segments[i]! * size, (places?.get(row) ?? row) * size];
    const factor = share(counts.get(segments[i]!)!);
    for (let k = 0; k < size; k++) sums[to + k]! += by[from + k]! * factor;
  }
  return roundedTensor(gradient.dtype, shape, sums);
}

/** The gradient of the whole table. */
function dense(share: Share): Kernel {
  return (op) => {
    const lookup = lookupOf(op);
    return [summed(lookup, share, lookup.tableRows)];
  };
}

/** The gradients of the rows that were looked up, and which those are, in order. */
function compact(share: Share): Kernel {
  return (op) => {
    const lookup = lookupOf(op);
    const unique = [...new Set(lookup.rows)].sort((a, b) => a - b);
    const places = new Map(unique.map((row, i) => [row, i]));
    const { dtype } = op.tensor(1);
    return [
      summed(lookup, share, unique.length, places),
      tensor(dtype, [unique.length], indexData(dtype, unique) as never),
    ];
  };
}

/** To the values, by where each went, and all else to the default. */
function fillEmptyRowsGrad(op: OpCall): Tensor[] {
  const [places, gradient] = [op.tensor(0), op.tensor(1)];
  check(places.shape.length === 1, () => `reverse_index_map must be a vector, saw: ${printShape(places.shape)}`);
  check(gradient.shape.length === 1, () => `grad_values must be a vector, saw: ${printShape(gradient.shape)}`);
  const at = integersOf(places);
  const count = gradient.shape[0]!;
  const rest = new Set(Array.from({ length: count }, (_, i) => i));
  for (const place of at) {
    check(place >= 0 && place < count, () => `Elements in reverse index must be in [0, ${count}) but got ${place}`);
    rest.delete(place);
  }
  const values = appender(gradient.dtype, at.length);
  values.appendRuns(gradient.data, at, 1);
  return [build(gradient.dtype, [at.length], values), sumAt(gradient, [...rest])];
}

/** The sum of the elements at `places`, a scalar. */
function sumAt(gradient: Tensor, places: readonly number[]): Tensor {
  const { dtype, data } = gradient;
  if (is64Bit(dtype)) {
    const sum = places.reduce((total, i) => total + (data as BigInt64Array)[i]!, 0n);
    return tensor(dtype, [], (dtype === "int64" ? BigInt64Array.of(sum) : BigUint64Array.of(sum)) as never);
  }
  const by = numbersOf(gradient);
  return roundedTensor(dtype, [], Float64Array.of(places.reduce((total, i) => total + by[i]!, 0)));
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
  SparseFillEmptyRowsGrad: fillEmptyRowsGrad,
};
