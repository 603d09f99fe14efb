const CAPACITY_MIN = 64;
/** 2^32 divided by the golden ratio: spreads ids that a peer numbers in any regular way. */
const SPREAD = 0x9e3779b1;

/**
 * What is in flight on a connection, by u32 request id. Open addressing with linear probing, at most half full; a removal moves later
 * entries up, so that nothing is made and nothing stays behind however many requests pass. A peer whose ids collide on purpose makes a
 * look take as many steps as it has requests in flight, which the connection bounds.
 *
 * A Map renews its storage every few hundred insertions; the old one keeps its entries and a link to the new one. Once one of them
 * has reached the old generation, they all follow it with the requests of their time, done long ago: the collector copied a
 * quarter of everything that a client of small lookups made.
 */
export class RequestTable<T extends object> {
  #ids = new Uint32Array(CAPACITY_MIN);
  /** `null` where the slot is free. */
  #values: (T | null)[] = freeSlots<T>(CAPACITY_MIN);
  #shift = Math.clz32(CAPACITY_MIN) + 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): T | undefined {
    return this.#values[this.#slotOf(id)] ?? undefined;
  }

  /** @param id  one that is not there */
  add(id: number, value: T): void {
    if (2 * this.#size >= this.#values.length) this.#grow();
    this.#put(id, value);
    this.#size++;
  }

  /** @returns what was there, undefined where nothing was */
  take(id: number): T | undefined {
    const ids = this.#ids;
    const values = this.#values;
    const mask = values.length - 1;
    let hole = this.#slotOf(id);
    const taken = values[hole] ?? undefined;
    if (taken === undefined) return undefined;
    for (let slot = (hole + 1) & mask; values[slot] !== null; slot = (slot + 1) & mask) {
      const way = (slot - this.#home(ids[slot]!)) & mask;
      if (way < ((slot - hole) & mask)) continue; // its home lies behind the hole
      ids[hole] = ids[slot]!;
      values[hole] = values[slot]!;
      hole = slot;
    }
    values[hole] = null;
    this.#size--;
    return taken;
  }

  /** All that is there now, in no order. */
  all(): T[] {
    return this.#values.filter((value) => value !== null);
  }

  #home(id: number): number {
    return Math.imul(id, SPREAD) >>> this.#shift;
  }

  /** Where the id is, or the free slot where it would be. */
  #slotOf(id: number): number {
    const values = this.#values;
    const mask = values.length - 1;
    let slot = this.#home(id);
    while (values[slot] !== null && this.#ids[slot] !== id) slot = (slot + 1) & mask;
    return slot;
  }

  #put(id: number, value: T): void {
    const slot = this.#slotOf(id);
    this.#ids[slot] = id;
    this.#values[slot] = value;
  }

  #grow(): void {
    const ids = this.#ids;
    const values = this.#values;
    this.#ids = new Uint32Array(2 * ids.length);
    this.#values = freeSlots<T>(2 * ids.length);
    this.#shift--;
    for (let slot = 0; slot < values.length; slot++) {
      const value = values[slot];
      if (value) this.#put(ids[slot]!, value);
    }
  }
}

function freeSlots<T>(count: number): (T | null)[] {
  return Array.from({ length: count }, () => null);
}
