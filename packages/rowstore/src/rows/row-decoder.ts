import { halfTable } from "./float16.js";
import type { StoredRows } from "./stored-rows.js";
import { INT8_HEAD_BYTES, type TableInfo } from "../manifest/table-info.js";

/**
 * Writes stored rows into slots of a slab, decoded to the table's own dtype.
 *
 * @param source        where stored rows lie behind one another
 * @param sourceOffset  offset of the first one; aligned to 4 bytes where the row's width is (and float16 rows to 2)
 * @param target        the slab: `[capacity, dim]` elements of the table's dtype, starting aligned to the element
 * @param slots         row of the slab for row i: `slots[slotsAt + i]`
 */
export type RowDecoder = (
  source: StoredRows,
  sourceOffset: number,
  rowCount: number,
  target: ArrayBufferView,
  slots: Int32Array,
  slotsAt: number,
) => void;

/** The view of a slab that the decoder of a table would make at every call: made once, it is a target as good as the slab. */
export function decoderTarget(table: Pick<TableInfo, "rowDtype" | "rowBytes">, slab: Uint8Array): ArrayBufferView {
  return table.rowDtype === "same" ? unitsOf(slab, table.rowBytes) : floatsOf(slab);
}

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
  source: StoredRows,
  sourceOffset: number,
  rowCount: number,
  dim: number,
  target: Float32Array,
  slots: Int32Array,
  slotsAt: number,
): void {
  const halves = source.uint16;
  const table = halfTable();
  for (let row = 0, from = sourceOffset / 2; row < rowCount; row++) {
    const to = slots[slotsAt + row]! * dim;
    for (let i = 0; i < dim; i++) target[to + i] = table[halves[from++]!]!;
  }
}

function decodeInt8(
  source: StoredRows,
  sourceOffset: number,
  rowCount: number,
  dim: number,
  rowBytes: number,
  target: Float32Array,
  slots: Int32Array,
  slotsAt: number,
): void {
  const { float32: floats, int8: bytes } = source;
  for (let row = 0; row < rowCount; row++) {
    const at = sourceOffset + row * rowBytes;
    const scale = floats[at / 4]!;
    const offset = floats[at / 4 + 1]!;
    const from = at + INT8_HEAD_BYTES;
    const to = slots[slotsAt + row]! * dim;
    for (let i = 0; i < dim; i++) target[to + i] = bytes[from + i]! * scale + offset;
  }
}

/** Runs of neighbouring slots at least this long are copied in one piece. */
const RUN_BYTES_MIN = 512;

/** Elements that rows are copied in: the widest that divide them. Integers: a float copy may change NaN patterns. */
type CopyUnits = Int32Array | Int16Array | Int8Array;

function unitsOf(view: ArrayBufferView, rowBytes: number): CopyUnits {
  const Units = rowBytes % 4 === 0 ? Int32Array : rowBytes % 2 === 0 ? Int16Array : Int8Array;
  if (view instanceof Units) return view;
  return new Units(view.buffer as ArrayBuffer, view.byteOffset, Math.floor(view.byteLength / Units.BYTES_PER_ELEMENT));
}

function copyRows(
  source: StoredRows,
  sourceOffset: number,
  rowCount: number,
  rowBytes: number,
  target: ArrayBufferView,
  slots: Int32Array,
  slotsAt: number,
): void {
  const to = unitsOf(target, rowBytes);
  const from = to instanceof Int32Array ? source.int32 : to instanceof Int16Array ? source.int16 : source.int8;
  const unitBytes = to.BYTES_PER_ELEMENT;
  copyUnits(
    from as Int32Array,
    sourceOffset / unitBytes,
    rowCount,
    rowBytes / unitBytes,
    to as Int32Array,
    slots,
    slotsAt,
  );
}

/** The types say Int32Array, which nearly all rows are copied as; the loop is the same for all. */
function copyUnits(
  from: Int32Array,
  start: number,
  rowCount: number,
  width: number,
  to: Int32Array,
  slots: Int32Array,
  slotsAt: number,
): void {
  const runMin = RUN_BYTES_MIN / to.BYTES_PER_ELEMENT;
  for (let row = 0; row < rowCount; ) {
    const slot = slots[slotsAt + row]!;
    let run = 1;
    while (row + run < rowCount && slots[slotsAt + row + run] === slot + run) run++;
    const read = start + row * width;
    const write = slot * width;
    if (run * width >= runMin) to.set(from.subarray(read, read + run * width), write);
    else for (let i = 0; i < run * width; i++) to[write + i] = from[read + i]!;
    row += run;
  }
}
