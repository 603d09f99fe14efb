/** Strings of a TensorProto, or of a repeated bytes field, as a column. Errors: ServingError INVALID_ARGUMENT for malformed bytes. */
import { ServingError } from "@shardserve/core";
import { checkSplat } from "./splat.js";
import { StringColumn } from "./strings.js";
import { WIRE_BYTES, WireReader } from "./wire-reader.js";

/** Entries of a repeated bytes field. */
export function countStrings(bytes: Uint8Array, field: number): number {
  let count = 0;
  for (const reader = new WireReader(bytes); reader.position < reader.end; ) {
    const tag = reader.tag();
    if (tag === ((field << 3) | WIRE_BYTES)) count++;
    reader.skip(tag & 7);
  }
  return count;
}

/**
 * Entries of a repeated bytes field as one column; the last one repeats up to `count`, none means empty strings.
 *
 * @param field  its number; `string_val` in a TensorProto
 * @param splatBytesMax  what the column may take where entries are missing
 */
export function stringsFromValues(
  bytes: Uint8Array,
  field: number,
  count: number,
  splatBytesMax: number,
): StringColumn {
  const tagOfValue = (field << 3) | WIRE_BYTES;
  let present = 0;
  let byteLength = 0;
  let lastLength = 0;
  for (const reader = new WireReader(bytes); reader.position < reader.end && present < count; ) {
    const tag = reader.tag();
    if (tag === tagOfValue) {
      lastLength = reader.length();
      byteLength += lastLength;
      reader.position += lastLength;
      present++;
    } else reader.skip(tag & 7);
  }
  if (present < count) {
    byteLength += lastLength * (count - present);
    checkSplat(byteLength + 4 * count, splatBytesMax);
  }
  const out = new Uint8Array(byteLength);
  const offsets = new Uint32Array(count + 1);
  let written = 0;
  for (const reader = new WireReader(bytes); reader.position < reader.end && written < present; ) {
    const tag = reader.tag();
    if (tag === tagOfValue) {
      const length = reader.length();
      out.set(bytes.subarray(reader.position, reader.position + length), offsets[written]!);
      reader.position += length;
      offsets[++written] = offsets[written - 1]! + length;
    } else reader.skip(tag & 7);
  }
  for (; written < count; written++) {
    const start = offsets[written]!;
    out.copyWithin(start, start - lastLength, start);
    offsets[written + 1] = start + lastLength;
  }
  return new StringColumn(out, offsets);
}

/** tensor_content of strings: all lengths as varints, then all bytes. The column is a view of `content`. */
export function stringsFromContent(content: Uint8Array, count: number): StringColumn {
  if (count > content.length) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `tensor_content of ${content.length} bytes cannot hold ${count} strings`,
    );
  }
  const reader = new WireReader(content);
  const offsets = new Uint32Array(count + 1);
  let total = 0;
  for (let i = 0; i < count; i++) {
    total += reader.varint();
    if (total > content.length) throw new ServingError("INVALID_ARGUMENT", "tensor_content ends amid its strings");
    offsets[i + 1] = total;
  }
  if (reader.position + total !== content.length) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `tensor_content holds ${content.length - reader.position} bytes of strings, their lengths add up to ${total}`,
    );
  }
  return new StringColumn(content.subarray(reader.position), offsets);
}
