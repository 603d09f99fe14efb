import { ServingError } from "@shardserve/core";
import {
  type DType,
  DTYPES,
  type DataOf,
  elementCount,
  isNumeric,
  lanesPerElement,
  newData,
  type NumericDType,
} from "@shardserve/tensor";

/**
 * The most bytes that one output of a host kernel may take. A request chooses some output sizes (Fill, Range, Tile,
 * OneHot, broadcasts), so each is checked before it is allocated; more is RESOURCE_EXHAUSTED, not an out-of-memory end.
 */
export const OUTPUT_BYTES_MAX = 2 ** 30;

/** Bytes that bookkeeping of one string takes in a column. */
const STRING_OFFSET_BYTES = 4;

/**
 * Checks that an output of `count` elements (of `payloadBytes` more bytes in total, for strings) may be made.
 *
 * @throws ServingError RESOURCE_EXHAUSTED above {@link OUTPUT_BYTES_MAX}
 */
export function checkOutput(dtype: DType, count: number, payloadBytes = 0): void {
  const bytes = count * (DTYPES[dtype].bytes || STRING_OFFSET_BYTES) + payloadBytes;
  if (!(bytes <= OUTPUT_BYTES_MAX)) {
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `an output of ${count} ${dtype} elements needs ${bytes} bytes; one output of a host op may take ${OUTPUT_BYTES_MAX}`,
    );
  }
}

/**
 * Zeroed data for `count` elements.
 *
 * @throws ServingError RESOURCE_EXHAUSTED above {@link OUTPUT_BYTES_MAX}
 */
export function allocate<D extends NumericDType>(dtype: D, count: number): DataOf[D] {
  checkOutput(dtype, count);
  return newData(dtype, count * lanesPerElement(dtype));
}

/**
 * Number of elements of a shape that a request may have chosen.
 *
 * @throws ServingError INVALID_ARGUMENT for a negative dimension, RESOURCE_EXHAUSTED for more than an output may hold
 */
export function checkedCount(dtype: DType, shape: readonly number[]): number {
  for (const dim of shape) {
    if (dim < 0) throw new ServingError("INVALID_ARGUMENT", `Dimension ${dim} must be >= 0`);
  }
  const count = elementCount(shape);
  if (isNumeric(dtype) || dtype === "string") checkOutput(dtype, count);
  return count;
}
