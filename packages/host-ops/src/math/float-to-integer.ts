import { type DType, narrowingBlock, narrowRange, narrowsThroughUint16 } from "@shardserve/tensor";
import type { NumberArray } from "../call/numeric.js";

/**
 * Floats to integers of up to 32 bits as TensorFlow's CPU kernels do it, with what does not fit too. They truncate to a wider
 * integer, where what does not fit becomes the smallest, and narrow that: whole blocks of elements by instructions that saturate, the elements
 * behind the last whole block by taking the low bits. So the answer for a number depends on where it stands.
 */

const TWO_15 = 2 ** 15;
const TWO_31 = 2 ** 31;
const TWO_32 = 2 ** 32;
const TWO_63 = 2 ** 63;

/**
 * @param from  dtype of what `numbers` (real parts, of complex numbers) were read from
 * @param out   typed array of `to`; storing into it truncates and takes the low bits
 */
export function floatsToIntegers(from: DType, numbers: NumberArray, out: NumberArray, to: DType): void {
  const range = narrowRange(to);
  const size = narrowingBlock(from, to);
  const whole = size === undefined ? 0 : numbers.length - (numbers.length % size);
  if (range) saturate(numbers, out, whole, range, narrowsThroughUint16(from, to) ? TWO_15 : TWO_31);
  else
    for (let i = 0; i < whole; i++) out[i] = numbers[i]! > -TWO_31 - 1 && numbers[i]! < TWO_32 ? numbers[i]! : TWO_31;
  takeLowBits(numbers, out, whole, to);
}

/** @param limit  numbers from here on, and NaN, become the smallest */
function saturate(
  numbers: NumberArray,
  out: NumberArray,
  end: number,
  [low, high]: readonly [number, number],
  limit: number,
): void {
  for (let i = 0; i < end; i++) {
    const number = numbers[i]!;
    if (number >= low && number <= high) out[i] = number;
    else out[i] = number > high && number < limit ? high : low;
  }
}

/** Truncation as cvttss2si does it for 32 bits (and 64 for uint32), then the low bits. */
function takeLowBits(numbers: NumberArray, out: NumberArray, start: number, to: DType): void {
  const isWide = to === "uint32";
  const limit = isWide ? TWO_63 : TWO_31;
  const lowest = isWide ? -TWO_63 : -TWO_31 - 1;
  const otherwise = to === "int32" ? -TWO_31 : 0;
  for (let i = start; i < numbers.length; i++) {
    const number = numbers[i]!;
    out[i] = number > lowest && number < limit ? number : otherwise;
  }
}
