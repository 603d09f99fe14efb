/*
 * Row ids to indexes into a stride arena. Ids and indexes are 64-bit, handled as pairs of 32-bit lanes (low first):
 * neither a BigInt nor an object per id.
 */

/**
 * Writes one row index per id: `base + (id mod P) * rowsPerSlot + id div P`.
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
  rowsPerSlot: number,
  indexes: Int32Array,
  at: number,
  first = 0,
  end = ids.length >> 1,
): number {
  const fitsInt32 = rows <= 2 ** 31 && rowsPerSlot * partitionCount <= 2 ** 31;
  return fitsInt32
    ? locateNarrow(ids, rows, partitionCount, isHeld, base, rowsPerSlot, indexes, at, first, end)
    : locateWide(ids, rows, partitionCount, isHeld, base, rowsPerSlot, indexes, at, first, end);
}

/** Everything fits 31 bits: integer arithmetic only. */
function locateNarrow(
  ids: Int32Array,
  rows: number,
  partitionCount: number,
  isHeld: Uint8Array,
  base: number,
  rowsPerSlot: number,
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
    indexes[out] = (base + Math.imul(partition, rowsPerSlot) + position) | 0;
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
  rowsPerSlot: number,
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
    const index = base + partition * rowsPerSlot + position;
    const high = Math.floor(index / 0x1_0000_0000);
    indexes[out] = index - high * 0x1_0000_0000;
    indexes[out + 1] = high;
  }
  return -1;
}
