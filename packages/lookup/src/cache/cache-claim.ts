/** What one batch collects over its tables: which slots it pinned, which rows it must fetch, which fills it waits for. */
export interface CacheClaim {
  /** Number of this batch, from whoever claims; every batch has its own, never 0. */
  readonly batch: number;
  /** Slots pinned, in order of first appearance; `pinnedCount` of them are valid. */
  readonly pinned: Int32Array;
  pinnedCount: number;
  /** Slots to be filled by this batch, and the ids that belong into them; `missCount` are valid. */
  readonly missSlots: Int32Array;
  readonly missLo: Int32Array;
  readonly missHi: Int32Array;
  missCount: number;
  /** Batches whose fills this one waits for. */
  readonly waitsFor: Set<number>;
}

/**
 * A claim that nothing is claimed in yet.
 *
 * @param room  distinct ids at most
 * @param columns  4 * room elements or more for its columns, of a larger allocation where the caller has one
 */
export function newClaim(batch: number, room: number, columns = new Int32Array(4 * room)): CacheClaim {
  const column = (k: number) => columns.subarray(k * room, (k + 1) * room);
  return {
    batch,
    pinned: column(0),
    pinnedCount: 0,
    missSlots: column(1),
    missLo: column(2),
    missHi: column(3),
    missCount: 0,
    waitsFor: new Set(),
  };
}
