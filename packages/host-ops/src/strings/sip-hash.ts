/** SipHash-2-4 (Aumasson and Bernstein, 2012): the keyed hash of StringToHashBucketStrong. */
import { add, load, modulo, newWords, rotate, set, type Words, xor } from "../call/words.js";

const [V0, V1, V2, V3, M, K0, K1] = [0, 1, 2, 3, 4, 5, 6] as const;
const w = newWords(7);

function sipRound(): void {
  add(w, V0, V0, V1);
  rotate(w, V1, V1, 64 - 13);
  xor(w, V1, V1, V0);
  rotate(w, V0, V0, 32);
  add(w, V2, V2, V3);
  rotate(w, V3, V3, 64 - 16);
  xor(w, V3, V3, V2);
  add(w, V0, V0, V3);
  rotate(w, V3, V3, 64 - 21);
  xor(w, V3, V3, V0);
  add(w, V2, V2, V1);
  rotate(w, V1, V1, 64 - 17);
  xor(w, V1, V1, V2);
  rotate(w, V2, V2, 32);
}

function compress(): void {
  xor(w, V3, V3, M);
  sipRound();
  sipRound();
  xor(w, V0, V0, M);
}

/** The words of the last hash; valid until the next call. */
export const SIP_HASH: { readonly words: Words; readonly register: number } = { words: w, register: V0 };

/**
 * SipHash of `bytes[start .. end)` modulo `divisor`.
 *
 * @param key  two 64-bit halves
 * @param divisor  in [1, 2^53]
 */
export function sipHashModulo(
  bytes: Uint8Array,
  start: number,
  end: number,
  key: readonly [bigint, bigint],
  divisor: number,
): number {
  sipHash(bytes, start, end, key);
  return modulo(w, V0, divisor);
}

/** Hashes `bytes[start .. end)`; the result lies in {@link SIP_HASH}. */
export function sipHash(bytes: Uint8Array, start: number, end: number, key: readonly [bigint, bigint]): void {
  key.forEach((half, i) =>
    set(w, i === 0 ? K0 : K1, Number(BigInt.asIntN(32, half)), Number(BigInt.asIntN(32, half >> 32n))),
  );
  set(w, V0, 0x70736575, 0x736f6d65);
  set(w, V1, 0x6e646f6d, 0x646f7261);
  set(w, V2, 0x6e657261, 0x6c796765);
  set(w, V3, 0x79746573, 0x74656462);
  xor(w, V0, V0, K0);
  xor(w, V1, V1, K1);
  xor(w, V2, V2, K0);
  xor(w, V3, V3, K1);
  let at = start;
  for (; at + 8 <= end; at += 8) {
    load(w, M, bytes, at);
    compress();
  }
  let low = 0;
  let high = (end - start) << 24;
  for (let i = 0; at + i < end; i++) {
    if (i < 4) low |= bytes[at + i]! << (8 * i);
    else high |= bytes[at + i]! << (8 * (i - 4));
  }
  set(w, M, low, high);
  compress();
  w[2 * V2] = w[2 * V2]! ^ 0xff;
  for (let i = 0; i < 4; i++) sipRound();
  xor(w, V0, V0, V1);
  xor(w, V2, V2, V3);
  xor(w, V0, V0, V2);
}
