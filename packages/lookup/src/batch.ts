import { invariant } from "@shardserve/core";
import type { RowRequest } from "@shardserve/rowstore";
import { dedupIds } from "./batch-dedup.js";
import type { Misses, MissSection } from "./frame-plan.js";
import { type IdLanes, idLanes } from "./id-lanes.js";
import { type CacheClaim, newClaim } from "./row-cache.js";
import type { CompactRows, TableState } from "./table-state.js";

const NONE = { ids: 0, rows: 0 };
const NOBODY: ReadonlySet<number> = new Set();

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

/** A part while its ids are claimed. */
type OpenPart = { -readonly [K in keyof BatchPart]: BatchPart[K] } & {
  /** Ids that have their slots. */
  claimedCount: number;
  /** It keeps the table's slab, which another may have replaced meanwhile. */
  isHolder: boolean;
};

export interface BatchOptions {
  /** Epoch that the whole batch is answered at. */
  readonly epoch: number;
  /** Marks rows that this batch puts into the cache; -1 = it is of another epoch: its rows go into buffers of their own. */
  readonly cacheEra: number;
  /** All rows go into buffers of this batch: nothing of it is cached, and nobody waits for it. */
  readonly isDetached?: boolean;
  /** Indexes of tables whose rows go into buffers of their own, because their slabs were found too full. */
  readonly uncached?: ReadonlySet<number>;
}

/** How far a claim has come. */
export type ClaimProgress = "done" | "more" | "no room";

/**
 * All rows that one `lookup` call needs: what was found, what is to be fetched and where it goes. Afterwards only fetched.
 *
 * Its ids are claimed by {@link claim}, a small batch's all at once. A large one's are claimed in several turns of the event
 * loop; then it is on the fill board before the first, and its cache must not pass to another era in between.
 */
export class LookupBatch {
  readonly id: number;
  readonly epoch: number;
  readonly parts: readonly BatchPart[];
  /** Ids of all requests, repeated ones included. */
  readonly idCount: number;
  readonly #parts: OpenPart[] = [];
  readonly #tables: readonly TableState[];
  readonly #requests: readonly RowRequest[];
  readonly #options: BatchOptions;
  readonly #claim: CacheClaim;
  /** A slot per id of every request. */
  readonly #slots: Int32Array;
  #slotCount = 0;
  #misses: Misses | undefined;
  #noRoom = -1;
  /** Slots of rows that did not come from cache or shard, by section; made on first use. */
  readonly #origins: Readonly<Record<RowOrigin, Int32Array[][]>> = { redis: [], stale: [], default: [] };
  #isReleased = false;

  /** Claims nothing yet. The ids are in range. */
  constructor(id: number, tables: readonly TableState[], requests: readonly RowRequest[], options: BatchOptions) {
    this.id = id;
    this.epoch = options.epoch;
    this.parts = this.#parts;
    this.#tables = tables;
    this.#requests = requests;
    this.#options = options;
    let idCount = 0;
    for (const { ids } of requests) idCount += ids.length;
    this.idCount = idCount;
    const columns = new Int32Array(5 * idCount); // one allocation: each costs more than the columns of a small batch
    this.#claim = newClaim(id, idCount, columns);
    this.#slots = columns.subarray(4 * idCount);
  }

  /** True when rows that it misses may be found by others while it fetches them, or while it is being claimed. */
  get isShared(): boolean {
    return this.#options.cacheEra >= 0 && this.#options.isDetached !== true;
  }

  /** Rows to fetch; once all is claimed. */
  get misses(): Misses {
    invariant(this.#misses, "the batch is not claimed yet");
    return this.#misses;
  }

  get missCount(): number {
    return this.#claim.missCount;
  }

  /** Index of the table whose slab had no room, after a claim that said so. */
  get noRoom(): number {
    return this.#noRoom;
  }

  /** Batches that fill rows which this one needs too, and that were not taken before. */
  takeWaits(): ReadonlySet<number> {
    const { waitsFor } = this.#claim;
    if (waitsFor.size === 0) return NOBODY;
    const taken = new Set(waitsFor);
    waitsFor.clear();
    return taken;
  }

  /**
   * Claims slots for the next ids. A table without room gets a buffer of its own; only where some of its ids were claimed in an
   * earlier turn, so that others may wait for them, nothing can be done but to take back the whole batch.
   *
   * @param idsMax  ids at most, but whole tables where they go into buffers of their own
   * @returns "no room": abandon and release the batch, and claim another one with {@link noRoom} uncached
   */
  claim(idsMax = Number.POSITIVE_INFINITY): ClaimProgress {
    let leftIds = idsMax;
    try {
      while (!this.#isClaimed) {
        if (leftIds <= 0) return "more";
        const part = this.#openPart();
        const idCount = Math.min(leftIds, part.slots.length - part.claimedCount);
        if (!this.#claimIds(part, idCount)) {
          this.#noRoom = part.table.index;
          return "no room";
        }
        leftIds -= idCount;
      }
    } catch (error) {
      this.abandon();
      this.release();
      throw error;
    }
    const { missLo: lo, missHi: hi, missSlots } = this.#claim;
    const sections: MissSection[] = this.#parts.map(({ table, missStart, missEnd }) => ({
      table: table.index,
      rowBytes: table.info.rowBytes,
      start: missStart,
      end: missEnd,
    }));
    this.#misses = { lo, hi, slots: missSlots, sections };
    return "done";
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
    invariant(compact && this.#options.isDetached === true, "defaults never go into the cache");
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
    for (const { table, pinnedStart, pinnedEnd, compact, isHolder } of this.#parts) {
      compact?.rows.dispose();
      if (!isHolder) continue;
      table.slab?.cache.release(this.#claim.pinned, pinnedStart, pinnedEnd);
      table.letGo();
    }
  }

  get #isClaimed(): boolean {
    const last = this.#parts.at(-1);
    return this.#parts.length === this.#requests.length && (!last || last.claimedCount === last.slots.length);
  }

  /** The part whose ids are next. */
  #openPart(): OpenPart {
    const last = this.#parts.at(-1);
    if (last && last.claimedCount < last.slots.length) return last;
    const { table, ids } = this.#requests[this.#parts.length] as RowRequest;
    const { missCount, pinnedCount } = this.#claim;
    const part: OpenPart = {
      table: this.#tables[table] as TableState,
      slots: this.#slots.subarray(this.#slotCount, this.#slotCount + ids.length),
      missStart: missCount,
      missEnd: missCount,
      pinnedStart: pinnedCount,
      pinnedEnd: pinnedCount,
      cachedCount: 0,
      compact: undefined,
      foundCount: 0,
      claimedCount: 0,
      isHolder: false,
    };
    this.#slotCount += ids.length;
    this.#parts.push(part);
    return part;
  }

  /** @returns false when the slab has no room, and earlier ids of the part have places there */
  #claimIds(part: OpenPart, idCount: number): boolean {
    const claim = this.#claim;
    const { cacheEra, isDetached, uncached } = this.#options;
    const { table, slots, claimedCount } = part;
    const ids = idLanes((this.#requests[this.#parts.length - 1] as RowRequest).ids);
    let cachedCount = -1;
    if (table.slab && cacheEra >= 0 && isDetached !== true && !uncached?.has(table.index)) {
      const isWhole = claimedCount === 0;
      const lanes = isWhole ? ids.lanes : ids.lanes.subarray(claimedCount * ids.stride);
      const own = isWhole ? slots : slots.subarray(claimedCount);
      cachedCount = table.slab.cache.claim(lanes, ids.stride, idCount, cacheEra, own, claim);
      if (cachedCount < 0 && !isWhole) return false;
    }
    if (cachedCount >= 0) {
      if (!part.isHolder) table.hold();
      part.isHolder = true;
      part.cachedCount += cachedCount;
      part.claimedCount += idCount;
    } else {
      const compacted = this.#compactPart(table, ids, slots);
      part.compact = compacted.compact;
      part.cachedCount = compacted.cachedCount;
      part.claimedCount = slots.length;
    }
    part.missEnd = claim.missCount;
    part.pinnedEnd = claim.pinnedCount;
    part.foundCount = (part.compact?.count ?? part.pinnedEnd - part.pinnedStart) - (part.missEnd - part.missStart);
    return true;
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
      const slot = this.#options.cacheEra < 0 ? -1 : (table.slab?.cache.peek(lo, hi) ?? -1);
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
