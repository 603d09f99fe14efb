import { invariant } from "@shardserve/core";

const EMPTY = 0;
const FILLING = 1;
const READY = 2;

/** Entry of the index: [lo, hi, slot + 1, unused]; 0 in the third word = free. */
const ENTRY_WORDS = 4;

/** What one batch collects over its tables: which slots it pinned, which rows it must fetch, which fills it waits for. */
export interface CacheClaim {
  /** Number of this batch, from {@link RowCache.claim}'s caller; every batch has its own, never 0. */
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
 * Which row of a table lies in which slot of its slab: an open-addressing index on 32-bit id lanes, CLOCK eviction,
 * and a count of users per slot. It never touches the rows themselves.
 *
 * A slot is EMPTY, FILLING (indexed, but its row is on the way: the batch that claimed it fills it, others wait for that
 * batch), or READY. A slot with users is never evicted. A row that was invalidated while in use leaves the index at once
 * and its slot when the last user is gone. Not a row's object in sight: all state is in typed arrays.
 */
export class RowCache {
  readonly capacity: number;
  readonly #mask: number;
  readonly #index: Int32Array;
  readonly #idLo: Int32Array;
  readonly #idHi: Int32Array;
  readonly #users: Int32Array;
  readonly #state: Uint8Array;
  readonly #isIndexed: Uint8Array;
  readonly #isRecent: Uint8Array;
  readonly #epoch: Float64Array;
  /** Batch that fills the slot, while FILLING. */
  readonly #filler: Int32Array;
  /** Last batch that pinned the slot: tells a first appearance from a repeated one. */
  readonly #stamp: Int32Array;
  #hand = 0;
  #validFromEpoch = 0;
  #indexedCount = 0;
  #evictionCount = 0;

  /** @param capacity  slots, >= 1 */
  constructor(capacity: number) {
    invariant(Number.isInteger(capacity) && capacity >= 1 && capacity < 2 ** 29, `a cache of ${capacity} slots`);
    this.capacity = capacity;
    const entryCount = 2 ** Math.ceil(Math.log2(capacity * 2));
    this.#mask = entryCount - 1;
    this.#index = new Int32Array(entryCount * ENTRY_WORDS);
    this.#idLo = new Int32Array(capacity);
    this.#idHi = new Int32Array(capacity);
    this.#users = new Int32Array(capacity);
    this.#state = new Uint8Array(capacity);
    this.#isIndexed = new Uint8Array(capacity);
    this.#isRecent = new Uint8Array(capacity);
    this.#epoch = new Float64Array(capacity);
    this.#filler = new Int32Array(capacity);
    this.#stamp = new Int32Array(capacity);
  }

  /** Rows that can be found now, those on the way included. */
  get size(): number {
    return this.#indexedCount;
  }

  /** Rows that had to go for others so far. */
  get evictionCount(): number {
    return this.#evictionCount;
  }

  /**
   * Gives each id its slot and pins it; a row that is not there gets a slot to be filled. Also removes duplicates: an id
   * has one slot, however often it occurs.
   *
   * @param lanes   ids as 32-bit lanes; `stride` 2: (lo, hi) pairs, 1: lo alone and hi 0
   * @param epoch   epoch that new rows will have
   * @param slots   out: a slot per id
   * @param claim   out: what was pinned, what is missing; must have room for `idCount` more
   * @returns number of ids, repeated ones included, whose rows this batch need not fetch; -1 when the slab has no room:
   *   then nothing is pinned and nothing is missing, as before
   */
  claim(
    lanes: Int32Array,
    stride: 1 | 2,
    idCount: number,
    epoch: number,
    slots: Int32Array,
    claim: CacheClaim,
  ): number {
    const { batch, pinned, missSlots, missLo, missHi } = claim;
    const pinnedStart = claim.pinnedCount;
    const missStart = claim.missCount;
    const users = this.#users;
    const state = this.#state;
    const stamp = this.#stamp;
    const filler = this.#filler;
    let pinnedCount = pinnedStart;
    let missCount = missStart;
    let cachedCount = 0;
    for (let i = 0; i < idCount; i++) {
      const lo = lanes[i * stride] as number;
      const hi = stride === 2 ? (lanes[i * 2 + 1] as number) : 0;
      let slot = this.#find(lo, hi);
      if (slot < 0) {
        slot = this.#take(lo, hi, epoch, batch);
        if (slot < 0) {
          this.#undo(claim, pinnedStart, pinnedCount, missStart, missCount);
          return -1;
        }
        missSlots[missCount] = slot;
        missLo[missCount] = lo;
        missHi[missCount] = hi;
        missCount++;
      } else {
        this.#isRecent[slot] = 1;
        if (state[slot] !== FILLING) cachedCount++;
        else if (filler[slot] !== batch) {
          cachedCount++;
          claim.waitsFor.add(filler[slot] as number);
        }
      }
      if (stamp[slot] !== batch) {
        stamp[slot] = batch;
        users[slot] = (users[slot] as number) + 1;
        pinned[pinnedCount++] = slot;
      }
      slots[i] = slot;
    }
    claim.pinnedCount = pinnedCount;
    claim.missCount = missCount;
    return cachedCount;
  }

  /** The slot of a row that is READY, or -1; pins nothing. */
  peek(lo: number, hi: number): number {
    const slot = this.#find(lo, hi);
    return slot >= 0 && this.#state[slot] === READY ? slot : -1;
  }

  /** The rows of these slots are written: whoever waited may read them. */
  complete(slots: Int32Array, start: number, end: number): void {
    for (let i = start; i < end; i++) this.#state[slots[i] as number] = READY;
  }

  /** The rows of these slots will not come: they leave the index. Slots that are READY already stay. */
  abandon(slots: Int32Array, start: number, end: number): void {
    for (let i = start; i < end; i++) {
      const slot = slots[i] as number;
      if (this.#state[slot] !== FILLING) continue;
      if (this.#isIndexed[slot] === 1) this.#remove(slot);
      this.#state[slot] = EMPTY;
    }
  }

  /** Takes back one pin of each slot. */
  release(slots: Int32Array, start: number, end: number): void {
    const users = this.#users;
    for (let i = start; i < end; i++) users[slots[i] as number] = (users[slots[i] as number] as number) - 1;
  }

  /** Forgets rows that a delta changed; runs that use them keep what they have. */
  invalidate(lanes: Int32Array, idCount: number): void {
    for (let i = 0; i < idCount; i++) {
      const slot = this.#find(lanes[i * 2] as number, lanes[i * 2 + 1] as number);
      if (slot >= 0) this.#remove(slot);
    }
  }

  /** From now on only rows of `epoch` or later are found: for a delta whose changed rows are not known. */
  expireBefore(epoch: number): void {
    this.#validFromEpoch = Math.max(this.#validFromEpoch, epoch);
  }

  /** Batch numbers begin again: what earlier batches left on the slots must not be taken for a later one's. */
  forgetStamps(): void {
    this.#stamp.fill(0);
  }

  /** Slots with users, for tests and gauges. */
  countPinned(): number {
    let count = 0;
    for (const users of this.#users) if (users > 0) count++;
    return count;
  }

  #find(lo: number, hi: number): number {
    const index = this.#index;
    const mask = this.#mask;
    for (let at = hashLanes(lo, hi) & mask; ; at = (at + 1) & mask) {
      const word = at * ENTRY_WORDS;
      const entry = index[word + 2] as number;
      if (entry === 0) return -1;
      if (index[word] !== lo || index[word + 1] !== hi) continue;
      const slot = entry - 1;
      if ((this.#epoch[slot] as number) >= this.#validFromEpoch) return slot;
      this.#remove(slot);
      return -1;
    }
  }

  /** Takes a slot for a new row and indexes it as FILLING; -1 when every slot has users. */
  #take(lo: number, hi: number, epoch: number, batch: number): number {
    const slot = this.#victim();
    if (slot < 0) return -1;
    if (this.#isIndexed[slot] === 1) {
      this.#remove(slot);
      this.#evictionCount++;
    }
    this.#idLo[slot] = lo;
    this.#idHi[slot] = hi;
    this.#epoch[slot] = epoch;
    this.#state[slot] = FILLING;
    this.#filler[slot] = batch;
    this.#stamp[slot] = 0;
    this.#isRecent[slot] = 0;
    this.#insert(slot);
    return slot;
  }

  /** CLOCK: goes round, spares slots in use, gives those used since the last round one more chance. */
  #victim(): number {
    const { capacity } = this;
    let hand = this.#hand;
    for (let steps = 2 * capacity; steps > 0; steps--) {
      const slot = hand;
      hand = hand + 1 === capacity ? 0 : hand + 1;
      if (this.#users[slot] !== 0) continue;
      if (this.#isRecent[slot] === 1 && this.#isIndexed[slot] === 1) this.#isRecent[slot] = 0;
      else {
        this.#hand = hand;
        return slot;
      }
    }
    return -1;
  }

  #insert(slot: number): void {
    const index = this.#index;
    const lo = this.#idLo[slot] as number;
    const hi = this.#idHi[slot] as number;
    let at = hashLanes(lo, hi) & this.#mask;
    while (index[at * ENTRY_WORDS + 2] !== 0) at = (at + 1) & this.#mask;
    index[at * ENTRY_WORDS] = lo;
    index[at * ENTRY_WORDS + 1] = hi;
    index[at * ENTRY_WORDS + 2] = slot + 1;
    this.#isIndexed[slot] = 1;
    this.#indexedCount++;
  }

  /** Removes by moving later entries of the run back (Knuth 6.4, algorithm R): no tombstones, probes stay short. */
  #remove(slot: number): void {
    const index = this.#index;
    const mask = this.#mask;
    let hole = hashLanes(this.#idLo[slot] as number, this.#idHi[slot] as number) & mask;
    while (index[hole * ENTRY_WORDS + 2] !== slot + 1) hole = (hole + 1) & mask;
    for (let at = (hole + 1) & mask; index[at * ENTRY_WORDS + 2] !== 0; at = (at + 1) & mask) {
      const home = hashLanes(index[at * ENTRY_WORDS] as number, index[at * ENTRY_WORDS + 1] as number) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue; // it lies between its home and the hole: leave it
      index.copyWithin(hole * ENTRY_WORDS, at * ENTRY_WORDS, at * ENTRY_WORDS + ENTRY_WORDS);
      hole = at;
    }
    index[hole * ENTRY_WORDS + 2] = 0;
    this.#isIndexed[slot] = 0;
    this.#indexedCount--;
  }

  #undo(claim: CacheClaim, pinnedStart: number, pinnedEnd: number, missStart: number, missEnd: number): void {
    this.abandon(claim.missSlots, missStart, missEnd);
    this.release(claim.pinned, pinnedStart, pinnedEnd);
    for (let i = pinnedStart; i < pinnedEnd; i++) this.#stamp[claim.pinned[i] as number] = 0;
  }
}

/** murmur3's finaliser over both lanes; ids that differ by a multiple of the table size do not pile up. */
export function hashLanes(lo: number, hi: number): number {
  let h = lo ^ Math.imul(hi, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
