/**
 * 64-bit arithmetic on halves that stay in locals: what `words.ts` does in memory, several times as fast where a function has few
 * enough values to keep in sight. The low half of a sum or product is `(a + b) | 0` or `Math.imul(a, b)`; here is what the high half needs.
 */

/** The high half of a * b, modulo 2^64, of halves that are int32. */
export function mulHigh(al: number, ah: number, bl: number, bh: number): number {
  const a0 = al & 0xffff;
  const a1 = al >>> 16;
  const b0 = bl & 0xffff;
  const b1 = bl >>> 16;
  // Both below 2^32.
  const first = (Math.imul(a1, b0) + (Math.imul(a0, b0) >>> 16)) >>> 0;
  const second = (Math.imul(a0, b1) + (first & 0xffff)) >>> 0;
  return (Math.imul(a1, b1) + (first >>> 16) + (second >>> 16) + Math.imul(al, bh) + Math.imul(ah, bl)) | 0;
}

/** What goes into the high half where `sum` is the low half of a sum and `part` the low half of one of its two parts. */
export function carry(sum: number, part: number): number {
  return sum >>> 0 < part >>> 0 ? 1 : 0;
}
