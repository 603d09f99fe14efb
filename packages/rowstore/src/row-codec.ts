import { invariant } from "@shardserve/core";
import { halfFromFloat, halfTable } from "./float16.js";
import { INT8_HEAD_BYTES, type RowDType, storedRowBytes, type TableInfo } from "./table-info.js";

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

/**
 * Writes stored rows into slots of a slab, decoded to the table's own dtype.
 *
 * @param source        stored rows behind one another
 * @param sourceOffset  offset of the first one; aligned to 4 bytes where the row's width is (and float16 rows to 2)
 * @param target        the slab: `[capacity, dim]` elements of the table's dtype, starting aligned to the element
 * @param slots         row of the slab for row i: `slots[slotsAt + i]`
 */
export type RowDecoder = (
  source: Uint8Array,
  sourceOffset: number,
  rowCount: number,
  target: ArrayBufferView,
  slots: Int32Array,
  slotsAt: number,
) => void;

/** The decoder of a table's rows; make it once per table. */
export function rowDecoder(table: Pick<TableInfo, "rowDtype" | "rowBytes" | "dim">): RowDecoder {
  const { dim, rowBytes } = table;
  if (table.rowDtype === "float16") {
    return (source, sourceOffset, rowCount, target, slots, slotsAt) =>
      decodeFloat16(source, sourceOffset, rowCount, dim, floatsOf(target), slots, slotsAt);
  }
  if (table.rowDtype === "int8") {
    return (source, sourceOffset, rowCount, target, slots, slotsAt) =>
      decodeInt8(source, sourceOffset, rowCount, dim, rowBytes, floatsOf(target), slots, slotsAt);
  }
  return (source, sourceOffset, rowCount, target, slots, slotsAt) =>
    copyRows(source, sourceOffset, rowCount, rowBytes, target, slots, slotsAt);
}

function floatsOf(view: ArrayBufferView): Float32Array {
  return view instanceof Float32Array
    ? view
    : new Float32Array(view.buffer, view.byteOffset, Math.floor(view.byteLength / 4));
}

function decodeFloat16(
  source: Uint8Array,
  sourceOffset: number,
  rowCount: number,
  dim: number,
  target: Float32Array,
  slots: Int32Array,
  slotsAt: number,
): void {
  const halves = new Uint16Array(source.buffer, source.byteOffset + sourceOffset, rowCount * dim);
  const table = halfTable();
  for (let row = 0, from = 0; row < rowCount; row++) {
    const to = slots[slotsAt + row]! * dim;
    for (let i = 0; i < dim; i++) target[to + i] = table[halves[from++]!]!;
  }
}

function decodeInt8(
  source: Uint8Array,
  sourceOffset: number,
  rowCount: number,
  dim: number,
  rowBytes: number,
  target: Float32Array,
  slots: Int32Array,
  slotsAt: number,
): void {
  const start = source.byteOffset + sourceOffset;
  const floats = new Float32Array(source.buffer, start, (rowCount * rowBytes) / 4);
  const bytes = new Int8Array(source.buffer, start, rowCount * rowBytes);
  for (let row = 0; row < rowCount; row++) {
    const at = row * rowBytes;
    const scale = floats[at / 4]!;
    const offset = floats[at / 4 + 1]!;
    const from = at + INT8_HEAD_BYTES;
    const to = slots[slotsAt + row]! * dim;
    for (let i = 0; i < dim; i++) target[to + i] = bytes[from + i]! * scale + offset;
  }
}

/** Runs of neighbouring slots at least this long are copied in one piece. */
const RUN_BYTES_MIN = 512;

/** Copies rows as they are, in the widest elements that divide them. Integers: a float copy may change NaN patterns. */
function copyRows(
  source: Uint8Array,
  sourceOffset: number,
  rowCount: number,
  rowBytes: number,
  target: ArrayBufferView,
  slots: Int32Array,
  slotsAt: number,
): void {
  const start = source.byteOffset + sourceOffset;
  const ArrayType = (
    rowBytes % 4 === 0 ? Int32Array : rowBytes % 2 === 0 ? Int16Array : Int8Array
  ) as Int32ArrayConstructor;
  const width = rowBytes / ArrayType.BYTES_PER_ELEMENT;
  const from = new ArrayType(source.buffer as ArrayBuffer, start, rowCount * width);
  const to = new ArrayType(
    target.buffer as ArrayBuffer,
    target.byteOffset,
    Math.floor(target.byteLength / ArrayType.BYTES_PER_ELEMENT),
  );
  for (let row = 0; row < rowCount; ) {
    const slot = slots[slotsAt + row]!;
    let run = 1;
    while (row + run < rowCount && slots[slotsAt + row + run] === slot + run) run++;
    if (run * rowBytes >= RUN_BYTES_MIN) {
      to.set(from.subarray(row * width, (row + run) * width), slot * width);
    } else {
      for (let i = 0, read = row * width, write = slot * width; i < run * width; i++) to[write + i] = from[read + i]!;
    }
    row += run;
  }
}
