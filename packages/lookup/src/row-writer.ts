/** Writes `rowCount` packed rows, the first at `source[offset]`, into rows `slots[slotsAt ...]` of a target. */
export type RowWriter = (
  source: Uint8Array,
  offset: number,
  rowCount: number,
  slots: Int32Array,
  slotsAt: number,
) => void;

/** Rows wider than this are copied by `set`, whose fixed cost is then small. Measured on Node 20: 1 KiB is even. */
const LOOP_BYTES_MAX = 1024;

/**
 * A writer for rows that travel as they are stored in the target: row i of the source is `sourceRowBytes` apart, of
 * which the first `rowBytes` belong to the row.
 *
 * Rows of floats go as float64 lanes where widths and alignment allow: half the loads and stores. Other types never do:
 * a bit pattern that is a signalling NaN could be changed on its way through a float register.
 *
 * @param target        rows back to back, 8-aligned
 * @param isFloatingRow elements are float32 or float64
 */
export function createRowWriter(
  target: Uint8Array,
  rowBytes: number,
  sourceRowBytes: number,
  isFloatingRow: boolean,
): RowWriter {
  if (rowBytes <= LOOP_BYTES_MAX) {
    if (isFloatingRow && rowBytes % 8 === 0 && sourceRowBytes % 8 === 0) {
      const out = new Float64Array(target.buffer, target.byteOffset, Math.floor(target.length / 8));
      return (source, offset, rowCount, slots, slotsAt) => {
        const start = source.byteOffset + offset;
        if (start % 8 !== 0)
          return copyBytes(target, rowBytes, source, offset, sourceRowBytes, rowCount, slots, slotsAt);
        const rows = new Float64Array(source.buffer, start, (rowCount * sourceRowBytes) / 8);
        copyLanes64(out, rowBytes / 8, rows, sourceRowBytes / 8, rowCount, slots, slotsAt);
      };
    }
    if (rowBytes % 4 === 0 && sourceRowBytes % 4 === 0) {
      const out = new Int32Array(target.buffer, target.byteOffset, Math.floor(target.length / 4));
      return (source, offset, rowCount, slots, slotsAt) => {
        const start = source.byteOffset + offset;
        if (start % 4 !== 0)
          return copyBytes(target, rowBytes, source, offset, sourceRowBytes, rowCount, slots, slotsAt);
        const rows = new Int32Array(source.buffer, start, (rowCount * sourceRowBytes) / 4);
        copyLanes32(out, rowBytes / 4, rows, sourceRowBytes / 4, rowCount, slots, slotsAt);
      };
    }
  }
  return (source, offset, rowCount, slots, slotsAt) =>
    copyBytes(target, rowBytes, source, offset, sourceRowBytes, rowCount, slots, slotsAt);
}

function copyLanes64(
  out: Float64Array,
  width: number,
  rows: Float64Array,
  stride: number,
  rowCount: number,
  slots: Int32Array,
  slotsAt: number,
): void {
  for (let row = 0; row < rowCount; row++) {
    const to = (slots[slotsAt + row] as number) * width;
    const from = row * stride;
    for (let i = 0; i < width; i++) out[to + i] = rows[from + i] as number;
  }
}

function copyLanes32(
  out: Int32Array,
  width: number,
  rows: Int32Array,
  stride: number,
  rowCount: number,
  slots: Int32Array,
  slotsAt: number,
): void {
  for (let row = 0; row < rowCount; row++) {
    const to = (slots[slotsAt + row] as number) * width;
    const from = row * stride;
    for (let i = 0; i < width; i++) out[to + i] = rows[from + i] as number;
  }
}

function copyBytes(
  out: Uint8Array,
  rowBytes: number,
  source: Uint8Array,
  offset: number,
  stride: number,
  rowCount: number,
  slots: Int32Array,
  slotsAt: number,
): void {
  for (let row = 0; row < rowCount; row++) {
    const from = offset + row * stride;
    out.set(source.subarray(from, from + rowBytes), (slots[slotsAt + row] as number) * rowBytes);
  }
}
