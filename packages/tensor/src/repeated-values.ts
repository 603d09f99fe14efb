/**
 * Numbers of a repeated protobuf field, packed or not and in any number of chunks, into typed arrays.
 * Errors: ServingError INVALID_ARGUMENT for malformed bytes.
 */
import { ServingError } from "@shardserve/core";
import { bytesOf, lanesOf, type NumericData, type NumericDType } from "./tensor.js";
import { WIRE_BYTES, WIRE_FIXED32, WIRE_VARINT, WireReader } from "./wire-reader.js";

/** Values of one field over the whole message; `onlyStart` is where they lie when one packed chunk holds them all. */
export function countValues(bytes: Uint8Array, field: number, wireType: number): { count: number; onlyStart: number } {
  const reader = new WireReader(bytes);
  let count = 0;
  let chunkCount = 0;
  let start = -1;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag >>> 3 === field && (tag & 7) === WIRE_BYTES) {
      const length = reader.length();
      start = reader.position;
      chunkCount++;
      count += packedCount(bytes, start, start + length, wireType);
      reader.position += length;
    } else {
      if (tag === ((field << 3) | wireType)) {
        chunkCount += 2; // an unpacked value: not one packed chunk
        count++;
      }
      reader.skip(tag & 7);
    }
  }
  return { count, onlyStart: chunkCount === 1 ? start : -1 };
}

function packedCount(bytes: Uint8Array, start: number, end: number, wireType: number): number {
  if (wireType !== WIRE_VARINT) {
    const width = wireType === WIRE_FIXED32 ? 4 : 8;
    if ((end - start) % width !== 0) {
      throw new ServingError("INVALID_ARGUMENT", `packed values of ${width} bytes end amid one at byte ${end}`);
    }
    return (end - start) / width;
  }
  let count = 0;
  for (let i = start; i < end; i++) count += bytes[i]! < 0x80 ? 1 : 0;
  if (end > start && bytes[end - 1]! >= 0x80) {
    throw new ServingError("INVALID_ARGUMENT", `packed varints end amid one at byte ${end}`);
  }
  return count;
}

/** Writes the first `limit` values of a field into `data`. */
export function fillValues(
  bytes: Uint8Array,
  field: number,
  wireType: number,
  dtype: NumericDType,
  data: NumericData,
  limit: number,
): void {
  const reader = new WireReader(bytes);
  let filled = 0;
  while (reader.position < reader.end && filled < limit) {
    const tag = reader.tag();
    let end: number;
    if (tag >>> 3 === field && (tag & 7) === WIRE_BYTES) {
      end = reader.length() + reader.position;
    } else if (tag === ((field << 3) | wireType)) {
      const start = reader.position;
      reader.skip(wireType);
      end = reader.position;
      reader.position = start;
    } else {
      reader.skip(tag & 7);
      continue;
    }
    filled = fillChunk(new WireReader(bytes, reader.position, end), wireType, dtype, data, filled, limit);
    reader.position = end;
  }
}

function fillChunk(
  reader: WireReader,
  wireType: number,
  dtype: NumericDType,
  data: NumericData,
  filled: number,
  limit: number,
): number {
  if (wireType !== WIRE_VARINT) {
    const width = wireType === WIRE_FIXED32 ? 4 : 8;
    const end = Math.min(limit, filled + (reader.end - reader.position) / width);
    bytesOf(data).set(reader.bytes.subarray(reader.position, reader.position + (end - filled) * width), filled * width);
    return end;
  }
  if (dtype === "int64" || dtype === "uint64") {
    return fillVarints64(reader, lanesOf(data as BigInt64Array), filled, limit);
  }
  const truth = dtype === "bool";
  const array = data as Int32Array; // narrower arrays keep the low bits, as TensorFlow does
  for (; filled < limit && reader.position < reader.end; filled++) array[filled] = readLow32(reader, truth);
  return filled;
}

/** The low 32 bits of a varint, or whether it is not zero. */
function readLow32(reader: WireReader, truth: boolean): number {
  const bytes = reader.bytes;
  let position = reader.position;
  let byte = bytes[position++]!;
  let value = byte & 0x7f;
  let rest = 0;
  for (let shift = 7; byte >= 0x80; shift += 7) {
    if (shift > 63 || position >= reader.end)
      throw new ServingError("INVALID_ARGUMENT", `a bad varint at byte ${position}`);
    byte = bytes[position++]!;
    if (shift < 32) value |= (byte & 0x7f) << shift;
    rest |= byte & 0x7f;
  }
  reader.position = position;
  return truth ? ((value | rest) === 0 ? 0 : 1) : value;
}

/** Varints into pairs of 32-bit lanes, without a BigInt. */
function fillVarints64(reader: WireReader, lanes: Int32Array, filled: number, limit: number): number {
  const bytes = reader.bytes;
  const end = reader.end;
  let position = reader.position;
  while (filled < limit && position < end) {
    let low = 0;
    let high = 0;
    let shift = 0;
    let byte: number;
    do {
      if (shift > 63 || position >= end) throw new ServingError("INVALID_ARGUMENT", `a bad varint at byte ${position}`);
      byte = bytes[position++]!;
      if (shift < 28) low |= (byte & 0x7f) << shift;
      else if (shift === 28) {
        low |= (byte & 0x7f) << 28;
        high = (byte & 0x7f) >>> 4;
      } else high |= (byte & 0x7f) << (shift - 32);
      shift += 7;
    } while (byte >= 0x80);
    lanes[2 * filled] = low;
    lanes[2 * filled + 1] = high;
    filled++;
  }
  reader.position = position;
  return filled;
}
