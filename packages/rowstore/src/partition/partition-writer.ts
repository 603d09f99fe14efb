import { type FileHandle, open } from "node:fs/promises";
import { invariant, readAt, writeAt } from "@shardserve/core";
import { xxh3 } from "@node-rs/xxhash";
import { encodePartitionFooter, encodePartitionHeader, partitionDigest, partitionInvalid } from "./partition-format.js";
import { BLOCK_BYTES, type PartitionLayout } from "./partition-layout.js";

/** How far a writer is: plain data for a journal. Everything before `dataBytes` is on its way to the disk or there. */
export interface PartitionWriterState {
  /** Bytes of the data region written, padding included. */
  readonly dataBytes: number;
  /** Checksums of the whole blocks among them, as little-endian 64-bit words. */
  readonly blockDigests: Uint8Array;
  /** Checksum of the begun block so far, as 16 hex digits; of nothing when none is begun. */
  readonly openDigest: string;
}

/** What the manifest says of a partition file. */
export interface FinishedPartition {
  readonly bytes: number;
  /** See {@link partitionDigest}. */
  readonly digest: string;
}

const ZEROS = new Uint8Array(4096);

/**
 * Writes one partition file from front to back. Checksums are computed as bytes pass, so that hundreds of writers may be
 * open at once: a writer holds a descriptor and about a kilobyte.
 *
 * States: open -> finished or closed. The file is complete, and has its name's content, only once `finish()` resolves.
 */
export class PartitionFileWriter {
  readonly path: string;
  readonly partition: number;
  readonly #layout: PartitionLayout;
  readonly #handle: FileHandle;
  readonly #hash = xxh3.Xxh3.withSeed();
  readonly #blockDigests: BigUint64Array;
  #dataBytes = 0;
  #section = 0;
  #pendingCount = 0;
  #isOpen = true;

  private constructor(path: string, partition: number, layout: PartitionLayout, handle: FileHandle) {
    this.path = path;
    this.partition = partition;
    this.#layout = layout;
    this.#handle = handle;
    this.#blockDigests = new BigUint64Array(layout.blockCount);
  }

  /** Creates the file, which must not exist, in full size (sparse) and writes its header. */
  static async create(path: string, partition: number, layout: PartitionLayout): Promise<PartitionFileWriter> {
    const handle = await open(path, "wx+");
    return closeOnError(handle, async () => {
      await handle.truncate(layout.fileBytes);
      await writeAt(handle, encodePartitionHeader(layout, partition), 0);
      const writer = new PartitionFileWriter(path, partition, layout, handle);
      writer.#skipToNextSection();
      return writer;
    });
  }

  /**
   * Goes on with a file that an earlier writer began, after reading what is on disk against the state.
   *
   * @throws ServingError PARTITION_INVALID when the disk does not hold what the state says; begin anew then
   */
  static async resume(
    path: string,
    partition: number,
    layout: PartitionLayout,
    state: PartitionWriterState,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<PartitionFileWriter> {
    const handle = await open(path, "r+");
    return closeOnError(handle, async () => {
      const writer = new PartitionFileWriter(path, partition, layout, handle);
      await writer.#restore(state, options.signal);
      return writer;
    });
  }

  /** Bytes of the data region written so far. */
  get dataBytes(): number {
    return this.#dataBytes;
  }

  /**
   * Writes the next rows. Bytes follow `layout.sections` in order; one call stays within one section. The buffer may be
   * reused once the promise resolves; several appends may be under way.
   */
  async append(rows: Uint8Array): Promise<void> {
    invariant(this.#isOpen, `${this.path} is closed`);
    const offset = this.#layout.headerBytes + this.#dataBytes;
    const section = this.#layout.sections[this.#section];
    invariant(
      section !== undefined && offset + rows.length <= section.offset + section.rowCount * section.rowBytes,
      `${this.path}: ${rows.length} bytes at ${offset} exceed section ${this.#section}`,
    );
    this.#digest(rows);
    this.#skipToNextSection();
    await this.#write(rows, offset);
  }

  /** How far the writer is. Only while no append is under way. */
  checkpoint(): PartitionWriterState {
    invariant(this.#pendingCount === 0, `${this.path}: checkpoint during an append`);
    return {
      dataBytes: this.#dataBytes,
      blockDigests: new Uint8Array(this.#blockDigests.slice(0, Math.floor(this.#dataBytes / BLOCK_BYTES)).buffer),
      openDigest: hexOf(this.#hash.digest()),
    };
  }

  /** Writes the footer and hands everything to the disk. All sections must be complete. */
  async finish(): Promise<FinishedPartition> {
    invariant(this.#isOpen && this.#pendingCount === 0, `${this.path}: finish while closed or during an append`);
    invariant(
      this.#dataBytes === this.#layout.dataBytes,
      `${this.path}: ${this.#dataBytes} of ${this.#layout.dataBytes} bytes were written`,
    );
    if (this.#dataBytes % BLOCK_BYTES !== 0) this.#blockDigests[this.#layout.blockCount - 1] = this.#hash.digest();
    const footer = encodePartitionFooter(this.#blockDigests);
    await writeAt(this.#handle, footer, this.#layout.fileBytes - footer.length);
    await this.#handle.sync();
    await this.close();
    return {
      bytes: this.#layout.fileBytes,
      digest: partitionDigest(encodePartitionHeader(this.#layout, this.partition), footer),
    };
  }

  /** Closes the file as it is, unfinished unless `finish()` ran. A second call does nothing. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#handle.close();
  }

  async #write(bytes: Uint8Array, offset: number): Promise<void> {
    this.#pendingCount++;
    try {
      await writeAt(this.#handle, bytes, offset);
    } finally {
      this.#pendingCount--;
    }
  }

  #digest(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const room = BLOCK_BYTES - (this.#dataBytes % BLOCK_BYTES);
      const part = at === 0 && bytes.length <= room ? bytes : bytes.subarray(at, at + room);
      this.#hash.update(part);
      this.#dataBytes += part.length;
      at += part.length;
      if (this.#dataBytes % BLOCK_BYTES === 0) {
        this.#blockDigests[this.#dataBytes / BLOCK_BYTES - 1] = this.#hash.digest();
        this.#hash.reset();
      }
    }
  }

  /** Passes sections that are complete, and the zeros between groups, which the file already holds. */
  #skipToNextSection(): void {
    const { sections, headerBytes, dataBytes } = this.#layout;
    for (let section = sections[this.#section]; section; section = sections[this.#section]) {
      if (headerBytes + this.#dataBytes < section.offset + section.rowCount * section.rowBytes) return;
      const next = sections[++this.#section]?.offset ?? headerBytes + dataBytes;
      this.#digest(ZEROS.subarray(0, Math.max(0, next - headerBytes - this.#dataBytes)));
    }
  }

  async #restore(state: PartitionWriterState, signal: AbortSignal | undefined): Promise<void> {
    const { dataBytes, blockDigests, openDigest } = state;
    const wholeBlocks = Math.floor(dataBytes / BLOCK_BYTES);
    const refuse = (why: string) => partitionInvalid(this.path, why);
    if (!(dataBytes >= 0 && dataBytes <= this.#layout.dataBytes) || blockDigests.length !== wholeBlocks * 8) {
      throw refuse("the journal does not fit the file");
    }
    const header = encodePartitionHeader(this.#layout, this.partition);
    if (!(await readZeroed(this.#handle, 0, header.length)).equals(header)) throw refuse("its header differs");
    const expected = new DataView(blockDigests.buffer, blockDigests.byteOffset, blockDigests.byteLength);
    for (let block = 0; block <= wholeBlocks; block++) {
      signal?.throwIfAborted();
      const length = Math.min(BLOCK_BYTES, dataBytes - block * BLOCK_BYTES);
      if (length > 0) this.#digest(await readZeroed(this.#handle, this.#layout.headerBytes + this.#dataBytes, length));
      if (block < wholeBlocks && this.#blockDigests[block] !== expected.getBigUint64(block * 8, true)) {
        throw refuse(`block ${block} does not hold what the journal says`);
      }
    }
    if (hexOf(this.#hash.digest()) !== openDigest) throw refuse("its last block does not hold what the journal says");
    await this.#handle.truncate(this.#layout.headerBytes + dataBytes); // bytes of a later, unrecorded append
    await this.#handle.truncate(this.#layout.fileBytes);
    this.#skipToNextSection();
  }
}

function hexOf(digest: bigint): string {
  return digest.toString(16).padStart(16, "0");
}

async function closeOnError<T>(handle: FileHandle, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Bytes behind the end of the file read as zeros. */
async function readZeroed(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await readAt(handle, bytes, offset);
  return bytes;
}
