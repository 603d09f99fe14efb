import { setImmediate } from "node:timers/promises";
import { type CancelSignal, invariant, ServingError } from "@shardserve/core";
import { lanesOf } from "@shardserve/tensor";
import { GatherEras } from "./gather-eras.js";
import { locateNarrowColumns, locateRows, type NarrowPlaces, narrowPlaces } from "./locate.js";
import { mappedFiles } from "./mapped-files.js";
import { Overlay } from "../delta/overlay.js";
import { encodePartitionHeader, partitionInvalid } from "./partition-format.js";
import { type PartitionLayout, partitionLayout } from "./partition-layout.js";
import { PartitionFile } from "./partition-reader.js";
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

/** How a partition is checked and prepared before ids find it. */
export interface AddOptions {
  /** What the manifest says of the file; refused when the file says otherwise. */
  readonly expectedDigest?: string;
  /**
   * Whether every block is read and compared with its checksum first; default true. A file that another set of this process
   * verified and still maps is not read again.
   */
  readonly verify?: boolean;
  /** Awaited when the partition is mapped and before ids find it: to add the rows of deltas. */
  readonly prepare?: () => Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * The partitions of one version that this process holds, mapped so that one Gather per row width answers a request over
 * any of its tables.
 *
 * Partitions come and go while gathers run: a partition is mapped whole before the first id finds it, and unmapped only
 * after the last gather that could have found it has ended.
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
  readonly #isHeld: Uint8Array;
  /** By partition: being added, held, or being removed. */
  readonly #isBusy: Uint8Array;
  /** By partition: its file, once it was verified. */
  readonly #identities = new Map<number, string>();
  readonly #kernel = RowKernel.shared();
  #heldCount = 0;
  readonly #eras = new GatherEras();
  /** Adds that are mapping now; `close` waits for them. */
  #mappingCount = 0;
  #mapped: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  #isClosed = false;
  #overlay: Overlay;
  #lastIndexes: BigInt64Array = new BigInt64Array(0);
  #lastIndexLanes = lanesOf(this.#lastIndexes);

  constructor(tables: readonly TableInfo[], partitionCount: number, options: PartitionSetOptions = {}) {
    this.tables = tables;
    this.layout = partitionLayout(tables, partitionCount);
    this.#options = { syncBytesMax: 128 * 1024, residentBytesMax: Number.POSITIVE_INFINITY, ...options };
    this.#isHeld = new Uint8Array(partitionCount);
    this.#isBusy = new Uint8Array(partitionCount);
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
        return !this.#isClosed;
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
    const held: number[] = [];
    for (let p = 0; p < this.#isHeld.length; p++) if (this.#isHeld[p] === 1) held.push(p);
    return held;
  }

  /** Bytes of rows mapped, whether they are in memory or not. */
  get mappedBytes(): number {
    return this.#heldCount * this.layout.dataBytes;
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
  async add(partition: number, path: string, options: AddOptions = {}): Promise<{ digest: string; bytes: number }> {
    invariant(!this.#isClosed && partition < this.partitionCount, `partition ${partition} of ${this.partitionCount}`);
    invariant(this.#isBusy[partition] === 0, `partition ${partition} is held already`);
    this.#isBusy[partition] = 1;
    try {
      const file = await PartitionFile.open(path);
      try {
        this.#checkIdentity(file, partition, options.expectedDigest);
        const identity = await file.identity();
        const isVerified = mappedFiles.digestOf(identity) === file.digest;
        if (options.verify !== false && !isVerified) await file.verify({ signal: options.signal });
        options.signal?.throwIfAborted();
        await this.#map(partition, file, options.prepare);
        if (options.verify !== false) this.#remember(partition, identity, file.digest);
      } finally {
        await file.close();
      }
      return { digest: file.digest, bytes: file.header.fileBytes };
    } catch (error) {
      this.#isBusy[partition] = 0;
      throw error;
    }
  }

  /** Lets a partition go: ids of it are refused at once, its mapping ends with the gathers that still use it. */
  async remove(partition: number): Promise<void> {
    if (this.#isHeld[partition] !== 1) return;
    this.#isHeld[partition] = 0;
    this.#heldCount--;
    await this.#eras.next();
    if (!this.#isClosed) {
      this.#unmap(partition);
      this.#forget(partition);
      this.#overlay.drop(partition);
    }
    this.#isBusy[partition] = 0;
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
    const info = this.tables[table] as TableInfo;
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
    invariant(!this.#isClosed, "the partition set is closed");
    const { table } = this.#arena(rowBytes);
    return this.#eras.during(this.#kernel.gather(table, indexes, at, count, output, options.signal));
  }

  /** As {@link gather}, always on this thread: for callers that know how much they ask of the event loop. */
  gatherNow(rowBytes: number, indexes: BigInt64Array, at: number, count: number, output: Uint8Array): void {
    invariant(!this.#isClosed, "the partition set is closed");
    this.#kernel.gatherSync(this.#arena(rowBytes).table, indexes, at, count, output);
  }

  /** Waits for gathers and unmaps everything. A second call joins the first. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    const held = this.partitions;
    this.#isClosed = true;
    this.#isHeld.fill(0);
    await this.#eras.next();
    if (this.#mappingCount > 0) await new Promise<void>((resolve) => (this.#mapped = resolve));
    for (const partition of held) {
      this.#unmap(partition);
      this.#forget(partition);
      await setImmediate(); // freeing the pages of all partitions in one go would stop the event loop
    }
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

  #checkIdentity(file: PartitionFile, partition: number, expectedDigest: string | undefined): void {
    if (expectedDigest !== undefined && file.digest !== expectedDigest) {
      throw new ServingError(
        "DIGEST_MISMATCH",
        `${file.path}: its header and checksums have digest ${file.digest}, the manifest says ${expectedDigest}; ` +
          "copy the file again or export the version anew",
        { details: { path: file.path, digest: file.digest, expectedDigest } },
      );
    }
    const expected = encodePartitionHeader(this.layout, partition);
    if (Buffer.compare(expected, file.headerBytes) === 0) return;
    const { header } = file;
    throw partitionInvalid(
      file.path,
      header.partition === partition && header.partitionCount === this.partitionCount
        ? "its directory does not fit the manifest's tables"
        : `it is partition ${header.partition} of ${header.partitionCount}, wanted is ${partition} of ${this.partitionCount}`,
    );
  }

  async #map(partition: number, file: PartitionFile, prepare: AddOptions["prepare"]): Promise<void> {
    const refuseIfClosed = () => {
      if (this.#isClosed) throw new ServingError("DRAINING", `${file.path}: the partition set was closed meanwhile`);
    };
    refuseIfClosed();
    const isCold = this.mappedBytes + this.layout.dataBytes > this.#options.residentBytesMax;
    this.#mappingCount++;
    try {
      for (const arena of this.#arenas.values()) await arena.map(partition, file.fd, isCold);
      await prepare?.();
    } catch (error) {
      this.#unmap(partition);
      this.#overlay.drop(partition);
      throw error;
    } finally {
      if (--this.#mappingCount === 0) this.#mapped?.();
    }
    refuseIfClosed();
    this.#isHeld[partition] = 1;
    this.#heldCount++;
  }

  #remember(partition: number, identity: string, digest: string): void {
    this.#identities.set(partition, identity);
    mappedFiles.add(identity, digest);
  }

  #forget(partition: number): void {
    const identity = this.#identities.get(partition);
    if (identity === undefined) return;
    this.#identities.delete(partition);
    mappedFiles.remove(identity);
  }

  #unmap(partition: number): void {
    for (const arena of this.#arenas.values()) arena.unmap(partition);
  }
}

function idAt(lanes: Int32Array, position: number): bigint {
  return (BigInt(lanes[2 * position + 1]!) << 32n) | BigInt(lanes[2 * position]! >>> 0);
}
