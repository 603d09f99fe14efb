/**
 * 64-bit hashing on two 32-bit lanes: no BigInt, no allocation. `mix64` is the finaliser of SplitMix64 (Steele, Lea,
 * Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014; constants of Stafford's variant 13). It is a
 * bijection on 64-bit words; its name and version stand in the manifest of every version whose keyed tables use it.
 */

/** Identity of the hash that places keys, as the manifest records it. */
export const KEY_HASH = "splitmix64-finaliser/1";

/**
 * Mixes one 64-bit word.
 *
 * @param low   low 32 bits, signed or unsigned
 * @param high  high 32 bits
 * @param out   receives low and high lane at `at` and `at + 1`, unsigned
 */
export function mix64(low: number, high: number, out: Uint32Array, at: number): void {
  // z ^= z >>> 30
  let lo = low ^ ((low >>> 30) | (high << 2));
  let hi = high ^ (high >>> 30);
  // z *= 0xbf58476d1ce4e5b9
  let product = multiplyHigh(lo, 0x1ce4e5b9);
  hi = (product + Math.imul(lo, 0xbf58476d) + Math.imul(hi, 0x1ce4e5b9)) | 0;
  lo = Math.imul(lo, 0x1ce4e5b9);
  // z ^= z >>> 27
  lo ^= (lo >>> 27) | (hi << 5);
  hi ^= hi >>> 27;
  // z *= 0x94d049bb133111eb
  product = multiplyHigh(lo, 0x133111eb);
  hi = (product + Math.imul(lo, 0x94d049bb) + Math.imul(hi, 0x133111eb)) | 0;
  lo = Math.imul(lo, 0x133111eb);
  // z ^= z >>> 31
  out[at] = lo ^ ((lo >>> 31) | (hi << 1));
  out[at + 1] = hi ^ (hi >>> 31);
}

/**
 * `mix64(word) mod modulus`, the word read as unsigned: the partition of a key.
 *
 * @param modulus  1 to 2^26, so that every product stays exact
 */
export function mix64Mod(low: number, high: number, modulus: number): number {
  mix64(low, high, scratch, 0);
  const lo = scratch[0]!;
  const hi = scratch[1]!;
  return ((hi % modulus) * (0x1_0000_0000 % modulus) + (lo % modulus)) % modulus;
}

const scratch = new Uint32Array(2);

/** High 32 bits of the unsigned product of two 32-bit words, as a signed word. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16); // < 2^32: 65535 * 65535 + 65534
  const lower = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + (middle >>> 16) + (lower >>> 16)) | 0;
}

/**
 * A point in [0, 2^53) for a text and a number, spread evenly: texts are folded 64 bits at a time through `mix64`.
 * Deterministic across processes and versions: placement depends on it.
 */
export function hashPoint(text: string, index: number): number {
  fold(text);
  return pointOf(scratch[0]!, scratch[1]!, index);
}

/** `hashPoint(text, index)` for indexes 0 to count - 1, into `out` from `at` on. */
export function hashPoints(text: string, count: number, out: Float64Array, at: number): void {
  fold(text);
  const low = scratch[0]!;
  const high = scratch[1]!;
  for (let index = 0; index < count; index++) out[at + index] = pointOf(low, high, index);
}

/** Leaves the hash of the text in `scratch`. */
function fold(text: string): void {
  const bytes = encoder.encode(text);
  mix64(bytes.length, 0x9e3779b9, scratch, 0);
  for (let at = 0; at < bytes.length; at += 8) {
    mix64(scratch[0]! ^ wordAt(bytes, at), scratch[1]! ^ wordAt(bytes, at + 4), scratch, 0);
  }
}

function pointOf(low: number, high: number, index: number): number {
  mix64(low ^ index, high ^ 0x7f4a7c15, scratch, 0);
  return scratch[1]! * 0x20_0000 + (scratch[0]! >>> 11);
}

const encoder = new TextEncoder();

/** Little-endian word at `at`; bytes behind the end read as 0. */
function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
}
