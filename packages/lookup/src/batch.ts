import { invariant } from "@shardserve/core";
import type { RowRequest } from "@shardserve/rowstore";
import { dedupIds } from "./batch-dedup.js";
import type { Misses, MissSection } from "./frame-plan.js";
import { type IdLanes, idLanes } from "./id-lanes.js";
import type { CacheClaim } from "./row-cache.js";
import type { CompactRows, TableState } from "./table-state.js";

const NONE = { ids: 0, rows: 0 };

/** Where rows came from that did not come from cache or shard. */
export type RowOrigin = "redis" | "stale" | "default";

/** @param ascending  sorted */
function includes(ascending: Int32Array, wanted: number): boolean {
  let low = 0;
  for (let high = ascending.length; low < high; ) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return ascending[low] === wanted;
}

/** One request's table within a batch. Ranges are into the batch's columns. */
export interface BatchPart {
  readonly table: TableState;
  readonly slots: Int32Array;
  readonly missStart: number;
  readonly missEnd: number;
  readonly pinnedStart: number;
  readonly pinnedEnd: number;
  /** Ids, repeated ones included, whose rows were there already, or that another batch fetches. */
  readonly cachedCount: number;
  /** Set where the slab had no room: the rows of this run alone. */
  readonly compact: CompactRows | undefined;
  /** Distinct rows found, those that another batch fetches included. */
  readonly foundCount: number;
}

/**
 * All rows that one `lookup` call needs: what was found, what is to be fetched and where it goes. Made in one turn of
 * the event loop; afterwards only fetched.
 */
export class LookupBatch {
  readonly id: number;
  /** Epoch that the whole batch is answered at. */
  readonly epoch: number;
  readonly parts: readonly BatchPart[];
  readonly misses: Misses;
  readonly missCount: number;
  /** Batches that fill rows which this one needs too. */
  readonly waitsFor: ReadonlySet<number>;
  readonly #claim: CacheClaim;
  /** Marks rows that this batch puts into the cache; -1 = it neither takes rows from there nor leaves any. */
  readonly #cacheEra: number;
  /** Slots of such rows by section; made on first use. */
  readonly #origins: Readonly<Record<RowOrigin, Int32Array[][]>> = { redis: [], stale: [], default: [] };
  readonly #isDetached: boolean;
  #isReleased = false;

  /**
   * Claims slots for all ids. The ids are in range.
   *
   * @param cacheEra  -1 for another epoch than the cache's: its rows go into buffers of their own
   * @param isDetached  all rows go into buffers of this batch: nothing of it is cached, and nobody waits for it
   */
  constructor(
    id: number,
    epoch: number,
    cacheEra: number,
    tables: readonly TableState[],
    requests: readonly RowRequest[],
    isDetached = false,
  ) {
    this.#cacheEra = cacheEra;
    this.id = id;
    this.epoch = epoch;
    this.#isDetached = isDetached;
    let idCount = 0;
    for (const { ids } of requests) idCount += ids.length;
    const columns = new Int32Array(5 * idCount); // one allocation: each costs more than the columns of a small batch
    const column = (k: number) => columns.subarray(k * idCount, (k + 1) * idCount);
    this.#claim = {
      batch: id,
      pinned: column(0),
      pinnedCount: 0,
      missSlots: column(1),
      missLo: column(2),
      missHi: column(3),
      missCount: 0,
      waitsFor: new Set(),
    };
    const slots = column(4);
    const parts: BatchPart[] = [];
    this.parts = parts;
    try {
      let at = 0;
      for (const { table, ids } of requests) {
        const end = at + ids.length;
        parts.push(this.#claimPart(tables[table] as TableState, idLanes(ids), slots.subarray(at, end)));
        at = end;
      }
    } catch (error) {
      this.abandon();
      this.release();
      throw error;
    }
    const { missLo: lo, missHi: hi, missSlots, missCount, waitsFor } = this.#claim;
    const sections: MissSection[] = parts.map(({ table, missStart, missEnd }) => ({
      table: table.index,
      rowBytes: table.info.rowBytes,
      start: missStart,
      end: missEnd,
    }));
    this.misses = { lo, hi, slots: missSlots, sections };
    this.missCount = missCount;
    this.waitsFor = waitsFor;
  }

  /** Writes fetched rows of one part and lets whoever waits for them see them. */
  accept(
    section: number,
    source: Uint8Array,
    offset: number,
    rowCount: number,
    slots: Int32Array,
    slotsAt: number,
  ): void {
    const { table, compact } = this.parts[section] as BatchPart;
    if (compact) return compact.write(source, offset, rowCount, slots, slotsAt);
    table.slab?.write(source, offset, rowCount, slots, slotsAt);
    table.slab?.cache.complete(slots, slotsAt, slotsAt + rowCount);
  }

  /** Rows of one part that came neither from the cache nor from a shard. */
  cameFrom(origin: RowOrigin, section: number, slots: Int32Array): void {
    (this.#origins[origin][section] ??= []).push(slots);
  }

  /** Rows of zeros instead of rows that cannot be had; only of a detached batch. */
  acceptDefaults(section: number, slots: Int32Array): void {
    const { compact, table } = this.parts[section] as BatchPart;
    invariant(compact && this.#isDetached, "defaults never go into the cache");
    const width = table.slabRowBytes;
    for (const slot of slots) compact.bytes.fill(0, slot * width, (slot + 1) * width);
    this.cameFrom("default", section, slots);
  }

  /** How many of a part's ids, repeated ones included, got a row from there, and how many rows those are. */
  countFrom(origin: RowOrigin, section: number): { readonly ids: number; readonly rows: number } {
    const lists = this.#origins[origin][section];
    if (!lists) return NONE;
    const slots = new Int32Array(lists.reduce((sum, list) => sum + list.length, 0));
    let at = 0;
    for (const list of lists) {
      slots.set(list, at);
      at += list.length;
    }
    slots.sort();
    let ids = 0;
    for (const slot of (this.parts[section] as BatchPart).slots) if (includes(slots, slot)) ids++;
    return { ids, rows: slots.length };
  }

  /** Rows that were not fetched will not come. */
  abandon(): void {
    for (const { table, missStart, missEnd, compact } of this.parts) {
      if (!compact) table.slab?.cache.abandon(this.#claim.missSlots, missStart, missEnd);
    }
  }

  /** Unpins every slot. A second call does nothing. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (const { table, pinnedStart, pinnedEnd, compact } of this.parts) {
      if (compact) compact.rows.dispose();
      else {
        table.slab?.cache.release(this.#claim.pinned, pinnedStart, pinnedEnd);
        table.letGo();
      }
    }
  }

  #claimPart(table: TableState, ids: IdLanes, slots: Int32Array): BatchPart {
    const claim = this.#claim;
    const missStart = claim.missCount;
    const pinnedStart = claim.pinnedCount;
    let compact: CompactRows | undefined;
    let cachedCount = -1;
    if (table.slab && this.#cacheEra >= 0 && !this.#isDetached) {
      cachedCount = table.slab.cache.claim(ids.lanes, ids.stride, ids.count, this.#cacheEra, slots, claim);
    }
    if (cachedCount < 0) ({ compact, cachedCount } = this.#compactPart(table, ids, slots));
    else table.hold();
    return {
      table,
      slots,
      missStart,
      missEnd: claim.missCount,
      pinnedStart,
      pinnedEnd: claim.pinnedCount,
      cachedCount,
      compact,
      foundCount: (compact?.count ?? claim.pinnedCount - pinnedStart) - (claim.missCount - missStart),
    };
  }

  /** The slab has no room: a buffer for this run, rows that the slab has are copied out of it. */
  #compactPart(table: TableState, ids: IdLanes, slots: Int32Array): { compact: CompactRows; cachedCount: number } {
    const claim = this.#claim;
    const distinct = dedupIds(ids.lanes, ids.stride, ids.count, slots);
    const compact = table.createCompact(distinct.count);
    const isCached = new Uint8Array(distinct.count);
    for (let i = 0; i < distinct.count; i++) {
      const lo = distinct.lo[i] as number;
      const hi = distinct.hi[i] as number;
      const slot = this.#cacheEra < 0 ? -1 : (table.slab?.cache.peek(lo, hi) ?? -1);
      if (slot >= 0) {
        table.copyOut(slot, compact.bytes, i);
        isCached[i] = 1;
        continue;
      }
      claim.missSlots[claim.missCount] = i;
      claim.missLo[claim.missCount] = lo;
      claim.missHi[claim.missCount] = hi;
      claim.missCount++;
    }
    let cachedCount = 0;
    for (let i = 0; i < ids.count; i++) cachedCount += isCached[slots[i] as number] as number;
    return { compact, cachedCount };
  }
}
