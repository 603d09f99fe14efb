import { ServingError } from "@shardserve/core";
import type { TransportLimits } from "../limits.js";

/**
 * The frame: a fixed header and a payload (docs/formats.md, "Frames"). Everything is little-endian.
 *
 * ```
 * 0  u16 magic 0x7673    2  u8 type    3  u8 flags    4  u32 requestId    8  u32 payloadBytes    12  u32 check of bytes 0..11
 * ```
 * The check is no checksum of the payload (TCP has one): it makes a reader that lost its place, or a peer that speaks
 * something else, fail on its first header instead of waiting for gigabytes that a random length promises.
 */
export const HEADER_BYTES = 16;
const MAGIC = 0x7673;

/** Types of frames; numbers are never used again. Formats: docs/formats.md. */
export const FRAME = {
  /** client -> server, msgpack {@link Hello}; first frame of a connection. */
  HELLO: 1,
  /** server -> client, msgpack {@link Welcome}. */
  WELCOME: 2,
  /** client -> server, msgpack {method, params, timeoutMs}; flag STREAM asks for pushes. */
  CALL: 3,
  /** server -> client, msgpack result of a CALL; ends a stream. */
  REPLY: 4,
  /** server -> client, msgpack item of a stream. */
  PUSH: 5,
  /** client -> server, ids in columns (rows/lookup-request.ts). */
  LOOKUP: 6,
  /** server -> client, rows packed per table (rows/rows-reply.ts). */
  ROWS: 7,
  /** server -> client, msgpack {code, message, details}: the request failed as a whole. */
  ERROR: 8,
  /** client -> server, empty: the answer to this request is no longer wanted. */
  CANCEL: 9,
  /** server -> client, empty: no new requests; those in flight are finished. */
  GOAWAY: 10,
  /** either way, empty; answered by PONG with the same request id. */
  PING: 11,
  PONG: 12,
} as const;

/** Flag of CALL: the caller wants a stream of PUSH frames before the REPLY. */
export const FLAG_STREAM = 1;

/** Which end reads: each accepts only what the other may send. */
export type FrameRole = "client" | "server";

/** Writes a header at `offset`. */
export function writeHeader(
  target: DataView,
  offset: number,
  type: number,
  flags: number,
  requestId: number,
  payloadBytes: number,
): void {
  const word = (MAGIC | (type << 16) | (flags << 24)) >>> 0;
  target.setUint32(offset, word, true);
  target.setUint32(offset + 4, requestId, true);
  target.setUint32(offset + 8, payloadBytes, true);
  target.setUint32(offset + 12, headerCheck(word, requestId, payloadBytes), true);
}

/** murmur3's finaliser over the three words: any changed bit changes about half of the check. */
function headerCheck(word: number, requestId: number, payloadBytes: number): number {
  return mix(mix(mix(word) ^ requestId) ^ payloadBytes);
}

function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * Checks a header and returns its payload's length in bytes.
 *
 * @throws ServingError FRAME_INVALID: wrong magic or check, a type that this role does not accept, a payload over its limit
 */
export function checkHeader(source: DataView, offset: number, role: FrameRole, limits: TransportLimits): number {
  const word = source.getUint32(offset, true);
  const requestId = source.getUint32(offset + 4, true);
  const payloadBytes = source.getUint32(offset + 8, true);
  if ((word & 0xffff) !== MAGIC) throw invalid(`it starts with 0x${(word & 0xffff).toString(16)}, not with the magic`);
  if (source.getUint32(offset + 12, true) !== headerCheck(word, requestId, payloadBytes)) {
    throw invalid("its header check does not match");
  }
  const type = (word >>> 16) & 0xff;
  const bytesMax = payloadBytesMax(type, role, limits);
  if (bytesMax < 0) throw invalid(`type ${type} is not one that a ${role} reads`);
  if (payloadBytes > bytesMax) {
    throw invalid(`type ${type} announces ${payloadBytes} payload bytes, the limit is ${bytesMax}`);
  }
  return payloadBytes;
}

/** @returns the largest payload, in bytes; -1 where this role does not accept the type */
function payloadBytesMax(type: number, role: FrameRole, limits: TransportLimits): number {
  switch (type) {
    case FRAME.HELLO:
    case FRAME.CALL:
      return role === "server" ? limits.controlBytesMax : -1;
    case FRAME.LOOKUP:
      return role === "server" ? limits.requestBytesMax : -1;
    case FRAME.CANCEL:
      return role === "server" ? 0 : -1;
    case FRAME.WELCOME:
    case FRAME.REPLY:
    case FRAME.PUSH:
    case FRAME.ERROR:
      return role === "client" ? limits.controlBytesMax : -1;
    case FRAME.ROWS:
      return role === "client" ? limits.replyBytesMax : -1;
    case FRAME.GOAWAY:
      return role === "client" ? 0 : -1;
    case FRAME.PING:
    case FRAME.PONG:
      return 0;
    default:
      return -1;
  }
}

function invalid(what: string): ServingError {
  return new ServingError("FRAME_INVALID", `a frame cannot be read: ${what}; the connection is closed`);
}
