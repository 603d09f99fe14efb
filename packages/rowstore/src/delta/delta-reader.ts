import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { invariant, readAt, ServingError } from "@shardserve/core";
import { xxh3 } from "@node-rs/xxhash";
import {
  decodeSegmentHead,
  deltaInvalid,
  readSegmentSizes,
  SEGMENT_FIELDS_BYTES,
  type SegmentHead,
  segmentDigest,
} from "./delta-format.js";
import { type DeltaManifest, type DeltaSegment, readDeltaManifest, type StoredDelta } from "./delta-manifest.js";
import { DELTA_ROWS_FILE, segmentFile } from "./delta-paths.js";
import { BLOCK_BYTES, BLOCK_DIGEST_BYTES } from "../partition/partition-layout.js";
import type { TableInfo } from "../manifest/table-info.js";

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
  readonly #areSegmentsFiles: boolean;
  readonly #byPartition: ReadonlyMap<number, DeltaSegment>;

  private constructor(
    directory: string,
    tables: readonly TableInfo[],
    { manifest, digest, fold }: StoredDelta,
    handle: FileHandle | undefined,
    areSegmentsFiles: boolean,
  ) {
    this.directory = directory;
    this.manifest = manifest;
    this.digest = digest;
    if (fold !== undefined) this.fold = fold;
    this.#tables = tables;
    this.#handle = handle;
    this.#areSegmentsFiles = areSegmentsFiles;
    this.#byPartition = new Map(manifest.segments.map((segment) => [segment.partition, segment]));
  }

  /**
   * @param directory  of the delta
   * @param tables     of the version
   * @param options    `areSegmentsFiles`: there is no rows file, each segment lies in its {@link segmentFile} as far as it is here
   * @throws ServingError NOT_FOUND without a manifest, DELTA_INVALID
   */
  static async open(
    directory: string,
    tables: readonly TableInfo[],
    { areSegmentsFiles = false }: { readonly areSegmentsFiles?: boolean } = {},
  ): Promise<DeltaFile> {
    const stored = await readDeltaManifest(directory);
    if (!stored)
      throw new ServingError("NOT_FOUND", `${directory} has no delta; it may still be written, or was removed`);
    const hasRowsFile = stored.manifest.segments.length > 0 && !areSegmentsFiles;
    const handle = hasRowsFile ? await openForReading(join(directory, DELTA_ROWS_FILE)) : undefined;
    return new DeltaFile(directory, tables, stored, handle, areSegmentsFiles);
  }

  /** Path of the rows file, for errors. */
  get path(): string {
    return join(this.directory, DELTA_ROWS_FILE);
  }

  /** Where a partition's changed rows are in the rows file; undefined when none changed. */
  segmentOf(partition: number): DeltaSegment | undefined {
    return this.#byPartition.get(partition);
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
    await using place = await this.#placeOf(segment);
    const where = `${place.path}: partition ${partition}`;
    const fields = await read(place, 0, Math.min(SEGMENT_FIELDS_BYTES, segment.bytes));
    const { headBytes, blockCount } = readSegmentSizes(fields, segment.bytes, where);
    const head = await read(place, 0, headBytes);
    const footerBytes = blockCount * BLOCK_DIGEST_BYTES;
    const footer = await read(place, segment.bytes - footerBytes, footerBytes);
    const digest = segmentDigest(head, footer);
    if (digest !== segment.digest) {
      throw new ServingError(
        "DIGEST_MISMATCH",
        `${where}: its head and checksums have digest ${digest}, the delta's manifest says ${segment.digest}; copy the delta again or export it anew`,
        {
          details: { path: place.path, partition },
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
    await using place = await this.#placeOf(segment);
    const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, Math.max(layout.dataBytes, 1)));
    for (let i = 0; i < layout.blockCount; i++) {
      options.signal?.throwIfAborted();
      const offset = i * BLOCK_BYTES;
      const bytes = block.subarray(0, Math.min(BLOCK_BYTES, layout.dataBytes - offset));
      await readInto(place, layout.headBytes + offset, bytes);
      if (xxh3.xxh64(bytes) !== blockDigests[i]) {
        throw new ServingError(
          "CHECKSUM_MISMATCH",
          `${place.path}: partition ${segment.partition}, block ${i} does not match its checksum; copy the delta again or export it anew`,
          {
            details: { path: place.path, partition: segment.partition, block: i },
          },
        );
      }
      target(offset, bytes);
    }
  }

  /** Bytes of the rows file as they are, for segments that were verified as a whole before. */
  async readAt(offset: number, into: Uint8Array): Promise<void> {
    invariant(this.#handle, "a rows file is open");
    await readInto({ path: this.path, handle: this.#handle, offset: 0 }, offset, into);
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
      const last = rowCount === 0 ? -1 : (positions[i]![rowCount - 1] as number);
      if (last * partitionCount + segment.partition >= (tables[table]?.rows ?? 0))
        throw deltaInvalid(where, `position ${last} lies behind table ${info.name}'s last row`);
    });
  }

  /** Where a segment's bytes are; to be disposed of. */
  async #placeOf(segment: DeltaSegment): Promise<Place & AsyncDisposable> {
    if (this.#areSegmentsFiles) {
      const path = join(this.directory, segmentFile(segment.partition));
      const handle = await openForReading(path);
      return { path, handle, offset: 0, [Symbol.asyncDispose]: () => handle.close() };
    }
    invariant(this.#handle, "a delta with segments has an open rows file");
    const keptOpen = () => Promise.resolve();
    return { path: this.path, handle: this.#handle, offset: segment.offset, [Symbol.asyncDispose]: keptOpen };
  }
}

/** Bytes of a file from an offset on. */
interface Place {
  readonly path: string;
  readonly handle: FileHandle;
  readonly offset: number;
}

/** @throws ServingError NOT_FOUND */
function openForReading(path: string): Promise<FileHandle> {
  return open(path, "r").catch((cause: unknown) => {
    throw new ServingError("NOT_FOUND", `cannot open ${path}: ${(cause as Error).message}`, { cause });
  });
}

function read(place: Place, offset: number, length: number): Promise<Buffer> {
  return readInto(place, offset, Buffer.alloc(length));
}

/** @throws ServingError DELTA_INVALID where the file ends */
async function readInto<T extends Uint8Array>(place: Place, offset: number, into: T): Promise<T> {
  const from = place.offset + offset;
  const count = await readAt(place.handle, into, from);
  if (count < into.length) throw deltaInvalid(place.path, `it ends at ${from + count}; it was cut off`);
  return into;
}
