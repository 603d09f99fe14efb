import { invariant } from "@shardserve/core";
import { adviseHugePages } from "@shardserve/native";
import type { CacheClaim } from "./cache-claim.js";
import { faded, GhostCounts } from "./ghost-counts.js";
import { hashLanes } from "./hash-lanes.js";
import { NewcomerWindow } from "./newcomer-window.js";
import { countRanks, eachHottest, leastQuarterMean, type RankedSlots } from "./ranked-slots.js";

// These stand here and not in a file of their own: an imported constant is read from memory at each use, which made a hit
// a tenth dearer. So does the index, whose methods would no longer be inlined: a quarter.
const EMPTY = 0;
const FILLING = 1;
const READY = 2;

/** Index entry: [hash, slot + 1]; 0 in the second word = free. */
const ENTRY_WORDS = 2;

/** What is known of a slot, one after another, so that a hit touches one cache line of it; the eighth word is spare. */
const SLOT_WORDS = 8;
const ID_LO = 0;
const ID_HI = 1;
/** Batches that pinned it. */
const USERS = 2;
/** Last batch that pinned it: tells a first appearance from a repeated one. */
const STAMP = 3;
/** Batch that fills it, while FILLING. */
const FILLER = 4;
/** Bits 0-1 state, 2 indexed, 3 in the window, 8-15 count, 16-23 era of the count. */
const META = 5;
const EPOCH = 6;

const STATE = 0b11;
const INDEXED = 0b100;
const IN_WINDOW = 0b1000;
const FLAGS = STATE | INDEXED | IN_WINDOW;

/** Newcomers' share of the slots: they stay until as many more have come, and go on only when asked for more than others. */
const WINDOW_SHARE = 0.02;
/** Rows beside those in the cache whose counts are remembered, per slot. */
const GHOSTS_PER_SLOT = 4;
/** Counts are halved after so many lookups per slot: longer eras know rare rows better, shorter ones follow changes faster. */
const ERA_PER_SLOT = 32;
const COUNT_MAX = 255;
/** Rows that are compared for the least asked-for one. */
const SAMPLE = 6;
/** Slots that are looked at for them, where most are in use. */
const SAMPLE_STEPS = 64;
/** Slots that are looked at in one turn of the event loop where their rows are copied as well: about 2 ms. */
const ADOPTED_PER_TURN = 10_000;
/** Ids whose lines are fetched from memory together: what they need stays in the first-level cache, some 24 KiB. */
const TOUCH_IDS = 64;

/**
 * Which row of a table lies in which slot of its slab: an open-addressing index on 32-bit id lanes, eviction by frequency,
 * and a count of users per slot. It never touches the rows themselves.
 *
 * A slot is EMPTY, FILLING (indexed, but its row is on the way: the batch that claimed it fills it, others wait for that
 * batch), or READY. A slot with users is never evicted. A row that was invalidated while in use leaves the index at once
 * and its slot when the last user is gone. Not a row's object in sight: all state is in typed arrays.
 *
 * Which row goes is decided as W-TinyLFU does (Einziger, Friedman, Manes 2017): a newcomer enters a small window, and when
 * it leaves that, it stays only if it was asked for more often than the least asked-for of a few others. Counts of rows
 * that are here stand with their slots, those of others in {@link GhostCounts}; all fade by halves.
 */
export class RowCache {
  readonly capacity: number;
  readonly #mask: number;
  readonly #index: Int32Array;
  readonly #slots: Int32Array;
  readonly #ghosts: GhostCounts;
  readonly #window: NewcomerWindow;
  readonly #windowMax: number;
  readonly #eraLength: number;
  /** Hashes of the ids that were touched, and one word more: what was read ends there, or no compiler would read it. */
  readonly #hashes = new Int32Array(TOUCH_IDS + 1);
  #era = 0;
  #erasPassed = 0;
  #accessCount = 0;
  /** Slots from here on were never used. */
  #freshFrom = 0;
  #hand = 0;
  #validFromEpoch = 0;
  #indexedCount = 0;
  #evictionCount = 0;
  /** The slots as they are walked over as a whole. */
  readonly #ranked: RankedSlots;

  /** @param capacity  slots, >= 1 */
  constructor(capacity: number) {
    invariant(Number.isInteger(capacity) && capacity >= 1 && capacity < 2 ** 29, `a cache of ${capacity} slots`);
    this.capacity = capacity;
    const entryCount = 2 ** Math.ceil(Math.log2(capacity * 1.5));
    this.#mask = entryCount - 1;
    this.#index = new Int32Array(entryCount * ENTRY_WORDS);
    this.#slots = new Int32Array(capacity * SLOT_WORDS);
    adviseHugePages(this.#index);
    adviseHugePages(this.#slots);
    this.#ghosts = new GhostCounts(capacity * GHOSTS_PER_SLOT);
    this.#windowMax = Math.max(1, Math.floor(capacity * WINDOW_SHARE));
    this.#window = new NewcomerWindow(this.#windowMax + 1);
    this.#eraLength = capacity * ERA_PER_SLOT;
    this.#ranked = { usedCount: () => this.#freshFrom, rank: (slot) => this.#rank(slot) };
  }

  /** Rows that can be found now, those on the way included. */
  get size(): number {
    return this.#indexedCount;
  }

  /** Rows that had to go for others so far. */
  get evictionCount(): number {
    return this.#evictionCount;
  }

  /** Rows asked for so far, repeated ones within a batch counted once. */
  get accessCount(): number {
    return this.#erasPassed * this.#eraLength + this.#accessCount;
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
    invariant(epoch < 2 ** 31, `epoch ${epoch}`);
    const { batch, pinned, missSlots, missLo, missHi } = claim;
    const pinnedStart = claim.pinnedCount;
    const missStart = claim.missCount;
    const words = this.#slots;
    let pinnedCount = pinnedStart;
    let missCount = missStart;
    const hashes = this.#hashes;
    let cachedCount = 0;
    for (let i = 0; i < idCount; i++) {
      if (i % TOUCH_IDS === 0) this.#touch(lanes, stride, i, Math.min(idCount, i + TOUCH_IDS));
      const lo = lanes[i * stride]!;
      const hi = stride === 2 ? lanes[i * 2 + 1]! : 0;
      const hash = hashes[i % TOUCH_IDS]!;
      let slot = this.#find(lo, hi, hash);
      let at = slot * SLOT_WORDS;
      if (slot < 0) {
        slot = this.#take(lo, hi, hash, epoch, batch);
        if (slot < 0) {
          this.#undo(claim, pinnedStart, pinnedCount, missStart, missCount);
          return -1;
        }
        at = slot * SLOT_WORDS;
        missSlots[missCount] = slot;
        missLo[missCount] = lo;
        missHi[missCount] = hi;
        missCount++;
      } else if ((words[at + META]! & STATE) !== FILLING) cachedCount++;
      else if (words[at + FILLER] !== batch) {
        cachedCount++;
        claim.waitsFor.add(words[at + FILLER]!);
      }
      if (words[at + STAMP] !== batch) {
        words[at + STAMP] = batch;
        words[at + USERS] = words[at + USERS]! + 1;
        words[at + META] = this.#counted(words[at + META]!);
        pinned[pinnedCount++] = slot;
      }
      slots[i] = slot;
    }
    this.#countAccesses(pinnedCount - pinnedStart);
    claim.pinnedCount = pinnedCount;
    claim.missCount = missCount;
    return cachedCount;
  }

  /** The slot of a row that is READY, or -1; pins nothing. */
  peek(lo: number, hi: number): number {
    const slot = this.#find(lo, hi, hashLanes(lo, hi));
    return slot >= 0 && (this.#meta(slot) & STATE) === READY ? slot : -1;
  }

  /** The rows of these slots are written: whoever waited may read them. */
  complete(slots: Int32Array, start: number, end: number): void {
    for (let i = start; i < end; i++) this.#setState(slots[i]!, READY);
  }

  /** The rows of these slots will not come: they leave the index. Slots that are READY already stay. */
  abandon(slots: Int32Array, start: number, end: number): void {
    for (let i = start; i < end; i++) {
      const slot = slots[i]!;
      if ((this.#meta(slot) & STATE) !== FILLING) continue;
      if (this.#isIndexed(slot)) this.#remove(slot);
      this.#setState(slot, EMPTY);
    }
  }

  /** Takes back one pin of each slot. */
  release(slots: Int32Array, start: number, end: number): void {
    const words = this.#slots;
    for (let i = start; i < end; i++) {
      const at = slots[i]! * SLOT_WORDS + USERS;
      words[at] = words[at]! - 1;
    }
  }

  /** Forgets rows that a delta changed; runs that use them keep what they have. */
  invalidate(lanes: Int32Array, idCount: number): void {
    for (let i = 0; i < idCount; i++) {
      const lo = lanes[i * 2]!;
      const hi = lanes[i * 2 + 1]!;
      const slot = this.#find(lo, hi, hashLanes(lo, hi));
      if (slot >= 0) this.#forget(slot);
    }
  }

  /** From now on only rows of `epoch` or later are found: for a delta whose changed rows are not known. */
  expireBefore(epoch: number): void {
    this.#validFromEpoch = Math.max(this.#validFromEpoch, epoch);
  }

  /** Batch numbers begin again: what earlier batches left on the slots must not be taken for a later one's. */
  forgetStamps(): void {
    for (let slot = 0; slot < this.capacity; slot++) this.#slots[slot * SLOT_WORDS + STAMP] = 0;
  }

  /**
   * Ids of the rows that are asked for most, no order; rows that were asked for only once are left out. Lets other work go on
   * in between, so rows may come and go meanwhile.
   *
   * @param limit  ids at most
   */
  async hottest(limit: number): Promise<BigInt64Array> {
    const lanes = new Int32Array(limit * 2);
    let at = 0;
    await eachHottest(this.#ranked, { limit, countMin: 2 }, (slot) => {
      if (at === lanes.length) return;
      lanes[at++] = this.#slots[slot * SLOT_WORDS + ID_LO]!;
      lanes[at++] = this.#slots[slot * SLOT_WORDS + ID_HI]!;
    });
    return new BigInt64Array(lanes.buffer.slice(0, at * 4));
  }

  /**
   * Takes over the rows of another cache that are asked for most, with how often they were; only while this one is new. Lets
   * other work go on in between: rows that come to the other meanwhile stay there alone.
   *
   * @param copy  copies a row, from a slot of the other's slab to one of this one's
   */
  async adopt(other: RowCache, copy: (from: number, to: number) => void): Promise<void> {
    const words = other.#slots;
    const room = this.capacity - this.#windowMax - 1; // newcomers fill the window before anybody must go
    const hottest = { limit: Math.max(0, room), countMin: 1, slotsPerTurn: ADOPTED_PER_TURN };
    await eachHottest(other.#ranked, hottest, (from) => {
      const at = from * SLOT_WORDS;
      const isValid = words[at + EPOCH]! >= other.#validFromEpoch;
      if (!isValid || (other.#meta(from) & STATE) !== READY || this.#freshFrom >= room) return;
      const lo = words[at + ID_LO]!;
      const hi = words[at + ID_HI]!;
      const hash = hashLanes(lo, hi);
      if (this.#find(lo, hi, hash) >= 0) return; // its slot there changed meanwhile, and it came by twice
      const to = this.#freshFrom++;
      const own = to * SLOT_WORDS;
      this.#slots[own + ID_LO] = lo;
      this.#slots[own + ID_HI] = hi;
      this.#slots[own + EPOCH] = words[at + EPOCH]!;
      this.#slots[own + META] = READY | (other.#count(from) << 8) | (this.#era << 16);
      this.#insert(to, hash);
      copy(from, to);
    });
  }

  /**
   * Which part of the accesses one slot more would turn into hits, about: what the least asked-for quarter of the rows gets each.
   * A count that is halved each era stands at 1.5 times what one era adds. Lets other work go on in between.
   *
   * @returns 0 while there is room: then one more would be of no use
   */
  async marginalShare(): Promise<number> {
    if (this.#freshFrom < this.capacity) return 0;
    const counts = await countRanks(this.#ranked, (slot) => (this.#meta(slot) & IN_WINDOW) === 0);
    return leastQuarterMean(counts) / (1.5 * this.#eraLength);
  }

  /** Slots with users, for tests and gauges. */
  countPinned(): number {
    let count = 0;
    for (let slot = 0; slot < this.capacity; slot++) if (this.#isInUse(slot)) count++;
    return count;
  }

  #meta(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + META]!;
  }

  #setState(slot: number, state: number): void {
    const at = slot * SLOT_WORDS + META;
    this.#slots[at] = (this.#slots[at]! & ~STATE) | state;
  }

  #isIndexed(slot: number): boolean {
    return (this.#meta(slot) & INDEXED) !== 0;
  }

  #isInUse(slot: number): boolean {
    return this.#slots[slot * SLOT_WORDS + USERS] !== 0;
  }

  #hash(slot: number): number {
    const at = slot * SLOT_WORDS;
    return hashLanes(this.#slots[at + ID_LO]!, this.#slots[at + ID_HI]!);
  }

  #count(slot: number): number {
    const meta = this.#meta(slot);
    return faded((meta >>> 8) & 0xff, (meta >>> 16) & 0xff, this.#era);
  }

  /** The word of a slot that is asked for once more. */
  #counted(meta: number): number {
    const count = Math.min(COUNT_MAX, faded((meta >>> 8) & 0xff, (meta >>> 16) & 0xff, this.#era) + 1);
    return (meta & FLAGS) | (count << 8) | (this.#era << 16);
  }

  #countAccesses(count: number): void {
    this.#accessCount += count;
    if (this.#accessCount < this.#eraLength) return;
    this.#accessCount = 0;
    this.#erasPassed++;
    this.#era = (this.#era + 1) & 0xff;
  }

  /**
   * Hashes the next ids, and reads one word of every line that they will need. Nothing here depends on what was read for the
   * id before, so the processor waits for many lines at once; the loop that claims slots would wait for one after the other.
   */
  #touch(lanes: Int32Array, stride: 1 | 2, start: number, end: number): void {
    const hashes = this.#hashes;
    const index = this.#index;
    const words = this.#slots;
    const mask = this.#mask;
    let touched = 0;
    for (let i = start; i < end; i++) {
      const hash = hashLanes(lanes[i * stride]!, stride === 2 ? lanes[i * 2 + 1]! : 0);
      hashes[i - start] = hash;
      touched ^= index[(hash & mask) * ENTRY_WORDS]!;
    }
    let absent = 0;
    for (let i = 0; i < end - start; i++) {
      const hash = hashes[i]!;
      const entry = (hash & mask) * ENTRY_WORDS;
      if (index[entry] === hash) touched ^= words[(index[entry + 1]! - 1) * SLOT_WORDS]!;
      else {
        touched ^= this.#ghosts.touch(hash);
        absent++;
      }
    }
    // so many rows will leave the window
    for (let i = Math.min(absent, this.#window.count) - 1; i >= 0; i--) {
      const hash = this.#window.hashAt(i);
      touched ^= words[this.#window.slotAt(i) * SLOT_WORDS]!;
      touched ^= index[(hash & mask) * ENTRY_WORDS]! ^ this.#ghosts.touch(hash);
    }
    hashes[TOUCH_IDS] = touched;
  }

  #find(lo: number, hi: number, hash: number): number {
    const index = this.#index;
    const words = this.#slots;
    const mask = this.#mask;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const entry = index[at * ENTRY_WORDS + 1]!;
      if (entry === 0) return -1;
      if (index[at * ENTRY_WORDS] !== hash) continue;
      const slot = entry - 1;
      const word = slot * SLOT_WORDS;
      if (words[word + ID_LO] !== lo || words[word + ID_HI] !== hi) continue;
      if (words[word + EPOCH]! >= this.#validFromEpoch) return slot;
      this.#forget(slot);
      return -1;
    }
  }

  /** Takes a slot for a new row and indexes it as FILLING; -1 when every slot has users. */
  #take(lo: number, hi: number, hash: number, epoch: number, batch: number): number {
    const slot = this.#freshFrom < this.capacity ? this.#freshFrom++ : this.#reuse();
    if (slot < 0) return -1;
    const words = this.#slots;
    const at = slot * SLOT_WORDS;
    words[at + ID_LO] = lo;
    words[at + ID_HI] = hi;
    words[at + EPOCH] = epoch;
    words[at + FILLER] = batch;
    words[at + STAMP] = 0;
    words[at + META] = FILLING | (this.#ghosts.take(hash, this.#era) << 8) | (this.#era << 16);
    this.#insert(slot, hash);
    this.#pushWindow(slot, hash);
    if (this.#window.count > this.#windowMax) this.#popWindow(); // there is room for it yet
    return slot;
  }

  /** A slot whose row goes: the window's oldest, or one that is asked for less than it. -1 when every slot has users. */
  #reuse(): number {
    const oldest = this.#popWindow();
    const isInUse = this.#isInUse(oldest);
    const rank = this.#rank(oldest);
    if (!isInUse && rank <= 1) return this.#evict(oldest); // most were asked for once: no need to look for a worse one
    const victim = this.#victim();
    if (victim >= 0 && (isInUse || rank > this.#rank(victim))) return this.#evict(victim);
    if (!isInUse) return this.#evict(oldest);
    this.#pushWindow(oldest, this.#hash(oldest));
    return this.#reuseInWindow();
  }

  /** Nothing outside the window is free. */
  #reuseInWindow(): number {
    for (let i = this.#window.count; i > 0; i--) {
      const slot = this.#popWindow();
      if (!this.#isInUse(slot)) return this.#evict(slot);
      this.#pushWindow(slot, this.#hash(slot));
    }
    return -1;
  }

  /** The least asked-for of a few slots outside the window that nobody uses; -1 when there is none. */
  #victim(): number {
    const { capacity } = this;
    let hand = this.#hand;
    let victim = -1;
    let lowest = Number.POSITIVE_INFINITY;
    for (let step = 0, seen = 0; step < capacity && seen < SAMPLE && (seen === 0 || step < SAMPLE_STEPS); step++) {
      const slot = hand;
      hand = hand + 1 === capacity ? 0 : hand + 1;
      if (this.#isInUse(slot) || (this.#meta(slot) & IN_WINDOW) !== 0) continue;
      seen++;
      const rank = this.#rank(slot);
      if (rank >= lowest) continue;
      lowest = rank;
      victim = slot;
    }
    this.#hand = hand;
    return victim;
  }

  /** What a slot's row is worth: how often it was asked for; -1 = there is none. */
  #rank(slot: number): number {
    return this.#isIndexed(slot) ? this.#count(slot) : -1;
  }

  #evict(slot: number): number {
    if (this.#isIndexed(slot)) {
      this.#forget(slot);
      this.#evictionCount++;
    }
    return slot;
  }

  /** The row goes, how often it was asked for does not. */
  #forget(slot: number): void {
    this.#ghosts.put(this.#hash(slot), this.#count(slot), this.#era);
    this.#remove(slot);
  }

  #pushWindow(slot: number, hash: number): void {
    this.#slots[slot * SLOT_WORDS + META] = this.#meta(slot) | IN_WINDOW;
    this.#window.push(slot, hash);
  }

  /** The oldest of the window leaves it. */
  #popWindow(): number {
    const slot = this.#window.shift();
    this.#slots[slot * SLOT_WORDS + META] = this.#meta(slot) & ~IN_WINDOW;
    return slot;
  }

  #insert(slot: number, hash: number): void {
    const index = this.#index;
    let at = hash & this.#mask;
    while (index[at * ENTRY_WORDS + 1] !== 0) at = (at + 1) & this.#mask;
    index[at * ENTRY_WORDS] = hash;
    index[at * ENTRY_WORDS + 1] = slot + 1;
    this.#slots[slot * SLOT_WORDS + META] = this.#meta(slot) | INDEXED;
    this.#indexedCount++;
  }

  /** Removes by moving later entries of the run back (Knuth 6.4, algorithm R): no tombstones, probes stay short. */
  #remove(slot: number): void {
    const index = this.#index;
    const mask = this.#mask;
    const word = slot * SLOT_WORDS;
    let hole = this.#hash(slot) & mask;
    while (index[hole * ENTRY_WORDS + 1] !== slot + 1) hole = (hole + 1) & mask;
    for (let at = (hole + 1) & mask; index[at * ENTRY_WORDS + 1] !== 0; at = (at + 1) & mask) {
      const home = index[at * ENTRY_WORDS]! & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue; // it lies between its home and the hole: leave it
      index[hole * ENTRY_WORDS] = index[at * ENTRY_WORDS]!;
      index[hole * ENTRY_WORDS + 1] = index[at * ENTRY_WORDS + 1]!;
      hole = at;
    }
    index[hole * ENTRY_WORDS + 1] = 0;
    this.#slots[word + META] = this.#meta(slot) & ~INDEXED;
    this.#indexedCount--;
  }

  #undo(claim: CacheClaim, pinnedStart: number, pinnedEnd: number, missStart: number, missEnd: number): void {
    this.abandon(claim.missSlots, missStart, missEnd);
    this.release(claim.pinned, pinnedStart, pinnedEnd);
    for (let i = pinnedStart; i < pinnedEnd; i++) {
      this.#slots[claim.pinned[i]! * SLOT_WORDS + STAMP] = 0;
    }
  }
}
