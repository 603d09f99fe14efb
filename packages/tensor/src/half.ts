/** Conversions between numbers and the 16-bit patterns of float16 and bfloat16; rounding is to nearest even, as in TensorFlow. */

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** @param bits  pattern of an IEEE 754 binary16 */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The float16 pattern nearest to `value` after it was rounded to float32. */
export function numberToHalf(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00;
  if (magnitude >= 0x4780_0000) return sign | 0x7c00;
  if (magnitude < 0x3880_0000) {
    // Subnormal: value * 2^24 rounded to even is the fraction.
    const scaled = Math.abs(scratch[0]) * 2 ** 24;
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x3800_0000) >>> 13);
}

/** @param bits  pattern of a bfloat16 */
export function bfloatToNumber(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratch[0]!;
}

/** The bfloat16 pattern nearest to `value` after it was rounded to float32. */
export function numberToBfloat(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0]!;
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return ((bits >>> 16) & 0x8000) | 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
