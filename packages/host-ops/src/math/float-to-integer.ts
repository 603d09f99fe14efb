import type { DType } from "@shardserve/tensor";
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

/** Elements that a kernel narrows at a time to 8 and 16 bits, by the dtype that it reads. */
const NARROW_BLOCKS: Partial<Record<DType, number>> = {
  float16: 16,
  bfloat16: 8,
  float32: 32,
  float64: 16,
  complex128: 16,
};
/** The same to uint32. */
const UINT32_BLOCKS: Partial<Record<DType, number>> = { float16: 8, bfloat16: 8, float32: 8, float64: 8, complex64: 8 };

/** What an integer dtype holds. */
const RANGES: Partial<Record<DType, readonly [number, number]>> = {
  int8: [-128, 127],
  int16: [-TWO_15, TWO_15 - 1],
  uint8: [0, 255],
  uint16: [0, 65535],
};

/**
 * @param from  dtype of what `numbers` (real parts, of complex numbers) were read from
 * @param out   typed array of `to`; storing into it truncates and takes the low bits
 */
export function floatsToIntegers(from: DType, numbers: NumberArray, out: NumberArray, to: DType): void {
  const blocks = to === "uint32" ? UINT32_BLOCKS : NARROW_BLOCKS;
  const range = RANGES[to];
  const size = blocks[from];
  const whole = size === undefined || to === "int32" ? 0 : numbers.length - (numbers.length % size);
  if (range) saturate(numbers, out, whole, range, hasSignedStep(from, to) ? TWO_15 : TWO_31);
  else
    for (let i = 0; i < whole; i++) out[i] = numbers[i]! > -TWO_31 - 1 && numbers[i]! < TWO_32 ? numbers[i]! : TWO_31;
  takeLowBits(numbers, out, whole, to);
}

/** To uint8 by way of uint16, whose upper half the next instruction takes for negative numbers. */
function hasSignedStep(from: DType, to: DType): boolean {
  return to === "uint8" && from !== "float32" && from !== "bfloat16";
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
