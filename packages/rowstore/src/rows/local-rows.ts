import { invariant } from "@shardserve/core";
import { loadOrt, type MappedFile, mapFile, OrtValue } from "@shardserve/native";
import { type RowBatch, type RowLease, type RowRequest, type RowSource, rowOutOfRange } from "./row-source.js";
import type { TableInfo } from "../manifest/table-info.js";

/** A table that lies whole in a file, row after row: a variable in a checkpoint's data file. */
export interface LocalTable {
  /** `rowDtype` is "same": the file holds the variable as it is. */
  readonly info: TableInfo;
  readonly path: string;
  /** Offset of row 0 in bytes; need not be aligned. */
  readonly offset: number;
}

/** Slots are int32, so a table in one piece has at most this many rows. */
const ROWS_MAX = 2 ** 31;

/**
 * Rows of a model that this machine holds whole. A lookup copies nothing: the mapped table itself is the batch's `rows`
 * and the ids are the slots, checked.
 */
export class LocalRows implements RowSource {
  readonly tables: readonly TableInfo[];
  readonly #files: readonly MappedFile[];
  readonly #values: readonly OrtValue[];
  #leases = 0;
  #closing: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  private constructor(tables: readonly TableInfo[], files: readonly MappedFile[]) {
    this.tables = tables;
    this.#files = files;
    this.#values = files.map((file, i) => {
      const { dtype, rows, rowShape } = tables[i] as TableInfo;
      return OrtValue.overMemory(dtype, [rows, ...rowShape], file.memory);
    });
  }

  /** @throws ServingError NOT_FOUND or INVALID_ARGUMENT when a file is absent or too short */
  static open(tables: readonly LocalTable[]): LocalRows {
    loadOrt();
    const files: MappedFile[] = [];
    try {
      for (const { info, path, offset } of tables) {
        invariant(info.rowDtype === "same" && info.rows <= ROWS_MAX, `${info.name} cannot be read in one piece`);
        files.push(mapFile(path, { offset, length: info.rows * info.rowBytes }));
      }
    } catch (error) {
      for (const file of files) file.close();
      throw error;
    }
    return new LocalRows(
      tables.map((table) => table.info),
      files,
    );
  }

  async lookup(requests: readonly RowRequest[]): Promise<RowLease> {
    invariant(!this.#closed, "the row source is closed");
    const batches: RowBatch[] = requests.map(({ table, ids }) => ({
      rows: this.#values[table] as OrtValue,
      slots: slotsOf(this.tables[table] as TableInfo, ids),
    }));
    this.#leases++;
    let isHeld = true;
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      if (--this.#leases === 0) this.#closing?.();
    };
    return { batches, release };
  }

  /** Waits until every lease is released, then unmaps. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      if (this.#leases > 0) await new Promise<void>((resolve) => (this.#closing = resolve));
      for (const value of this.#values) value.dispose();
      for (const file of this.#files) file.close();
    })();
    return this.#closed;
  }
}

/** Ids as int32 slots. @throws ServingError ROW_OUT_OF_RANGE */
function slotsOf(table: TableInfo, ids: BigInt64Array | Int32Array): Int32Array {
  const { rows } = table;
  if (ids instanceof Int32Array) {
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (id < 0 || id >= rows) throw rowOutOfRange(table, i, id);
    }
    return ids;
  }
  const lanes = new Int32Array(ids.buffer, ids.byteOffset, ids.length * 2);
  const slots = new Int32Array(ids.length);
  for (let i = 0; i < slots.length; i++) {
    const low = lanes[2 * i]!;
    if (lanes[2 * i + 1] !== 0 || low < 0 || low >= rows) throw rowOutOfRange(table, i, ids[i]!);
    slots[i] = low;
  }
  return slots;
}
