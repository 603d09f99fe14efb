import { invariant } from "@shardserve/core";
import { DistinctIds } from "./distinct-ids.js";
import type { IdLanes } from "./id-lanes.js";
import type { CacheClaim } from "../cache/cache-claim.js";
import type { CompactRows, TableState } from "../cache/table-state.js";

/**
 * Claims one table's ids for a run whose rows go into a buffer of its own: first all ids are told apart, so that the buffer has
 * just the room that it needs, then each row that the slab has is copied out of it, and the others are missed. Both in as many
 * steps as the caller likes, while the cache stays in one era.
 */
export class CompactClaim {
  readonly #table: TableState;
  readonly #slots: Int32Array;
  readonly #usesCache: boolean;
  readonly #distinct: DistinctIds;
  #rows: CompactRows | undefined;
  #copy: (slot: number, to: number) => void = () => undefined;
  /** Per distinct id: 1 when the slab had its row. */
  #isCached = new Uint8Array(0);
  #lookedCount = 0;

  /** @param slots  out: per id, its row in the buffer */
  constructor(table: TableState, ids: IdLanes, slots: Int32Array, usesCache: boolean) {
    this.#table = table;
    this.#slots = slots;
    this.#usesCache = usesCache;
    this.#distinct = new DistinctIds(ids, slots);
  }

  /** The buffer; its rows are the caller's to dispose of. Undefined before the ids are told apart. */
  get rows(): CompactRows | undefined {
    return this.#rows;
  }

  get isDone(): boolean {
    return this.#rows !== undefined && this.#lookedCount === this.#distinct.count;
  }

  /** Ids, repeated ones included, whose rows the slab had. Once it is done. */
  countCached(): number {
    invariant(this.isDone, "the claim is not done");
    let count = 0;
    for (let i = 0; i < this.#slots.length; i++) count += this.#isCached[this.#slots[i] as number]!;
    return count;
  }

  /**
   * Goes on.
   *
   * @param idsMax  ids at most, each told apart or looked for
   * @returns how many ids that were
   */
  advance(idsMax: number, claim: CacheClaim): number {
    const distinct = this.#distinct;
    const taken = Math.min(idsMax, distinct.leftCount);
    distinct.take(taken);
    if (distinct.leftCount > 0) return taken;
    this.#rows ??= this.#begin();
    const end = Math.min(distinct.count, this.#lookedCount + idsMax - taken);
    const looked = end - this.#lookedCount;
    this.#look(end, claim);
    return taken + looked;
  }

  #begin(): CompactRows {
    const { count } = this.#distinct;
    const rows = this.#table.createCompact(count);
    this.#copy = this.#table.copierTo(rows);
    this.#isCached = new Uint8Array(count);
    return rows;
  }

  #look(end: number, claim: CacheClaim): void {
    const { lo, hi } = this.#distinct;
    const cache = this.#usesCache ? this.#table.slab?.cache : undefined;
    for (let i = this.#lookedCount; i < end; i++) {
      const slot = cache ? cache.peek(lo[i]!, hi[i]!) : -1;
      if (slot >= 0) {
        this.#copy(slot, i);
        this.#isCached[i] = 1;
        continue;
      }
      claim.missSlots[claim.missCount] = i;
      claim.missLo[claim.missCount] = lo[i]!;
      claim.missHi[claim.missCount] = hi[i]!;
      claim.missCount++;
    }
    this.#lookedCount = end;
  }
}
