import { invariant, ServingError } from "@shardserve/core";
import { encodeRows, type TableInfo, tablesByName } from "@shardserve/rowstore";
import { DTYPES } from "@shardserve/tensor";

/** Distinct rows of one epoch at most: executors still look for each of so many in their caches. A power of two. */
export const EPOCH_ROWS_MAX = 2 ** 18;
const FIRST_ROWS = 1024;

/** Rows of one table and partition, ascending by position. */
export interface PendingSection {
  readonly table: number;
  readonly partition: number;
  readonly positions: Uint32Array;
  /** Stored rows, in the order of the positions. */
  readonly rows: Uint8Array;
}

/** New rows for some ids of one table. */
export interface TableRows {
  /** Name or checkpoint key, as {@link tablesByName} knows them. */
  readonly table: string;
  /** int64, little-endian. */
  readonly ids: Uint8Array;
  /** In the variable's own element type. */
  readonly rows: Uint8Array;
}

/**
 * Rows that wait for their epoch, in stored form, the last one of each id. Typed arrays alone, so that a row costs its bytes
 * and about 20 more.
 */
export class PendingRows {
  readonly #tables: readonly TableInfo[];
  readonly #columns: readonly Column[];

  /** @param tables  of the version, with the rows that they have at the epoch before */
  constructor(tables: readonly TableInfo[]) {
    this.#tables = tables;
    this.#columns = tables.map(({ rowBytes }) => new Column(rowBytes));
  }

  /** Distinct rows. */
  get count(): number {
    return this.#columns.reduce((sum, { count }) => sum + count, 0);
  }

  /** Bytes of the rows. */
  get bytes(): number {
    return this.#columns.reduce((sum, { count, rowBytes }) => sum + count * rowBytes, 0);
  }

  countOf(table: number): number {
    return this.#columns[table]!.count;
  }

  /**
   * Proves a batch without taking any of it.
   *
   * @returns its rows, and their bytes in stored form
   * @throws ServingError INVALID_ARGUMENT, ROW_OUT_OF_RANGE naming table and id
   */
  check(batch: readonly TableRows[]): { readonly rows: number; readonly bytes: number } {
    let rows = 0;
    let bytes = 0;
    for (const update of batch) {
      const info = this.#tables[this.#indexOf(update.table)]!;
      const count = update.ids.length / 8;
      const wanted = count * info.dim * DTYPES[info.dtype].bytes;
      if (!Number.isInteger(count))
        throw new ServingError(
          "INVALID_ARGUMENT",
          `ids of ${update.table}: ${update.ids.length} bytes are no whole int64s`,
        );
      if (update.rows.length !== wanted)
        throw new ServingError(
          "INVALID_ARGUMENT",
          `rows of ${update.table}: ${update.rows.length} bytes, ${count} rows of ${info.dtype}[${info.rowShape.join()}] have ${wanted}`,
        );
      const view = new DataView(update.ids.buffer, update.ids.byteOffset, update.ids.length);
      for (let i = 0; i < count; i++) {
        const id = view.getUint32(i * 8 + 4, true) * 2 ** 32 + view.getUint32(i * 8, true);
        if (id >= info.rows)
          throw new ServingError(
            "ROW_OUT_OF_RANGE",
            `row ${view.getBigInt64(i * 8, true)} of table ${update.table}, which has rows 0 to ${info.rows - 1}`,
          );
      }
      rows += count;
      bytes += count * info.rowBytes;
    }
    return { rows, bytes };
  }

  /** Takes a batch that {@link check} passed. */
  put(batch: readonly TableRows[]): void {
    for (const { table, ids, rows } of batch) {
      const index = this.#indexOf(table);
      this.#columns[index]!.put(ids, stored(this.#tables[index]!, rows, ids.length / 8));
    }
  }

  /** Rows of every table with any, by table, then partition. A generator: a caller can let other work in between. */
  *sections(partitionCount: number): Generator<PendingSection> {
    for (const [table, column] of this.#columns.entries()) yield* column.sections(table, partitionCount);
  }

  #indexOf(table: string): number {
    const index = tablesByName(this.#tables).get(table);
    if (index !== undefined) return index;
    const known = this.#tables.map(({ checkpointKey }) => checkpointKey).join(", ");
    throw new ServingError(
      "INVALID_ARGUMENT",
      `there is no sharded table ${JSON.stringify(table.slice(0, 200))}; there are ${known}`,
    );
  }
}

/** Rows in the form in which the table keeps them. */
function stored({ rowDtype, rowBytes, dim }: TableInfo, rows: Uint8Array, count: number): Uint8Array {
  if (rowDtype === "same") return rows;
  const floats = new Float32Array(rows.slice().buffer); // a message's bytes may lie at any offset
  const out = new Uint8Array(count * rowBytes);
  encodeRows(rowDtype, floats, count, dim, out);
  return out;
}

/** The rows of one table: an open hash from id to place. */
class Column {
  readonly rowBytes: number;
  count = 0;
  #ids = new Float64Array(FIRST_ROWS);
  #rows: Uint8Array;
  /** Place + 1 by hash; 0 = free. Twice as many as there is room for rows. */
  #slots = new Int32Array(2 * FIRST_ROWS);

  constructor(rowBytes: number) {
    this.rowBytes = rowBytes;
    this.#rows = new Uint8Array(FIRST_ROWS * rowBytes);
  }

  put(idBytes: Uint8Array, rows: Uint8Array): void {
    const view = new DataView(idBytes.buffer, idBytes.byteOffset, idBytes.length);
    const { rowBytes } = this;
    for (let i = 0, at = 0; at < idBytes.length; i++, at += 8) {
      const place = this.#placeOf(view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true));
      this.#rows.set(rows.subarray(i * rowBytes, (i + 1) * rowBytes), place * rowBytes);
    }
  }

  *sections(table: number, partitionCount: number): Generator<PendingSection> {
    const { count, rowBytes } = this;
    const ends = new Uint32Array(partitionCount);
    for (let place = 0; place < count; place++) ends[this.#ids[place]! % partitionCount]!++;
    for (let partition = 1; partition < partitionCount; partition++) ends[partition]! += ends[partition - 1]!;
    // Position and place in one number below 2^50, so that one sort without a comparing function orders both.
    const keys = new Float64Array(count);
    const next = Uint32Array.from(ends, (_, partition) => (partition === 0 ? 0 : ends[partition - 1]!));
    for (let place = 0; place < count; place++) {
      const id = this.#ids[place]!;
      const partition = id % partitionCount;
      keys[next[partition]!++] = ((id - partition) / partitionCount) * EPOCH_ROWS_MAX + place;
    }
    for (let partition = 0, start = 0; partition < partitionCount; start = ends[partition++]!) {
      const end = ends[partition]!;
      if (end === start) continue;
      const sorted = keys.subarray(start, end).sort();
      const positions = new Uint32Array(end - start);
      const rows = new Uint8Array((end - start) * rowBytes);
      for (let i = 0; i < sorted.length; i++) {
        const place = sorted[i]! % EPOCH_ROWS_MAX;
        positions[i] = (sorted[i]! - place) / EPOCH_ROWS_MAX;
        rows.set(this.#rows.subarray(place * rowBytes, (place + 1) * rowBytes), i * rowBytes);
      }
      yield { table, partition, positions, rows };
    }
  }

  /** The row's place, a new one when it has none yet. */
  #placeOf(id: number): number {
    if (this.count === this.#ids.length) this.#grow();
    const mask = this.#slots.length - 1;
    let slot = hashOf(id) & mask;
    for (let held = this.#slots[slot]!; held !== 0; held = this.#slots[slot]!) {
      if (this.#ids[held - 1] === id) return held - 1;
      slot = (slot + 1) & mask;
    }
    invariant(this.count < EPOCH_ROWS_MAX, "an epoch has more rows than it may");
    this.#ids[this.count] = id;
    this.#slots[slot] = ++this.count;
    return this.count - 1;
  }

  #grow(): void {
    const capacity = this.#ids.length * 2;
    const ids = new Float64Array(capacity);
    ids.set(this.#ids);
    const rows = new Uint8Array(capacity * this.rowBytes);
    rows.set(this.#rows);
    const slots = new Int32Array(capacity * 2);
    for (let place = 0; place < this.count; place++) {
      let slot = hashOf(ids[place]!) & (slots.length - 1);
      while (slots[slot] !== 0) slot = (slot + 1) & (slots.length - 1);
      slots[slot] = place + 1;
    }
    this.#ids = ids;
    this.#rows = rows;
    this.#slots = slots;
  }
}

function hashOf(id: number): number {
  const high = Math.floor(id / 2 ** 32);
  const mixed = Math.imul((id | 0) ^ Math.imul(high, 0x85eb_ca6b), 0x9e37_79b1);
  return mixed ^ (mixed >>> 15);
}
