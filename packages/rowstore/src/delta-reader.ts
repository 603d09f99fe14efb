import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { invariant, ServingError } from "@shardserve/core";
import { xxh3 } from "@node-rs/xxhash";
import {
  decodeSegmentHead,
  deltaInvalid,
  readHeadBytes,
  SEGMENT_FIELDS_BYTES,
  type SegmentHead,
  segmentDigest,
} from "./delta-format.js";
import {
  DELTA_ROWS_FILE,
  type DeltaManifest,
  type DeltaSegment,
  readDeltaManifest,
  type StoredDelta,
} from "./delta-manifest.js";
import { BLOCK_BYTES, BLOCK_DIGEST_BYTES } from "./partition-layout.js";
import type { TableInfo } from "./table-info.js";

/** A segment whose head is verified; its rows are verified as they are read. */
export interface OpenSegment extends SegmentHead {
  readonly segment: DeltaSegment;
  readonly blockDigests: BigUint64Array;
}

/** A delta on disk: manifest read, rows file open. */
export class DeltaFile implements AsyncDisposable {
  readonly directory: string;
  readonly manifest: DeltaManifest;
  /** Identity of the epoch. */
  readonly digest: string;
  /** Of a fold: digest of its own manifest. */
  readonly fold?: string;
  readonly #tables: readonly TableInfo[];
  readonly #handle: FileHandle | undefined;
  readonly #byPartition: ReadonlyMap<number, DeltaSegment>;

  private constructor(
    directory: string,
    tables: readonly TableInfo[],
    { manifest, digest, fold }: StoredDelta,
    handle: FileHandle | undefined,
  ) {
    this.directory = directory;
    this.manifest = manifest;
    this.digest = digest;
    if (fold !== undefined) this.fold = fold;
    this.#tables = tables;
    this.#handle = handle;
    this.#byPartition = new Map(manifest.segments.map((segment) => [segment.partition, segment]));
  }

  /**
   * @param directory  of the delta
   * @param tables     of the version
   * @throws ServingError NOT_FOUND without a manifest, DELTA_INVALID
   */
  static async open(directory: string, tables: readonly TableInfo[]): Promise<DeltaFile> {
    const stored = await readDeltaManifest(directory);
    if (!stored)
      throw new ServingError("NOT_FOUND", `${directory} has no delta; it may still be written, or was removed`);
    const path = join(directory, DELTA_ROWS_FILE);
    if (stored.manifest.segments.length === 0) return new DeltaFile(directory, tables, stored, undefined);
    const handle = await open(path, "r").catch((cause: unknown) => {
      throw new ServingError("NOT_FOUND", `cannot open ${path}: ${(cause as Error).message}`, { cause });
    });
    return new DeltaFile(directory, tables, stored, handle);
  }

  /** Path of the rows file, for errors. */
  get path(): string {
    return join(this.directory, DELTA_ROWS_FILE);
  }

  /** Partitions with changed rows, ascending. */
  get partitions(): readonly number[] {
    return this.manifest.segments.map(({ partition }) => partition);
  }

  /**
   * Reads which rows of a partition changed, and proves it by the digest; undefined when none did.
   *
   * @throws ServingError DIGEST_MISMATCH, DELTA_INVALID naming file and partition
   */
  async segment(partition: number): Promise<OpenSegment | undefined> {
    const segment = this.#byPartition.get(partition);
    if (!segment) return undefined;
    const where = `${this.path}: partition ${partition}`;
    const fields = await this.#read(segment.offset, Math.min(SEGMENT_FIELDS_BYTES, segment.bytes));
    const headBytes = readHeadBytes(fields, segment.bytes, where);
    const head = await this.#read(segment.offset, headBytes);
    const blockCount = new DataView(head.buffer, head.byteOffset).getUint32(48, true);
    const footerBytes = blockCount * BLOCK_DIGEST_BYTES;
    if (headBytes + footerBytes > segment.bytes) throw deltaInvalid(where, `it counts ${blockCount} blocks`);
    const footer = await this.#read(segment.offset + segment.bytes - footerBytes, footerBytes);
    const digest = segmentDigest(head, footer);
    if (digest !== segment.digest) {
      throw new ServingError(
        "DIGEST_MISMATCH",
        `${where}: its head and checksums have digest ${digest}, the delta's manifest says ${segment.digest}; copy the delta again or export it anew`,
        {
          details: { path: this.path, partition },
        },
      );
    }
    const decoded = decodeSegmentHead(head, where);
    this.#checkIdentity(decoded, segment, where);
    const blockDigests = new BigUint64Array(blockCount);
    new Uint8Array(blockDigests.buffer).set(footer);
    return { ...decoded, segment, blockDigests };
  }

  /**
   * Reads the rows of a segment block by block, each compared with its checksum before it is handed out.
   *
   * @param target  gets [offset from the data's start, bytes]; the bytes are overwritten by the next block
   * @throws ServingError CHECKSUM_MISMATCH naming file, partition and block; what was handed out before it is worthless
   */
  async readRows(
    { segment, layout, blockDigests }: OpenSegment,
    target: (offset: number, bytes: Uint8Array) => void,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, Math.max(layout.dataBytes, 1)));
    for (let i = 0; i < layout.blockCount; i++) {
      options.signal?.throwIfAborted();
      const offset = i * BLOCK_BYTES;
      const bytes = block.subarray(0, Math.min(BLOCK_BYTES, layout.dataBytes - offset));
      await this.#readInto(segment.offset + layout.headBytes + offset, bytes);
      if (xxh3.xxh64(bytes) !== blockDigests[i]) {
        throw new ServingError(
          "CHECKSUM_MISMATCH",
          `${this.path}: partition ${segment.partition}, block ${i} does not match its checksum; copy the delta again or export it anew`,
          {
            details: { path: this.path, partition: segment.partition, block: i },
          },
        );
      }
      target(offset, bytes);
    }
  }

  /** Bytes of the rows file as they are, for segments that were verified as a whole before. */
  async readAt(offset: number, into: Uint8Array): Promise<void> {
    await this.#readInto(offset, into);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close();
  }

  #checkIdentity({ layout, positions }: SegmentHead, segment: DeltaSegment, where: string): void {
    const { epoch, partitionCount, tables } = this.manifest;
    if (layout.epoch !== epoch || layout.partition !== segment.partition || layout.partitionCount !== partitionCount)
      throw deltaInvalid(
        where,
        `it is epoch ${layout.epoch}, partition ${layout.partition} of ${layout.partitionCount}`,
      );
    if (layout.bytes !== segment.bytes)
      throw deltaInvalid(where, `it has ${layout.bytes} bytes, the manifest says ${segment.bytes}`);
    layout.sections.forEach(({ table, rowBytes, rowCount }, i) => {
      const info = this.#tables[table];
      if (info?.rowBytes !== rowBytes)
        throw deltaInvalid(where, `its rows of table ${table} do not fit the version's tables`);
      const last = rowCount === 0 ? -1 : ((positions[i] as Uint32Array)[rowCount - 1] as number);
      if (last * partitionCount + segment.partition >= (tables[table]?.rows ?? 0))
        throw deltaInvalid(where, `position ${last} lies behind table ${info.name}'s last row`);
    });
  }

  async #read(offset: number, length: number): Promise<Buffer> {
    return this.#readInto(offset, Buffer.alloc(length));
  }

  async #readInto<T extends Uint8Array>(offset: number, into: T): Promise<T> {
    invariant(this.#handle, "a delta with segments has an open rows file");
    for (let at = 0; at < into.length; ) {
      const { bytesRead } = await this.#handle.read(into, at, into.length - at, offset + at);
      if (bytesRead === 0) throw deltaInvalid(this.path, `it ends at ${offset + at}; it was cut off`);
      at += bytesRead;
    }
    return into;
  }
}
