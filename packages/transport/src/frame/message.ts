import { ServingError } from "@shardserve/core";
import { Packr } from "msgpackr";

/**
 * Plain msgpack: maps with text keys, no extension types of msgpackr's own, so that any language reads it. Byte strings
 * are copied out: what a message was read from is a pooled buffer that others write next.
 */
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  int64AsType: "number",
  copyBuffers: true,
});

/** Nesting beyond this is refused: a decoder recurses once per level. */
const DEPTH_MAX = 32;

/** Encodes a control message (plain objects, arrays, texts, numbers, booleans, null, Uint8Array). */
export function encodeMessage(value: unknown): Uint8Array {
  return packr.pack(value);
}

/**
 * Decodes a control message. The structure is walked first: announced counts must be covered by the bytes that are there,
 * so hostile lengths allocate nothing.
 *
 * @param what  names the message in errors
 * @throws ServingError FRAME_INVALID
 */
export function decodeMessage(bytes: Uint8Array, what: string): unknown {
  const end = skipValue(bytes, 0, 0, what);
  if (end !== bytes.length) throw invalid(what, `${bytes.length - end} bytes follow its end`);
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw invalid(what, (error as Error).message);
  }
}

/** @returns the offset behind the value that starts at `at` */
function skipValue(bytes: Uint8Array, at: number, depth: number, what: string): number {
  if (depth > DEPTH_MAX) throw invalid(what, `it is nested deeper than ${DEPTH_MAX}`);
  const tag = bytes[at];
  if (tag === undefined) throw invalid(what, "it ends too early");
  if (tag <= 0x7f || tag >= 0xe0 || tag === 0xc0 || tag === 0xc2 || tag === 0xc3) return at + 1;
  if (tag <= 0x8f) return skipMany(bytes, at + 1, (tag & 0x0f) * 2, depth, what);
  if (tag <= 0x9f) return skipMany(bytes, at + 1, tag & 0x0f, depth, what);
  if (tag <= 0xbf) return skipBytes(bytes, at + 1, tag & 0x1f, what);
  switch (tag) {
    case 0xc4:
    case 0xd9:
      return skipBytes(bytes, at + 2, readUint(bytes, at + 1, 1, what), what);
    case 0xc5:
    case 0xda:
      return skipBytes(bytes, at + 3, readUint(bytes, at + 1, 2, what), what);
    case 0xc6:
    case 0xdb:
      return skipBytes(bytes, at + 5, readUint(bytes, at + 1, 4, what), what);
    case 0xcc:
    case 0xd0:
      return skipBytes(bytes, at + 1, 1, what);
    case 0xcd:
    case 0xd1:
      return skipBytes(bytes, at + 1, 2, what);
    case 0xca:
    case 0xce:
    case 0xd2:
      return skipBytes(bytes, at + 1, 4, what);
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return skipBytes(bytes, at + 1, 8, what);
    case 0xdc:
      return skipMany(bytes, at + 3, readUint(bytes, at + 1, 2, what), depth, what);
    case 0xdd:
      return skipMany(bytes, at + 5, readUint(bytes, at + 1, 4, what), depth, what);
    case 0xde:
      return skipMany(bytes, at + 3, readUint(bytes, at + 1, 2, what) * 2, depth, what);
    case 0xdf:
      return skipMany(bytes, at + 5, readUint(bytes, at + 1, 4, what) * 2, depth, what);
    default:
      throw invalid(what, `tag 0x${tag.toString(16)} is not used in messages`);
  }
}

function skipMany(bytes: Uint8Array, at: number, count: number, depth: number, what: string): number {
  if (count > bytes.length - at) throw invalid(what, `it announces ${count} values, ${bytes.length - at} bytes remain`);
  let end = at;
  for (let i = 0; i < count; i++) end = skipValue(bytes, end, depth + 1, what);
  return end;
}

function skipBytes(bytes: Uint8Array, at: number, count: number, what: string): number {
  if (at + count > bytes.length) throw invalid(what, "it ends too early");
  return at + count;
}

function readUint(bytes: Uint8Array, at: number, byteCount: number, what: string): number {
  let value = 0;
  skipBytes(bytes, at, byteCount, what);
  for (let i = 0; i < byteCount; i++) value = value * 256 + bytes[at + i]!;
  return value;
}

function invalid(what: string, why: string): ServingError {
  return new ServingError("FRAME_INVALID", `${what} cannot be decoded: ${why}`);
}

/**
 * Asserts that a decoded message is a map.
 *
 * @throws ServingError FRAME_INVALID
 */
export function asRecord(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw invalid(what, "it is not a map");
  }
  return value as Readonly<Record<string, unknown>>;
}
