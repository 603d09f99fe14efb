import { type FileHandle, open } from "node:fs/promises";
import { readAt, ServingError } from "@shardserve/core";
import { xxh3 } from "@node-rs/xxhash";
import {
  decodePartitionFooter,
  decodePartitionHeader,
  type PartitionHeader,
  partitionDigest,
  partitionInvalid,
} from "./partition-format.js";
import { BLOCK_BYTES, HEADER_FIELDS_BYTES } from "./partition-layout.js";

/** Blocks read ahead while one is hashed; hashing 1 MiB takes about 0.1 ms of the event loop. */
const READS_IN_FLIGHT = 2;

/** An open partition file whose header and footer make sense; its blocks are not verified yet. */
export class PartitionFile {
  readonly path: string;
  readonly header: PartitionHeader;
  /** Header and directory as they stand in the file. */
  readonly headerBytes: Uint8Array;
  /** See partitionDigest: covers every byte of the file, if the blocks match their checksums. */
  readonly digest: string;
  readonly #handle: FileHandle;
  readonly #blockDigests: BigUint64Array;

  private constructor(
    path: string,
    handle: FileHandle,
    header: PartitionHeader,
    headerBytes: Uint8Array,
    footer: Uint8Array,
  ) {
    this.path = path;
    this.header = header;
    this.headerBytes = headerBytes;
    this.digest = partitionDigest(headerBytes, footer);
    this.#handle = handle;
    this.#blockDigests = decodePartitionFooter(footer, header, path);
  }

  /** @throws ServingError NOT_FOUND when there is no such file, PARTITION_INVALID when it is none or was cut off */
  static async open(path: string): Promise<PartitionFile> {
    let handle: FileHandle;
    try {
      handle = await open(path, "r");
    } catch (error) {
      throw new ServingError("NOT_FOUND", `cannot open partition file ${path}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    try {
      const { size } = await handle.stat();
      const fields = await readExactly(handle, path, 0, Math.min(HEADER_FIELDS_BYTES, size));
      const header = decodePartitionHeader(fields, size, path);
      const headerBytes = await readExactly(handle, path, 0, header.headerBytes);
      const footerAt = header.headerBytes + header.dataBytes;
      const footer = await readExactly(handle, path, footerAt, header.fileBytes - footerAt);
      return new PartitionFile(path, handle, header, headerBytes, footer);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Tells whether two paths lead to one file in one state: device, inode, size and time of change. */
  async identity(): Promise<string> {
    const { dev, ino, size, mtimeNs } = await this.#handle.stat({ bigint: true });
    return `${dev} ${ino} ${size} ${mtimeNs}`;
  }

  /** For mapping; closed by {@link close}, which mappings outlive. */
  get fd(): number {
    return this.#handle.fd;
  }

  /**
   * Reads every block and compares it with its checksum, off the event loop but for 0.1 ms per block.
   *
   * @throws ServingError CHECKSUM_MISMATCH naming the file and the block
   */
  async verify(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const buffers = Array.from({ length: READS_IN_FLIGHT }, () => Buffer.allocUnsafeSlow(BLOCK_BYTES));
    const read = (block: number): Promise<Buffer> => {
      const buffer = buffers[block % READS_IN_FLIGHT]!;
      const length = Math.min(BLOCK_BYTES, this.header.dataBytes - block * BLOCK_BYTES);
      return readInto(
        this.#handle,
        this.path,
        this.header.headerBytes + block * BLOCK_BYTES,
        buffer.subarray(0, length),
      );
    };
    const reads: Promise<Buffer>[] = [];
    const { blockCount } = this.header;
    try {
      for (let block = 0; block < blockCount; block++) {
        options.signal?.throwIfAborted();
        while (reads.length < READS_IN_FLIGHT && block + reads.length < blockCount) {
          reads.push(read(block + reads.length));
        }
        this.#check(block, await (reads.shift() as Promise<Buffer>));
      }
    } finally {
      await Promise.allSettled(reads); // nothing reads on after the file is closed
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  #check(block: number, bytes: Buffer): void {
    if (xxh3.xxh64(bytes) === this.#blockDigests[block]) return;
    const offset = this.header.headerBytes + block * BLOCK_BYTES;
    throw new ServingError(
      "CHECKSUM_MISMATCH",
      `${this.path}: block ${block} (bytes ${offset} to ${offset + bytes.length}) does not match its checksum; ` +
        "copy the file again or export the version anew",
      { details: { path: this.path, block, offset } },
    );
  }
}

async function readExactly(handle: FileHandle, path: string, offset: number, length: number): Promise<Buffer> {
  return readInto(handle, path, offset, Buffer.alloc(length));
}

async function readInto(handle: FileHandle, path: string, offset: number, into: Buffer): Promise<Buffer> {
  const count = await readAt(handle, into, offset);
  if (count < into.length) throw partitionInvalid(path, `it ends at ${offset + count}`);
  return into;
}
