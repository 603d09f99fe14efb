/**
 * Numbers out of checked JSON text, without a string or a BigInt per number.
 *
 * Decimals of up to 15 digits and a power of ten up to 22 convert exactly with one multiplication or division (Clinger,
 * "How to read floating point numbers accurately", 1990). Everything else falls back to the runtime's parser, except
 * where the target is a float32 and a bound on the error proves the result.
 */

const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const EXACT_DIGITS = 15;
const APPROXIMATE_DIGITS = 19;
/** Relative error of the approximate path: at most six roundings of 2^-53. */
const ERROR_BOUND = 2 ** -50;

const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const LETTER_I = 0x49;
const LETTER_N = 0x4e;

/** Reads numbers; the fields describe the last one. One instance per parse, reused for every number. */
export class NumberReader {
  /** Offset after the number. */
  end = 0;
  /** True for a literal without fraction and exponent that fits 64 bits with its sign: RapidJSON's integer types. */
  isInteger = false;
  isNegative = false;
  /** Magnitude of an integer, in 32-bit lanes. */
  low = 0;
  high = 0;

  /** The number as a double; with `isFloat32` any double that rounds to the right float32. */
  readDouble(bytes: Buffer, start: number, isFloat32: boolean): number {
    let offset = start;
    const isNegative = bytes[offset] === MINUS;
    if (isNegative) offset++;
    if (bytes[offset] === LETTER_N || bytes[offset] === LETTER_I) return this.#readWord(bytes, offset, isNegative);

    let digits = 0;
    let mantissa = 0;
    let exponent = 0;
    let byte = bytes[offset]!;
    for (; byte >= ZERO && byte <= 0x39; byte = bytes[++offset]!) {
      mantissa = mantissa * 10 + (byte - ZERO);
      if (mantissa !== 0) digits++;
    }
    if (byte === POINT) {
      const fraction = offset + 1;
      for (byte = bytes[++offset]!; byte >= ZERO && byte <= 0x39; byte = bytes[++offset]!) {
        mantissa = mantissa * 10 + (byte - ZERO);
        if (mantissa !== 0) digits++;
      }
      exponent = fraction - offset;
    }
    if (byte === 0x65 || byte === 0x45) {
      const isDown = bytes[offset + 1] === MINUS;
      if (isDown || bytes[offset + 1] === 0x2b) offset++;
      let explicit = 0;
      for (byte = bytes[++offset]!; byte >= ZERO && byte <= 0x39; byte = bytes[++offset]!) {
        explicit = Math.min(explicit * 10 + (byte - ZERO), 1e6);
      }
      exponent += isDown ? -explicit : explicit;
    }
    this.end = offset;

    if (exponent >= -22 && exponent <= 22) {
      const value = exponent < 0 ? mantissa / POWERS_OF_TEN[-exponent]! : mantissa * POWERS_OF_TEN[exponent]!;
      if (digits <= EXACT_DIGITS) return isNegative ? -value : value;
      if (isFloat32 && digits <= APPROXIMATE_DIGITS) {
        const below = value * (1 - ERROR_BOUND);
        if (Math.fround(below) === Math.fround(value * (1 + ERROR_BOUND))) return isNegative ? -below : below;
      }
    }
    return Number(bytes.toString("latin1", start, offset));
  }

  /** Reads an integer literal into `isInteger`, `isNegative`, `low` and `high`; false when it is none. */
  readInteger(bytes: Buffer, start: number): boolean {
    let offset = start;
    this.isNegative = bytes[offset] === MINUS;
    if (this.isNegative) offset++;
    let low = 0;
    let high = 0;
    let byte = bytes[offset]!;
    const first = offset;
    for (; byte >= ZERO && byte <= 0x39; byte = bytes[++offset]!) {
      low = low * 10 + (byte - ZERO);
      if (low >= 0x1_0000_0000) {
        const carry = Math.floor(low / 0x1_0000_0000);
        low -= carry * 0x1_0000_0000;
        high = high * 10 + carry;
      } else high *= 10;
      if (high >= 0x1_0000_0000) return (this.isInteger = false);
    }
    this.end = offset;
    this.low = low;
    this.high = high;
    const isLiteral = offset > first && byte !== POINT && byte !== 0x65 && byte !== 0x45;
    const fitsSign = !this.isNegative || high < 0x8000_0000 || (high === 0x8000_0000 && low === 0);
    return (this.isInteger = isLiteral && fitsSign);
  }

  #readWord(bytes: Buffer, offset: number, isNegative: boolean): number {
    if (bytes[offset] === LETTER_N) {
      this.end = offset + 3;
      return Number.NaN;
    }
    this.end = offset + (bytes[offset + 3] === 0x69 ? 8 : 3); // Infinity or Inf
    return isNegative ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
}
