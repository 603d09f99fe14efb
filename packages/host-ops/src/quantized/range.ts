/** What the integers of a tensor mean by the floats of its least and its greatest one: TensorFlow's first kind of quantisation. */
import type { DType } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { extremeOf, numbersOf } from "../call/numeric.js";
import type { OpCall } from "../call/op-call.js";

const { fround } = Math;

export interface Range {
  readonly dtype: DType;
  readonly low: number;
  readonly high: number;
}

/** The range that inputs `at` and `at + 1` name for integers of `dtype`. */
export function rangeOf(op: OpCall, at: number, dtype: DType): Range {
  const [low, high] = [numbersOf(op.tensor(at)), numbersOf(op.tensor(at + 1))];
  check(low.length === 1 && high.length === 1, () => "the ends of a range must be scalars");
  return { dtype, low: low[0]!, high: high[0]! };
}

/** @throws ServingError INVALID_ARGUMENT for a range without width, by which nothing can be multiplied */
export function checkWidth({ low, high }: Range, name: string): void {
  check(high > low, () => `max_${name} must be larger than min_${name}.`);
}

function limitsOf(dtype: DType): readonly [least: number, most: number] {
  return [Number(extremeOf(dtype, -1)), Number(extremeOf(dtype, 1))];
}

export function roundAway(value: number): number {
  return value < 0 ? -Math.round(-value) : Math.round(value);
}

/** The integer that is nearest to a float, which may lie outside of the dtype. */
export function integerFor(value: number, { dtype, low, high }: Range): number {
  const [least, most] = limitsOf(dtype);
  if (low === high) return least;
  const steps = most - least + 1;
  const scale = steps / (fround(high - low) * (steps / (steps - 1)));
  return roundAway(value * scale) - roundAway(low * scale) + least;
}

/** {@link integerFor}, held to the dtype. */
export function heldIntegerFor(value: number, range: Range): number {
  const [least, most] = limitsOf(range.dtype);
  return Math.min(Math.max(integerFor(value, range), least), most);
}

/** The float that an integer stands for. */
export function floatOf(integer: number, { dtype, low, high }: Range): number {
  if (low === high) return low;
  const [least, most] = limitsOf(dtype);
  const steps = most - least + 1;
  const scale = (fround(high - low) * (steps / (steps - 1))) / steps;
  const lowest = fround(roundAway(fround(low / fround(scale))) * fround(scale));
  return fround(lowest + (integer - least) * scale);
}

/** The range of products of two ranges' integers, less their zeros. */
export function productRange(a: Range, b: Range, dtype: DType): Range {
  const levelOf = ({ dtype: of, low, high }: Range): number => {
    const [least, most] = limitsOf(of);
    return fround(fround(high - low) / fround(most - least));
  };
  const level = fround(levelOf(a) * levelOf(b));
  const [least, most] = limitsOf(dtype);
  return { dtype, low: fround(level * fround(least)), high: fround(level * fround(most)) };
}

/**
 * A range for sums of two ranges: symmetric, and wide enough that neither loses digits.
 *
 * @param bits  how many times, as a power of two, it is as wide as the wider one
 */
export function sumRange(a: Range, b: Range, dtype: DType, bits: number): Range {
  const high = fround(Math.max(a.high, -a.low, b.high, -b.low) * 2 ** bits);
  return { dtype, low: -high, high };
}

/** The floats that integers of a range stand for, in float32 all the way. */
export function dequantizer({ dtype, low, high }: Range): (integer: number) => number {
  const [least, most] = limitsOf(dtype);
  const scale = fround(fround(high - low) / (most - least));
  const lowest = high === low ? low : fround(roundAway(fround(low / scale)) * scale);
  const base = fround(lowest - fround(fround(least) * scale));
  return (integer) => fround(base + fround(integer * scale));
}

/** The integers of a range that are nearest to floats, in float32 all the way. */
export function quantizer({ dtype, low, high }: Range): (value: number) => number {
  const [least, most] = limitsOf(dtype);
  const inverse = high === low ? 0 : fround((most - least) / fround(high - low));
  const shift = fround(roundAway(fround(low * inverse)) - fround(least));
  // The greatest float that is an int32.
  const bound = Math.min(fround(most), 2147483520);
  return (value) => Math.min(Math.max(fround(roundAway(fround(value * inverse)) - shift), least), bound);
}

/** Integers of one range as those of another. */
export function rescaler(from: Range, to: Range): (integer: number) => number {
  const [dequantized, quantized] = [dequantizer(from), quantizer(to)];
  return (integer) => quantized(dequantized(integer));
}
