import { invariant } from "@shardserve/core";
import type { OrtValue } from "@shardserve/native";
import type { RowBatch } from "@shardserve/rowstore";
import type { CompactClaim } from "./compact-claim.js";
import type { MissSection } from "../fetch/frame-plan.js";
import type { IdLanes } from "./id-lanes.js";
import type { CacheClaim } from "../cache/cache-claim.js";
import type { CompactRows, TableState } from "../cache/table-state.js";

/** Ids that are wanted of one table. */
export interface WantedIds extends IdLanes {
  /** Index into the version's table list. */
  readonly table: number;
}

export function wantedIds(table: number, ids: BigInt64Array | Int32Array): WantedIds {
  const count = ids.length;
  if (ids instanceof Int32Array) return { table, lanes: ids, stride: 1, count };
  return { table, lanes: new Int32Array(ids.buffer, ids.byteOffset, count * 2), stride: 2, count };
}

/**
 * One request's table within a batch. Ranges are into the batch's columns. It is all that there is per table: what is
 * fetched for it, and what the run gets of it.
 */
export class BatchPart implements MissSection, RowBatch {
  /** Index into the version's table list. */
  readonly table: number;
  /** Bytes of a stored row. */
  readonly rowBytes: number;
  readonly state: TableState;
  readonly ids: IdLanes;
  /** Per id, its row in the slab or in `compact`. */
  readonly slots: Int32Array;
  /** Its rows to fetch. */
  readonly start: number;
  end: number;
  readonly pinnedStart: number;
  pinnedEnd: number;
  /** Ids, repeated ones included, whose rows were there already, or that another batch fetches. */
  cachedCount = 0;
  /** Set where the slab had no room, while and after the rows of this run alone are claimed. */
  compacting: CompactClaim | undefined;
  /** Distinct rows found, those that another batch fetches included. Once all ids are claimed. */
  foundCount = 0;
  /** Ids that have their slots in the slab. */
  claimedCount = 0;
  /** It keeps the table's slab, which another may have replaced meanwhile. */
  isHolder = false;

  constructor(state: TableState, ids: IdLanes, slots: Int32Array, claim: CacheClaim) {
    this.table = state.index;
    this.rowBytes = state.info.rowBytes;
    this.state = state;
    this.ids = ids;
    this.slots = slots;
    this.start = this.end = claim.missCount;
    this.pinnedStart = this.pinnedEnd = claim.pinnedCount;
  }

  /** What the run reads: the slab, or the buffer of this batch. */
  get rows(): OrtValue {
    const rows = (this.compact ?? this.state.slab)?.rows;
    invariant(rows, "a part has a slab or a buffer of its own");
    return rows;
  }

  get compact(): CompactRows | undefined {
    return this.compacting?.rows;
  }

  get isClaimed(): boolean {
    return this.compacting ? this.compacting.isDone : this.claimedCount === this.slots.length;
  }

  /** Its last ids were claimed. @param isInTurns  earlier ones in an earlier turn of the event loop */
  claimed(claim: CacheClaim, isInTurns: boolean): void {
    const missed = this.end - this.start;
    if (this.compacting) this.cachedCount = this.compacting.countCached();
    this.foundCount = this.#distinctCount(claim, isInTurns) - missed;
  }

  /** A slot is pinned twice where another batch asked for its row between two turns. */
  #distinctCount({ pinned }: CacheClaim, isInTurns: boolean): number {
    if (this.compact) return this.compact.count;
    if (!isInTurns) return this.pinnedEnd - this.pinnedStart;
    const slots = pinned.slice(this.pinnedStart, this.pinnedEnd).sort();
    let count = 0;
    for (let i = 0; i < slots.length; i++) if (i === 0 || slots[i] !== slots[i - 1]) count++;
    return count;
  }
}
