/** What one slot costs beside its row: index entries at half load, and the cache's columns. */
const SLOT_OVERHEAD_BYTES = 64;

/** Largest slab of one table, in bytes: views of native memory end at 2 GiB. */
const SLAB_BYTES_MAX = 2 ** 31 - 4096;

/** Bytes of the cache that one row takes. @param slabRowBytes  of its decoded form */
export function slotBytesOf(slabRowBytes: number): number {
  return slabRowBytes + SLOT_OVERHEAD_BYTES;
}

/** Slots that a table can use at most. */
export function slotsMaxOf({ rows, slabRowBytes }: { readonly rows: number; readonly slabRowBytes: number }): number {
  return slabRowBytes === 0 ? rows : Math.min(rows, Math.floor(SLAB_BYTES_MAX / slabRowBytes));
}

/**
 * Divides the cache's bytes over tables: small tables get all their rows, the rest share what remains evenly. Pure.
 *
 * @param tables  rows and bytes of one decoded row, per table
 * @returns slots per table; 0 = the table is not cached
 */
export function divideCache(
  tables: readonly { readonly rows: number; readonly slabRowBytes: number }[],
  cacheBytes: number,
): number[] {
  const capacities = tables.map(() => 0);
  const fullBytes = (i: number) => {
    const { rows, slabRowBytes } = tables[i] as { rows: number; slabRowBytes: number };
    return rows * slotBytesOf(slabRowBytes);
  };
  const bySize = tables.map((_, i) => i).sort((a, b) => fullBytes(a) - fullBytes(b));
  let leftBytes = cacheBytes;
  bySize.forEach((table, rank) => {
    const size = tables[table] as { rows: number; slabRowBytes: number };
    const slotBytes = slotBytesOf(size.slabRowBytes);
    const shareBytes = Math.min(leftBytes / (bySize.length - rank), fullBytes(table));
    capacities[table] = Math.max(0, Math.min(Math.floor(shareBytes / slotBytes), slotsMaxOf(size)));
    leftBytes -= capacities[table]! * slotBytes;
  });
  return capacities;
}
