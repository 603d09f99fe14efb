import { setImmediate } from "node:timers/promises";
import { invariant, ServingError } from "@shardserve/core";
import type { GatherEras } from "./gather-eras.js";
import { mappedFiles } from "./mapped-files.js";
import { encodePartitionHeader, partitionInvalid } from "./partition-format.js";
import type { PartitionLayout } from "./partition-layout.js";
import { PartitionFile } from "./partition-reader.js";
import type { StrideArena } from "./stride-arena.js";

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

/** What the mappings of a version have to do with. */
export interface MappedPartitionsOptions {
  readonly layout: PartitionLayout;
  readonly arenas: readonly StrideArena[];
  /** Of the gathers that read the arenas. */
  readonly eras: GatherEras;
  /** Mapped bytes beyond which the kernel is told not to read ahead. */
  readonly residentBytesMax: number;
  /** A partition goes, or did not come: the rows of deltas that it has are let go. */
  readonly onGone: (partition: number) => void;
}

/**
 * Which partitions of a version are held: a file is verified and mapped whole before the first id finds its partition, and
 * unmapped only after the last gather that could have found it has ended.
 */
export class MappedPartitions {
  /** By partition: 1 when its rows are mapped and ids find them. Changes in place, within one turn of the event loop. */
  readonly isHeld: Uint8Array;
  readonly #options: MappedPartitionsOptions;
  /** By partition: being added, held, or being removed. */
  readonly #isBusy: Uint8Array;
  /** By partition: its file, once it was verified. */
  readonly #identities = new Map<number, string>();
  #heldCount = 0;
  /** Adds that are mapping now; `close` waits for them. */
  #mappingCount = 0;
  #onMapped: (() => void) | undefined;
  #isClosed = false;

  constructor(options: MappedPartitionsOptions) {
    this.#options = options;
    this.isHeld = new Uint8Array(options.layout.partitionCount);
    this.#isBusy = new Uint8Array(options.layout.partitionCount);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Partitions held, ascending. */
  get all(): number[] {
    const held: number[] = [];
    for (let p = 0; p < this.isHeld.length; p++) if (this.isHeld[p] === 1) held.push(p);
    return held;
  }

  /** Bytes of rows mapped, whether they are in memory or not. */
  get bytes(): number {
    return this.#heldCount * this.#options.layout.dataBytes;
  }

  /** See {@link PartitionSet.add}. */
  async add(partition: number, path: string, options: AddOptions): Promise<{ digest: string; bytes: number }> {
    const { partitionCount } = this.#options.layout;
    invariant(!this.#isClosed && partition < partitionCount, `partition ${partition} of ${partitionCount}`);
    invariant(this.#isBusy[partition] === 0, `partition ${partition} is held already`);
    this.#isBusy[partition] = 1;
    try {
      const file = await PartitionFile.open(path);
      try {
        checkIdentity(file, this.#options.layout, partition, options.expectedDigest);
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
    if (this.isHeld[partition] !== 1) return;
    this.isHeld[partition] = 0;
    this.#heldCount--;
    await this.#options.eras.next();
    if (!this.#isClosed) {
      this.#unmap(partition);
      this.#forget(partition);
      this.#options.onGone(partition);
    }
    this.#isBusy[partition] = 0;
  }

  /** Waits for gathers and unmaps everything; once. */
  async close(): Promise<void> {
    const held = this.all;
    this.#isClosed = true;
    this.isHeld.fill(0);
    await this.#options.eras.next();
    if (this.#mappingCount > 0) await new Promise<void>((resolve) => (this.#onMapped = resolve));
    for (const partition of held) {
      this.#unmap(partition);
      this.#forget(partition);
      await setImmediate(); // freeing the pages of all partitions in one go would stop the event loop
    }
  }

  async #map(partition: number, file: PartitionFile, prepare: AddOptions["prepare"]): Promise<void> {
    const { layout, arenas, residentBytesMax, onGone } = this.#options;
    const refuseIfClosed = () => {
      if (this.#isClosed) throw new ServingError("DRAINING", `${file.path}: the partition set was closed meanwhile`);
    };
    refuseIfClosed();
    const isCold = this.bytes + layout.dataBytes > residentBytesMax;
    this.#mappingCount++;
    try {
      for (const arena of arenas) await arena.map(partition, file.fd, isCold);
      await prepare?.();
    } catch (error) {
      this.#unmap(partition);
      onGone(partition);
      throw error;
    } finally {
      if (--this.#mappingCount === 0) this.#onMapped?.();
    }
    refuseIfClosed();
    this.isHeld[partition] = 1;
    this.#heldCount++;
  }

  #unmap(partition: number): void {
    for (const arena of this.#options.arenas) arena.unmap(partition);
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
}

/** @throws ServingError DIGEST_MISMATCH; PARTITION_INVALID when it is another partition, or of other tables */
function checkIdentity(
  file: PartitionFile,
  layout: PartitionLayout,
  partition: number,
  expectedDigest: string | undefined,
): void {
  if (expectedDigest !== undefined && file.digest !== expectedDigest) {
    throw new ServingError(
      "DIGEST_MISMATCH",
      `${file.path}: its header and checksums have digest ${file.digest}, the manifest says ${expectedDigest}; ` +
        "copy the file again or export the version anew",
      { details: { path: file.path, digest: file.digest, expectedDigest } },
    );
  }
  if (Buffer.compare(encodePartitionHeader(layout, partition), file.headerBytes) === 0) return;
  const { header } = file;
  throw partitionInvalid(
    file.path,
    header.partition === partition && header.partitionCount === layout.partitionCount
      ? "its directory does not fit the manifest's tables"
      : `it is partition ${header.partition} of ${header.partitionCount}, wanted is ${partition} of ${layout.partitionCount}`,
  );
}
