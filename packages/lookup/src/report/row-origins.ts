/** Where rows came from that did not come from cache or shard. */
export type RowOrigin = "redis" | "stale" | "default";

export const ROW_ORIGINS = ["redis", "stale", "default"] as const;

const NONE = { ids: 0, rows: 0 };

/** Which slots of a batch got their rows neither from the cache nor from a shard. Most batches have none. */
export class RowOrigins {
  /** Slots by section. */
  readonly #slots: Readonly<Record<RowOrigin, Int32Array[][]>> = { redis: [], stale: [], default: [] };
  #isEmpty = true;

  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  add(origin: RowOrigin, section: number, slots: Int32Array): void {
    this.#isEmpty = false;
    (this.#slots[origin][section] ??= []).push(slots);
  }

  /**
   * How many of a section's ids, repeated ones included, got a row from there, and how many rows those are.
   *
   * @param idSlots  slot per id
   */
  count(origin: RowOrigin, section: number, idSlots: Int32Array): { readonly ids: number; readonly rows: number } {
    const lists = this.#slots[origin][section];
    if (!lists) return NONE;
    const slots = new Int32Array(lists.reduce((sum, list) => sum + list.length, 0));
    let at = 0;
    for (const list of lists) {
      slots.set(list, at);
      at += list.length;
    }
    slots.sort();
    let ids = 0;
    for (const slot of idSlots) if (includes(slots, slot)) ids++;
    return { ids, rows: slots.length };
  }
}

/** @param ascending  sorted */
function includes(ascending: Int32Array, wanted: number): boolean {
  let low = 0;
  for (let high = ascending.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (ascending[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return ascending[low] === wanted;
}
