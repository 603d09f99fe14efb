/** Products of integers with positive real numbers, without floats: as TensorFlow's uniformly quantised ops, and TFLite's, have them. */
import { check } from "../call/errors.js";

const TWO_16 = 2 ** 16;
const [LEAST, MOST] = [-(2 ** 31), 2 ** 31 - 1];

/** A real number as multiplier * 2^(shift - 31), multiplier in [0, 2^31). */
export interface FixedPoint {
  readonly multiplier: number;
  readonly shift: number;
}

/** @throws ServingError INVALID_ARGUMENT for what is not positive and finite */
export function fixedPointOf(value: number): FixedPoint {
  check(
    value > 0 && Number.isFinite(value),
    () => `double_multiplier must be a poisitive finite number. Given ${value}`,
  );
  let shift = Math.floor(Math.log2(value)) + 1;
  // log2 may round beside a power of two.
  while (value / 2 ** shift >= 1) shift++;
  while (value / 2 ** shift < 0.5) shift--;
  // Not negative: half goes up, which is away from zero.
  let multiplier = Math.round((value / 2 ** shift) * 2 ** 31);
  if (multiplier === 2 ** 31) {
    multiplier /= 2;
    shift++;
  }
  if (shift < -31) return { multiplier: 0, shift: 0 };
  return shift > 30 ? { multiplier: MOST, shift: 30 } : { multiplier, shift };
}

/** The product with an int32, rounded once, half up, and held to the range of int32. */
export function multiplied(x: number, { multiplier, shift }: FixedPoint): number {
  // The product has up to 62 bits: q * 2^16 + r.
  const high = multiplier >>> 16;
  const low = multiplier - high * TWO_16;
  const below = x * low;
  const carry = Math.floor(below / TWO_16);
  const q = x * high + carry;
  const r = below - carry * TWO_16;
  const bits = 31 - shift;
  const half = 2 ** (bits - 1);
  const result =
    bits > 16
      ? Math.floor((q + half / TWO_16) / 2 ** (bits - 16))
      : q * 2 ** (16 - bits) + Math.floor((r + half) / 2 ** bits);
  return result < LEAST ? LEAST : result > MOST ? MOST : result;
}
