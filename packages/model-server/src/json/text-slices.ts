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

/** Says where work that follows no offset is to pause: many short walks, or walks with more to do than to step over bytes. */
export class WorkSlices {
  #bytes = 0;

  /** Adds work that takes as long as to step over `bytes` bytes. Returns whether the slice is over; the next one begins then. */
  isOver(bytes: number): boolean {
    this.#bytes += bytes;
    if (this.#bytes < SLICE_BYTES) return false;
    this.#bytes = 0;
    return true;
  }
}
