import type { Extent, OverlayArea } from "./overlay-area.js";
import { PositionHash } from "./position-hash.js";

/** Rows that the first extent has room for; each later one has half of what is there. */
const FIRST_ROWS = 64;

/**
 * The rows of one table in one partition that stand for the oldest epoch that can be asked for, where they are not the file's.
 * What later epochs bring is taken in row by row, in place, so that its cost is that of the rows that come, however many there are.
 */
export class OverlayBase {
  readonly #area: OverlayArea;
  readonly #rowBytes: number;
  readonly #hash = new PositionHash();
  /** Rows by entry of the hash, one extent behind the other. */
  readonly #extents: { readonly extent: Extent; readonly firstEntry: number }[] = [];
  #room = 0;

  constructor(area: OverlayArea, rowBytes: number) {
    this.#area = area;
    this.#rowBytes = rowBytes;
  }

  get rowCount(): number {
    return this.#hash.count;
  }

  get bytes(): number {
    return this.#hash.count * this.#rowBytes;
  }

  get indexBytes(): number {
    return this.#hash.bytes;
  }

  /** The arena row of a position; -1 = that of the file. */
  find(position: number): number {
    const entry = this.#hash.find(position);
    if (entry < 0) return -1;
    const { extent, firstEntry } = this.#holder(entry);
    return extent.firstRow + (entry - firstEntry);
  }

  /**
   * Takes a row in. Nothing may gather the position's row from here meanwhile.
   *
   * @throws ServingError RESOURCE_EXHAUSTED; then the position is as it was
   */
  put(position: number, row: Uint8Array): void {
    let entry = this.#hash.find(position);
    if (entry < 0) {
      if (this.#hash.count === this.#room) this.#grow();
      entry = this.#hash.add(position);
    }
    const { extent, firstEntry } = this.#holder(entry);
    extent.bytes.set(row, (entry - firstEntry) * this.#rowBytes);
  }

  /** Gives the memory back. Nothing may gather from it any more. */
  free(): void {
    for (const { extent } of this.#extents.splice(0)) this.#area.free(extent);
  }

  /** The newest extents are the largest: the search ends soon. */
  #holder(entry: number): { readonly extent: Extent; readonly firstEntry: number } {
    let at = this.#extents.length - 1;
    while (this.#extents[at]!.firstEntry > entry) at--;
    return this.#extents[at]!;
  }

  #grow(): void {
    const extent = this.#area.allocate(Math.max(FIRST_ROWS, this.#room >> 1));
    this.#extents.push({ extent, firstEntry: this.#room });
    this.#room += extent.rowCount;
  }
}
