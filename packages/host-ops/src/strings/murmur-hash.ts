/** MurmurHash64A (Austin Appleby, public domain) with TensorFlow's seed: the hash of the old StringToHashBucket op. */
import { load, modulo, mul, newWords, set, xor, xorShift } from "../call/words.js";

const [H, K, M] = [0, 1, 2] as const;
const w = newWords(3);
// 0xDECAFCAFFE
const SEED_LOW = 0xcafcaffe;
const SEED_HIGH = 0xde;

/** tensorflow::Hash64 of `bytes[start .. end)` modulo `divisor`, in [1, 2^53]. */
export function murmurModulo(bytes: Uint8Array, start: number, end: number, divisor: number): number {
  set(w, M, 0x5bd1e995, 0xc6a4a793);
  set(w, K, end - start, 0);
  mul(w, K, K, M);
  set(w, H, SEED_LOW, SEED_HIGH);
  xor(w, H, H, K);
  let at = start;
  for (; at + 8 <= end; at += 8) {
    load(w, K, bytes, at);
    mul(w, K, K, M);
    xorShift(w, K, K, 47);
    mul(w, K, K, M);
    xor(w, H, H, K);
    mul(w, H, H, M);
  }
  if (at < end) {
    let low = 0;
    let high = 0;
    for (let i = 0; at + i < end; i++) {
      if (i < 4) low |= bytes[at + i]! << (8 * i);
      else high |= bytes[at + i]! << (8 * (i - 4));
    }
    set(w, K, low, high);
    xor(w, H, H, K);
    mul(w, H, H, M);
  }
  xorShift(w, H, H, 47);
  mul(w, H, H, M);
  xorShift(w, H, H, 47);
  return modulo(w, H, divisor);
}
