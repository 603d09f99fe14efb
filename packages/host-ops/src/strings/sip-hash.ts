/** SipHash-2-4 (Aumasson and Bernstein, 2012): the keyed hash of StringToHashBucketStrong. */
import { carry } from "../call/halves.js";
import { load32, modulo, newWords, type Words } from "../call/words.js";

/** A key's two 64-bit halves as lanes, low lane first. */
export type SipKey = Int32Array;

/** @param first, second  the halves, of which the low 64 bits count */
export function sipKey(first: bigint, second: bigint): SipKey {
  return new Int32Array(BigUint64Array.of(first, second).buffer);
}

const HASH = 0;
const w = newWords(1);

/** The words of the last hash; valid until the next call. */
export const SIP_HASH: { readonly words: Words; readonly register: number } = { words: w, register: HASH };

/**
 * SipHash of `bytes[start .. end)` modulo `divisor`.
 *
 * @param divisor  in [1, 2^53]
 */
export function sipHashModulo(bytes: Uint8Array, start: number, end: number, key: SipKey, divisor: number): number {
  sipHash(bytes, start, end, key);
  return modulo(w, HASH, divisor);
}

/** Hashes `bytes[start .. end)`; the result lies in {@link SIP_HASH}. The state stays in locals, several times as fast as registers. */
export function sipHash(bytes: Uint8Array, start: number, end: number, key: SipKey): void {
  let [low0, high0] = [0x70736575 ^ key[0]!, 0x736f6d65 ^ key[1]!];
  let [low1, high1] = [0x6e646f6d ^ key[2]!, 0x646f7261 ^ key[3]!];
  let [low2, high2] = [0x6e657261 ^ key[0]!, 0x6c796765 ^ key[1]!];
  let [low3, high3] = [0x79746573 ^ key[2]!, 0x74656462 ^ key[3]!];
  // The last block has the rest and the length; behind it comes the finish, which is as a block of zeros.
  const last = start + ((end - start) & ~7);
  for (let at = start; at <= last + 8; at += 8) {
    let [low, high] = [0, 0];
    if (at < last) {
      low = load32(bytes, at);
      high = load32(bytes, at + 4);
    } else if (at === last) {
      high = (end - start) << 24;
      for (let i = end - 1; i >= at + 4; i--) high |= bytes[i]! << (8 * (i - at - 4));
      for (let i = Math.min(end, at + 4) - 1; i >= at; i--) low |= bytes[i]! << (8 * (i - at));
    } else {
      low2 ^= 0xff;
    }
    low3 ^= low;
    high3 ^= high;
    for (let rounds = at > last ? 4 : 2; rounds > 0; rounds--) {
      // v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32)
      const sum0 = (low0 + low1) | 0;
      const sumHigh0 = (high0 + high1 + carry(sum0, low0)) | 0;
      const turned1 = ((low1 << 13) | (high1 >>> 19)) ^ sum0;
      const turnedHigh1 = ((high1 << 13) | (low1 >>> 19)) ^ sumHigh0;
      // v2 += v3; v3 = rotl(v3, 16) ^ v2
      const sum2 = (low2 + low3) | 0;
      const sumHigh2 = (high2 + high3 + carry(sum2, low2)) | 0;
      const turned3 = ((low3 << 16) | (high3 >>> 16)) ^ sum2;
      const turnedHigh3 = ((high3 << 16) | (low3 >>> 16)) ^ sumHigh2;
      // v0 += v3; v3 = rotl(v3, 21) ^ v0
      low0 = (sumHigh0 + turned3) | 0;
      high0 = (sum0 + turnedHigh3 + carry(low0, sumHigh0)) | 0;
      low3 = ((turned3 << 21) | (turnedHigh3 >>> 11)) ^ low0;
      high3 = ((turnedHigh3 << 21) | (turned3 >>> 11)) ^ high0;
      // v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32)
      const next2 = (sum2 + turned1) | 0;
      const nextHigh2 = (sumHigh2 + turnedHigh1 + carry(next2, sum2)) | 0;
      low1 = ((turned1 << 17) | (turnedHigh1 >>> 15)) ^ next2;
      high1 = ((turnedHigh1 << 17) | (turned1 >>> 15)) ^ nextHigh2;
      low2 = nextHigh2;
      high2 = next2;
    }
    low0 ^= low;
    high0 ^= high;
  }
  w[2 * HASH] = low0 ^ low1 ^ low2 ^ low3;
  w[2 * HASH + 1] = high0 ^ high1 ^ high2 ^ high3;
}
