import type { DType } from "./dtype.js";

/**
 * How TensorFlow's CPU kernels narrow floats to integers of 8 and 16 bits and to uint32. They truncate to a wider integer first, where what
 * does not fit becomes the smallest; then whole blocks of elements are narrowed by instructions that saturate, those behind the last
 * whole block by taking the low bits.
 */

/** Elements that are narrowed at a time to 8 and 16 bits, by the dtype that is read. */
const NARROW_BLOCKS: Partial<Record<DType, number>> = {
  float16: 16,
  bfloat16: 8,
  float32: 32,
  float64: 16,
  complex128: 16,
};
/** The same to uint32. */
const UINT32_BLOCKS: Partial<Record<DType, number>> = { float16: 8, bfloat16: 8, float32: 8, float64: 8, complex64: 8 };

const RANGES: Partial<Record<DType, readonly [number, number]>> = {
  int8: [-128, 127],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  uint8: [0, 255],
  uint16: [0, 65535],
};

/** How many elements are narrowed at a time; undefined where each is on its own. */
export function narrowingBlock(from: DType, to: DType): number | undefined {
  if (to === "uint32") return UINT32_BLOCKS[from];
  return RANGES[to] && NARROW_BLOCKS[from];
}

/** The least and the largest that an integer dtype of 8 or 16 bits holds; undefined for others. */
export function narrowRange(to: DType): readonly [number, number] | undefined {
  return RANGES[to];
}

/** Whether blocks come to uint8 by way of uint16, whose upper half the next instruction takes for negative numbers. */
export function narrowsThroughUint16(from: DType, to: DType): boolean {
  return to === "uint8" && from !== "float32" && from !== "bfloat16";
}
