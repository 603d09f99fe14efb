import { type FileHandle, mkdir, open, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import {
  BundleEntryProtoSchema,
  BundleHeaderProtoSchema,
  create,
  type MessageInitShape,
  TensorSliceProto_ExtentSchema,
  TensorSliceProtoSchema,
  type TensorSliceProto_Extent,
  toBinary,
} from "@shardserve/api";
import { invariant, isOutOfRoom, ServingError } from "@shardserve/core";
import {
  bytesOf,
  type DType,
  DTYPES,
  elementCount,
  type NumericData,
  type StringColumn,
  type Tensor,
} from "@shardserve/tensor";
import type { StoredBytes } from "./bundle-index.js";
import type { BundleReader } from "./bundle-reader.js";
import { checksum, maskChecksum } from "./checksum.js";
import { encodeSliceKey } from "./ordered-code.js";
import { encodeStrings } from "./string-tensor.js";
import { TableWriter, type TableWriterOptions } from "./table-writer.js";

/** A tensor's bytes, row-major and little-endian, whole or in chunks. A chunk is not kept after the next is asked for. */
export type TensorSource = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Of a new checkpoint. */
export interface BundleWriterOptions {
  /** Number of data files, default 1. */
  readonly shardCount?: number;
  /** Layout of the index; the defaults are TensorFlow's. */
  readonly table?: TableWriterOptions;
}

/** Of one tensor that is added. */
export interface AddOptions {
  /** Data file that takes the bytes; default the one with the fewest. Tensors of one file are added one after another. */
  readonly shardId?: number;
  readonly signal?: AbortSignal;
  /** Told of every chunk written. */
  readonly onBytes?: (byteCount: number) => void;
}

type EntryInit = MessageInitShape<typeof BundleEntryProtoSchema>;

/**
 * Writes a checkpoint that TensorFlow's BundleReader restores: data files as tensors come, the index at the end, so that
 * an interrupted write leaves no checkpoint. Nothing is overwritten. Memory: the index.
 */
export class BundleWriter {
  readonly #prefix: string;
  readonly #options: BundleWriterOptions;
  readonly #shards: Shard[] = [];
  readonly #entries = new Map<string, EntryInit>();
  readonly #sliceEntries: { key: Uint8Array; entry: EntryInit }[] = [];

  private constructor(prefix: string, options: BundleWriterOptions) {
    this.#prefix = prefix;
    this.#options = options;
  }

  /**
   * @param prefix  `DIR/variables/variables`; DIR is created
   * @throws ServingError OUTPUT_EXISTS when a data file is there already
   */
  static async create(prefix: string, options: BundleWriterOptions = {}): Promise<BundleWriter> {
    const writer = new BundleWriter(prefix, options);
    const count = options.shardCount ?? 1;
    await mkdir(dirname(prefix), { recursive: true });
    const pad = (value: number) => String(value).padStart(5, "0");
    for (let id = 0; id < count; id++)
      writer.#shards.push(await Shard.create(id, `${prefix}.data-${pad(id)}-of-${pad(count)}`));
    return writer;
  }

  /** Adds a numeric tensor. The source must give exactly as many bytes as dtype and shape need. */
  async add(
    key: string,
    dtype: DType,
    shape: readonly number[],
    source: TensorSource,
    options: AddOptions = {},
  ): Promise<void> {
    this.#checkNew(key);
    const stored = await this.#write(dtype, shape, source, options);
    this.#entries.set(key, entryOf(dtype, shape, stored));
  }

  async addTensor(key: string, value: Tensor, options: AddOptions = {}): Promise<void> {
    if (value.dtype === "string") return this.addStrings(key, value.shape, value.data as StringColumn, options);
    return this.add(key, value.dtype, value.shape, bytesOf(value.data as NumericData), options);
  }

  async addStrings(
    key: string,
    shape: readonly number[],
    column: StringColumn,
    options: AddOptions = {},
  ): Promise<void> {
    this.#checkNew(key);
    invariant(column.length === elementCount(shape), `${column.length} strings for shape [${shape.join(",")}]`);
    const { head, data, crc } = encodeStrings(column);
    const shard = this.#shard(options);
    const stored = await shard.append([head, data], options);
    this.#entries.set(key, entryOf("string", shape, { ...stored, crc32c: maskChecksum(crc) }));
  }

  /**
   * Adds a box of a partitioned tensor. All slices of a tensor together must fill it, without overlap.
   *
   * @param fullShape  shape of the whole tensor, the same for all its slices
   */
  async addSlice(
    key: string,
    dtype: DType,
    fullShape: readonly number[],
    slice: { readonly start: readonly number[]; readonly shape: readonly number[] },
    source: TensorSource,
    options: AddOptions = {},
  ): Promise<void> {
    const whole = this.#entries.get(key) ?? { ...entryOf(dtype, fullShape, undefined), slices: [] };
    invariant(whole.slices, `tensor "${key}" was added whole`);
    this.#entries.set(key, whole);
    const stored = await this.#write(dtype, slice.shape, source, options);
    const isWhole = slice.start.map((start, dim) => start === 0 && slice.shape[dim] === fullShape[dim]);
    const box = create(TensorSliceProtoSchema, {
      extent: slice.start.map((start, dim) => extentOf(start, slice.shape[dim]!, isWhole[dim]!)),
    });
    whole.slices.push(box);
    const lengths = slice.shape.map((length, dim) => (isWhole[dim] ? -1 : length)); // -1: the whole dimension
    const sliceKey = encodeSliceKey({ name: Buffer.from(key), starts: slice.start, lengths });
    this.#sliceEntries.push({ key: sliceKey, entry: entryOf(dtype, slice.shape, stored) });
  }

  /** Copies a tensor from another checkpoint, sliced as it is there, verifying its checksum on the way. */
  async copy(reader: BundleReader, key: string, options: AddOptions = {}): Promise<void> {
    const { dtype, shape, slices } = reader.entry(key);
    if (dtype === "string") return this.addTensor(key, await reader.read(key, options), options);
    if (!slices) return this.add(key, dtype, shape, reader.stream(key, options), options);
    for (const slice of slices) {
      await this.addSlice(key, dtype, shape, slice, reader.streamStored(key, slice, options), options);
    }
  }

  /** Closes the data files and writes the index. */
  async finish(): Promise<void> {
    for (const shard of this.#shards) await shard.close();
    const header = create(BundleHeaderProtoSchema, { numShards: this.#shards.length, version: { producer: 1 } });
    const rows = [...this.#entries].map(([key, entry]) => ({ key: Buffer.from(key) as Uint8Array, entry }));
    rows.push(...this.#sliceEntries);
    rows.sort((a, b) => Buffer.compare(a.key, b.key));
    const table = new TableWriter(this.#options.table);
    table.add(new Uint8Array(), toBinary(BundleHeaderProtoSchema, header));
    for (const { key, entry } of rows)
      table.add(key, toBinary(BundleEntryProtoSchema, create(BundleEntryProtoSchema, entry)));
    await writeFile(`${this.#prefix}.index`, table.finish(), { flag: "wx" }).catch(rethrow(`${this.#prefix}.index`));
  }

  /** Gives up: closes and deletes the data files. */
  async abort(): Promise<void> {
    for (const shard of this.#shards) await shard.remove();
  }

  #checkNew(key: string): void {
    invariant(!this.#entries.has(key), `tensor "${key}" is added twice`);
    invariant(key !== "" && !key.startsWith("\0"), "a checkpoint key is empty or starts with a zero byte");
  }

  #shard(options: AddOptions): Shard {
    if (options.shardId !== undefined) return this.#shards[options.shardId]!;
    return this.#shards.reduce((least, shard) => (shard.byteLength < least.byteLength ? shard : least));
  }

  async #write(
    dtype: DType,
    shape: readonly number[],
    source: TensorSource,
    options: AddOptions,
  ): Promise<StoredBytes> {
    const stored = await this.#shard(options).append(source instanceof Uint8Array ? [source] : source, options);
    const needed = elementCount(shape) * DTYPES[dtype].bytes;
    invariant(
      stored.size === needed,
      `${stored.size} bytes for ${dtype} of shape [${shape.join(",")}], ${needed} needed`,
    );
    return stored;
  }
}

/** One data file, written from front to back. */
class Shard {
  readonly #id: number;
  readonly #path: string;
  readonly #file: FileHandle;
  #isBusy = false;
  byteLength = 0;

  private constructor(id: number, path: string, file: FileHandle) {
    this.#id = id;
    this.#path = path;
    this.#file = file;
  }

  static async create(id: number, path: string): Promise<Shard> {
    return new Shard(id, path, await open(path, "wx").catch(rethrow(path)));
  }

  async append(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>, options: AddOptions): Promise<StoredBytes> {
    invariant(!this.#isBusy, `two tensors are written to ${this.#path} at once`);
    this.#isBusy = true;
    const offset = this.byteLength;
    let crc = 0;
    for await (const chunk of source) {
      options.signal?.throwIfAborted();
      crc = checksum(chunk, crc);
      await this.#write(chunk);
      options.onBytes?.(chunk.length);
    }
    this.#isBusy = false;
    return { shardId: this.#id, offset, size: this.byteLength - offset, crc32c: maskChecksum(crc) };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async remove(): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }

  async #write(chunk: Uint8Array): Promise<void> {
    for (let written = 0; written < chunk.length; ) {
      const { bytesWritten } = await this.#file
        .write(chunk, written, chunk.length - written)
        .catch(rethrow(this.#path));
      written += bytesWritten;
      this.byteLength += bytesWritten;
    }
  }
}

function entryOf(
  dtype: DType,
  shape: readonly number[],
  stored: StoredBytes | undefined,
): EntryInit & { slices?: NonNullable<EntryInit["slices"]> } {
  return {
    dtype: DTYPES[dtype].tf,
    shape: { dim: shape.map((size) => ({ size: BigInt(size) })) },
    ...(stored && {
      shardId: stored.shardId,
      offset: BigInt(stored.offset),
      size: BigInt(stored.size),
      crc32c: stored.crc32c,
    }),
  };
}

/** An extent without a length stands for the whole dimension. */
function extentOf(start: number, length: number, isWhole: boolean): TensorSliceProto_Extent {
  if (isWhole) return create(TensorSliceProto_ExtentSchema);
  return create(TensorSliceProto_ExtentSchema, {
    start: BigInt(start),
    hasLength: { case: "length", value: BigInt(length) },
  });
}

function rethrow(path: string): (cause: unknown) => never {
  return (cause) => {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST")
      throw new ServingError("OUTPUT_EXISTS", `${path} exists; write to another directory`, { cause });
    if (isOutOfRoom(cause)) throw new ServingError("DISK_FULL", `${path}: the disk is full`, { cause });
    throw new ServingError("INTERNAL", `${path} cannot be written: ${message}`, { cause });
  };
}
