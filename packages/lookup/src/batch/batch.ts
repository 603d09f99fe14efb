import { invariant } from "@shardserve/core";
import type { StoredRows } from "@shardserve/rowstore";
import { BatchPart, type WantedIds } from "./batch-part.js";
import { CompactClaim } from "./compact-claim.js";
import type { Misses } from "../fetch/frame-plan.js";
import { type CacheClaim, newClaim } from "../cache/cache-claim.js";
import { RowOrigins } from "../report/row-origins.js";
import type { TableState } from "../cache/table-state.js";

const NOBODY: ReadonlySet<number> = new Set();

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
 * loop; then it is on the fill board before the first, and where it {@link usesCache} that must not pass to another era in between.
 */
export class LookupBatch {
  readonly id: number;
  readonly epoch: number;
  readonly parts: readonly BatchPart[];
  /** Ids of all requests, repeated ones included. */
  readonly idCount: number;
  /** Rows that came neither from the cache nor from a shard. */
  readonly origins = new RowOrigins();
  readonly #parts: BatchPart[] = [];
  readonly #tables: readonly TableState[];
  readonly #wanted: readonly WantedIds[];
  readonly #options: BatchOptions;
  readonly #claim: CacheClaim;
  /** A slot per id of every request. */
  readonly #slots: Int32Array;
  #slotCount = 0;
  #misses: Misses | undefined;
  #noRoom = -1;
  #isReleased = false;

  /** Claims nothing yet. The ids are in range. */
  constructor(id: number, tables: readonly TableState[], wanted: readonly WantedIds[], options: BatchOptions) {
    this.id = id;
    this.epoch = options.epoch;
    this.parts = this.#parts;
    this.#tables = tables;
    this.#wanted = wanted;
    this.#options = options;
    let idCount = 0;
    for (const { count } of wanted) idCount += count;
    this.idCount = idCount;
    const columns = new Int32Array(5 * idCount); // one allocation: each costs more than the columns of a small batch
    this.#claim = newClaim(id, idCount, columns);
    this.#slots = columns.subarray(4 * idCount);
  }

  /** True when it takes rows out of the cache or puts them there. */
  get usesCache(): boolean {
    return this.#options.cacheEra >= 0;
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
   * @param idsMax  ids at most
   * @returns "no room": abandon and release the batch, and claim another one with {@link noRoom} uncached
   */
  claim(idsMax = Number.POSITIVE_INFINITY): ClaimProgress {
    let leftIds = idsMax;
    try {
      while (!this.#isClaimed) {
        if (leftIds <= 0) return "more";
        const part = this.#openPart();
        const isInTurns = part.claimedCount > 0;
        const claimedCount = this.#claimIds(part, leftIds);
        if (claimedCount < 0) {
          this.#noRoom = part.table;
          return "no room";
        }
        leftIds -= claimedCount;
        part.end = this.#claim.missCount;
        part.pinnedEnd = this.#claim.pinnedCount;
        if (part.isClaimed) part.claimed(this.#claim, isInTurns);
      }
    } catch (error) {
      this.abandon();
      this.release();
      throw error;
    }
    const { missLo: lo, missHi: hi, missSlots } = this.#claim;
    this.#misses = { lo, hi, slots: missSlots, sections: this.#parts };
    return "done";
  }

  /** Writes fetched rows of one part and lets whoever waits for them see them. */
  accept(
    section: number,
    source: StoredRows,
    offset: number,
    rowCount: number,
    slots: Int32Array,
    slotsAt: number,
  ): void {
    const { state, compact } = this.parts[section]!;
    if (compact) return compact.write(source, offset, rowCount, slots, slotsAt);
    state.slab?.write(source, offset, rowCount, slots, slotsAt);
    state.slab?.cache.complete(slots, slotsAt, slotsAt + rowCount);
  }

  /** Rows of zeros instead of rows that cannot be had; only of a detached batch. */
  acceptDefaults(section: number, slots: Int32Array): void {
    const { compact, state } = this.parts[section]!;
    invariant(compact && this.#options.isDetached === true, "defaults never go into the cache");
    const width = state.slabRowBytes;
    for (const slot of slots) compact.bytes.fill(0, slot * width, (slot + 1) * width);
    this.origins.add("default", section, slots);
  }

  /** Rows that were not fetched will not come. */
  abandon(): void {
    for (const { state, start, end, compacting } of this.parts) {
      if (!compacting) state.slab?.cache.abandon(this.#claim.missSlots, start, end);
    }
  }

  /** Unpins every slot. A second call does nothing. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    for (const { state, pinnedStart, pinnedEnd, compact, isHolder } of this.#parts) {
      compact?.rows.dispose();
      if (!isHolder) continue;
      state.slab?.cache.release(this.#claim.pinned, pinnedStart, pinnedEnd);
      state.letGo();
    }
  }

  get #isClaimed(): boolean {
    const last = this.#parts.at(-1);
    return this.#parts.length === this.#wanted.length && (!last || last.isClaimed);
  }

  /** The part whose ids are next. */
  #openPart(): BatchPart {
    const last = this.#parts.at(-1);
    if (last && !last.isClaimed) return last;
    const ids = this.#wanted[this.#parts.length]!;
    const { buffer, byteOffset } = this.#slots;
    const slots = new Int32Array(buffer, byteOffset + this.#slotCount * 4, ids.count);
    const part = new BatchPart(this.#tables[ids.table]!, ids, slots, this.#claim);
    this.#slotCount += ids.count;
    this.#parts.push(part);
    return part;
  }

  /** @returns how many ids were claimed; -1 when the slab has no room, and earlier ids of the part have places there */
  #claimIds(part: BatchPart, idsMax: number): number {
    const claim = this.#claim;
    const { cacheEra, isDetached, uncached } = this.#options;
    const { state, ids, slots, claimedCount } = part;
    const isCached = this.usesCache && isDetached !== true && !uncached?.has(state.index);
    if (state.slab && isCached && !part.compacting) {
      const isWhole = claimedCount === 0;
      const idCount = Math.min(idsMax, ids.count - claimedCount);
      const lanes = isWhole ? ids.lanes : ids.lanes.subarray(claimedCount * ids.stride);
      const own = isWhole ? slots : slots.subarray(claimedCount);
      const cachedCount = state.slab.cache.claim(lanes, ids.stride, idCount, cacheEra, own, claim);
      if (cachedCount >= 0) {
        if (!part.isHolder) state.hold();
        part.isHolder = true;
        part.cachedCount += cachedCount;
        part.claimedCount += idCount;
        return idCount;
      }
      if (!isWhole) return -1;
    }
    if (!part.compacting) {
      part.compacting = new CompactClaim(state, ids, slots, this.usesCache);
      state.hold(); // its slab may be looked into in later turns
      part.isHolder = true;
    }
    return part.compacting.advance(idsMax, claim);
  }
}
