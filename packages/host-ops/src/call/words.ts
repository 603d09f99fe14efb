/**
 * 64-bit arithmetic without BigInt: a small register machine. Register r lives in `words[2r]` (low) and `words[2r + 1]`
 * (high) of an Int32Array, and every operation names its registers. Hashes run on it without allocating.
 */

export type Words = Int32Array;

export function newWords(registerCount: number): Words {
  return new Int32Array(registerCount * 2);
}

/** to = constant */
export function set(w: Words, to: number, low: number, high: number): void {
  w[2 * to] = low;
  w[2 * to + 1] = high;
}

/** to = a */
export function copy(w: Words, to: number, a: number): void {
  w[2 * to] = w[2 * a]!;
  w[2 * to + 1] = w[2 * a + 1]!;
}

/** to = a + b */
export function add(w: Words, to: number, a: number, b: number): void {
  const low = (w[2 * a]! >>> 0) + (w[2 * b]! >>> 0);
  w[2 * to + 1] = w[2 * a + 1]! + w[2 * b + 1]! + (low > 0xffff_ffff ? 1 : 0);
  w[2 * to] = low;
}

/** to = a + value, for a value in [0, 2^32) */
export function addSmall(w: Words, to: number, a: number, value: number): void {
  const low = (w[2 * a]! >>> 0) + value;
  w[2 * to + 1] = w[2 * a + 1]! + (low > 0xffff_ffff ? 1 : 0);
  w[2 * to] = low;
}

/** to = a ^ b */
export function xor(w: Words, to: number, a: number, b: number): void {
  w[2 * to] = w[2 * a]! ^ w[2 * b]!;
  w[2 * to + 1] = w[2 * a + 1]! ^ w[2 * b + 1]!;
}

/** to = a * b, the low 64 bits */
export function mul(w: Words, to: number, a: number, b: number): void {
  const al = w[2 * a]!;
  const ah = w[2 * a + 1]!;
  const bl = w[2 * b]!;
  const bh = w[2 * b + 1]!;
  const a0 = al & 0xffff;
  const a1 = al >>> 16;
  const b0 = bl & 0xffff;
  const b1 = bl >>> 16;
  const p00 = a0 * b0;
  // Below 2^34: exact.
  const middle = a0 * b1 + a1 * b0 + Math.floor(p00 / 0x1_0000);
  w[2 * to] = (middle << 16) | (p00 & 0xffff);
  w[2 * to + 1] = a1 * b1 + Math.floor(middle / 0x1_0000) + Math.imul(al, bh) + Math.imul(ah, bl);
}

/** to = a rotated right by `bits`, 0 < bits < 64 */
export function rotate(w: Words, to: number, a: number, bits: number): void {
  let low = w[2 * a]!;
  let high = w[2 * a + 1]!;
  if (bits >= 32) [low, high] = [high, low];
  const by = bits & 31;
  if (by === 0) {
    w[2 * to] = low;
    w[2 * to + 1] = high;
  } else {
    w[2 * to] = (low >>> by) | (high << (32 - by));
    w[2 * to + 1] = (high >>> by) | (low << (32 - by));
  }
}

/** to = a ^ (a >>> bits), for 32 <= bits < 64 */
export function xorShift(w: Words, to: number, a: number, bits: number): void {
  const high = w[2 * a + 1]!;
  w[2 * to] = w[2 * a]! ^ (high >>> (bits - 32));
  w[2 * to + 1] = high;
}

/** to = the 8 bytes at `at`, little-endian */
export function load(w: Words, to: number, bytes: Uint8Array, at: number): void {
  w[2 * to] = load32(bytes, at);
  w[2 * to + 1] = load32(bytes, at + 4);
}

export function load32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/**
 * Register a, unsigned, modulo `divisor`.
 *
 * @param divisor  in [1, 2^53]
 */
export function modulo(w: Words, a: number, divisor: number): number {
  const low = w[2 * a]! >>> 0;
  const high = w[2 * a + 1]! >>> 0;
  // In such steps every intermediate stays below 2^53.
  if (divisor <= 2 ** 21) return remainder(remainder(high, divisor) * 0x1_0000_0000 + low, divisor);
  if (divisor <= 2 ** 37) {
    const top = remainder(high, divisor) * 0x1_0000 + (low >>> 16);
    return remainder(remainder(top, divisor) * 0x1_0000 + (low & 0xffff), divisor);
  }
  return Number(((BigInt(high) << 32n) | BigInt(low)) % BigInt(divisor));
}

/**
 * a % divisor of integers, 0 <= a < 2^53, without V8's call of fmod. The quotient may be rounded up to an integer q only if q * divisor - a is
 * less than 1, and so 0: the floor is never too large.
 */
function remainder(a: number, divisor: number): number {
  return a - Math.floor(a / divisor) * divisor;
}
