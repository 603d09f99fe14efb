/**
 * Open addressing (linear probing, at most half full) from keys to ordinals 0, 1, 2, ... in order of insertion. No object
 * per key: integers are held as 32-bit lanes, strings as ranges of one buffer. Under lookup tables and Unique.
 */

import { systemRandom } from "@shardserve/core";
import { zeroedArray } from "@shardserve/tensor";

const SLOTS_MIN = 16;

/** Where a key lies depends on these, so that no request can be made of keys that collide. No output depends on them. */
const random = systemRandom();
const [SEED, BYTES_SEED, BYTES_FACTOR] = [random.uint32(), random.uint32(), random.uint32() | 1];

/** Finalizer of MurmurHash3 (Austin Appleby, public domain). */
function mix(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hashLanes(low: number, high: number): number {
  return mix(mix(low ^ SEED) ^ high);
}

function slotCountFor(count: number): number {
  let slots = SLOTS_MIN;
  while (slots < count * 2) slots *= 2;
  return slots;
}

/** Index of 64-bit keys given as lanes. */
export class Int64Index {
  /** Ordinal + 1 by slot; 0 = free. */
  #slots: Int32Array;
  #lanes: Int32Array;
  #count = 0;

  constructor(expectedCount = 8) {
    this.#slots = zeroedArray(Int32Array, slotCountFor(expectedCount));
    this.#lanes = zeroedArray(Int32Array, Math.max(2, expectedCount * 2));
  }

  get count(): number {
    return this.#count;
  }

  /** Lanes of all keys in order of insertion. */
  get lanes(): Int32Array {
    return this.#lanes.subarray(0, this.#count * 2);
  }

  /** @returns the key's ordinal, -1 when it is absent */
  find(low: number, high: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hashLanes(low, high) & mask; ; slot = (slot + 1) & mask) {
      const ordinal = this.#slots[slot]! - 1;
      if (ordinal < 0) return -1;
      if (this.#lanes[2 * ordinal] === low && this.#lanes[2 * ordinal + 1] === high) return ordinal;
    }
  }

  /** The ordinal of every key given as lanes, -1 where it is absent. */
  findAll(lanes: Int32Array): Int32Array {
    const ordinals = zeroedArray(Int32Array, lanes.length / 2);
    for (let i = 0; i < ordinals.length; i++) ordinals[i] = this.find(lanes[2 * i]!, lanes[2 * i + 1]!);
    return ordinals;
  }

  /** Finds the key or gives it the next ordinal; compare {@link count} before and after to tell which. */
  add(low: number, high: number): number {
    const found = this.find(low, high);
    return found >= 0 ? found : this.append(low, high);
  }

  /** Gives a key that is known to be absent (or must never be found again, such as NaN) the next ordinal. */
  append(low: number, high: number): number {
    const ordinal = this.#count++;
    if (this.#count * 2 > this.#lanes.length) {
      const lanes = zeroedArray(Int32Array, this.#lanes.length * 2);
      lanes.set(this.#lanes);
      this.#lanes = lanes;
    }
    this.#lanes[2 * ordinal] = low;
    this.#lanes[2 * ordinal + 1] = high;
    if (this.#count * 2 > this.#slots.length) this.#rehash(this.#slots.length * 2);
    else this.#place(ordinal);
    return ordinal;
  }

  #place(ordinal: number): void {
    const mask = this.#slots.length - 1;
    let slot = hashLanes(this.#lanes[2 * ordinal]!, this.#lanes[2 * ordinal + 1]!) & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = ordinal + 1;
  }

  #rehash(slotCount: number): void {
    this.#slots = zeroedArray(Int32Array, slotCount);
    for (let ordinal = 0; ordinal < this.#count; ordinal++) this.#place(ordinal);
  }
}

/** Index of byte strings. */
export class BytesIndex {
  #slots: Int32Array;
  #hashes: Int32Array;
  #offsets: Uint32Array;
  #bytes: Uint8Array;
  #count = 0;
  #longest = 0;

  constructor(expectedCount = 8, expectedBytes = 64) {
    this.#slots = zeroedArray(Int32Array, slotCountFor(expectedCount));
    this.#hashes = zeroedArray(Int32Array, Math.max(1, expectedCount));
    this.#offsets = zeroedArray(Uint32Array, Math.max(1, expectedCount) + 1);
    this.#bytes = zeroedArray(Uint8Array, Math.max(1, expectedBytes));
  }

  get count(): number {
    return this.#count;
  }

  /** Bytes of the longest key. */
  get longest(): number {
    return this.#longest;
  }

  /** All keys in order of insertion: bytes and count + 1 offsets. */
  get keys(): { readonly bytes: Uint8Array; readonly offsets: Uint32Array } {
    return {
      bytes: this.#bytes.subarray(0, this.#offsets[this.#count]),
      offsets: this.#offsets.subarray(0, this.#count + 1),
    };
  }

  /** @returns the ordinal of `bytes[start .. end)`, -1 when it is absent */
  find(bytes: Uint8Array, start: number, end: number): number {
    return this.#find(bytes, start, end, hashBytes(bytes, start, end));
  }

  /** The ordinal of every string of a column, -1 where it is absent. */
  findAll(bytes: Uint8Array, offsets: Uint32Array): Int32Array {
    const ordinals = zeroedArray(Int32Array, offsets.length - 1);
    for (let i = 0; i < ordinals.length; i++) ordinals[i] = this.find(bytes, offsets[i]!, offsets[i + 1]!);
    return ordinals;
  }

  /** Finds `bytes[start .. end)` or gives it the next ordinal; compare {@link count} before and after to tell which. */
  add(bytes: Uint8Array, start: number, end: number): number {
    const hash = hashBytes(bytes, start, end);
    const found = this.#find(bytes, start, end, hash);
    if (found >= 0) return found;
    const ordinal = this.#count++;
    this.#reserve(end - start);
    const at = this.#offsets[ordinal]!;
    for (let i = start; i < end; i++) this.#bytes[at + i - start] = bytes[i]!;
    this.#offsets[ordinal + 1] = at + end - start;
    this.#longest = Math.max(this.#longest, end - start);
    this.#hashes[ordinal] = hash;
    if (this.#count * 2 > this.#slots.length) this.#rehash(this.#slots.length * 2);
    else this.#place(ordinal);
    return ordinal;
  }

  #find(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const ordinal = this.#slots[slot]! - 1;
      if (ordinal < 0) return -1;
      if (this.#hashes[ordinal] === hash && this.#equals(ordinal, bytes, start, end)) return ordinal;
    }
  }

  #equals(ordinal: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#offsets[ordinal]!;
    if (this.#offsets[ordinal + 1]! - from !== end - start) return false;
    for (let i = start; i < end; i++) if (this.#bytes[from + i - start] !== bytes[i]) return false;
    return true;
  }

  /** Makes room for key `count - 1` of `length` bytes. */
  #reserve(length: number): void {
    if (this.#count >= this.#offsets.length) {
      const offsets = zeroedArray(Uint32Array, this.#count * 2 + 1);
      offsets.set(this.#offsets);
      this.#offsets = offsets;
      const hashes = zeroedArray(Int32Array, this.#count * 2);
      hashes.set(this.#hashes);
      this.#hashes = hashes;
    }
    const needed = this.#offsets[this.#count - 1]! + length;
    if (needed > this.#bytes.length) {
      const bytes = zeroedArray(Uint8Array, Math.max(needed, this.#bytes.length * 2));
      bytes.set(this.#bytes);
      this.#bytes = bytes;
    }
  }

  #place(ordinal: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#hashes[ordinal]! & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = ordinal + 1;
  }

  #rehash(slotCount: number): void {
    this.#slots = zeroedArray(Int32Array, slotCount);
    for (let ordinal = 0; ordinal < this.#count; ordinal++) this.#place(ordinal);
  }
}

/** Seeded, in the manner of FNV-1a, with MurmurHash3's finalizer; only ever used in memory. */
function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = BYTES_SEED;
  for (let i = start; i < end; i++) {
    hash = Math.imul(hash ^ bytes[i]!, BYTES_FACTOR);
    hash ^= hash >>> 15;
  }
  return mix(hash);
}
