/** One value that stands for many: a TensorProto may hold fewer values than elements, and the last one repeats. */
import { ServingError } from "@shardserve/core";
import type { NumericData } from "./tensor.js";

/** Most bytes that a tensor may take beyond what its encoding holds, where the caller does not say. */
export const SPLAT_BYTES_MAX = 256 * 2 ** 20;

/** @throws ServingError RESOURCE_EXHAUSTED */
export function checkSplat(byteCount: number, splatBytesMax: number): void {
  if (byteCount > splatBytesMax) {
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `a tensor without all its values would take ${byteCount} bytes, the limit is ${splatBytesMax}; send the values`,
    );
  }
}

/** Fills a numeric array from element `present` on with element `present - 1`. */
export function repeatLast(data: NumericData, present: number, lanes: number): void {
  const filled = present * lanes;
  if (lanes === 1) {
    const array = data as Float32Array; // all kinds share fill; the value has the array's own type
    array.fill(array[filled - 1]!, filled);
    return;
  }
  for (let i = filled; i < data.length; i++) data[i] = data[i - lanes]!;
}
