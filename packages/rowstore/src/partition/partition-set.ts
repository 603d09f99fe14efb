import { type CancelSignal, invariant, ServingError } from "@shardserve/core";
import { lanesOf } from "@shardserve/tensor";
import { GatherEras } from "./gather-eras.js";
import { locateNarrowColumns, locateRows, type NarrowPlaces, narrowPlaces } from "./locate.js";
import { type AddOptions, MappedPartitions } from "./mapped-partitions.js";
import { Overlay } from "../delta/overlay.js";
import { type PartitionLayout, partitionLayout } from "./partition-layout.js";
import type { RowIndexes } from "./row-indexes.js";
import { rowOutOfRange } from "../rows/row-source.js";
import { RowKernel } from "../rows/row-kernel.js";
import { StrideArena } from "./stride-arena.js";
import type { TableInfo } from "../manifest/table-info.js";

/** When gathers leave the event loop. */
export interface PartitionSetOptions {
  /**
   * Gathers of at most this many bytes run on the event loop; default 128 KiB, about 30 us. Larger ones take longer than
   * the hop to another thread, and the loop writes other replies meanwhile.
   */
  readonly syncBytesMax?: number;
  /**
   * Mapped bytes that are expected to stay in memory; default no limit. Beyond it every gather leaves the event loop,
   * because it may wait for the disk, and the kernel is told not to read ahead.
   */
  readonly residentBytesMax?: number;
}

/**
 * The partitions of one version that this process holds, mapped so that one Gather per row width answers a request over
 * any of its tables. They come and go while gathers run: {@link MappedPartitions}.
 */
export class PartitionSet {
  readonly tables: readonly TableInfo[];
  readonly layout: PartitionLayout;
  readonly #options: Required<PartitionSetOptions>;
  readonly #arenas = new Map<number, StrideArena>();
  /** By table: index of its first row in partition 0. */
  readonly #bases: Float64Array;
  /** Undefined where a table does not fit. */
  readonly #narrow: NarrowPlaces | undefined;
  readonly #mapped: MappedPartitions;
  /** Of the mapped partitions, where loops look at it. */
  readonly #isHeld: Uint8Array;
  readonly #kernel = RowKernel.shared();
  readonly #eras = new GatherEras();
  #closing: Promise<void> | undefined;
  #overlay: Overlay;
  #lastIndexes: BigInt64Array = new BigInt64Array(0);
  #lastIndexLanes = lanesOf(this.#lastIndexes);

  constructor(tables: readonly TableInfo[], partitionCount: number, options: PartitionSetOptions = {}) {
    this.tables = tables;
    this.layout = partitionLayout(tables, partitionCount);
    this.#options = { syncBytesMax: 128 * 1024, residentBytesMax: Number.POSITIVE_INFINITY, ...options };
    this.#bases = new Float64Array(tables.length);
    for (const group of this.layout.groups) {
      this.#arenas.set(group.rowBytes, new StrideArena(group, partitionCount));
      let base = 0;
      for (const section of group.sections) {
        this.#bases[section.table] = base;
        base += section.rowCount;
      }
    }
    const rowsPerSpan = tables.map(({ rowBytes }) => this.#arena(rowBytes).rowsPerSpan);
    this.#narrow = narrowPlaces(tables, this.#bases, rowsPerSpan, partitionCount);
    this.#mapped = new MappedPartitions({
      layout: this.layout,
      arenas: [...this.#arenas.values()],
      eras: this.#eras,
      residentBytesMax: this.#options.residentBytesMax,
      onGone: (partition) => this.#overlay.drop(partition),
    });
    this.#isHeld = this.#mapped.isHeld;
    this.#overlay = this.newOverlay();
  }

  /** Rows of the deltas on this version. */
  get overlay(): Overlay {
    return this.#overlay;
  }

  /** An overlay that is filled beside the one in use, for {@link replaceOverlay}. */
  newOverlay(): Overlay {
    return new Overlay(
      this.tables,
      this.partitionCount,
      (rowBytes) => this.#arena(rowBytes).overlay,
      async () => {
        await this.#eras.next();
        return !this.#mapped.isClosed;
      },
    );
  }

  /** From now on ids find the rows of another overlay; the one before gives its memory back. */
  replaceOverlay(overlay: Overlay): void {
    const before = this.#overlay;
    this.#overlay = overlay;
    before.clear();
  }

  get partitionCount(): number {
    return this.layout.partitionCount;
  }

  /** Partitions held, ascending. */
  get partitions(): number[] {
    return this.#mapped.all;
  }

  /** Bytes of rows mapped, whether they are in memory or not. */
  get mappedBytes(): number {
    return this.#mapped.bytes;
  }

  /** Whether rows are expected to be in memory: otherwise a gather may wait for the disk. */
  get isWarm(): boolean {
    return this.mappedBytes <= this.#options.residentBytesMax;
  }

  has(partition: number): boolean {
    return this.#isHeld[partition] === 1;
  }

  /**
   * Verifies a partition file and maps it. Ids of the partition are found once the promise resolves.
   *
   * @returns the file's digest and size
   * @throws ServingError NOT_FOUND, PARTITION_INVALID, DIGEST_MISMATCH, or CHECKSUM_MISMATCH naming file and block; then
   *   nothing has changed. A partition that is held already, or is being added or removed, is a bug
   */
  add(partition: number, path: string, options: AddOptions = {}): Promise<{ digest: string; bytes: number }> {
    return this.#mapped.add(partition, path, options);
  }

  /** Lets a partition go: ids of it are refused at once, its mapping ends with the gathers that still use it. */
  remove(partition: number): Promise<void> {
    return this.#mapped.remove(partition);
  }

  /**
   * Writes the row indexes of `ids` into `indexes`, from `at` on, for a {@link gather} that begins in the same turn of
   * the event loop. Indexes of tables of one row width may stand behind one another: one gather takes them all.
   *
   * @param ids    as BigInt64Array, or as its 32-bit lanes
   * @param first  position in `ids` of the first one wanted, and `end` the one behind the last; default all
   * @param epoch  whose rows; default 0, as exported. The caller knows that it is there
   * @returns -1, or the position of the first id that cannot be served: {@link refusal} says why
   */
  locate(
    table: number,
    ids: BigInt64Array | Int32Array,
    indexes: BigInt64Array,
    at: number,
    first = 0,
    end = ids instanceof Int32Array ? ids.length / 2 : ids.length,
    epoch = 0,
  ): number {
    const info = this.tables[table];
    invariant(info !== undefined, () => `table ${table} of ${this.tables.length}`);
    const lanes = ids instanceof Int32Array ? ids : lanesOf(ids);
    invariant(
      2 * end <= lanes.length && at + end - first <= indexes.length,
      () => `ids ${first} to ${end} of ${lanes.length / 2} to ${at} of ${indexes.length} indexes`,
    );
    const indexLanes = this.#indexLanes(indexes);
    const bad = locateRows(
      lanes,
      epoch === 0 ? info.rows : this.#overlay.rowsOf(table, epoch),
      this.partitionCount,
      this.#isHeld,
      this.#bases[table]!,
      this.#arena(info.rowBytes).rowsPerSpan,
      indexLanes,
      at,
      first,
      end,
    );
    if (bad >= 0 || epoch === 0) return bad;
    const lacking = this.#overlay.resolve(table, epoch, lanes, first, end, indexLanes, at);
    invariant(lacking < 0, `epoch ${epoch} of ${info.name} lacks a row that it added`);
    return -1;
  }

  /**
   * As {@link locate} for a whole request: appends the index of every id to those of its table's row width.
   *
   * @param words  per table from `columnsAt` to `idsAt`: table index and id count, interleaved; then all ids as lanes. Every
   *   table is there, and every id
   * @param into   by table index
   * @returns false when an id cannot be served; some indexes may have been appended
   */
  locateColumns(
    words: Int32Array,
    columnsAt: number,
    idsAt: number,
    epoch: number,
    into: readonly RowIndexes[],
  ): boolean {
    if (epoch === 0 && this.#narrow) {
      return locateNarrowColumns(words, columnsAt, idsAt, this.#narrow, this.partitionCount, this.#isHeld, into);
    }
    for (let column = columnsAt, at = idsAt / 2; column < idsAt; column += 2) {
      const table = words[column]!;
      const end = at + words[column + 1]!;
      const target = into[table]!;
      if (this.locate(table, words, target.indexes, target.count, at, end, epoch) >= 0) return false;
      target.count += end - at;
      at = end;
    }
    return true;
  }

  /** Why {@link locate} stopped at `position`: ROW_OUT_OF_RANGE or PARTITION_NOT_OWNED. */
  refusal(table: number, ids: BigInt64Array | Int32Array, position: number, epoch = 0): ServingError {
    const info = this.tables[table]!;
    const id = ids instanceof Int32Array ? idAt(ids, position) : ids[position]!;
    const rows = epoch === 0 ? info.rows : this.#overlay.rowsOf(table, epoch);
    if (id < 0n || id >= BigInt(rows)) return rowOutOfRange({ ...info, rows }, position, id);
    const partition = Number(id % BigInt(this.partitionCount));
    return new ServingError(
      "PARTITION_NOT_OWNED",
      `row ${id} of ${info.name} lies in partition ${partition}, which is not held here`,
      { details: { table: info.checkpointKey, position, partition } },
    );
  }

  /**
   * Copies rows `indexes[at .. at + count)`, as {@link locate} wrote them in this turn of the event loop, to `output`.
   * Small gathers are done when it returns, then it returns undefined; others run on other threads meanwhile.
   *
   * @param rowBytes  width of the rows, which chooses the arena
   * @param output    at least `count * rowBytes` bytes, at any offset of its buffer; not to be touched until it is done
   */
  gather(
    rowBytes: number,
    indexes: BigInt64Array,
    at: number,
    count: number,
    output: Uint8Array,
    options: { readonly signal?: CancelSignal } = {},
  ): Promise<void> | undefined {
    if (this.isWarm && count * rowBytes <= this.#options.syncBytesMax) {
      this.gatherNow(rowBytes, indexes, at, count, output);
      return undefined;
    }
    invariant(!this.#mapped.isClosed, "the partition set is closed");
    const { table } = this.#arena(rowBytes);
    return this.#eras.during(this.#kernel.gather(table, indexes, at, count, output, options.signal));
  }

  /** As {@link gather}, always on this thread: for callers that know how much they ask of the event loop. */
  gatherNow(rowBytes: number, indexes: BigInt64Array, at: number, count: number, output: Uint8Array): void {
    invariant(!this.#mapped.isClosed, "the partition set is closed");
    this.#kernel.gatherSync(this.#arena(rowBytes).table, indexes, at, count, output);
  }

  /** Waits for gathers and unmaps everything. A second call joins the first. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#mapped.close();
    for (const arena of this.#arenas.values()) arena.close();
  }

  /** Requests of few ids per table would spend more on a view per table than on their ids. */
  #indexLanes(indexes: BigInt64Array): Int32Array {
    if (indexes !== this.#lastIndexes) {
      this.#lastIndexes = indexes;
      this.#lastIndexLanes = lanesOf(indexes);
    }
    return this.#lastIndexLanes;
  }

  #arena(rowBytes: number): StrideArena {
    const arena = this.#arenas.get(rowBytes);
    invariant(arena, () => `no table has rows of ${rowBytes} bytes`);
    return arena;
  }
}

function idAt(lanes: Int32Array, position: number): bigint {
  return (BigInt(lanes[2 * position + 1]!) << 32n) | BigInt(lanes[2 * position]! >>> 0);
}
