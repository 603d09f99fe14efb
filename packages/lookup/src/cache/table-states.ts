import type { TableInfo } from "@shardserve/rowstore";
import { divideCache, slotBytesOf, slotsMaxOf } from "./cache-budget.js";
import { type CachePart, shiftShares } from "./cache-shares.js";
import { idLanes } from "../batch/id-lanes.js";
import { TableState } from "./table-state.js";
import { slabRowBytes } from "../batch/table-writer.js";

/** Accesses after which the division of the cache over tables is looked at, at least. */
const LEVEL_ACCESSES_MIN = 10_000;

/** Rows that a committed delta changed, per table index, as int64 ids. */
export type ChangedRows = ReadonlyMap<number, BigInt64Array>;

/** Occupation of the cache, for gauges. */
export interface CacheUse {
  readonly capacityRows: number;
  readonly rows: number;
  readonly evictionCount: number;
}

/** The tables of a version with their slabs, and how the cache's memory is divided over them. */
export class TableStates {
  /** By table; one is replaced when its part of the cache changes. */
  readonly #states: TableState[];
  /** Takes over rows of the one that it will replace; what is forgotten meanwhile, it forgets as well. */
  #filling: TableState | undefined;
  /** Of all slabs and what the cache keeps of their rows. */
  readonly #cacheBytes: number;
  readonly #onShift: (tables: number) => void;
  /** Per table, when the cache was last looked at: accesses, and rows. */
  #levelledAt: { readonly accesses: number; readonly size: number }[] = [];
  #isClosed = false;

  /**
   * @param cacheBytes  memory for cached rows over all tables, indexes included; 0 = no cache
   * @param onShift     called with how many tables' parts of the cache were changed
   */
  constructor(tables: readonly TableInfo[], cacheBytes: number, onShift: (tables: number) => void) {
    const sizes = tables.map((table) => ({ rows: table.rows, slabRowBytes: slabRowBytes(table) }));
    const capacities = divideCache(sizes, cacheBytes);
    this.#cacheBytes = sizes.reduce(
      (sum, { slabRowBytes: bytes }, i) => sum + (capacities[i] ?? 0) * slotBytesOf(bytes),
      0,
    );
    this.#states = tables.map((table, i) => new TableState(i, table, capacities[i]!));
    this.#onShift = onShift;
  }

  /** By table, as they are now. */
  get all(): readonly TableState[] {
    return this.#states;
  }

  get use(): CacheUse {
    const use = { capacityRows: 0, rows: 0, evictionCount: 0 };
    for (const { slab } of this.#states) {
      use.capacityRows += slab?.cache.capacity ?? 0;
      use.rows += slab?.cache.size ?? 0;
      use.evictionCount += slab?.cache.evictionCount ?? 0;
    }
    return use;
  }

  /**
   * Moves memory of the cache between tables, one bounded step towards where it turns most misses into hits. Lookups go on
   * meanwhile, and find a table's rows in its old slab or in its new one.
   *
   * @returns whether anything was moved
   */
  async level(): Promise<boolean> {
    const parts = await this.#cacheParts();
    const usedBytes = this.#states.reduce(
      (sum, { slab, slabRowBytes }) => sum + (slab?.cache.capacity ?? 0) * slotBytesOf(slabRowBytes),
      0,
    );
    const slots = shiftShares(parts, Math.max(0, this.#cacheBytes - usedBytes));
    if (!slots) return false;
    const growth = (table: number) => slots[table]! - parts[table]!.slots;
    const changed = slots.flatMap((_, table) => (growth(table) === 0 ? [] : [table]));
    // those that give first: only one table's slab is there twice at a time
    for (const table of changed.sort((a, b) => growth(a) - growth(b))) {
      const before = this.#states[table]!;
      const next = new TableState(table, before.info, slots[table]!);
      this.#filling = next;
      await next.adopt(before).finally(() => (this.#filling = undefined));
      if (this.#isClosed) {
        next[Symbol.dispose]();
        return false;
      }
      this.#states[table] = next;
      before.retire();
    }
    this.#onShift(changed.length);
    return true;
  }

  /**
   * What each table's part is worth; nothing before there were enough lookups to tell. One that still fills takes no part:
   * what it needs is not known.
   */
  async #cacheParts(): Promise<CachePart[]> {
    const parts: CachePart[] = [];
    const seen: { accesses: number; size: number }[] = [];
    let total = 0;
    for (const { info, slab, slabRowBytes } of this.#states) {
      const { accessCount: accesses = 0, size = 0, capacity = 0 } = slab?.cache ?? {};
      const before = this.#levelledAt[parts.length];
      const isFilling = before === undefined || (size < capacity && size > 1.01 * before.size);
      seen.push({ accesses, size });
      // a slab that was replaced counts from 0 again
      const since = before && before.accesses <= accesses ? accesses - before.accesses : accesses;
      total += since;
      parts.push({
        slots: isFilling ? 0 : capacity,
        unusedSlots: capacity - size,
        slotsMax: slotsMaxOf({ rows: info.rows, slabRowBytes }),
        slotBytes: slotBytesOf(slabRowBytes),
        marginalHits: isFilling || !slab ? 0 : since * (await slab.cache.marginalShare()),
      });
    }
    if (total < LEVEL_ACCESSES_MIN) return [];
    this.#levelledAt = seen;
    return parts;
  }

  /**
   * Rows that changed leave the slabs.
   *
   * @param changed  absent = any row may have changed
   * @param era      that of the cache from now on
   */
  forget(changed: ChangedRows | undefined, era: number): void {
    for (const { index, slab } of this.#filling ? [...this.#states, this.#filling] : this.#states) {
      if (!changed) slab?.cache.expireBefore(era);
      const ids = changed?.get(index);
      if (ids) slab?.cache.invalidate(idLanes(ids).lanes, ids.length);
    }
  }

  /** Batch numbers begin again. */
  forgetStamps(): void {
    for (const { slab } of this.#states) slab?.cache.forgetStamps();
  }

  /** Frees each slab with its last user; a levelling under way comes to nothing. */
  close(): void {
    this.#isClosed = true;
    for (const state of this.#states) state.retire();
  }
}
