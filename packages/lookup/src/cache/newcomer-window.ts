/** The slots of newcomers, oldest first: a ring of [slot, hash of its row's id]. */
export class NewcomerWindow {
  readonly #ring: Int32Array;
  readonly #mask: number;
  #head = 0;
  #count = 0;

  /** @param countMax  slots at most */
  constructor(countMax: number) {
    const ringSize = 2 ** Math.ceil(Math.log2(countMax));
    this.#ring = new Int32Array(2 * ringSize);
    this.#mask = ringSize - 1;
  }

  get count(): number {
    return this.#count;
  }

  /** The slot that will leave i-th from now, from 0. */
  slotAt(i: number): number {
    return this.#ring[((this.#head + i) & this.#mask) * 2]!;
  }

  /** The hash of its row's id. */
  hashAt(i: number): number {
    return this.#ring[((this.#head + i) & this.#mask) * 2 + 1]!;
  }

  push(slot: number, hash: number): void {
    const at = ((this.#head + this.#count++) & this.#mask) * 2;
    this.#ring[at] = slot;
    this.#ring[at + 1] = hash;
  }

  /** The oldest leaves it. */
  shift(): number {
    const slot = this.#ring[this.#head * 2]!;
    this.#head = (this.#head + 1) & this.#mask;
    this.#count--;
    return slot;
  }
}
