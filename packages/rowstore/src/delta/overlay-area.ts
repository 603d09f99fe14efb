import { invariant, ServingError } from "@shardserve/core";
import type { AddressRange } from "@shardserve/native";

/** Memory is mapped in steps of at least this much. */
const STEP_BYTES = 4 * 2 ** 20;

/** Rows of one width behind one another in an overlay area. */
export interface Extent {
  /** Index of the first row in the arena, as gathers take it. */
  readonly firstRow: number;
  readonly rowCount: number;
  /** The rows, writable; valid until the extent is freed. */
  readonly bytes: Uint8Array;
  /** In units of the area. */
  readonly unit: number;
  readonly unitCount: number;
}

/**
 * The part of a stride arena behind its partitions, where rows of deltas lie: in one array with the rows of the files, so
 * that a gather takes both by index and knows no difference. Extents come first-fit from what was mapped; what is
 * freed gives its pages back to the system and keeps its addresses.
 */
export class OverlayArea {
  readonly #range: AddressRange;
  readonly #byteOffset: number;
  readonly #rowBytes: number;
  readonly #unitBytes: number;
  readonly #unitsMax: number;
  #mappedUnits = 0;
  /** Free runs of units within what is mapped, ascending, never adjacent. */
  readonly #free: { start: number; count: number }[] = [];

  /**
   * @param byteOffset  where the area begins in the range: a multiple of `unitBytes`
   * @param unitBytes   a multiple of the page and of the row
   */
  constructor(range: AddressRange, byteOffset: number, rowBytes: number, unitBytes: number) {
    this.#range = range;
    this.#byteOffset = byteOffset;
    this.#rowBytes = rowBytes;
    this.#unitBytes = unitBytes;
    this.#unitsMax = Math.floor((range.byteLength - byteOffset) / unitBytes);
  }

  /** Room for rows. @throws ServingError RESOURCE_EXHAUSTED when the area is full */
  allocate(rowCount: number): Extent {
    const unitCount = Math.max(1, Math.ceil((rowCount * this.#rowBytes) / this.#unitBytes));
    const unit = this.#take(unitCount);
    const offset = this.#byteOffset + unit * this.#unitBytes;
    return {
      firstRow: offset / this.#rowBytes,
      rowCount,
      bytes: this.#range.view(offset, rowCount * this.#rowBytes),
      unit,
      unitCount,
    };
  }

  /** Nothing may gather from it any more. */
  free({ unit, unitCount }: Extent): void {
    this.#range.memory.advise("dontNeed", this.#byteOffset + unit * this.#unitBytes, unitCount * this.#unitBytes);
    this.#give(unit, unitCount);
  }

  #take(count: number): number {
    const found = this.#free.find((run) => run.count >= count);
    if (found) {
      const { start } = found;
      found.start += count;
      found.count -= count;
      if (found.count === 0) this.#free.splice(this.#free.indexOf(found), 1);
      return start;
    }
    const step = Math.max(count, Math.ceil(STEP_BYTES / this.#unitBytes));
    const mapped = Math.min(step, this.#unitsMax - this.#mappedUnits);
    if (mapped < count) {
      throw new ServingError(
        "RESOURCE_EXHAUSTED",
        `deltas fill the ${this.#unitsMax * this.#unitBytes} bytes of addresses that rows of ${this.#rowBytes} bytes have; export the version as a whole`,
      );
    }
    const start = this.#mappedUnits;
    this.#range.mapMemory(this.#byteOffset + start * this.#unitBytes, mapped * this.#unitBytes);
    this.#mappedUnits += mapped;
    this.#give(start, mapped);
    return this.#take(count);
  }

  #give(start: number, count: number): void {
    const free = this.#free;
    let at = free.findIndex((run) => run.start > start);
    if (at < 0) at = free.length;
    const before = free[at - 1];
    const after = free[at];
    invariant(!before || before.start + before.count <= start, "an extent was freed twice");
    const joinsBefore = before && before.start + before.count === start;
    const joinsAfter = after && start + count === after.start;
    if (joinsBefore) {
      before.count += count;
      if (joinsAfter) {
        before.count += after.count;
        free.splice(at, 1);
      }
    } else if (joinsAfter) {
      after.start = start;
      after.count += count;
    } else free.splice(at, 0, { start, count });
  }
}
