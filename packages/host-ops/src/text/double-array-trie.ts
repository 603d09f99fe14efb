/** A trie as darts-clone stores it (github.com/s-yata/darts-clone): one word a node, children at XORed offsets. */
export class DoubleArrayTrie {
  static readonly ROOT = 0;
  readonly #units: Uint32Array;

  constructor(units: Uint32Array) {
    this.#units = units;
  }

  get size(): number {
    return this.#units.length;
  }

  /** The node behind `bytes[start .. end)` from `node` on, -1 when there is none. */
  walk(node: number, bytes: Uint8Array, start: number, end: number): number {
    let at = node;
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      at = (at ^ childOffset(this.#units[at]!) ^ byte) >>> 0;
      // Leaves have their top bit set, so that they are nobody's child by a byte.
      if (at >= this.#units.length || (this.#units[at]! & 0x800000ff) >>> 0 !== byte) return -1;
    }
    return at;
  }

  /** The value of a key that ends at `node`, -1 when none does. */
  valueAt(node: number): number {
    const unit = this.#units[node]!;
    if ((unit & 0x100) === 0) return -1;
    const leaf = (node ^ childOffset(unit)) >>> 0;
    return leaf < this.#units.length ? this.#units[leaf]! & 0x7fffffff : -1;
  }
}

function childOffset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
