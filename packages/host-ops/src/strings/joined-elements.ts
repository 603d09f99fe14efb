import { copyBytes, elementCount, StringColumn, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { checkOutput } from "../call/limits.js";

/** Element i of the result is the i-th elements of all columns (the first, where the step is 0) with `separator` between. */
export function joinedElements(
  parts: readonly { readonly column: StringColumn; readonly step: 0 | 1 }[],
  shape: readonly number[],
  separator: Uint8Array,
): Tensor {
  const count = elementCount(shape);
  checkOutput("string", count);
  const offsets = zeroedArray(Uint32Array, count + 1);
  let length = 0;
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < parts.length; k++) {
      const { column, step } = parts[k]!;
      length += column.offsets[i * step + 1]! - column.offsets[i * step]! + (k > 0 ? separator.length : 0);
    }
    offsets[i + 1] = length;
  }
  checkOutput("string", count, length);
  const bytes = zeroedArray(Uint8Array, length);
  for (let k = 0; k < parts.length; k++) {
    const { column, step } = parts[k]!;
    for (let i = 0; i < count; i++) {
      const [from, end] = [column.offsets[i * step]!, column.offsets[i * step + 1]!];
      // Each element's start moves on behind what is written of it, and so ends where the next one began.
      let at = offsets[i]!;
      if (k > 0) {
        copyBytes(separator, 0, separator.length, bytes, at);
        at += separator.length;
      }
      copyBytes(column.bytes, from, end, bytes, at);
      offsets[i] = at + end - from;
    }
  }
  if (parts.length > 0) {
    offsets.copyWithin(1, 0, count);
    offsets[0] = 0;
  }
  return tensor("string", shape, new StringColumn(bytes, offsets));
}
