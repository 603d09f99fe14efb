import { setImmediate } from "node:timers/promises";
import { invariant } from "@shardserve/core";
import type { DeltaSection } from "./delta-format.js";
import type { DeltaFile, OpenSegment } from "./delta-reader.js";
import type { DeltaTable } from "./delta-manifest.js";
import type { Extent, OverlayArea } from "./overlay-area.js";
import { OverlayIndex } from "./overlay-index.js";
import type { TableInfo } from "./table-info.js";

/** Runs of one table in one partition above which those that nobody can ask for apart are merged. */
const RUNS_MAX = 8;

/** The rows that deltas brought to one partition. */
class PartitionOverlay {
  /** By table; absent = no delta touched it here. */
  readonly indexes = new Map<number, OverlayIndex>();
  /** Memory by epoch and width: freed with the epoch, or when it is merged into another. */
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
 * Memory that is no longer needed is handed to `retire`, which frees it when no gather can use it.
 */
export class Overlay {
  readonly #tables: readonly TableInfo[];
  readonly #partitionCount: number;
  readonly #areaOf: (rowBytes: number) => OverlayArea;
  readonly #retire: (free: () => void) => void;
  readonly #partitions: (PartitionOverlay | undefined)[];
  /** By table: 1 when any delta changed it. */
  readonly #isChanged: Uint8Array;
  /** Epochs staged, ascending, with the rows that tables have at each. */
  readonly #chain: { readonly epoch: number; readonly tables: readonly DeltaTable[] }[] = [];
  #oldestEpoch = 0;
  #rows = 0;
  #rowBytes = 0;

  constructor(
    tables: readonly TableInfo[],
    partitionCount: number,
    areaOf: (rowBytes: number) => OverlayArea,
    retire: (free: () => void) => void,
  ) {
    this.#tables = tables;
    this.#partitionCount = partitionCount;
    this.#areaOf = areaOf;
    this.#retire = retire;
    this.#partitions = Array.from({ length: partitionCount }, () => undefined);
    this.#isChanged = new Uint8Array(tables.length);
  }

  /** Epochs before it can no longer be told apart. */
  get oldestEpoch(): number {
    return this.#oldestEpoch;
  }

  get use(): OverlayUse {
    let indexBytes = 0;
    for (const partition of this.#partitions) {
      for (const index of partition?.indexes.values() ?? []) indexBytes += index.indexBytes;
    }
    return { rows: this.#rows, bytes: this.#rowBytes + indexBytes };
  }

  /** Rows of a table at an epoch: valid ids are below it. */
  rowsOf(table: number, epoch: number): number {
    for (let i = this.#chain.length - 1; i >= 0; i--) {
      const entry = this.#chain[i] as { epoch: number; tables: readonly DeltaTable[] };
      if (entry.epoch <= epoch) return (entry.tables[table] as DeltaTable).rows;
    }
    return (this.#tables[table] as TableInfo).rows;
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
    this.#add(partition, epoch, opened, extents);
    await setImmediate(); // a long delta must not keep lookups waiting
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
    const { rows } = this.#tables[table] as TableInfo;
    for (let i = first, out = 2 * at; i < end; i++, out += 2) {
      const id = (lanes[2 * i + 1] as number) * 0x1_0000_0000 + ((lanes[2 * i] as number) >>> 0);
      const position = Math.floor(id / partitionCount);
      const index = this.#partitions[id - position * partitionCount]?.indexes.get(table);
      const row = index === undefined ? -1 : index.find(position, epoch);
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
   * Nobody will ask for epochs before `oldest` any more. Where many runs piled up, those that can no longer be told apart
   * are merged and rows that were superseded give their memory back.
   */
  async forgetBefore(oldest: number): Promise<void> {
    this.#oldestEpoch = Math.max(this.#oldestEpoch, oldest);
    while (this.#chain.length > 1 && (this.#chain[1] as { epoch: number }).epoch <= oldest) this.#chain.shift();
    for (const partition of this.#partitions) {
      if (!partition || !isWorthMerging(partition, oldest)) continue;
      this.#merge(partition, oldest);
      await setImmediate();
    }
  }

  /** Lets the rows of a partition go. */
  drop(partition: number): void {
    const found = this.#partitions[partition];
    if (!found) return;
    this.#partitions[partition] = undefined;
    this.#freeExtents(found, () => true);
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

  #add(
    partition: number,
    epoch: number,
    { layout, positions }: OpenSegment,
    extents: ReadonlyMap<number, Extent>,
  ): void {
    const overlay = (this.#partitions[partition] ??= new PartitionOverlay());
    const filled = new Map<number, number>();
    layout.sections.forEach(({ table, rowBytes, rowCount }, i) => {
      if (rowCount === 0) return;
      const before = filled.get(rowBytes) ?? 0;
      filled.set(rowBytes, before + rowCount);
      let index = overlay.indexes.get(table);
      if (!index) overlay.indexes.set(table, (index = new OverlayIndex()));
      index.add(epoch, positions[i] as Uint32Array, (extents.get(rowBytes) as Extent).firstRow + before);
    });
    for (const [rowBytes, extent] of extents) this.#hold(overlay, epoch, rowBytes, extent);
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

  /** Writes the rows that stand for `oldest` behind one another and forgets the runs that they came from. */
  #merge(overlay: PartitionOverlay, oldest: number): void {
    const merged = [...overlay.indexes].map(([table, index]) => ({
      table,
      index,
      rowBytes: (this.#tables[table] as TableInfo).rowBytes,
      ...index.merged(oldest),
    }));
    const counts = rowsByWidth(merged.map(({ table, rowBytes, rows }) => ({ table, rowBytes, rowCount: rows.length })));
    const extents = new Map([...counts].map(([rowBytes, count]) => [rowBytes, this.#areaOf(rowBytes).allocate(count)]));
    const filled = new Map<number, number>();
    const old = new RowFinder(overlay.extents);
    for (const { table, index, rowBytes, positions, rows } of merged) {
      const fresh = new OverlayIndex();
      const before = filled.get(rowBytes) ?? 0;
      filled.set(rowBytes, before + rows.length);
      if (rows.length > 0) {
        const { bytes, firstRow } = extents.get(rowBytes) as Extent;
        for (let i = 0; i < rows.length; i++) bytes.set(old.row(rowBytes, rows[i] as number), (before + i) * rowBytes);
        fresh.add(oldest, positions, firstRow + before);
      }
      for (const run of index.runs) if (run.epoch > oldest) fresh.add(run.epoch, index.positionsOf(run), run.firstRow);
      overlay.indexes.set(table, fresh);
    }
    this.#freeExtents(overlay, (epoch) => epoch <= oldest);
    for (const [rowBytes, extent] of extents) this.#hold(overlay, oldest, rowBytes, extent);
  }
}

/** Finds the bytes of an arena row among extents. */
class RowFinder {
  readonly #byWidth = new Map<number, Extent[]>();

  constructor(extents: PartitionOverlay["extents"]) {
    for (const { rowBytes, extent } of extents) {
      const list = this.#byWidth.get(rowBytes) ?? [];
      list.push(extent);
      this.#byWidth.set(rowBytes, list);
    }
  }

  row(rowBytes: number, row: number): Uint8Array {
    const extent = this.#byWidth
      .get(rowBytes)
      ?.find(({ firstRow, rowCount }) => row >= firstRow && row < firstRow + rowCount);
    invariant(extent, `row ${row} lies in no extent`);
    const at = (row - extent.firstRow) * rowBytes;
    return extent.bytes.subarray(at, at + rowBytes);
  }
}

function isWorthMerging({ indexes }: PartitionOverlay, oldest: number): boolean {
  for (const index of indexes.values()) {
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
    const start = layout.rowOffsets[i] as number;
    const from = Math.max(start, offset);
    const to = Math.min(start + bytes, offset + block.length);
    if (from >= to) return;
    (extents.get(rowBytes) as Extent).bytes.set(block.subarray(from - offset, to - offset), target + from - start);
  });
}
