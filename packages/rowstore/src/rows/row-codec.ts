import { invariant } from "@shardserve/core";
import { halfFromFloat } from "./float16.js";
import { INT8_HEAD_BYTES, type RowDType, storedRowBytes } from "../manifest/table-info.js";

/**
 * Encodes float32 rows in their stored form.
 *
 * An int8 row is `float32 scale, float32 offset, int8 q[dim], padding`, value = q * scale + offset, with scale and offset
 * such that the row's least and greatest element are met at -128 and 127. A row that is not finite decodes to NaN, which
 * the parity check of an export refuses.
 *
 * @param source  `rowCount * dim` elements
 * @param out     `rowCount` stored rows of `storedRowBytes(rowDtype, "float32", dim)` bytes, starting at a multiple of 4
 */
export function encodeRows(
  rowDtype: Exclude<RowDType, "same">,
  source: Float32Array,
  rowCount: number,
  dim: number,
  out: Uint8Array,
): void {
  invariant(
    source.length >= rowCount * dim && out.length >= rowCount * storedRowBytes(rowDtype, "float32", dim),
    () => `${rowCount} rows of ${dim} elements`,
  );
  if (rowDtype === "float16") {
    const halves = new Uint16Array(out.buffer, out.byteOffset, rowCount * dim);
    for (let i = 0; i < halves.length; i++) halves[i] = halfFromFloat(source[i]!);
  } else {
    encodeInt8(source, rowCount, dim, out);
  }
}

function encodeInt8(source: Float32Array, rowCount: number, dim: number, out: Uint8Array): void {
  const rowBytes = storedRowBytes("int8", "float32", dim);
  const floats = new Float32Array(out.buffer, out.byteOffset, (rowCount * rowBytes) / 4);
  const bytes = new Int8Array(out.buffer, out.byteOffset, rowCount * rowBytes);
  for (let row = 0; row < rowCount; row++) {
    const from = row * dim;
    let least = source[from] ?? 0;
    let greatest = least;
    let isFinite = true;
    for (let i = from; i < from + dim; i++) {
      const value = source[i]!;
      if (value < least) least = value;
      if (value > greatest) greatest = value;
      if (value - value !== 0) isFinite = false;
    }
    const head = (row * rowBytes) / 4;
    const scale = Math.fround((greatest - least) / 255); // as the decoder will see it
    const offset = isFinite ? Math.fround(least + 128 * scale) : Number.NaN;
    floats[head] = scale;
    floats[head + 1] = offset;
    const at = row * rowBytes + INT8_HEAD_BYTES;
    for (let i = 0; i < dim; i++) {
      const q = scale === 0 ? 0 : Math.round((source[from + i]! - offset) / scale);
      bytes[at + i] = q < -128 ? -128 : q > 127 ? 127 : q;
    }
    bytes.fill(0, at + dim, (row + 1) * rowBytes);
  }
}
