import { invariant } from "@shardserve/core";
import { type AddressRange, type OrtValue, PAGE_BYTES, reserveAddresses } from "@shardserve/native";
import { OverlayArea } from "../delta/overlay-area.js";
import type { StrideGroup } from "./partition-layout.js";
import { RowKernel } from "../rows/row-kernel.js";

/**
 * Addresses for rows of deltas: at least this much, and a multiple of those for the rows of files: all may have changed, memory
 * for them is taken ahead, and some have changed again.
 */
const OVERLAY_BYTES_MIN = 4 * 2 ** 30;
const OVERLAY_SHARE = 3;

/**
 * All rows of one width of one version, as one array: partition p's group of that width is mapped `p` spans from the
 * start. A span is a whole number of pages and of rows, so row indexes are plain arithmetic, one Gather serves every
 * table and partition, and a partition that comes or goes moves nothing. Addresses are reserved for all partitions of
 * the version; those without a file cost nothing. Behind the spans of partitions lie the rows that deltas brought.
 */
export class StrideArena {
  readonly rowBytes: number;
  /** Row index of the first row of partition p is `p * rowsPerSpan`. */
  readonly rowsPerSpan: number;
  readonly rowCount: number;
  /** Rows of deltas. */
  readonly overlay: OverlayArea;
  /** For {@link RowKernel}: shape [rowCount, rowBytes]. */
  readonly table: OrtValue;
  readonly #group: StrideGroup;
  readonly #spanBytes: number;
  readonly #range: AddressRange;

  constructor(group: StrideGroup, partitionCount: number) {
    const unit = leastCommonMultiple(PAGE_BYTES, group.rowBytes);
    this.#group = group;
    this.#spanBytes = Math.max(1, Math.ceil((group.rowCount * group.rowBytes) / unit)) * unit;
    this.rowBytes = group.rowBytes;
    this.rowsPerSpan = this.#spanBytes / group.rowBytes;
    const spansBytes = this.#spanBytes * partitionCount;
    const bytes = spansBytes + Math.ceil(Math.max(OVERLAY_BYTES_MIN, OVERLAY_SHARE * spansBytes) / unit) * unit;
    invariant(Number.isSafeInteger(bytes), "an arena exceeds 2^53 bytes");
    this.rowCount = bytes / group.rowBytes;
    this.#range = reserveAddresses(bytes);
    this.overlay = new OverlayArea(this.#range, spansBytes, group.rowBytes, unit);
    this.table = RowKernel.table(this.#range.memory, this.rowCount, group.rowBytes);
  }

  /** Bytes that one partition maps here. */
  get groupBytes(): number {
    return this.#group.rowCount * this.rowBytes;
  }

  /**
   * Maps a partition's rows from an open partition file.
   *
   * @param isCold  rows will be read few and far between, from a disk: read no neighbours. Otherwise all pages are mapped
   *   now, so that gathers on the event loop meet no page fault
   */
  async map(partition: number, fd: number, isCold: boolean): Promise<void> {
    if (this.groupBytes === 0) return;
    const at = partition * this.#spanBytes;
    this.#range.mapFile(fd, this.#group.offset, this.groupBytes, at);
    if (isCold) this.#range.memory.advise("random", at, this.groupBytes);
    else await this.#range.memory.populate(at, this.groupBytes);
  }

  /** Takes a partition's rows away. Nothing may gather from them any more. */
  unmap(partition: number): void {
    if (this.groupBytes > 0) this.#range.unmap(partition * this.#spanBytes, this.groupBytes);
  }

  close(): void {
    this.table.dispose();
    this.#range.close();
  }
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}
