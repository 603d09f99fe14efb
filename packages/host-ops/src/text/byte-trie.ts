/** A trie over bytes: nodes are numbers from 0 on, edges lie in one table of open addressing. */
import { zeroedArray } from "@shardserve/tensor";

export const ROOT = 0;
const EDGES_MIN = 64;

export class ByteTrie {
  /** node * 256 + byte + 1 by slot; 0 = free. */
  #keys = zeroedArray(Float64Array, EDGES_MIN);
  #children = zeroedArray(Int32Array, EDGES_MIN);
  /** By node, value + 1; 0 = no key ends there. */
  #values = zeroedArray(Int32Array, EDGES_MIN);
  #nodeCount = 1;

  /** Adds a key; a later one of the same bytes overwrites. */
  add(key: Uint8Array, value: number): void {
    let node = ROOT;
    for (const byte of key) {
      const next = this.step(node, byte);
      node = next >= 0 ? next : this.#append(node, byte);
    }
    this.#values[node] = value + 1;
  }

  /** The node behind a byte, -1 when there is none. */
  step(node: number, byte: number): number {
    const key = node * 256 + byte + 1;
    const mask = this.#keys.length - 1;
    for (let slot = slotOf(node, byte) & mask; ; slot = (slot + 1) & mask) {
      if (this.#keys[slot] === key) return this.#children[slot]!;
      if (this.#keys[slot] === 0) return -1;
    }
  }

  /** The value of the key that ends at a node, -1 when none does. */
  valueAt(node: number): number {
    return this.#values[node]! - 1;
  }

  /** Bytes of the longest key that `bytes[start ..)` starts with, 0 for none. */
  longestPrefix(bytes: Uint8Array, start: number): number {
    let longest = 0;
    for (let node = ROOT, at = start; at < bytes.length; ) {
      node = this.step(node, bytes[at++]!);
      if (node < 0) break;
      if (this.#values[node] !== 0) longest = at - start;
    }
    return longest;
  }

  #append(node: number, byte: number): number {
    const child = this.#nodeCount++;
    if (child >= this.#values.length) {
      const values = zeroedArray(Int32Array, this.#values.length * 2);
      values.set(this.#values);
      this.#values = values;
    }
    if (2 * child > this.#keys.length) this.#grow();
    this.#place(node * 256 + byte + 1, child);
    return child;
  }

  #grow(): void {
    const [keys, children] = [this.#keys, this.#children];
    this.#keys = zeroedArray(Float64Array, keys.length * 2);
    this.#children = zeroedArray(Int32Array, keys.length * 2);
    for (let slot = 0; slot < keys.length; slot++) if (keys[slot] !== 0) this.#place(keys[slot]!, children[slot]!);
  }

  #place(key: number, child: number): void {
    const mask = this.#keys.length - 1;
    const node = Math.floor((key - 1) / 256);
    let slot = slotOf(node, (key - 1) % 256) & mask;
    while (this.#keys[slot] !== 0) slot = (slot + 1) & mask;
    this.#keys[slot] = key;
    this.#children[slot] = child;
  }
}

function slotOf(node: number, byte: number): number {
  const hash = Math.imul(node ^ (byte << 23), 0x9e3779b1);
  return hash ^ (hash >>> 15);
}
