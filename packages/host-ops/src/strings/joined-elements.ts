import { elementCount, StringColumnBuilder, type StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { checkOutput } from "../call/limits.js";

/** Element i of the result is the i-th elements of all columns (the first, where the step is 0) with `separator` between. */
export function joinedElements(
  parts: readonly { readonly column: StringColumn; readonly step: 0 | 1 }[],
  shape: readonly number[],
  separator: Uint8Array,
): Tensor {
  const count = elementCount(shape);
  const offsets = new Uint32Array(count + 1);
  let length = 0;
  for (let i = 0; i < count; i++) {
    for (const { column, step } of parts) length += column.offsets[i * step + 1]! - column.offsets[i * step]!;
    length += separator.length * Math.max(0, parts.length - 1);
    offsets[i + 1] = length;
  }
  checkOutput("string", count, length);
  const builder = new StringColumnBuilder(count);
  const row = new Uint8Array(offsets.reduce((widest, end, i) => Math.max(widest, i ? end - offsets[i - 1]! : 0), 0));
  for (let i = 0; i < count; i++) {
    let at = 0;
    parts.forEach(({ column, step }, k) => {
      if (k > 0) {
        row.set(separator, at);
        at += separator.length;
      }
      const from = column.offsets[i * step]!;
      const end = column.offsets[i * step + 1]!;
      row.set(column.bytes.subarray(from, end), at);
      at += end - from;
    });
    builder.pushRange(row, 0, at);
  }
  return tensor("string", shape, builder.build());
}
