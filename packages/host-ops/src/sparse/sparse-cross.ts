/**
 * Feature crosses: for every row of a batch the product of its features in all columns, as texts or as hashes
 * (semantics of tensorflow/core/kernels/sparse_cross_op.cc).
 */
import { lanesOf, StringColumn, StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { allocate, checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integerOf, integersOf } from "../call/shapes.js";
import { copy, modulo, mul, newWords, set, type Words, xor, xorShift } from "../call/words.js";
import { FINGERPRINT, fingerprint64 } from "../strings/farm-hash.js";
import { sipHash, SIP_HASH, sipKey, type SipKey } from "../strings/sip-hash.js";

/** One feature column: feature n of row r is element `starts[r] + n` of `values`. */
interface CrossColumn {
  readonly values: Tensor;
  readonly isSparse: boolean;
  readonly starts: Float64Array;
  readonly counts: Float64Array;
}

function columnsOf(op: OpCall): CrossColumn[] {
  const n = op.attrs.int("N");
  const denseCount = op.attrs.dtypes("dense_types").length;
  const firstDense = op.tensors(3 * n, 3 * n + denseCount);
  const rows = n > 0 ? integersOf(op.tensor(2 * n))[0]! : (firstDense[0]?.shape[0] ?? 0);
  checkOutput("int64", rows);
  const columns: CrossColumn[] = [];
  for (let k = 0; k < n; k++) {
    const indices = op.tensor(k);
    const values = op.tensor(n + k);
    check(
      indices.shape.length === 2 && indices.shape[1] === 2,
      () => `Input indices should be a matrix but received shape ${printShape(indices.shape)} at position ${k}`,
    );
    check(
      indices.shape[0] === values.shape[0],
      () => `Expected size of values to be ${indices.shape[0]} got ${values.shape[0]} at position ${k}`,
    );
    check(
      integersOf(op.tensor(2 * n + k))[0] === rows,
      () => `Expected batch size ${rows} got ${integersOf(op.tensor(2 * n + k))[0]} at position ${k}`,
    );
    const counts = new Float64Array(rows);
    const starts = new Float64Array(rows);
    const ids = integersOf(indices);
    for (let i = 0; i < values.shape[0]!; i++) {
      const row = ids[2 * i]!;
      check(row >= 0 && row < rows, () => `Expected indices to be in [0, ${rows}), got ${row} at position ${k}`);
      if (counts[row] === 0) starts[row] = i;
      counts[row] = counts[row]! + 1;
    }
    columns.push({ values, isSparse: true, starts, counts });
  }
  for (const values of firstDense) {
    check(
      values.shape.length === 2 && values.shape[0] === rows,
      () => `Dense inputs should be a matrix of ${rows} rows but received shape ${printShape(values.shape)}`,
    );
    const width = values.shape[1]!;
    columns.push({
      values,
      isSparse: false,
      starts: Float64Array.from({ length: rows }, (_, r) => r * width),
      counts: new Float64Array(rows).fill(width),
    });
  }
  return columns;
}

/** Calls back with the elements (one per column) of every cross, row by row; the last column varies fastest. */
function forEachCross(
  columns: readonly CrossColumn[],
  rows: number,
  callback: (elements: Float64Array) => void,
): number[] {
  const perRow: number[] = [];
  const elements = new Float64Array(columns.length);
  const at = new Float64Array(columns.length);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    const count = columns.reduce((product, column) => product * column.counts[row]!, 1);
    total += count;
    checkOutput("int64", total * 2);
    perRow.push(count);
    at.fill(0);
    for (let n = 0; n < count; n++) {
      for (let c = 0; c < columns.length; c++) elements[c] = columns[c]!.starts[row]! + at[c]!;
      callback(elements);
      for (let c = columns.length - 1; c >= 0; c--) {
        at[c] = at[c]! + 1;
        if (at[c]! < columns[c]!.counts[row]!) break;
        at[c] = 0;
      }
    }
  }
  return perRow;
}

function result(perRow: readonly number[], values: Tensor): Tensor[] {
  const total = values.shape[0]!;
  const indices = new Float64Array(total * 2);
  let at = 0;
  let widest = 0;
  perRow.forEach((count, row) => {
    widest = Math.max(widest, count);
    for (let n = 0; n < count; n++) {
      indices[at++] = row;
      indices[at++] = n;
    }
  });
  return [
    tensor("int64", [total, 2], fromIntegers(indices)),
    values,
    tensor("int64", [2], fromIntegers([perRow.length, widest])),
  ];
}

const encoder = new TextEncoder();

function crossTexts(columns: readonly CrossColumn[], separator: Uint8Array): Tensor[] {
  const rows = columns[0]?.counts.length ?? 0;
  const out = new StringColumnBuilder();
  const perRow = forEachCross(columns, rows, (elements) => {
    const parts: Uint8Array[] = [];
    columns.forEach(({ values }, c) => {
      if (c > 0) parts.push(separator);
      const { data } = values;
      parts.push(
        data instanceof StringColumn
          ? data.at(elements[c]!)
          : encoder.encode(String((data as BigInt64Array)[elements[c]!])),
      );
    });
    out.push(Buffer.concat(parts));
  });
  return result(perRow, tensor("string", [out.length], out.build()));
}

const [HASH, FEATURE, MULTIPLIER] = [0, 1, 2] as const;
const w = newWords(3);

/** HASH = FingerprintCat64(HASH, FEATURE) (tensorflow/core/platform/fingerprint.h) */
function appendFeature(): void {
  set(w, MULTIPLIER, 0x5bd1e995, 0xc6a4a793);
  xor(w, HASH, HASH, MULTIPLIER);
  mul(w, FEATURE, FEATURE, MULTIPLIER);
  xorShift(w, FEATURE, FEATURE, 47);
  mul(w, FEATURE, FEATURE, MULTIPLIER);
  xor(w, HASH, HASH, FEATURE);
  mul(w, HASH, HASH, MULTIPLIER);
  xorShift(w, HASH, HASH, 47);
  mul(w, HASH, HASH, MULTIPLIER);
  xorShift(w, HASH, HASH, 47);
}

function fromWords(words: Words, register: number): void {
  w[2 * FEATURE] = words[2 * register]!;
  w[2 * FEATURE + 1] = words[2 * register + 1]!;
}

/** FEATURE = the number, or the text's fingerprint. */
function loadPlain({ values }: CrossColumn, at: number): void {
  const { data } = values;
  if (data instanceof StringColumn) {
    fingerprint64(data.bytes, data.offsets[at]!, data.offsets[at + 1]!);
    fromWords(FINGERPRINT.words, FINGERPRINT.register);
  } else {
    const lanes = lanesOf(data as BigInt64Array);
    set(w, FEATURE, lanes[2 * at]!, lanes[2 * at + 1]!);
  }
}

/** As SparseCrossHashed takes a feature: numbers of sparse columns are hashed by their low four bytes, as TensorFlow does. */
function loadHashed(column: CrossColumn, at: number, key: SipKey | undefined): void {
  const { data } = column.values;
  if (!(data instanceof StringColumn) && !column.isSparse) {
    if (key) throw invalid("SparseCrossHashed with a strong hash of dense integers is not supported");
    return loadPlain(column, at);
  }
  const isText = data instanceof StringColumn;
  const bytes = isText
    ? data.bytes
    : new Uint8Array((data as BigInt64Array).buffer as ArrayBuffer, (data as BigInt64Array).byteOffset);
  const [start, end] = isText ? [data.offsets[at]!, data.offsets[at + 1]!] : [8 * at, 8 * at + 4];
  if (key) {
    sipHash(bytes, start, end, key);
    fromWords(SIP_HASH.words, SIP_HASH.register);
  } else {
    fingerprint64(bytes, start, end);
    fromWords(FINGERPRINT.words, FINGERPRINT.register);
  }
}

const INT64_MAX = 2n ** 63n - 1n;

function crossHashes(
  columns: readonly CrossColumn[],
  bucketCount: number,
  begin: (elements: Float64Array) => number,
  loadFeature: (column: CrossColumn, at: number) => void,
): Tensor[] {
  const rows = columns[0]?.counts.length ?? 0;
  const total = Array.from({ length: rows }, (_, r) =>
    columns.reduce((product, column) => product * column.counts[r]!, 1),
  );
  const out = allocate(
    "int64",
    total.reduce((sum, count) => sum + count, 0),
  );
  let n = 0;
  const perRow = forEachCross(columns, rows, (elements) => {
    for (let c = begin(elements); c < columns.length; c++) {
      loadFeature(columns[c]!, elements[c]!);
      appendFeature();
    }
    if (bucketCount > 0) {
      out[n++] = BigInt(modulo(w, HASH, bucketCount));
    } else {
      const value = (BigInt(w[2 * HASH + 1]! >>> 0) << 32n) | BigInt(w[2 * HASH]! >>> 0);
      out[n++] = value % INT64_MAX;
    }
  });
  return result(perRow, tensor("int64", [n], out));
}

function sparseCross(op: OpCall): Tensor[] {
  const columns = columnsOf(op);
  const internal = op.attrs.dtype("internal_type");
  for (const { values, isSparse } of columns) {
    if (internal === "string" && values.dtype === "int64") {
      throw invalid(`${isSparse ? "Input values" : "Dense inputs"} should be of internal type 7 but received 9`);
    }
  }
  if (!op.attrs.bool("hashed_output")) return crossTexts(columns, encoder.encode("_X_"));
  return keyedHashes(op, columns);
}

function sparseCrossHashed(op: OpCall): Tensor[] {
  const columns = columnsOf(op);
  const tail = op.inputCount - 3;
  const isStrong = (op.tensor(tail + 1).data as Uint8Array)[0] === 1;
  const salt = op.tensor(tail + 2).data as BigInt64Array;
  check(salt.length === 2, () => "salt must have 2 elements");
  const key = isStrong ? sipKey(salt[0]!, salt[1]!) : undefined;
  return crossHashes(
    columns,
    integerOf(op.tensor(tail)),
    (elements) => {
      loadHashed(columns[0]!, elements[0]!, key);
      copy(w, HASH, FEATURE);
      return 1;
    },
    (column, at) => loadHashed(column, at, key),
  );
}

/** Columns of RaggedCross in the order that its attribute tells: R(agged), S(parse), D(ense). */
function raggedColumnsOf(op: OpCall): { columns: CrossColumn[]; rows: number } {
  const raggedCount = op.attrs.dtypes("ragged_values_types").length;
  const sparseCount = op.attrs.int("Nsparse");
  const denseCount = op.attrs.dtypes("dense_types").length;
  const sparseAt = 2 * raggedCount;
  const denseAt = sparseAt + 3 * sparseCount;
  const column = (values: Tensor, splits: ArrayLike<number>): CrossColumn => {
    const rows = splits.length - 1;
    return {
      values,
      isSparse: true,
      starts: Float64Array.from({ length: rows }, (_, r) => splits[r]!),
      counts: Float64Array.from({ length: rows }, (_, r) => splits[r + 1]! - splits[r]!),
    };
  };
  const twoDims = (condition: boolean) => check(condition, () => "tf.ragged.cross only supports inputs with rank=2.");
  const ragged = Array.from({ length: raggedCount }, (_, k) => {
    const [values, splits] = [op.tensor(k), op.tensor(raggedCount + k)];
    twoDims(values.shape.length === 1 && splits.shape.length === 1);
    const list = integersOf(splits);
    check(list.length > 0 && list[0] === 0, () => "Invalid ragged splits: first element of splits must be 0");
    for (let i = 1; i < list.length; i++) check(list[i]! >= list[i - 1]!, () => "Invalid ragged splits: they decrease");
    check(
      list[list.length - 1] === values.shape[0],
      () => `Invalid ragged splits: last element of splits must be the number of values`,
    );
    return column(values, list);
  });
  const dense = op.tensors(denseAt, denseAt + denseCount).map((values) => {
    twoDims(values.shape.length === 2);
    const width = values.shape[1]!;
    return column(
      values,
      Float64Array.from({ length: values.shape[0]! + 1 }, (_, r) => r * width),
    );
  });
  const rows =
    ragged[0]?.counts.length ??
    dense[0]?.counts.length ??
    (sparseCount > 0 ? integersOf(op.tensor(sparseAt + 2 * sparseCount))[0]! : 0);
  checkOutput("int64", rows);
  const sameBatch = (condition: boolean) =>
    check(condition, () => "inputs must all have the same batch dimension size.");
  const sparse = Array.from({ length: sparseCount }, (_, k) => {
    const indices = op.tensor(sparseAt + k);
    const shape = integersOf(op.tensor(sparseAt + 2 * sparseCount + k));
    check(indices.shape.length === 2, () => `Invalid SparseTensor ${k}`);
    twoDims(shape.length === 2);
    sameBatch(shape[0] === rows);
    const ids = integersOf(indices);
    const splits = new Float64Array(rows + 1);
    let i = 0;
    for (let row = 0; row < rows; row++) {
      while (i < indices.shape[0]! && ids[i * indices.shape[1]!]! <= row) i++;
      splits[row + 1] = i;
    }
    return column(op.tensor(sparseAt + sparseCount + k), splits);
  });
  const bySort: Record<string, CrossColumn[]> = { R: ragged, S: sparse, D: dense };
  const columns = Array.from(op.attrs.bytes("input_order"), (code) => {
    const letter = String.fromCharCode(code);
    const next = bySort[letter]?.shift();
    if (!next) throw invalid(`Unexpected input_order value ${op.attrs.text("input_order")}.`);
    sameBatch(next.counts.length === rows);
    return next;
  });
  return { columns, rows };
}

function raggedCross(op: OpCall): Tensor[] {
  const { columns, rows } = raggedColumnsOf(op);
  const [, values] = op.attrs.bool("hashed_output")
    ? keyedHashes(op, columns)
    : crossTexts(columns, encoder.encode("_X_"));
  const splits = new Float64Array(rows + 1);
  for (let r = 0; r < rows; r++) {
    splits[r + 1] = splits[r]! + columns.reduce((product, column) => product * column.counts[r]!, 1);
  }
  const dtype = op.attrs.dtype("out_row_splits_type");
  return [values!, withData(dtype, [rows + 1], indexData(dtype, splits))];
}

/** Crosses hashed from the attribute hash_key on, into num_buckets. */
function keyedHashes(op: OpCall, columns: readonly CrossColumn[]): Tensor[] {
  const key = BigInt(op.attrs.get("hash_key") as bigint | number);
  return crossHashes(
    columns,
    op.attrs.int("num_buckets"),
    () => {
      set(w, HASH, Number(BigInt.asIntN(32, key)), Number(BigInt.asIntN(32, key >> 32n)));
      return 0;
    },
    loadPlain,
  );
}

export const CROSS_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseCross: sparseCross,
  SparseCrossV2: (op) => crossTexts(columnsOf(op), op.strings(op.inputCount - 1).at(0)),
  SparseCrossHashed: sparseCrossHashed,
  RaggedCross: raggedCross,
};
