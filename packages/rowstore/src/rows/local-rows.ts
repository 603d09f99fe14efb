import { invariant } from "@shardserve/core";
import { loadOrt, type MappedFile, mapFile, OrtValue } from "@shardserve/native";
import { lanesOf, zeroedArray } from "@shardserve/tensor";
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
  readonly #tables: TableInfo[] = [];
  readonly #files: MappedFile[] = [];
  readonly #values: OrtValue[] = [];
  #leases = 0;
  #closing: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  get tables(): readonly TableInfo[] {
    return this.#tables;
  }

  /**
   * Maps a table.
   *
   * @returns its index in `tables`
   * @throws ServingError NOT_FOUND or INVALID_ARGUMENT when the file is absent or too short
   */
  add({ info, path, offset }: LocalTable): number {
    loadOrt();
    invariant(!this.#closed, "the row source is closed");
    const { name, dtype, rowDtype, rows, rowShape, rowBytes } = info;
    invariant(rowDtype === "same" && rows <= ROWS_MAX, `${name} cannot be read in one piece`);
    const file = mapFile(path, { offset, length: rows * rowBytes });
    this.#files.push(file);
    this.#values.push(OrtValue.overMemory(dtype, [rows, ...rowShape], file.memory));
    return this.#tables.push(info) - 1;
  }

  async lookup(requests: readonly RowRequest[]): Promise<RowLease> {
    invariant(!this.#closed, "the row source is closed");
    // One array for all: what V8 keeps for an array whose address is asked costs more than the slots of a small lookup.
    let wide = 0;
    for (const { ids } of requests) if (ids instanceof BigInt64Array) wide += ids.length;
    const slots = zeroedArray(Int32Array, wide);
    let used = 0;
    const batches: RowBatch[] = requests.map(({ table, ids }) => {
      const info = this.#tables[table]!;
      const rows = this.#values[table]!;
      if (ids instanceof Int32Array) return { rows, slots: checked(info, ids) };
      const part = slots.subarray(used, (used += ids.length));
      narrow(info, ids, part);
      return { rows, slots: part };
    });
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

/** @throws ServingError ROW_OUT_OF_RANGE */
function checked(table: TableInfo, ids: Int32Array): Int32Array {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (id < 0 || id >= table.rows) throw rowOutOfRange(table, i, id);
  }
  return ids;
}

/** Writes ids as int32 slots. @throws ServingError ROW_OUT_OF_RANGE */
function narrow(table: TableInfo, ids: BigInt64Array, slots: Int32Array): void {
  const lanes = lanesOf(ids);
  for (let i = 0; i < slots.length; i++) {
    const low = lanes[2 * i]!;
    if (lanes[2 * i + 1] !== 0 || low < 0 || low >= table.rows) throw rowOutOfRange(table, i, ids[i]!);
    slots[i] = low;
  }
}
