/** Bytes of text read between two pauses: a few milliseconds. */
export const SLICE_BYTES = 256 * 1024;

/** Says where whoever walks through a text is to pause: by bytes, for a text may be all brackets and hold no value. */
export class TextSlices {
  #end: number;

  /** @param offset  where the walk begins */
  constructor(offset: number) {
    this.#end = offset + SLICE_BYTES;
  }

  /** Whether the slice is over at `offset`; the next one begins there. */
  isOver(offset: number): boolean {
    if (offset < this.#end) return false;
    this.#end = offset + SLICE_BYTES;
    return true;
  }
}
