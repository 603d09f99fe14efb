/**
 * Keys of slices of partitioned variables: tensor name and slice in OrderedCode (tensorflow/core/lib/strings/
 * ordered_code.cc, used by checkpoint::EncodeTensorNameSlice): 0, the name, the rank, then start and length of each
 * dimension. Such keys sort before all plain names.
 */
import { ServingError } from "@shardserve/core";

/** A slice of a full tensor; a length of -1 stands for the whole dimension. */
export interface SliceKey {
  readonly name: Uint8Array;
  readonly starts: readonly number[];
  readonly lengths: readonly number[];
}

export function isSliceKey(key: Uint8Array): boolean {
  return key.length > 0 && key[0] === 0;
}

/** @throws ServingError CHECKPOINT_INVALID when the bytes are no such key */
export function decodeSliceKey(key: Uint8Array): SliceKey {
  const cursor = { key, position: 0 };
  if (readUnsigned(cursor) !== 0) throw invalid("does not start with 0");
  const name = readName(cursor);
  const rank = readUnsigned(cursor);
  if (rank > 254) throw invalid(`has rank ${rank}`);
  const starts: number[] = [];
  const lengths: number[] = [];
  for (let i = 0; i < rank; i++) {
    starts.push(readSigned(cursor));
    lengths.push(readSigned(cursor));
  }
  if (cursor.position !== key.length) throw invalid("has bytes after its slice");
  return { name, starts, lengths };
}

export function encodeSliceKey(slice: SliceKey): Uint8Array {
  const out: number[] = [];
  writeUnsigned(out, 0);
  for (const byte of slice.name) {
    if (byte === 0) out.push(0, 0xff);
    else if (byte === 0xff) out.push(0xff, 0);
    else out.push(byte);
  }
  out.push(0, 1);
  writeUnsigned(out, slice.starts.length);
  for (let i = 0; i < slice.starts.length; i++) {
    writeSigned(out, slice.starts[i]!);
    writeSigned(out, slice.lengths[i]!);
  }
  return Uint8Array.from(out);
}

interface Cursor {
  readonly key: Uint8Array;
  position: number;
}

function next(cursor: Cursor): number {
  const byte = cursor.key[cursor.position++];
  if (byte === undefined) throw invalid("ends early");
  return byte;
}

/** Escapes: 00 FF is a zero byte, FF 00 is FF, 00 01 ends the name. */
function readName(cursor: Cursor): Uint8Array {
  const name: number[] = [];
  for (;;) {
    const byte = next(cursor);
    if (byte !== 0 && byte !== 0xff) {
      name.push(byte);
      continue;
    }
    const escape = next(cursor);
    if (byte === 0 && escape === 1) return Uint8Array.from(name);
    if (byte === 0 && escape === 0xff) name.push(0);
    else if (byte === 0xff && escape === 0) name.push(0xff);
    else throw invalid("has an unknown escape in its name");
  }
}

/** NumIncreasing: a byte count, then that many big-endian bytes without leading zeros. */
function readUnsigned(cursor: Cursor): number {
  const length = next(cursor);
  if (length > 8) throw invalid("has a number of more than 8 bytes");
  let value = 0;
  for (let i = 0; i < length; i++) value = value * 256 + next(cursor);
  return checked(value);
}

function writeUnsigned(out: number[], value: number): void {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  out.push(bytes.length, ...bytes);
}

/**
 * SignedNumIncreasing: as many leading one bits as there are bytes, a zero bit, the value in big-endian. Negative
 * numbers have all bits of their complement inverted.
 */
function readSigned(cursor: Cursor): number {
  const first = next(cursor);
  const flip = first < 0x80 ? 0xff : 0;
  let head = first ^ flip;
  let length = 0;
  while (length < 8 && head & (0x80 >> length)) length++;
  let read = 1;
  if (length < 8) {
    head &= 0xff >> (length + 1);
  } else {
    head = next(cursor) ^ flip; // the ones go on in the second byte
    read = 2;
    while (length < 10 && head & (0x80 >> (length - 8))) length++;
    head &= 0xff >> (length - 7);
  }
  let value = BigInt(head);
  for (; read < length; read++) value = (value << 8n) | BigInt(next(cursor) ^ flip);
  return checked(Number(flip === 0 ? value : ~value));
}

function writeSigned(out: number[], value: number): void {
  const magnitude = BigInt(value < 0 ? ~BigInt(value) : value);
  let length = 1;
  while (magnitude >> BigInt(7 * length - 1) !== 0n) length++;
  const header = new Uint8Array(10);
  for (let i = 0; i < length; i++) header[i >> 3]! |= 0x80 >> (i & 7);
  const flip = value < 0 ? 0xff : 0;
  for (let i = 0; i < length; i++) {
    const byte = Number((magnitude >> BigInt(8 * (length - 1 - i))) & 0xffn) | header[i]!;
    out.push(byte ^ flip);
  }
}

function checked(value: number): number {
  if (!Number.isSafeInteger(value)) throw invalid("has a number above 2^53");
  return value;
}

function invalid(what: string): ServingError {
  return new ServingError("CHECKPOINT_INVALID", `a slice key ${what}`);
}
