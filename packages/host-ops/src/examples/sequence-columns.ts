/** Columns of a batch of serialized tf.SequenceExample messages, as ParseSequenceExample and its kin return them. */
import { type DType, elementCount, type StringColumn, type Tensor, tensor, tfDTypeString } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { BytesIndex } from "../call/key-index.js";
import { checkedCount, checkOutput } from "../call/limits.js";
import { zeroTensor } from "../call/op-call.js";
import { indexData } from "../call/shapes.js";
import { Values } from "./example-columns.js";
import {
  BYTES_FEATURE,
  countFloats,
  countInt64s,
  eachBytes,
  eachFeature,
  FLOAT_FEATURE,
  INT64_FEATURE,
  list,
  NO_FEATURE,
  openFeature,
  type RangeTable,
  scanSequence,
} from "./example-wire.js";

const decoder = new TextDecoder();

interface Spec {
  readonly key: Uint8Array;
  readonly dtype: DType;
}

interface DenseSpec extends Spec {
  readonly shape: readonly number[];
  /** Context: takes the place of a missing feature; empty = required. */
  readonly fallback?: Tensor;
  /** Feature lists: a missing one is empty. */
  readonly mayLack?: boolean;
}

export interface RaggedSpec extends Spec {
  readonly splitDtype: DType;
}

/** The features that an op asks of the context, or of the feature lists. */
export interface Specs {
  readonly sparse: readonly Spec[];
  readonly dense: readonly DenseSpec[];
  readonly ragged: readonly RaggedSpec[];
}

/** A batch, and where the features of its examples lie. */
interface Batch {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly nameOf: (example: number) => string;
}

const KIND_OF: Partial<Record<DType, number>> = { string: BYTES_FEATURE, float32: FLOAT_FEATURE, int64: INT64_FEATURE };

/** Number of values of a Feature, its list left open; -1 when it is malformed or of another kind. */
function openValues(bytes: Uint8Array, start: number, end: number, dtype: DType): number {
  const kind = openFeature(bytes, start, end);
  if (kind === NO_FEATURE) return 0;
  if (kind !== KIND_OF[dtype]) return -1;
  return kind === FLOAT_FEATURE
    ? countFloats(bytes, list.start, list.end)
    : kind === INT64_FEATURE
      ? countInt64s(bytes, list.start, list.end)
      : eachBytes(bytes, list.start, list.end, undefined);
}

/** Rows of values of one key over the batch: one row per example (context), or several (feature lists). */
interface KeyRows {
  /** By example: number of rows, -1 where the key is missing. */
  readonly rowCounts: Int32Array;
  /** By row: range of its Feature and number of its values. */
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly counts: readonly number[];
}

function contextRows(batch: Batch, table: RangeTable, key: Uint8Array, dtype: DType): KeyRows {
  return keyRows(batch, table, key, (example, start, end, push) => {
    const count = openValues(batch.bytes, start, end, dtype);
    if (count < 0) {
      throw invalid(`Error in context feature ${decoder.decode(key)} in example ${batch.nameOf(example)}`);
    }
    push(start, end, count);
  });
}

function listRows(batch: Batch, table: RangeTable, key: Uint8Array, dtype: DType): KeyRows {
  return keyRows(batch, table, key, (example, start, end, push) => {
    const isRead = eachFeature(batch.bytes, start, end, (from, to) => {
      const count = openValues(batch.bytes, from, to, dtype);
      if (count < 0) throw badList(batch, key, example);
      push(from, to, count);
    });
    if (!isRead) throw badList(batch, key, example);
  });
}

function badList(batch: Batch, key: Uint8Array, example: number) {
  return invalid(`Error in sequence feature ${decoder.decode(key)} in example ${batch.nameOf(example)}`);
}

function keyRows(
  batch: Batch,
  { keys, starts, ends }: RangeTable,
  key: Uint8Array,
  read: (example: number, start: number, end: number, push: (from: number, to: number, count: number) => void) => void,
): KeyRows {
  const ordinal = keys.find(key, 0, key.length);
  const rows = { rowCounts: new Int32Array(batch.count), starts: [], ends: [], counts: [] } as {
    rowCounts: Int32Array;
    starts: number[];
    ends: number[];
    counts: number[];
  };
  for (let e = 0; e < batch.count; e++) {
    const at = e * keys.count + ordinal;
    if (starts[at] === 0) {
      rows.rowCounts[e] = -1;
      continue;
    }
    const before = rows.counts.length;
    read(e, starts[at]!, ends[at]!, (from, to, count) => {
      rows.starts.push(from);
      rows.ends.push(to);
      rows.counts.push(count);
    });
    rows.rowCounts[e] = rows.counts.length - before;
  }
  return rows;
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function readRow(batch: Batch, rows: KeyRows, row: number, dtype: DType, out: Values): void {
  if (rows.counts[row] === 0) return;
  openValues(batch.bytes, rows.starts[row]!, rows.ends[row]!, dtype);
  out.read(batch.bytes, rows.counts[row]!);
}

function allValues(batch: Batch, rows: KeyRows, dtype: DType): Tensor {
  const total = sumOf(rows.counts);
  const out = new Values(dtype, total);
  for (let row = 0; row < rows.counts.length; row++) readRow(batch, rows, row, dtype, out);
  return out.build([total]);
}

function int64s(values: ArrayLike<number>, shape: readonly number[] = [values.length]): Tensor {
  return tensor("int64", shape, fromIntegers(values));
}

/** Sparse column: an index per value of [example?, row?, position]. */
function sparseColumn(batch: Batch, rows: KeyRows, dtype: DType, isBatch: boolean, isList: boolean): Tensor[] {
  const rank = (isBatch ? 1 : 0) + (isList ? 1 : 0) + 1;
  const total = sumOf(rows.counts);
  checkOutput("int64", total * rank);
  const indices = new Float64Array(total * rank);
  let at = 0;
  let row = 0;
  let [longest, widest] = [0, 0];
  for (let e = 0; e < batch.count; e++) {
    const rowCount = Math.max(0, rows.rowCounts[e]!);
    longest = Math.max(longest, rowCount);
    for (let r = 0; r < rowCount; r++, row++) {
      widest = Math.max(widest, rows.counts[row]!);
      for (let i = 0; i < rows.counts[row]!; i++) {
        if (isBatch) indices[at++] = e;
        if (isList) indices[at++] = r;
        indices[at++] = i;
      }
    }
  }
  const shape = [...(isBatch ? [batch.count] : []), ...(isList ? [longest] : []), widest];
  return [int64s(indices, [total, rank]), allValues(batch, rows, dtype), int64s(shape)];
}

function denseContext(batch: Batch, table: RangeTable, spec: DenseSpec): Tensor {
  const { key, dtype, shape, fallback } = spec;
  const name = decoder.decode(key);
  const stride = elementCount(shape);
  const spare = elementCount(fallback!.shape);
  check(
    fallback!.dtype === dtype,
    () => `context_dense_defaults of ${name} must have type ${dtype}, got ${fallback!.dtype}`,
  );
  check(
    shape.every((dim) => dim >= 0) && (spare === 0 || printShape(fallback!.shape) === printShape(shape)),
    () =>
      `Default value for context feature ${name} has an incorrect shape: saw ${printShape(fallback!.shape)} but expected ${printShape(shape)}`,
  );
  const rows = contextRows(batch, table, key, dtype);
  const most = rows.counts.reduce((highest, count) => Math.max(highest, count), spare);
  check(most === stride, () => `Inconsistent number of elements for feature ${name}: ${most} vs ${stride}`);
  const out = new Values(dtype, checkedCount(dtype, [batch.count, ...shape]));
  let row = 0;
  for (let e = 0; e < batch.count; e++) {
    if (rows.rowCounts[e]! < 0) {
      if (spare === 0) {
        throw invalid(`Feature: ${name} (data type: ${tfDTypeString(dtype)}) is required but could not be found.`);
      }
      out.repeat(fallback!, 1);
      continue;
    }
    check(rows.counts[row] === stride, () => `Unexpected number of elements in example ${batch.nameOf(e)}`);
    readRow(batch, rows, row++, dtype, out);
  }
  return out.build([batch.count, ...shape]);
}

/** A feature list as [example, row, ...shape], zeros behind the last row, and the number of rows. */
function denseList(batch: Batch, table: RangeTable, spec: DenseSpec): { values: Tensor; lengths: Int32Array } {
  const { key, dtype, shape } = spec;
  const name = decoder.decode(key);
  const stride = elementCount(shape);
  check(shape.every((dim) => dim >= 0) && stride > 0, () => `Unexpected shape error in feature ${name}`);
  const rows = listRows(batch, table, key, dtype);
  const longest = rows.rowCounts.reduce((most, count) => Math.max(most, count), 0);
  const out = new Values(dtype, checkedCount(dtype, [batch.count, longest, ...shape]));
  const zero = zeroTensor(dtype, [1]);
  let row = 0;
  for (let e = 0; e < batch.count; e++) {
    const rowCount = rows.rowCounts[e]!;
    check(rowCount >= 0 || spec.mayLack === true, () => `Missing feature ${name} in example ${batch.nameOf(e)}`);
    for (let r = 0; r < rowCount; r++, row++) {
      check(
        rows.counts[row] === stride,
        () => `Unexpected number of elements in feature ${name}, example ${batch.nameOf(e)}`,
      );
      readRow(batch, rows, row, dtype, out);
    }
    out.repeat(zero, (longest - Math.max(0, rowCount)) * stride);
  }
  return {
    values: out.build([batch.count, longest, ...shape]),
    lengths: rows.rowCounts.map((count) => Math.max(0, count)),
  };
}

function splitsOf(counts: ArrayLike<number>, dtype: DType): Tensor {
  const splits = new Float64Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) splits[i + 1] = splits[i]! + Math.max(0, counts[i]!);
  return withData(dtype, [splits.length], indexData(dtype, splits));
}

/** TensorFlow leaves a scalar that it never fills where a single example has no row splits. */
function noSplits(dtype: DType): Tensor {
  return withData(dtype, [], indexData(dtype, [0]));
}

/** Where the features that are asked for lie in each example: those of the context, and the lists. */
function scanSequences(
  { bytes, count, nameOf }: Batch,
  offsets: ArrayLike<number>,
  specs: readonly [context: Specs, lists: Specs],
): [context: RangeTable, lists: RangeTable] {
  const tables = specs.map(({ sparse, dense, ragged }): RangeTable => {
    const keys = new BytesIndex();
    for (const { key } of [...sparse, ...dense, ...ragged]) {
      const before = keys.count;
      keys.add(key, 0, key.length);
      check(keys.count > before, () => `Feature ${decoder.decode(key)} is asked for twice`);
    }
    checkOutput("int64", count * keys.count);
    return { keys, starts: new Uint32Array(count * keys.count), ends: new Uint32Array(count * keys.count) };
  }) as [RangeTable, RangeTable];
  for (let e = 0; e < count; e++) {
    if (!scanSequence(bytes, offsets[e]!, offsets[e + 1]!, tables, e)) {
      throw invalid(`Invalid protocol message input, example id: ${nameOf(e)}`);
    }
  }
  return tables;
}

/**
 * Outputs in the order that the ops have them, with a dim of examples where `serialized` has one.
 *
 * @param serialized  string [batch] or []
 * @param names  of the examples, for error texts; none or one each
 * @param withLengths  true where the op also returns the lengths of dense feature lists
 * @throws ServingError INVALID_ARGUMENT with TensorFlow's text
 */
export function parseSequences(
  serialized: Tensor,
  names: StringColumn,
  context: Specs,
  lists: Specs,
  withLengths: boolean,
): Tensor[] {
  const column = serialized.data as StringColumn;
  const isBatch = serialized.shape.length === 1;
  const count = column.length;
  check(
    names.length === 0 || names.length === count,
    () => `example_names must be empty or have the correct number of elements`,
  );
  const batch: Batch = {
    bytes: column.bytes,
    count,
    nameOf: (example) => (example < names.length ? names.textAt(example) : "<unknown>"),
  };
  const [contextTable, listTable] = scanSequences(batch, column.offsets, [context, lists]);
  const dropBatch = (value: Tensor): Tensor =>
    isBatch ? value : withData(value.dtype, value.shape.slice(1), value.data);
  const contextSparse = context.sparse.map(({ key, dtype }) =>
    sparseColumn(batch, contextRows(batch, contextTable, key, dtype), dtype, isBatch, false),
  );
  const contextRagged = context.ragged.map(({ key, dtype, splitDtype }) => {
    const rows = contextRows(batch, contextTable, key, dtype);
    let row = 0;
    const counts = Array.from(rows.rowCounts, (present) => (present < 0 ? 0 : rows.counts[row++]!));
    return [allValues(batch, rows, dtype), isBatch ? splitsOf(counts, splitDtype) : noSplits(splitDtype)] as const;
  });
  const listSparse = lists.sparse.map(({ key, dtype }) =>
    sparseColumn(batch, listRows(batch, listTable, key, dtype), dtype, isBatch, true),
  );
  const listDense = lists.dense.map((spec) => denseList(batch, listTable, spec));
  const listRagged = lists.ragged.map(({ key, dtype, splitDtype }) => {
    const rows = listRows(batch, listTable, key, dtype);
    return [
      allValues(batch, rows, dtype),
      isBatch ? splitsOf(rows.rowCounts, splitDtype) : noSplits(splitDtype),
      splitsOf(rows.counts, splitDtype),
    ] as const;
  });
  return [
    ...contextSparse.map((parts) => parts[0]!),
    ...contextSparse.map((parts) => parts[1]!),
    ...contextSparse.map((parts) => parts[2]!),
    ...context.dense.map((spec) => dropBatch(denseContext(batch, contextTable, spec))),
    ...contextRagged.map(([values]) => values),
    ...contextRagged.map(([, splits]) => splits),
    ...listSparse.map((parts) => parts[0]!),
    ...listSparse.map((parts) => parts[1]!),
    ...listSparse.map((parts) => parts[2]!),
    ...listDense.map(({ values }) => dropBatch(values)),
    ...(withLengths ? listDense.map(({ lengths }) => dropBatch(int64s(lengths))) : []),
    ...listRagged.map(([values]) => values),
    ...listRagged.map(([, outer]) => outer),
    ...listRagged.map(([, , inner]) => inner),
  ];
}
