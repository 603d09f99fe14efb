/** Strings cut, joined and changed by bytes. */
import { elementCount, StringColumn, StringColumnBuilder, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { check, printShape } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, integersOf, sameShape } from "../call/shapes.js";
import { joinedElements } from "./joined-elements.js";
import { joinRuns } from "../math/reduce.js";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** C's isspace in the "C" locale. */
export function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

/** A column of the same shape made by `append`, which adds exactly one string per call. */
export function mapStrings(
  input: Tensor,
  append: (builder: StringColumnBuilder, bytes: Uint8Array, start: number, end: number) => void,
): Tensor {
  const { bytes, offsets, length } = input.data as StringColumn;
  const builder = new StringColumnBuilder(length);
  for (let i = 0; i < length; i++) append(builder, bytes, offsets[i]!, offsets[i + 1]!);
  return tensor("string", input.shape, builder.build());
}

/** Changes the case of ASCII letters in a copy of all bytes at once: adds `by` to the 26 from `first` on. */
function changeAsciiCase(op: OpCall, first: number, by: number): Tensor[] {
  const column = op.strings(0);
  const { bytes } = column;
  const out = zeroedArray(Uint8Array, bytes.length);
  for (let i = 0; i < out.length; i++) {
    const byte = bytes[i]!;
    out[i] = byte + ((byte - first) >>> 0 < 26 ? by : 0);
  }
  return [tensor("string", op.tensor(0).shape, new StringColumn(out, column.offsets))];
}

function changeCase(op: OpCall, isLower: boolean): Tensor[] {
  const encoding = op.attrs.text("encoding");
  check(
    encoding === "" || encoding === "utf-8",
    () => `only utf-8 or '' (no encoding) is supported for case conversion, got ${encoding}`,
  );
  if (encoding === "") return isLower ? changeAsciiCase(op, 65, 32) : changeAsciiCase(op, 97, -32);
  return [
    mapStrings(op.tensor(0), (builder, bytes, start, end) => {
      const text = decoder.decode(bytes.subarray(start, end));
      builder.pushText(isLower ? text.toLowerCase() : text.toUpperCase());
    }),
  ];
}

function strip(op: OpCall): Tensor[] {
  return [
    mapStrings(op.tensor(0), (builder, bytes, start, end) => {
      let from = start;
      let to = end;
      while (from < to && isSpace(bytes[from]!)) from++;
      while (to > from && isSpace(bytes[to - 1]!)) to--;
      builder.pushRange(bytes, from, to);
    }),
  ];
}

function isUtf8(op: OpCall): boolean {
  const unit = op.attrs.text("unit");
  check(unit === "BYTE" || unit === "UTF8_CHAR", () => `Invalid unit ${unit}`);
  return unit === "UTF8_CHAR";
}

/** True for a byte that begins a UTF-8 character. */
function isLeading(byte: number): boolean {
  return (byte & 0xc0) !== 0x80;
}

function length(op: OpCall): Tensor[] {
  const countsChars = isUtf8(op);
  const { bytes, offsets, length: count } = op.strings(0);
  const out = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const [start, end] = [offsets[i]!, offsets[i + 1]!];
    if (!countsChars) {
      out[i] = end - start;
      continue;
    }
    let chars = 0;
    for (let at = start; at < end; at++) if (isLeading(bytes[at]!)) chars++;
    out[i] = chars;
  }
  return [tensor("int32", op.tensor(0).shape, out)];
}

/** Byte offsets at which the characters of `bytes[start .. end)` begin, and `end`. */
function charStarts(bytes: Uint8Array, start: number, end: number): number[] {
  const starts: number[] = [];
  for (let at = start; at < end; at++) if (isLeading(bytes[at]!)) starts.push(at);
  starts.push(end);
  return starts;
}

function substr(op: OpCall): Tensor[] {
  const [input, pos, len] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const countsChars = isUtf8(op);
  check(
    sameShape(pos.shape, len.shape),
    () => `pos and len should have the same shape, got: ${printShape(pos.shape)} vs. ${printShape(len.shape)}`,
  );
  const shape = broadcastShape(input.shape, pos.shape);
  const [x, p, l] = [operand(input, shape), operand(pos, shape), operand(len, shape)];
  const { bytes, offsets } = x.value.data as StringColumn;
  const positions = integersOf(p.value);
  const lengths = integersOf(l.value);
  const count = elementCount(shape);
  const builder = new StringColumnBuilder(count);
  for (let i = 0; i < count; i++) {
    const start = offsets[i * x.step]!;
    const end = offsets[i * x.step + 1]!;
    const at = positions[i * p.step]!;
    const size = lengths[i * l.step]!;
    if (countsChars) {
      const starts = charStarts(bytes, start, end);
      const total = starts.length - 1;
      const from = at < 0 ? at + total : at;
      check(from >= 0 && from <= total && (at >= 0 || (total > 0 && size >= 0)), () =>
        outOfRange(at, bytes, start, end, i),
      );
      const to = Math.min(total, Math.max(from, from + size));
      builder.pushRange(bytes, starts[from]!, starts[to]!);
    } else {
      const total = end - start;
      const from = at < 0 ? at + total : at;
      check(from >= 0 && from <= total, () => outOfRange(at, bytes, start, end, i));
      // TensorFlow reads a negative length of bytes as a huge one.
      builder.pushRange(bytes, start + from, start + (size < 0 ? total : Math.min(total, from + size)));
    }
  }
  return [tensor("string", shape, builder.build())];
}

function outOfRange(at: number, bytes: Uint8Array, start: number, end: number, i: number): string {
  return `pos ${at} out of range for string b'${decoder.decode(bytes.subarray(start, end))}' at index ${i}`;
}

function stringJoin(op: OpCall): Tensor[] {
  const values = op.tensors();
  const separator = op.attrs.bytes("separator");
  const shape = values.find((value) => value.shape.length > 0)?.shape ?? [];
  values.forEach((value, k) =>
    check(
      value.shape.length === 0 || sameShape(value.shape, shape),
      () => `Input shapes do not match: ${printShape(shape)} vs. ${printShape(value.shape)} (input ${k})`,
    ),
  );
  if (values.length === 0) return [tensor("string", [], StringColumn.from([""]))];
  return [
    joinedElements(
      values.map((value) => ({ column: value.data as StringColumn, step: value.shape.length === 0 ? 0 : 1 })),
      shape,
      separator,
    ),
  ];
}

function unsortedSegmentJoin(op: OpCall): Tensor[] {
  const [input, segments] = [op.tensor(0), op.tensor(1)];
  const count = integersOf(op.tensor(2))[0]!;
  check(sameShape(input.shape, segments.shape), () => "UnsortedSegmentJoin: segment_ids must have the shape of inputs");
  check(count >= 0, () => "Number of segments must be non-negative");
  const ids = integersOf(segments);
  const separator = encoder.encode(op.attrs.text("separator"));
  const column = input.data as StringColumn;
  checkOutput("string", count);
  const texts = new Map<number, Uint8Array[]>();
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    check(id < count, () => `Segment id ${id} is out of range [0, ${count})`);
    if (id < 0) continue;
    const list = texts.get(id);
    if (list) list.push(column.at(i));
    else texts.set(id, [column.at(i)]);
  }
  const rows = [...texts].sort(([a], [b]) => a - b);
  const joinedRows = rows.map(([, list]) => {
    const one = joinRuns(tensor("string", [list.length], StringColumn.from(list)), list.length, 1, [], separator);
    return (one.data as StringColumn).at(0);
  });
  // A request may ask for many more segments than it has strings: the others are empty.
  const offsets = new Uint32Array(count + 1);
  const bytes = Buffer.concat(joinedRows);
  let at = 0;
  for (const [k, [id]] of rows.entries()) {
    at += joinedRows[k]!.length;
    offsets.fill(at, id + 1, (rows[k + 1]?.[0] ?? count) + 1);
  }
  return [tensor("string", [count], new StringColumn(bytes, offsets))];
}

export const STRING_EDIT_KERNELS: Readonly<Record<string, Kernel>> = {
  StringLower: (op) => changeCase(op, true),
  StringUpper: (op) => changeCase(op, false),
  StringStrip: strip,
  StringLength: length,
  Substr: substr,
  StringJoin: stringJoin,
  UnsortedSegmentJoin: unsortedSegmentJoin,
};
