/**
 * tf.Example on the wire, read in place: Example{features=1}, Features{feature map=1}, entry{key=1, Feature=2},
 * Feature{bytes_list=1 | float_list=2 | int64_list=3}, each list{value=1, packed or not}. Follows TensorFlow's fast parser
 * (tensorflow/core/util/example_proto_fast_parsing.cc). Input may be hostile: every length is checked against its parent, and
 * nothing is allocated by what a length says. Where TensorFlow reads a message that ends too early as far as it goes, this refuses it.
 */
import type { BytesIndex } from "../call/key-index.js";

/** What a Feature holds, by its first field. */
export const NO_FEATURE = 0;
export const BYTES_FEATURE = 1;
export const FLOAT_FEATURE = 2;
export const INT64_FEATURE = 3;
export const BAD_FEATURE = -1;
export const UNKNOWN_FEATURE = -2;

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/** Cursor results of {@link readVarint}: the value's lanes and where it ended (-1 = malformed). */
const cursor = { at: 0, low: 0, high: 0 };

/** Reads a varint of at most ten bytes into {@link cursor}. */
function readVarint(bytes: Uint8Array, start: number, end: number): boolean {
  let low = 0;
  let high = 0;
  for (let at = start, shift = 0; at < end && shift < 70; at++, shift += 7) {
    const byte = bytes[at]!;
    const part = byte & 0x7f;
    if (shift < 28) low |= part << shift;
    else if (shift === 28) {
      low |= part << 28;
      high = part >>> 4;
    } else if (shift < 63) high |= part << (shift - 32);
    else high |= part << 31;
    if (byte < 0x80) {
      cursor.at = at + 1;
      cursor.low = low;
      cursor.high = high;
      return true;
    }
  }
  return false;
}

/** Reads a length and leaves {@link cursor} at the first byte; false when it overruns `end`. */
function readLength(bytes: Uint8Array, start: number, end: number): boolean {
  return readVarint(bytes, start, end) && cursor.high === 0 && cursor.low >>> 0 <= end - cursor.at;
}

/** Where a field's value of `type` ends, or -1. */
function skip(bytes: Uint8Array, type: number, at: number, end: number): number {
  let next = -1;
  if (type === VARINT && readVarint(bytes, at, end)) next = cursor.at;
  else if (type === FIXED64) next = at + 8;
  else if (type === FIXED32) next = at + 4;
  else if (type === DELIMITED && readLength(bytes, at, end)) next = cursor.at + cursor.low;
  return next <= end ? next : -1;
}

/**
 * Finds the wanted features of one Example.
 *
 * @param keys  wanted keys by ordinal
 * @param starts  at `base + ordinal`: first byte of the Feature message; a later entry of the same key overwrites
 * @param ends  likewise, one past its last byte; equal to the start where there is none
 * @returns false when the message is malformed
 */
export function scanExample(
  bytes: Uint8Array,
  start: number,
  end: number,
  keys: BytesIndex,
  starts: Uint32Array,
  ends: Uint32Array,
  base: number,
): boolean {
  for (let at = start; at < end; ) {
    if (!readVarint(bytes, at, end)) return false;
    const tag = cursor.low;
    at = cursor.at;
    if (tag !== ((1 << 3) | DELIMITED)) {
      at = skip(bytes, tag & 7, at, end);
      if (at < 0) return false;
      continue;
    }
    if (!readLength(bytes, at, end)) return false;
    const stop = cursor.at + cursor.low;
    if (!scanFeatures(bytes, cursor.at, stop, keys, starts, ends, base)) return false;
    at = stop;
  }
  return true;
}

function scanFeatures(
  bytes: Uint8Array,
  start: number,
  end: number,
  keys: BytesIndex,
  starts: Uint32Array,
  ends: Uint32Array,
  base: number,
): boolean {
  for (let at = start; at < end; ) {
    if (!readVarint(bytes, at, end)) return false;
    const tag = cursor.low;
    at = cursor.at;
    if (tag !== ((1 << 3) | DELIMITED)) {
      at = skip(bytes, tag & 7, at, end);
      if (at < 0) return false;
      continue;
    }
    if (!readLength(bytes, at, end)) return false;
    const stop = cursor.at + cursor.low;
    let keyStart = cursor.at;
    let keyEnd = keyStart;
    let valueStart = 0;
    let valueEnd = 0;
    for (at = cursor.at; at < stop; ) {
      if (!readVarint(bytes, at, stop)) return false;
      const entryTag = cursor.low;
      at = skip(bytes, entryTag & 7, cursor.at, stop);
      if (at < 0) return false;
      if (entryTag === ((1 << 3) | DELIMITED)) {
        keyStart = cursor.at;
        keyEnd = at;
      } else if (entryTag === ((2 << 3) | DELIMITED)) {
        valueStart = cursor.at;
        valueEnd = at;
      }
    }
    const ordinal = keys.find(bytes, keyStart, keyEnd);
    // An entry without a value does not hide an earlier one.
    if (ordinal >= 0 && valueEnd > valueStart) {
      starts[base + ordinal] = valueStart;
      ends[base + ordinal] = valueEnd;
    }
    at = stop;
  }
  return true;
}

/**
 * Finds the wanted features of one SequenceExample{context=1, feature_lists=2}, both maps of {key=1, value=2}. Unlike
 * {@link scanExample} an entry with an empty value counts: its start is set, and equals its end.
 *
 * @param tables  of the context and of the feature lists
 * @returns false when the message is malformed
 */
export function scanSequence(
  bytes: Uint8Array,
  start: number,
  end: number,
  tables: readonly [RangeTable, RangeTable],
  example: number,
): boolean {
  for (let at = start; at < end; ) {
    if (!readVarint(bytes, at, end)) return false;
    const tag = cursor.low;
    at = cursor.at;
    const table = tag === ((1 << 3) | DELIMITED) ? tables[0] : tag === ((2 << 3) | DELIMITED) ? tables[1] : undefined;
    if (!table) {
      at = skip(bytes, tag & 7, at, end);
      if (at < 0) return false;
      continue;
    }
    if (!readLength(bytes, at, end)) return false;
    const stop = cursor.at + cursor.low;
    for (at = cursor.at; at < stop; ) {
      if (bytes[at] !== ((1 << 3) | DELIMITED) || !readLength(bytes, at + 1, stop)) return false;
      const entryEnd = cursor.at + cursor.low;
      at = cursor.at;
      if (bytes[at] !== ((1 << 3) | DELIMITED) || !readLength(bytes, at + 1, entryEnd)) return false;
      const keyStart = cursor.at;
      const keyEnd = keyStart + cursor.low;
      if (bytes[keyEnd] !== ((2 << 3) | DELIMITED) || !readLength(bytes, keyEnd + 1, entryEnd)) return false;
      if (cursor.at + cursor.low !== entryEnd) return false;
      const valueStart = cursor.at;
      const ordinal = table.keys.find(bytes, keyStart, keyEnd);
      if (ordinal >= 0) {
        table.starts[example * table.keys.count + ordinal] = valueStart;
        table.ends[example * table.keys.count + ordinal] = entryEnd;
      }
      at = entryEnd;
    }
  }
  return true;
}

/** Where the values of wanted keys lie: at `example * keys.count + ordinal`; a start of 0 says that there is none. */
export interface RangeTable {
  readonly keys: BytesIndex;
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
}

/** Calls back with the range of every Feature of a FeatureList{feature=1}; false when it is malformed. */
export function eachFeature(
  bytes: Uint8Array,
  start: number,
  end: number,
  callback: (start: number, end: number) => void,
): boolean {
  return eachBytes(bytes, start, end, callback) >= 0;
}

/** Range of the value list inside a Feature, set by {@link openFeature}. */
export const list = { start: 0, end: 0 };

/**
 * Reads the kind of a Feature and the range of its list into {@link list}; BAD_FEATURE when
 * malformed, UNKNOWN_FEATURE when it holds no list of the three.
 */
export function openFeature(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return NO_FEATURE;
  const tag = bytes[start]!;
  if ((tag & 7) !== DELIMITED || tag >> 3 < BYTES_FEATURE || tag >> 3 > INT64_FEATURE) return UNKNOWN_FEATURE;
  if (!readLength(bytes, start + 1, end)) return BAD_FEATURE;
  list.start = cursor.at;
  list.end = cursor.at + cursor.low;
  return tag >> 3;
}

/**
 * Number of floats in a list, -1 when it is malformed. As in TensorFlow, a packed list is its first chunk, and bytes that make
 * no whole float are left out.
 */
export function countFloats(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return 0;
  if (bytes[start] === ((1 << 3) | DELIMITED)) return readLength(bytes, start + 1, end) ? cursor.low >> 2 : -1;
  if ((end - start) % 5 !== 0) return -1;
  for (let at = start; at < end; at += 5) if (bytes[at] !== ((1 << 3) | FIXED32)) return -1;
  return (end - start) / 5;
}

/** Writes the floats of a well-formed list into `out` from `to` on. */
export function readFloats(bytes: Uint8Array, start: number, end: number, out: Float32Array, to: number): void {
  if (start === end) return;
  const raw = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  let at = to * 4;
  if (bytes[start] === ((1 << 3) | DELIMITED)) {
    readLength(bytes, start + 1, end);
    const stop = cursor.at + (cursor.low & ~3);
    for (let i = cursor.at; i < stop; i++) raw[at++] = bytes[i]!;
  } else {
    for (let from = start; from < end; from += 5) {
      for (let i = from + 1; i < from + 5; i++) raw[at++] = bytes[i]!;
    }
  }
}

/** Number of integers in a list, -1 when it is malformed. A packed list is its first chunk. */
export function countInt64s(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return 0;
  const isPacked = bytes[start] === ((1 << 3) | DELIMITED);
  let stop = end;
  let at = start;
  if (isPacked) {
    if (!readLength(bytes, start + 1, end)) return -1;
    at = cursor.at;
    stop = at + cursor.low;
  }
  let count = 0;
  while (at < stop) {
    if (!isPacked && bytes[at++] !== ((1 << 3) | VARINT)) return -1;
    if (!readVarint(bytes, at, stop)) return -1;
    at = cursor.at;
    count++;
  }
  return count;
}

/** Writes the integers of a well-formed list as lanes, from element `to` on. */
export function readInt64s(bytes: Uint8Array, start: number, end: number, lanes: Int32Array, to: number): void {
  if (start === end) return;
  const isPacked = bytes[start] === ((1 << 3) | DELIMITED);
  let stop = end;
  let from = start;
  if (isPacked) {
    readLength(bytes, start + 1, end);
    from = cursor.at;
    stop = from + cursor.low;
  }
  for (let at = 2 * to; from < stop; at += 2) {
    readVarint(bytes, isPacked ? from : from + 1, stop);
    lanes[at] = cursor.low;
    lanes[at + 1] = cursor.high;
    from = cursor.at;
  }
}

/** Calls back with the range of every string of a list; -1 when it is malformed, else their number. */
export function eachBytes(
  bytes: Uint8Array,
  start: number,
  end: number,
  callback: ((start: number, end: number) => void) | undefined,
): number {
  let count = 0;
  for (let at = start; at < end; ) {
    if (bytes[at] !== ((1 << 3) | DELIMITED) || !readLength(bytes, at + 1, end)) return -1;
    const from = cursor.at;
    at = from + cursor.low;
    callback?.(from, at);
    count++;
  }
  return count;
}
