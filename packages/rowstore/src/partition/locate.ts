import { invariant } from "@shardserve/core";
import type { RowIndexes } from "./row-indexes.js";

/*
 * Row ids to indexes into a stride arena. Ids and indexes are 64-bit, handled as pairs of 32-bit lanes (low first):
 * neither a BigInt nor an object per id.
 */

/**
 * Writes one row index per id: `base + (id mod P) * rowsPerSpan + id div P`.
 *
 * @param ids      lanes of the ids
 * @param isHeld   per partition: 1 when its rows are mapped
 * @param base     index of the table's first row in partition 0
 * @param indexes  lanes; written from index `at` on
 * @param first    position of the first id to locate, and `end` the one behind the last
 * @returns -1, or the position of the first id that is out of [0, rows) or in a partition that is not held; indexes
 *   before it are written, those after it are not
 */
export function locateRows(
  ids: Int32Array,
  rows: number,
  partitionCount: number,
  isHeld: Uint8Array,
  base: number,
  rowsPerSpan: number,
  indexes: Int32Array,
  at: number,
  first = 0,
  end = ids.length >> 1,
): number {
  return isNarrow(rows, partitionCount, rowsPerSpan)
    ? locateNarrow(ids, rows, partitionCount, isHeld, base, rowsPerSpan, indexes, at, first, end)
    : locateWide(ids, rows, partitionCount, isHeld, base, rowsPerSpan, indexes, at, first, end);
}

/** Whether ids and indexes fit 31 bits. */
function isNarrow(rows: number, partitionCount: number, rowsPerSpan: number): boolean {
  return rows < 2 ** 31 && rowsPerSpan * partitionCount <= 2 ** 31;
}

/** Everything fits 31 bits: integer arithmetic only. */
function locateNarrow(
  ids: Int32Array,
  rows: number,
  partitionCount: number,
  isHeld: Uint8Array,
  base: number,
  rowsPerSpan: number,
  indexes: Int32Array,
  at: number,
  first: number,
  end: number,
): number {
  for (let lane = 2 * first, out = 2 * at; lane < 2 * end; lane += 2, out += 2) {
    const id = ids[lane]!;
    if (ids[lane + 1] !== 0 || id < 0 || id >= rows) return lane >> 1;
    const position = (id / partitionCount) | 0;
    const partition = (id - Math.imul(position, partitionCount)) | 0;
    if (isHeld[partition] === 0) return lane >> 1;
    indexes[out] = (base + Math.imul(partition, rowsPerSpan) + position) | 0;
    indexes[out + 1] = 0;
  }
  return -1;
}

function locateWide(
  ids: Int32Array,
  rows: number,
  partitionCount: number,
  isHeld: Uint8Array,
  base: number,
  rowsPerSpan: number,
  indexes: Int32Array,
  at: number,
  first: number,
  end: number,
): number {
  for (let lane = 2 * first, out = 2 * at; lane < 2 * end; lane += 2, out += 2) {
    const id = ids[lane + 1]! * 0x1_0000_0000 + (ids[lane]! >>> 0); // exact below 2^53, and above it never < rows
    if (id < 0 || id >= rows) return lane >> 1;
    const position = Math.floor(id / partitionCount); // exact: id < 2^53
    const partition = id - position * partitionCount;
    if (isHeld[partition] === 0) return lane >> 1;
    const index = base + partition * rowsPerSpan + position;
    const high = Math.floor(index / 0x1_0000_0000);
    indexes[out] = index - high * 0x1_0000_0000;
    indexes[out + 1] = high;
  }
  return -1;
}

/** Where the rows of each table lie, by its index; all numbers fit 31 bits. */
export interface NarrowPlaces {
  readonly rows: Int32Array;
  /** Index of the table's first row in partition 0. */
  readonly bases: Int32Array;
  readonly rowsPerSpan: Int32Array;
}

/** @returns undefined where a table does not fit */
export function narrowPlaces(
  tables: readonly { readonly rows: number }[],
  bases: ArrayLike<number>,
  rowsPerSpan: readonly number[],
  partitionCount: number,
): NarrowPlaces | undefined {
  if (!tables.every(({ rows }, i) => isNarrow(rows, partitionCount, rowsPerSpan[i]!))) return undefined;
  const rows = Int32Array.from(tables, (table) => table.rows);
  return { rows, bases: Int32Array.from(bases), rowsPerSpan: Int32Array.from(rowsPerSpan) };
}

/**
 * As {@link locateRows}, for the ids of many tables in one pass: requests of an id or two per table would spend more on a call
 * per table than on their ids.
 *
 * @param words  per table from `columnsAt` to `idsAt`: table index and id count, interleaved; then the ids as lanes
 * @param into   by table index: where its indexes are appended
 * @returns false when an id is out of range or in a partition that is not held; some indexes may have been appended
 */
export function locateNarrowColumns(
  words: Int32Array,
  columnsAt: number,
  idsAt: number,
  places: NarrowPlaces,
  partitionCount: number,
  isHeld: Uint8Array,
  into: readonly RowIndexes[],
): boolean {
  let lane = idsAt;
  for (let column = columnsAt; column < idsAt; column += 2) {
    const table = words[column]!;
    const count = words[column + 1]!;
    const rows = places.rows[table]!;
    const base = places.bases[table]!;
    const rowsPerSpan = places.rowsPerSpan[table]!;
    const target = into[table]!;
    const { lanes } = target;
    let out = 2 * target.count;
    invariant(out + 2 * count <= lanes.length, "the indexes have room for a request");
    for (const end = lane + 2 * count; lane < end; lane += 2, out += 2) {
      const id = words[lane]!;
      if (words[lane + 1] !== 0 || id < 0 || id >= rows) return false;
      const position = (id / partitionCount) | 0;
      const partition = (id - Math.imul(position, partitionCount)) | 0;
      if (isHeld[partition] === 0) return false;
      lanes[out] = (base + Math.imul(partition, rowsPerSpan) + position) | 0;
      lanes[out + 1] = 0;
    }
    target.count += count;
  }
  return true;
}
