import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { ServingError, unreadable } from "@shardserve/core";
import {
  dataFromBytes,
  DTYPES,
  elementCount,
  isNumeric,
  type NumericDType,
  type StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { type BundleEntry, type BundleIndex, readBundleIndex, type StoredBytes } from "./bundle-index.js";
import { checksum, maskChecksum } from "./checksum.js";
import { mergeSlices, placeRows } from "./merge-slices.js";
import { decodeStrings } from "./string-tensor.js";

/** Bytes `[byteStart, byteStart + size)` of a tensor, found at `offset` of a data file. */
export interface FileRange {
  readonly shardId: number;
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly byteStart: number;
  /** Of these bytes, masked as the index has it. */
  readonly crc32c: number;
}

/** crc32c of `[offset, offset + length)` of a file, continuing from `previous`. */
export type ChecksumOf = (path: string, offset: number, length: number, previous: number) => Promise<number>;

/** How a tensor's bytes are read piece by piece. */
export interface StreamOptions {
  /** Size of a chunk in bytes, default 1 MiB; the last one of a part may be shorter. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal;
}

const CHUNK_BYTES = 2 ** 20;
/** Bytes between two looks whether a comparison is still wanted. */
const COMPARED_BYTES = 64 * 2 ** 20;

/**
 * A checkpoint in TensorFlow's TensorBundle format. `open` reads the index and checks that every tensor lies within its
 * data file; data is read when asked for, and checked against its checksum.
 */
export class BundleReader implements AsyncDisposable {
  readonly prefix: string;
  readonly entries: ReadonlyMap<string, BundleEntry>;
  readonly shardCount: number;
  readonly #files = new Map<number, FileHandle>();

  private constructor(prefix: string, index: BundleIndex) {
    this.prefix = prefix;
    this.entries = index.entries;
    this.shardCount = index.shardCount;
  }

  /**
   * @param prefix  `DIR/variables/variables`
   * @throws ServingError CHECKPOINT_INVALID or CHECKSUM_MISMATCH naming the file and what is wrong in it
   */
  static async open(prefix: string, options: { signal?: AbortSignal } = {}): Promise<BundleReader> {
    const reader = new BundleReader(prefix, await readBundleIndex(`${prefix}.index`, options.signal));
    try {
      await reader.#openFiles();
    } catch (error) {
      await reader.close();
      throw error;
    }
    return reader;
  }

  /** Path of a data file. */
  dataFile(shardId: number): string {
    const pad = (value: number) => String(value).padStart(5, "0");
    return `${this.prefix}.data-${pad(shardId)}-of-${pad(this.shardCount)}`;
  }

  /** @throws ServingError CHECKPOINT_INVALID when there is no such tensor */
  entry(key: string): BundleEntry {
    const entry = this.entries.get(key);
    if (entry) return entry;
    throw new ServingError("CHECKPOINT_INVALID", `${this.prefix}.index has no tensor "${key}"`);
  }

  /**
   * Where a numeric tensor's bytes lie, in order, for mapping them; undefined when slices cut it in another way than
   * into runs of whole rows. Offsets need not be aligned.
   */
  ranges(key: string): FileRange[] | undefined {
    const entry = this.entry(key);
    const rowBytes = DTYPES[entry.dtype].bytes * elementCount(entry.shape.slice(1));
    const parts = entry.slices ?? [{ ...entry, start: entry.shape.map(() => 0) }];
    const ranges: FileRange[] = [];
    let byteStart = 0;
    for (const part of parts) {
      if (part.size === 0) continue;
      if (part.shape.some((length, i) => i > 0 && length !== entry.shape[i])) return undefined;
      if ((part.start[0] ?? 0) * rowBytes !== byteStart) return undefined;
      ranges.push({
        shardId: part.shardId,
        path: this.dataFile(part.shardId),
        offset: part.offset,
        size: part.size,
        byteStart,
        crc32c: part.crc32c,
      });
      byteStart += part.size;
    }
    return ranges;
  }

  /**
   * Reads `length` bytes of a tensor from `start` on, without verifying a checksum: for a few rows of a large table.
   *
   * @throws ServingError INVALID_ARGUMENT for bytes that the tensor does not have
   */
  async readRange(key: string, start: number, length: number): Promise<Uint8Array> {
    const ranges = this.ranges(key);
    if (!ranges) return this.#readAcross(this.entry(key), start, length);
    const out = new Uint8Array(length);
    let filled = 0;
    for (const range of ranges) {
      const from = Math.max(0, start - range.byteStart);
      const size = Math.min(range.size, start + length - range.byteStart) - from;
      if (size <= 0) continue;
      await this.#readInto(range.shardId, range.offset + from, out.subarray(filled, filled + size));
      filled += size;
    }
    if (filled !== length) {
      throw new ServingError("INVALID_ARGUMENT", `bytes ${start} to ${start + length} of "${key}" exceed the tensor`);
    }
    return out;
  }

  /** {@link readRange} of a tensor that slices cut across its rows: whole rows are put together. */
  async #readAcross(entry: BundleEntry, start: number, length: number): Promise<Uint8Array> {
    const elementBytes = DTYPES[entry.dtype].bytes;
    const rowBytes = elementBytes * elementCount(entry.shape.slice(1));
    const [from, to] = [Math.floor(start / rowBytes), Math.ceil((start + length) / rowBytes)];
    if (to > entry.shape[0]!) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        `bytes ${start} to ${start + length} of "${entry.key}" exceed the tensor`,
      );
    }
    const rows = new Uint8Array((to - from) * rowBytes);
    for (const slice of entry.slices!) {
      const [first, end] = [Math.max(from, slice.start[0]!), Math.min(to, slice.start[0]! + slice.shape[0]!)];
      if (first >= end) continue;
      const ownBytes = elementBytes * elementCount(slice.shape.slice(1));
      const piece = new Uint8Array((end - first) * ownBytes);
      await this.#readInto(slice.shardId, slice.offset + (first - slice.start[0]!) * ownBytes, piece);
      placeRows(rows.subarray((first - from) * rowBytes), piece, end - first, entry.shape, slice, elementBytes);
    }
    return rows.subarray(start - from * rowBytes, start - from * rowBytes + length);
  }

  /**
   * Reads a whole tensor into memory and verifies it.
   *
   * @param options.pause  called after each MiB: whoever reads beside other work gives way to it
   * @throws ServingError MODEL_TOO_LARGE above `bytesMax` (default 1 GiB); CHECKSUM_MISMATCH naming file and offset
   */
  async read(
    key: string,
    options: { bytesMax?: number; signal?: AbortSignal; pause?: () => Promise<void> } = {},
  ): Promise<Tensor> {
    const entry = this.entry(key);
    const byteLength = entry.slices ? entry.slices.reduce((sum, slice) => sum + slice.size, 0) : entry.size;
    const bytesMax = options.bytesMax ?? 2 ** 30;
    if (byteLength > bytesMax) {
      throw new ServingError(
        "MODEL_TOO_LARGE",
        `tensor "${key}" has ${byteLength} bytes, the limit for reading it whole is ${bytesMax}`,
      );
    }
    if (entry.dtype === "string") return tensor("string", entry.shape, await this.#readStrings(entry));
    if (!isNumeric(entry.dtype)) {
      throw new ServingError("UNIMPLEMENTED", `tensor "${key}" has dtype ${entry.dtype}, which is not read`);
    }
    const out = new Uint8Array(byteLength);
    let filled = 0;
    for await (const chunk of this.stream(key, options)) {
      out.set(chunk, filled);
      filled += chunk.length;
      if (filled < byteLength) await options.pause?.();
    }
    return tensor<NumericDType>(entry.dtype, entry.shape, dataFromBytes(entry.dtype, out));
  }

  /**
   * The bytes of a numeric tensor, row-major, in chunks; slices are put together on the way. A chunk is valid until the
   * next one is asked for. The checksum is known only at the end: what was read is good when the stream ends without
   * an error. At most two chunks are in memory, for each slice that lies side by side with others.
   *
   * @throws ServingError CHECKSUM_MISMATCH naming file and offset; UNIMPLEMENTED for strings and variants
   */
  async *stream(key: string, options: StreamOptions = {}): AsyncGenerator<Uint8Array> {
    const entry = this.entry(key);
    if (!isNumeric(entry.dtype))
      throw new ServingError("UNIMPLEMENTED", `tensor "${key}" of dtype ${entry.dtype} has no stream`);
    if (!entry.slices) {
      yield* this.streamStored(key, entry, options);
    } else if (this.ranges(key)) {
      for (const slice of entry.slices) yield* this.streamStored(key, slice, options);
    } else {
      const chunkBytes = options.chunkBytes ?? CHUNK_BYTES;
      yield* mergeSlices(entry, chunkBytes, (slice) => this.#sequential(key, slice, options.signal));
    }
  }

  /**
   * Compares the checksums of a tensor's {@link ranges}, computed elsewhere.
   *
   * @throws ServingError CHECKSUM_MISMATCH naming file and offset; what `checksumOf` throws; the signal's reason
   */
  async verifyWith(key: string, checksumOf: ChecksumOf, signal?: AbortSignal): Promise<void> {
    for (const { path, offset, size, shardId, crc32c } of this.ranges(key) ?? []) {
      let crc = 0;
      for (let done = 0; done < size; done += COMPARED_BYTES) {
        signal?.throwIfAborted();
        crc = await checksumOf(path, offset + done, Math.min(COMPARED_BYTES, size - done), crc);
      }
      if (maskChecksum(crc) !== crc32c) throw this.#mismatch(key, { shardId, offset, size, crc32c });
    }
  }

  /**
   * Reads everything and compares all checksums.
   *
   * @param onBytes  told how many bytes were verified, chunk by chunk
   * @returns keys whose checksums are not understood (variants), which were not verified
   */
  async verify(options: { signal?: AbortSignal; onBytes?: (byteCount: number) => void } = {}): Promise<string[]> {
    const unverified: string[] = [];
    for (const [key, entry] of this.entries) {
      if (entry.dtype === "string") {
        await this.#readStrings(entry);
        options.onBytes?.(entry.size);
      } else if (isNumeric(entry.dtype)) {
        for (const part of entry.slices ?? [entry]) {
          for await (const chunk of this.streamStored(key, part, options)) options.onBytes?.(chunk.length);
        }
      } else unverified.push(key);
    }
    return unverified;
  }

  async close(): Promise<void> {
    const files = [...this.#files.values()];
    this.#files.clear();
    await Promise.all(files.map((file) => file.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #openFiles(): Promise<void> {
    const ends = new Map<number, { end: number; key: string }>();
    for (const [key, entry] of this.entries) {
      for (const part of entry.slices ?? [entry]) {
        const end = part.offset + part.size;
        if (end >= (ends.get(part.shardId)?.end ?? 0)) ends.set(part.shardId, { end, key });
      }
    }
    for (const [shardId, { end, key }] of ends) {
      const path = this.dataFile(shardId);
      const file = await readable(path, open(path));
      this.#files.set(shardId, file);
      const { size } = await readable(path, file.stat());
      if (size < end) {
        throw new ServingError(
          "CHECKPOINT_INVALID",
          `${path} has ${size} bytes, tensor "${key}" ends at byte ${end}; copy the file again`,
        );
      }
    }
  }

  /** The bytes of one part of a numeric tensor: the entry itself, or one of its slices. Otherwise like {@link stream}. */
  async *streamStored(key: string, stored: StoredBytes, options: StreamOptions = {}): AsyncGenerator<Uint8Array> {
    const next = this.#sequential(key, stored, options.signal);
    const buffer = new Uint8Array(Math.min(options.chunkBytes ?? CHUNK_BYTES, stored.size));
    for (let position = 0; position < stored.size; ) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, stored.size - position));
      await next(chunk);
      position += chunk.length;
      yield chunk;
    }
  }

  /** Fills buffers with the stored bytes, one after another; the call that reaches their end compares the checksum. */
  #sequential(key: string, stored: StoredBytes, signal: AbortSignal | undefined): (into: Uint8Array) => Promise<void> {
    let position = 0;
    let crc = 0;
    return async (into) => {
      signal?.throwIfAborted();
      await this.#readInto(stored.shardId, stored.offset + position, into);
      crc = checksum(into, crc);
      position += into.length;
      if (position === stored.size && maskChecksum(crc) !== stored.crc32c) throw this.#mismatch(key, stored);
    };
  }

  #mismatch(key: string, stored: StoredBytes): ServingError {
    const where = `${this.dataFile(stored.shardId)}, bytes ${stored.offset} to ${stored.offset + stored.size}`;
    return new ServingError(
      "CHECKSUM_MISMATCH",
      `${where}: tensor "${key}" does not match its checksum; copy the file again`,
    );
  }

  async #readStrings(entry: BundleEntry): Promise<StringColumn> {
    if (entry.slices) {
      throw new ServingError(
        "UNIMPLEMENTED",
        `tensor "${entry.key}" is a partitioned string variable, which is not read`,
      );
    }
    const bytes = new Uint8Array(entry.size);
    if (entry.size > 0) await this.#readInto(entry.shardId, entry.offset, bytes);
    try {
      const { column, crc } = decodeStrings(bytes, elementCount(entry.shape));
      if (maskChecksum(crc) === entry.crc32c) return column;
    } catch (cause) {
      const where = `${this.dataFile(entry.shardId)}, byte ${entry.offset}`;
      throw new ServingError("CHECKPOINT_INVALID", `${where}: strings of "${entry.key}": ${(cause as Error).message}`, {
        cause,
      });
    }
    throw this.#mismatch(entry.key, entry);
  }

  async #readInto(shardId: number, offset: number, into: Uint8Array): Promise<void> {
    const file = this.#files.get(shardId);
    if (!file) throw new ServingError("CHECKPOINT_INVALID", `${basename(this.prefix)}: the reader is closed`);
    for (let filled = 0; filled < into.length; ) {
      const reading = file.read(into, filled, into.length - filled, offset + filled);
      const { bytesRead } = await readable(this.dataFile(shardId), reading);
      if (bytesRead === 0) {
        throw new ServingError(
          "CHECKPOINT_INVALID",
          `${this.dataFile(shardId)} ends at byte ${offset + filled}, while it is read`,
        );
      }
      filled += bytesRead;
    }
  }
}

/** @throws ServingError, see {@link unreadable} */
function readable<T>(path: string, done: Promise<T>): Promise<T> {
  return done.catch((cause: unknown) => {
    throw unreadable(path, cause, "CHECKPOINT_INVALID");
  });
}
