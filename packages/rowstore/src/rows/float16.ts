/*
 * IEEE 754 binary16 as raw 16-bit patterns, in both directions, for whole arrays.
 */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** Nearest half of a float32, ties to even; overflow becomes infinity, NaN stays NaN. */
export function halfFromFloat(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x4780_0000) return sign | 0x7c00; // >= 65536: infinity
  if (magnitude >= 0x3880_0000) {
    // Normal half: rebias the exponent by 112, round the 13 bits that go. A carry moves into the exponent, as it should.
    const rebiased = magnitude - 0x3800_0000;
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x3300_0000) return sign; // below half of the smallest subnormal
  // Subnormal half: shift the full mantissa so that the last bit counts 2^-24, round to even.
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7f_ffff) | 0x80_0000;
  const quotient = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (quotient + (rest > tie || (rest === tie && (quotient & 1) === 1) ? 1 : 0));
}

/** Every half as a float32: 256 KiB that stays in cache beats arithmetic per element. Made at first use. */
export function halfTable(): Float32Array {
  return (table ??= makeTable());
}

let table: Float32Array | undefined;

function makeTable(): Float32Array {
  const words = new Uint32Array(65_536);
  for (let half = 0; half < words.length; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    if (exponent === 0) {
      float[0] = mantissa * 2 ** -24;
      words[half] = sign | bits[0]!;
    } else {
      words[half] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13);
    }
  }
  return new Float32Array(words.buffer);
}
