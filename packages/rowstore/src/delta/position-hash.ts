/** Index arrays are at most this full; a power of two above. */
const LOAD_MAX = 0.7;

/** Positions in the order in which they came, each once, and the place of each: open addressing in typed arrays. */
export class PositionHash {
  /** Entry + 1, by hash of its position; 0 = free. */
  #heads = new Int32Array(16);
  #positions = new Uint32Array(8);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes of memory. */
  get bytes(): number {
    return this.#heads.byteLength + this.#positions.byteLength;
  }

  /** Place of a position; -1 = it is not here. */
  find(position: number): number {
    const heads = this.#heads;
    const mask = heads.length - 1;
    for (let at = hashOfPosition(position) & mask; ; at = (at + 1) & mask) {
      const head = heads[at]!;
      if (head === 0) return -1;
      if (this.#positions[head - 1] === position) return head - 1;
    }
  }

  /** Adds a position that is not here. @returns its place: that behind the last */
  add(position: number): number {
    if (this.#count === this.#positions.length) {
      const positions = new Uint32Array(Math.ceil(this.#count * 1.5));
      positions.set(this.#positions);
      this.#positions = positions;
    }
    if (this.#count + 1 > this.#heads.length * LOAD_MAX) this.#rehash();
    this.#positions[this.#count++] = position;
    this.#place(this.#count);
    return this.#count - 1;
  }

  #rehash(): void {
    this.#heads = new Int32Array(this.#heads.length * 2);
    for (let head = 1; head <= this.#count; head++) this.#place(head);
  }

  #place(head: number): void {
    const heads = this.#heads;
    const mask = heads.length - 1;
    let at = hashOfPosition(this.#positions[head - 1]!) & mask;
    while (heads[at] !== 0) at = (at + 1) & mask;
    heads[at] = head;
  }
}

/** murmur3's finaliser: positions that lie in rows do not pile up. */
export function hashOfPosition(position: number): number {
  let h = position | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
