import { REPLY_HEAD_BYTES, REPLY_TABLE_BYTES } from "./rows-layout.js";
import { TABLE_STATUS } from "./table-status.js";

/**
 * Lays out and writes the head of ROWS payloads in which every table has its rows and none is a default: what
 * {@link planRows} and {@link writeRowsHead} do, in one pass over the tables and without an object per table. Reused from
 * reply to reply.
 */
export class PlainRows {
  /** Row widths of the last plan, in the order in which their rows lie in the payload; the first `widthCount` are valid. */
  readonly widths: number[] = [];
  /** Per width: its rows, over all tables. */
  readonly rowCounts: number[] = [];
  /** Per width: offset of its first row in the payload. */
  readonly starts: number[] = [];
  widthCount = 0;
  /** Per width, while a head is written: offset of the next table's rows. */
  readonly #nextAt: number[] = [];

  /**
   * @param columns     per table, from `columnsAt` on: table index and row count, interleaved
   * @param rowBytesOf  by table index: width of a row
   * @returns bytes of the payload
   */
  plan(columns: Int32Array, columnsAt: number, tableCount: number, rowBytesOf: Int32Array): number {
    const { widths, rowCounts, starts } = this;
    const end = columnsAt + 2 * tableCount;
    let widthCount = 0;
    for (let column = columnsAt; column < end; column += 2) {
      const rowCount = columns[column + 1]!;
      if (rowCount === 0) continue;
      const width = rowBytesOf[columns[column] as number]!;
      let k = 0;
      while (k < widthCount && widths[k] !== width) k++;
      if (k === widthCount) {
        widths[k] = width;
        rowCounts[k] = 0;
        widthCount++;
      }
      rowCounts[k] = rowCounts[k]! + rowCount;
    }
    this.widthCount = widthCount;
    let at = REPLY_HEAD_BYTES + tableCount * REPLY_TABLE_BYTES;
    for (let k = 0; k < widthCount; k++) {
      at = Math.ceil(at / 64) * 64;
      starts[k] = at;
      at += widths[k]! * rowCounts[k]!;
    }
    return at;
  }

  /** Writes everything but the rows, as the last `plan` laid it out, from `start` on; the columns are those of that plan. */
  writeHead(
    view: DataView,
    start: number,
    generation: number,
    epoch: number,
    columns: Int32Array,
    columnsAt: number,
    tableCount: number,
    rowBytesOf: Int32Array,
  ): void {
    const { widths, widthCount } = this;
    const nextAt = this.#nextAt;
    writeU64(view, start, generation);
    writeU64(view, start + 8, epoch);
    view.setUint32(start + 16, tableCount, true);
    view.setUint32(start + 20, 0, true);
    let gap = start + REPLY_HEAD_BYTES + tableCount * REPLY_TABLE_BYTES;
    for (let k = 0; k < widthCount; k++) {
      const first = (nextAt[k] = this.starts[k]!);
      while (gap < start + first) view.setUint8(gap++, 0);
      gap += widths[k]! * this.rowCounts[k]!;
    }
    const end = columnsAt + 2 * tableCount;
    for (let column = columnsAt, at = start + REPLY_HEAD_BYTES; column < end; column += 2, at += REPLY_TABLE_BYTES) {
      const table = columns[column]!;
      const rowCount = columns[column + 1]!;
      const width = rowBytesOf[table]!;
      let offset = 0;
      if (rowCount > 0) {
        let k = 0;
        while (k < widthCount && widths[k] !== width) k++;
        offset = nextAt[k]!;
        nextAt[k] = offset + width * rowCount;
      }
      view.setUint32(at, table, true);
      view.setUint32(at + 4, TABLE_STATUS.OK, true);
      view.setUint32(at + 8, rowCount, true);
      view.setUint32(at + 12, width, true);
      view.setUint32(at + 16, offset, true);
      view.setUint32(at + 20, 0, true);
      view.setUint32(at + 24, 0, true);
      view.setUint32(at + 28, 0, true);
    }
  }
}

function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}
