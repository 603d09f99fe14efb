import type { GivenRows, LookupExplanation, RowFetch, RowLevel } from "@shardserve/core";
import type { LookupBatch } from "../batch/batch.js";
import { idAt } from "../batch/id-lanes.js";

/** What gave a row. */
export interface RowGiver {
  readonly level: RowLevel;
  readonly epoch: number;
  readonly shard?: string;
}

/** Notes how one lookup gets its rows. Only lookups that are to be explained have one. */
export class LookupTrace {
  readonly #startMs: number;
  readonly #fetches: RowFetch[] = [];
  /** By position in the batch's miss columns. */
  #givers: (RowGiver | undefined)[] = [];

  /** @param startMs  when the lookup began, on the clock's `nowMs` scale */
  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  /** The lookup claims its rows, anew where an attempt came to nothing. */
  begin(batch: LookupBatch): void {
    this.#givers = Array.from({ length: batch.missCount });
  }

  /** @param rows  positions in the miss columns, of which [start, end) are meant */
  given(rows: Int32Array, start: number, end: number, giver: RowGiver): void {
    for (let i = start; i < end; i++) this.#givers[rows[i]!] = giver;
  }

  fetched(fetch: Omit<RowFetch, "startMs">, startMs: number): void {
    this.#fetches.push({ ...fetch, startMs: startMs - this.#startMs });
  }

  /** @param batch  is complete: a row that nobody gave was in the cache, or on its way into it for another lookup */
  explain(batch: LookupBatch): LookupExplanation {
    const { lo, hi } = batch.misses;
    const rows = batch.parts.flatMap(({ state, ids, start, end }): GivenRows[] => {
      const groups = new Map<string, { readonly giver: RowGiver; readonly ids: number[] }>();
      const known = new Set<number>();
      const note = (id: number, giver: RowGiver) => {
        if (known.has(id)) return;
        known.add(id);
        const key = `${giver.level} ${giver.epoch} ${giver.shard}`;
        const group = groups.get(key) ?? { giver, ids: [] };
        groups.set(key, group);
        group.ids.push(id);
      };
      for (let row = start; row < end; row++) {
        const giver = this.#givers[row];
        if (giver) note(hi[row]! * 2 ** 32 + (lo[row]! >>> 0), giver);
      }
      for (let i = 0; i < ids.count; i++) note(Number(idAt(ids, i)), { level: "cache", epoch: batch.epoch });
      return [...groups.values()].map(({ giver, ids }) => ({ table: state.info.checkpointKey, ...giver, ids }));
    });
    return { rows, fetches: this.#fetches };
  }
}
