import { setImmediate } from "node:timers/promises";
import { invariant } from "@shardserve/core";
import type { DeltaSection } from "./delta-format.js";
import type { DeltaFile, OpenSegment } from "./delta-reader.js";
import type { DeltaTable } from "./delta-manifest.js";
import type { Extent, OverlayArea } from "./overlay-area.js";
import { OverlayBase } from "./overlay-base.js";
import { OverlayIndex } from "./overlay-index.js";
import type { TableInfo } from "../manifest/table-info.js";

/** Runs of one table in one partition above which those that nobody can ask for apart become one. */
const RUNS_MAX = 8;
/** Rows that are put into an index, or copied, before other work has its turn: well below a millisecond. */
const TURN_ROWS = 4096;

/** The rows that deltas brought to one partition. */
class PartitionOverlay {
  /** By table: rows of epochs that can be told apart, and of some that no longer can; absent = there are none. */
  readonly indexes = new Map<number, OverlayIndex>();
  /** By table: rows of what can no longer be told apart; those of the indexes come first. */
  readonly bases = new Map<number, OverlayBase>();
  /** Memory of the indexes' rows by epoch and width: freed with the epoch, or when its rows are in the bases. */
  readonly extents: { readonly epoch: number; readonly rowBytes: number; readonly extent: Extent }[] = [];
}

/** What an overlay holds, for metrics and capacity. */
export interface OverlayUse {
  /** Rows in memory, superseded ones that may still be asked for included. */
  readonly rows: number;
  /** Bytes of rows and of their indexes. */
  readonly bytes: number;
}

/**
 * Rows of committed and staged deltas over the partition files of one version. Epochs are a chain: each is the one before
 * it with some rows replaced or added. Every epoch from `oldestEpoch` on can be asked for.
 *
 * All changes happen within a turn of the event loop and are invisible to requests of other epochs, so lookups go on.
 * Memory is used for something else only when no gather can read it any more.
 */
export class Overlay {
  readonly #tables: readonly TableInfo[];
  readonly #partitionCount: number;
  readonly #areaOf: (rowBytes: number) => OverlayArea;
  readonly #afterGathers: () => Promise<boolean>;
  readonly #partitions: (PartitionOverlay | undefined)[];
  /** By table: 1 when any delta changed it. */
  readonly #isChanged: Uint8Array;
  /** Epochs staged, ascending, with the rows that tables have at each. */
  readonly #chain: { readonly epoch: number; readonly tables: readonly DeltaTable[] }[] = [];
  #oldestEpoch = 0;
  #rows = 0;
  #rowBytes = 0;

  /** @param afterGathers  resolves when the gathers that run now have ended; false = the arenas are closed */
  constructor(
    tables: readonly TableInfo[],
    partitionCount: number,
    areaOf: (rowBytes: number) => OverlayArea,
    afterGathers: () => Promise<boolean>,
  ) {
    this.#tables = tables;
    this.#partitionCount = partitionCount;
    this.#areaOf = areaOf;
    this.#afterGathers = afterGathers;
    this.#partitions = Array.from({ length: partitionCount }, () => undefined);
    this.#isChanged = new Uint8Array(tables.length);
  }

  /** Epochs before it can no longer be told apart. */
  get oldestEpoch(): number {
    return this.#oldestEpoch;
  }

  get use(): OverlayUse {
    let rows = this.#rows;
    let bytes = this.#rowBytes;
    for (const partition of this.#partitions) {
      for (const index of partition?.indexes.values() ?? []) bytes += index.indexBytes;
      for (const base of partition?.bases.values() ?? []) {
        rows += base.rowCount;
        bytes += base.bytes + base.indexBytes;
      }
    }
    return { rows, bytes };
  }

  /** Rows of a table at an epoch: valid ids are below it. */
  rowsOf(table: number, epoch: number): number {
    for (let i = this.#chain.length - 1; i >= 0; i--) {
      const entry = this.#chain[i] as { epoch: number; tables: readonly DeltaTable[] };
      if (entry.epoch <= epoch) return entry.tables[table]!.rows;
    }
    return this.#tables[table]!.rows;
  }

  /** Makes room for an epoch behind all others; its rows come with {@link stage}. */
  begin(epoch: number, tables: readonly DeltaTable[]): void {
    invariant(epoch > (this.#chain.at(-1)?.epoch ?? 0), `epoch ${epoch} is not the newest`);
    this.#chain.push({ epoch, tables });
    tables.forEach(({ changed }, table) => {
      if (changed > 0) this.#isChanged[table] = 1;
    });
  }

  /**
   * Reads and verifies a delta's rows of one partition and adds them. Requests of its epoch find them once the promise
   * resolves; a failure leaves everything as it was.
   *
   * @throws ServingError as DeltaFile.segment and DeltaFile.readRows; RESOURCE_EXHAUSTED
   */
  async stage(partition: number, delta: DeltaFile, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const opened = await delta.segment(partition);
    if (!opened) return;
    const { epoch } = delta.manifest;
    const extents = this.#allocate(opened);
    try {
      await delta.readRows(opened, (offset, bytes) => scatter(opened, extents, offset, bytes), options);
    } catch (error) {
      for (const [rowBytes, extent] of extents) this.#areaOf(rowBytes).free(extent); // nobody has seen it yet
      throw error;
    }
    await this.#add(partition, epoch, opened, extents);
  }

  /**
   * Points the indexes of rows that deltas changed at the rows of `epoch`.
   *
   * @param lanes    ids as 32-bit lanes; those of positions [first, end) are looked at. All are valid at the epoch
   * @param indexes  lanes of arena rows; that of position `first` is index `at`
   * @returns -1, or the position of an id that neither the file nor a delta has: a delta of the chain is missing here
   */
  resolve(
    table: number,
    epoch: number,
    lanes: Int32Array,
    first: number,
    end: number,
    indexes: Int32Array,
    at: number,
  ): number {
    if (this.#isChanged[table] === 0) return -1;
    const partitionCount = this.#partitionCount;
    const { rows } = this.#tables[table]!;
    for (let i = first, out = 2 * at; i < end; i++, out += 2) {
      const id = lanes[2 * i + 1]! * 0x1_0000_0000 + (lanes[2 * i]! >>> 0);
      const position = Math.floor(id / partitionCount);
      const overlay = this.#partitions[id - position * partitionCount];
      let row = overlay?.indexes.get(table)?.find(position, epoch) ?? -1;
      if (row < 0) row = overlay?.bases.get(table)?.find(position) ?? -1;
      if (row < 0) {
        if (id >= rows) return i;
        continue;
      }
      const high = Math.floor(row / 0x1_0000_0000);
      indexes[out] = row - high * 0x1_0000_0000;
      indexes[out + 1] = high;
    }
    return -1;
  }

  /** Takes back the newest epoch, as if it had never been staged. Costs its own rows. */
  dropNewest(epoch: number): void {
    invariant(this.#chain.at(-1)?.epoch === epoch, `epoch ${epoch} is not the newest`);
    invariant(epoch > this.#oldestEpoch, `epoch ${epoch} may be merged with those before it`);
    for (const partition of this.#partitions) {
      if (!partition) continue;
      for (const [table, index] of partition.indexes) {
        index.dropNewest(epoch);
        if (index.runs.length === 0) partition.indexes.delete(table);
      }
      this.#freeExtents(partition, (of) => of === epoch);
    }
    this.#chain.pop();
  }

  /**
   * Nobody will ask for epochs before `oldest` any more. Where many runs piled up, the rows of those that can no longer be
   * told apart are put in the place of what they supersede.
   *
   * @throws ServingError RESOURCE_EXHAUSTED; then everything is found as before
   */
  async forgetBefore(oldest: number): Promise<void> {
    this.#oldestEpoch = Math.max(this.#oldestEpoch, oldest);
    while (this.#chain.length > 1 && (this.#chain[1] as { epoch: number }).epoch <= oldest) this.#chain.shift();
    const due = [...this.#partitions.keys()].filter((partition) => isWorthMerging(this.#partitions[partition], oldest));
    // From now on gathers find the newer rows; those that found the older ones still read them.
    if (due.length === 0 || !(await this.#afterGathers())) return;
    for (const partition of due) await this.#absorb(partition, oldest);
  }

  /** Lets the rows of a partition go. */
  drop(partition: number): void {
    const found = this.#partitions[partition];
    if (!found) return;
    this.#partitions[partition] = undefined;
    this.#freeExtents(found, () => true);
    this.#retire(() => {
      for (const base of found.bases.values()) base.free();
    });
  }

  /** Lets everything go. */
  clear(): void {
    for (let partition = 0; partition < this.#partitionCount; partition++) this.drop(partition);
  }

  /** One extent per row width: a page at most is lost for each. */
  #allocate({ layout }: OpenSegment): Map<number, Extent> {
    const extents = new Map<number, Extent>();
    for (const [rowBytes, rowCount] of rowsByWidth(layout.sections)) {
      extents.set(rowBytes, this.#areaOf(rowBytes).allocate(rowCount));
    }
    return extents;
  }

  async #add(
    partition: number,
    epoch: number,
    { layout, positions }: OpenSegment,
    extents: ReadonlyMap<number, Extent>,
  ): Promise<void> {
    const overlay = (this.#partitions[partition] ??= new PartitionOverlay());
    for (const [rowBytes, extent] of extents) this.#hold(overlay, epoch, rowBytes, extent);
    const filled = new Map<number, number>();
    for (const [i, { table, rowBytes, rowCount }] of layout.sections.entries()) {
      if (rowCount === 0) continue;
      const before = filled.get(rowBytes) ?? 0;
      filled.set(rowBytes, before + rowCount);
      let index = overlay.indexes.get(table);
      if (!index) overlay.indexes.set(table, (index = new OverlayIndex()));
      index.begin(epoch, rowCount, (extents.get(rowBytes) as Extent).firstRow + before);
      const column = positions[i]!;
      for (let at = 0; at < rowCount; at += TURN_ROWS) {
        index.extend(column.subarray(at, at + TURN_ROWS));
        await setImmediate(); // a long delta must not keep lookups waiting
      }
    }
  }

  #hold(overlay: PartitionOverlay, epoch: number, rowBytes: number, extent: Extent): void {
    overlay.extents.push({ epoch, rowBytes, extent });
    this.#rows += extent.rowCount;
    this.#rowBytes += extent.bytes.length;
  }

  #freeExtents(overlay: PartitionOverlay, isFreed: (epoch: number) => boolean): void {
    const { extents } = overlay;
    const freed = extents.filter(({ epoch }) => isFreed(epoch));
    if (freed.length === 0) return;
    extents.splice(0, extents.length, ...extents.filter(({ epoch }) => !isFreed(epoch)));
    for (const { extent } of freed) {
      this.#rows -= extent.rowCount;
      this.#rowBytes -= extent.bytes.length;
    }
    this.#retire(() => {
      for (const { rowBytes, extent } of freed) this.#areaOf(rowBytes).free(extent);
    });
  }

  /** Frees memory when no gather can use it any more; with the arenas everything is freed. */
  #retire(free: () => void): void {
    void this.#afterGathers().then((isOpen) => {
      if (isOpen) free();
    });
  }

  /**
   * Copies the rows of a partition's runs up to `oldest` into its bases, and forgets the runs in one turn. Until then lookups
   * find the runs, so that nothing is read while it is written.
   */
  async #absorb(partition: number, oldest: number): Promise<void> {
    const overlay = this.#partitions[partition];
    if (!overlay) return;
    let copied = 0;
    for (const [table, index] of overlay.indexes) {
      const { rowBytes } = this.#tables[table]!;
      let base = overlay.bases.get(table);
      if (!base) overlay.bases.set(table, (base = new OverlayBase(this.#areaOf(rowBytes), rowBytes)));
      for (const run of index.runs) {
        if (run.epoch > oldest) break;
        const rows = rowsOf(overlay, run.epoch, rowBytes, run.firstRow);
        for (const [i, position] of index.positionsOf(run).entries()) {
          base.put(position, rows.subarray(i * rowBytes, (i + 1) * rowBytes));
          if (++copied % TURN_ROWS > 0) continue;
          await setImmediate();
          if (this.#partitions[partition] !== overlay) return; // dropped meanwhile
        }
      }
    }
    for (const [table, index] of overlay.indexes) {
      const left = index.runs.filter(({ epoch }) => epoch > oldest);
      const fresh = new OverlayIndex();
      for (const run of left) fresh.add(run.epoch, index.positionsOf(run), run.firstRow);
      if (left.length > 0) overlay.indexes.set(table, fresh);
      else overlay.indexes.delete(table);
    }
    this.#freeExtents(overlay, (epoch) => epoch <= oldest);
    await setImmediate();
  }
}

/** The rows of an epoch from an arena row on. */
function rowsOf({ extents }: PartitionOverlay, epoch: number, rowBytes: number, row: number): Uint8Array {
  const found = extents.find((held) => held.epoch === epoch && held.rowBytes === rowBytes);
  invariant(found, `epoch ${epoch} has no rows of ${rowBytes} bytes`);
  return found.extent.bytes.subarray((row - found.extent.firstRow) * rowBytes);
}

function isWorthMerging(overlay: PartitionOverlay | undefined, oldest: number): boolean {
  for (const index of overlay?.indexes.values() ?? []) {
    let runs = 0;
    for (const { epoch } of index.runs) if (epoch <= oldest) runs++;
    if (runs > RUNS_MAX) return true;
  }
  return false;
}

function rowsByWidth(sections: readonly DeltaSection[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { rowBytes, rowCount } of sections) {
    if (rowCount > 0) counts.set(rowBytes, (counts.get(rowBytes) ?? 0) + rowCount);
  }
  return counts;
}

/** Copies a block of a segment's data to where its rows belong. */
function scatter(
  { layout }: OpenSegment,
  extents: ReadonlyMap<number, Extent>,
  offset: number,
  block: Uint8Array,
): void {
  const filled = new Map<number, number>();
  layout.sections.forEach(({ rowBytes, rowCount }, i) => {
    const target = filled.get(rowBytes) ?? 0;
    const bytes = rowCount * rowBytes;
    filled.set(rowBytes, target + bytes);
    const start = layout.rowOffsets[i]!;
    const from = Math.max(start, offset);
    const to = Math.min(start + bytes, offset + block.length);
    if (from >= to) return;
    (extents.get(rowBytes) as Extent).bytes.set(block.subarray(from - offset, to - offset), target + from - start);
  });
}
