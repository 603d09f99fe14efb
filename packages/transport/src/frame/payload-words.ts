import { ServingError } from "@shardserve/core";

/*
 * 64-bit counts in payloads, which are read and written as 32-bit words of this machine's order: little-endian, as ids
 * and rows are.
 */

export function writeU64(words: Int32Array, at: number, value: number): void {
  words[at] = value >>> 0;
  words[at + 1] = Math.floor(value / 2 ** 32);
}

/** @throws ServingError FRAME_INVALID above 2^53 - 1 */
export function readU64(words: Int32Array, at: number, what: string): number {
  const value = (words[at + 1]! >>> 0) * 2 ** 32 + (words[at]! >>> 0);
  if (!Number.isSafeInteger(value)) throw payloadInvalid(what, "a 64-bit count exceeds 2^53 - 1");
  return value;
}

/** @param what  "a rows frame" */
export function payloadInvalid(what: string, why: string): ServingError {
  return new ServingError("FRAME_INVALID", `${what} cannot be read: ${why}`);
}
