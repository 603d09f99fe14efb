/** Strings split into pieces. */
import { type StringColumn, StringColumnBuilder, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { fromIntegers, int64Data } from "../call/int64.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { isSpace } from "./string-edit.js";

/** About the length of a word. */
const PIECE_BYTES = 6;

/** Collects the pieces of a batch of split strings as the three tensors of a sparse matrix. */
class SplitResult {
  readonly #pieces: StringColumnBuilder;
  readonly #counts: Int32Array;

  constructor({ length, offsets }: StringColumn) {
    const byteLength = offsets[length]! - offsets[0]!;
    this.#pieces = new StringColumnBuilder(length + Math.floor(byteLength / PIECE_BYTES), byteLength);
    this.#counts = zeroedArray(Int32Array, length);
  }

  add(row: number, bytes: Uint8Array, start: number, end: number): void {
    this.#pieces.pushRange(bytes, start, end);
    this.#counts[row] = this.#counts[row]! + 1;
  }

  build(): Tensor[] {
    const total = this.#pieces.length;
    const { data: indices, lanes } = int64Data(total * 2);
    let at = 0;
    let widest = 0;
    for (let row = 0; row < this.#counts.length; row++) {
      const count = this.#counts[row]!;
      if (count > widest) widest = count;
      for (let column = 0; column < count; column++, at += 4) {
        lanes[at] = row;
        lanes[at + 2] = column;
      }
    }
    return [
      tensor("int64", [total, 2], indices),
      tensor("string", [total], this.#pieces.build()),
      tensor("int64", [2], fromIntegers([this.#counts.length, widest])),
    ];
  }
}

/** As Python's str.split: an empty separator splits at runs of white space and drops empty pieces. */
function splitV2(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  check(input.shape.length === 1, () => `input must be a vector, got shape: ${printShape(input.shape)}`);
  check(op.tensor(1).shape.length === 0, () => `sep must be a scalar, got shape: ${printShape(op.tensor(1).shape)}`);
  const separator = op.strings(1).at(0);
  const given = op.attrs.int("maxsplit");
  const splitsMax = given < 0 ? Number.POSITIVE_INFINITY : given;
  const { bytes, offsets, length: rows } = op.strings(0);
  const out = new SplitResult(op.strings(0));
  for (let row = 0; row < rows; row++) {
    const [start, end] = [offsets[row]!, offsets[row + 1]!];
    if (splitsMax === 0) out.add(row, bytes, start, end);
    else if (separator.length === 0) splitAtSpace(out, row, bytes, start, end, splitsMax);
    else splitAtText(out, row, bytes, start, end, separator, splitsMax);
  }
  return out.build();
}

function splitAtSpace(
  out: SplitResult,
  row: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  splitsMax: number,
): void {
  let at = afterSpace(bytes, start, end);
  for (let splits = 0; at < end; ) {
    const from = at;
    while (at < end && !isSpace(bytes[at]!)) at++;
    out.add(row, bytes, from, at);
    at = afterSpace(bytes, at, end);
    if (++splits === splitsMax) return out.add(row, bytes, at, end);
  }
}

function afterSpace(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && isSpace(bytes[at]!)) at++;
  return at;
}

function splitAtText(
  out: SplitResult,
  row: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  separator: Uint8Array,
  splitsMax: number,
): void {
  let from = start;
  for (let splits = 0; splits < splitsMax; splits++) {
    const at = find(bytes, from, end, separator);
    if (at < 0) break;
    out.add(row, bytes, from, at);
    from = at + separator.length;
  }
  out.add(row, bytes, from, end);
}

function find(bytes: Uint8Array, start: number, end: number, wanted: Uint8Array): number {
  const first = wanted[0]!;
  for (let at = start; at + wanted.length <= end; at++) {
    if (bytes[at] !== first) continue;
    let i = 1;
    while (i < wanted.length && bytes[at + i] === wanted[i]) i++;
    if (i === wanted.length) return at;
  }
  return -1;
}

/** The first split op: every byte of the delimiter separates; an empty one cuts into single bytes. */
function splitV1(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  check(input.shape.length === 1, () => `input must be a vector, got shape: ${printShape(input.shape)}`);
  check(
    op.tensor(1).shape.length === 0,
    () => `delimiter must be a scalar, got shape: ${printShape(op.tensor(1).shape)}`,
  );
  const skipsEmpty = op.attrs.bool("skip_empty");
  const isDelimiter = new Uint8Array(256);
  const delimiter = op.strings(1).at(0);
  for (const byte of delimiter) isDelimiter[byte] = 1;
  const { bytes, offsets, length: rows } = op.strings(0);
  const out = new SplitResult(op.strings(0));
  for (let row = 0; row < rows; row++) {
    const [start, end] = [offsets[row]!, offsets[row + 1]!];
    if (delimiter.length === 0) {
      for (let at = start; at < end; at++) out.add(row, bytes, at, at + 1);
      continue;
    }
    let from = start;
    for (let at = start; at <= end; at++) {
      if (at < end && !isDelimiter[bytes[at]!]) continue;
      // An empty string has no pieces at all.
      if ((at > from || !skipsEmpty) && start < end) out.add(row, bytes, from, at);
      from = at + 1;
    }
  }
  return out.build();
}

export const STRING_SPLIT_KERNELS: Readonly<Record<string, Kernel>> = {
  StringSplit: splitV1,
  StringSplitV2: splitV2,
};
