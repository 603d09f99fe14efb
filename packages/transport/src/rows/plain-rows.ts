import { REPLY_HEAD_BYTES, REPLY_TABLE_BYTES } from "./rows-layout.js";
import { TABLE_STATUS } from "./table-status.js";

/**
 * Lays out and writes the head of ROWS payloads in which every table has its rows and none is a default: what
 * {@link planRows} and {@link writeRowsHead} do, without an object per table. Reused from reply to reply.
 */
export class PlainRows {
  /** Per table of the reply: offset of its first row, 0 without rows. Valid for the last `plan`. */
  offsets = new Int32Array(64);
  readonly #gaps: number[] = [];

  /**
   * @param columns   per table, from `columnsAt` on: table index and row count, interleaved
   * @param rowBytes  per table: width of a row
   * @returns bytes of the payload
   */
  plan(columns: Int32Array, columnsAt: number, tableCount: number, rowBytes: Int32Array): number {
    if (this.offsets.length < tableCount) this.offsets = new Int32Array(tableCount);
    const { offsets } = this;
    offsets.fill(-1, 0, tableCount);
    this.#gaps.length = 0;
    let at = REPLY_HEAD_BYTES + tableCount * REPLY_TABLE_BYTES;
    for (let first = 0; first < tableCount; first++) {
      if (offsets[first] !== -1) continue;
      if (columns[columnsAt + 2 * first + 1] === 0) {
        offsets[first] = 0;
        continue;
      }
      const width = rowBytes[first] as number;
      this.#gaps.push(at);
      at = Math.ceil(at / 64) * 64;
      this.#gaps.push(at);
      for (let i = first; i < tableCount; i++) {
        const rowCount = columns[columnsAt + 2 * i + 1] as number;
        if (rowBytes[i] !== width || rowCount === 0) continue;
        offsets[i] = at;
        at += width * rowCount;
      }
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
    rowBytes: Int32Array,
  ): void {
    writeU64(view, start, generation);
    writeU64(view, start + 8, epoch);
    view.setUint32(start + 16, tableCount, true);
    view.setUint32(start + 20, 0, true);
    for (let i = 0; i < this.#gaps.length; i += 2) {
      const end = start + (this.#gaps[i + 1] as number);
      for (let at = start + (this.#gaps[i] as number); at < end; at++) view.setUint8(at, 0);
    }
    for (let i = 0, at = start + REPLY_HEAD_BYTES; i < tableCount; i++, at += REPLY_TABLE_BYTES) {
      view.setUint32(at, columns[columnsAt + 2 * i] as number, true);
      view.setUint32(at + 4, TABLE_STATUS.OK, true);
      view.setUint32(at + 8, columns[columnsAt + 2 * i + 1] as number, true);
      view.setUint32(at + 12, rowBytes[i] as number, true);
      view.setUint32(at + 16, this.offsets[i] as number, true);
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
