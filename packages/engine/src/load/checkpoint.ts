import { basename, dirname, join } from "node:path";
import { invariant, ServingError } from "@shardserve/core";
import type { CheckpointTensor } from "@shardserve/graph";
import { type LoadThread, type MappedFile, mapFile, type NativeMemory } from "@shardserve/native";
import { type FileRange as ModelRange, permuteBytesInTurns, type Weight } from "@shardserve/onnx";
import { LocalRows, type RowSource, storedRowBytes } from "@shardserve/rowstore";
import type { PlannedTable } from "@shardserve/graph";
import { BundleReader } from "@shardserve/savedmodel";
import {
  bytesOf,
  DTYPES,
  dtypeInfo,
  elementCount,
  isNumeric,
  type NumericData,
  type NumericDType,
  type Tensor,
} from "@shardserve/tensor";
import type { LoadPace } from "./options.js";

/** Smaller weights are written into the model: a mapping of a page each would cost more. */
const MAPPED_BYTES_MIN = 4096;

/** A lookup's ids are int32 slots into a table in one piece. */
const LOCAL_ROWS_MAX = 2 ** 31 - 1;

/** The box `[start, start + length)` of a variable: one part of a partitioned one. */
export interface VariableBox {
  readonly start: readonly number[];
  readonly length: readonly number[];
}

export interface CheckpointOptions {
  readonly rowSource: RowSource | undefined;
  /** Compares checksums while requests are answered. */
  readonly loadThread: LoadThread;
  readonly pace: LoadPace | undefined;
}

/** The variables of a loaded model: read for the host, placed for the engine, mapped as local tables. */
export class Checkpoint {
  /** dtype and shape of every variable by checkpoint key, those of sharded tables included. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor & { readonly size: number; readonly crc32c: number }>;
  readonly reader: BundleReader | undefined;
  readonly #values = new Map<string, Promise<Tensor>>();
  readonly #localRows = new LocalRows();
  /** Indexes of mapped tables by checkpoint key. */
  readonly #tables = new Map<string, number>();
  /** Mapped data files by path. */
  readonly #files = new Map<string, MappedFile>();
  /** Keys whose bytes are used where they lie, with the comparison of their checksum once it was begun. */
  readonly #inPlace = new Map<string, Promise<void> | undefined>();
  readonly #loadThread: LoadThread;
  readonly #pace: LoadPace | undefined;
  readonly #pause = async (): Promise<void> => this.#pace?.pause();

  private constructor(reader: BundleReader | undefined, { rowSource, loadThread, pace }: CheckpointOptions) {
    this.reader = reader;
    this.#loadThread = loadThread;
    this.#pace = pace;
    const tensors = new Map<string, CheckpointTensor & { size: number; crc32c: number }>(reader?.entries);
    for (const { checkpointKey, dtype, rows, rowShape, rowBytes } of rowSource?.tables ?? []) {
      if (tensors.has(checkpointKey)) continue;
      tensors.set(checkpointKey, { dtype, shape: [rows, ...rowShape], size: rows * rowBytes, crc32c: 0 });
    }
    this.tensors = tensors;
  }

  /** @param prefix  `DIR/variables/variables`; undefined for a model without variables */
  static async open(
    prefix: string | undefined,
    options: CheckpointOptions & { readonly signal?: AbortSignal | undefined },
  ): Promise<Checkpoint> {
    const { signal } = options;
    const reader = prefix === undefined ? undefined : await BundleReader.open(prefix, { ...(signal && { signal }) });
    return new Checkpoint(reader, options);
  }

  /** Folder that the ranges of {@link place} are relative to. */
  get folder(): string | undefined {
    return this.reader && dirname(this.reader.prefix);
  }

  /** A variable, or one part of it, as a host value. */
  read(key: string, slice?: VariableBox): Promise<Tensor> {
    if (slice) return this.read(key).then((whole) => part(whole, slice));
    let value = this.#values.get(key);
    if (!value) this.#values.set(key, (value = this.#need(key).read(key, { pause: this.#pause })));
    return value;
  }

  /** As {@link read}, for a value that nobody reads twice: it is not kept. */
  async readOnce(key: string, slice?: VariableBox): Promise<Tensor> {
    const whole = await this.#need(key).read(key, { bytesMax: Number.POSITIVE_INFINITY, pause: this.#pause });
    return slice ? part(whole, slice) : whole;
  }

  /** A variable in the mapped checkpoint file; undefined where it is not in one piece there, or not worth a mapping. */
  mapped(
    key: string,
    slice?: VariableBox,
  ): { readonly dtype: NumericDType; readonly shape: readonly number[]; readonly memory: NativeMemory } | undefined {
    const { dtype, shape } = this.tensors.get(key) ?? {};
    if (dtype === undefined || shape === undefined || !isNumeric(dtype)) return undefined;
    const boxShape = slice?.length ?? shape;
    if (elementCount(boxShape) * DTYPES[dtype].bytes < MAPPED_BYTES_MIN) return undefined;
    const range = this.#range(key, slice);
    if (!range) return undefined;
    const path = join(this.folder!, range.location);
    let file = this.#files.get(path);
    if (!file) this.#files.set(path, (file = mapFile(path)));
    this.#useInPlace(key);
    return { dtype, shape: boxShape, memory: file.memory.part(range.offset, range.length) };
  }

  /** Where the bytes of an engine weight are: in the checkpoint file as they stand, if they can be, else here. */
  async place(weight: Weight): Promise<Uint8Array | ModelRange> {
    const { source, sourceShape, dtype, permutation } = weight;
    const { bytes: elementBytes } = dtypeInfo(dtype);
    const permuted = async (bytes: Uint8Array) =>
      permutation ? permuteBytesInTurns(bytes, elementBytes, sourceShape, permutation, this.#pause) : bytes;
    if (source.kind === "tensor") return permuted(bytesOf(source.tensor.data as NumericData));
    const length = elementCount(sourceShape) * elementBytes;
    const range =
      permutation || length < MAPPED_BYTES_MIN ? undefined : this.#range(source.checkpointKey, source.slice);
    if (range && source.kind === "variable") {
      this.#useInPlace(source.checkpointKey);
      return range;
    }
    const value = await this.read(source.checkpointKey, source.slice);
    this.#values.clear(); // the model holds what it was given, plans hold what they need
    return permuted(bytesOf(value.data as NumericData));
  }

  /** True when {@link table} can serve rows of the table. */
  hasLocalTable(table: PlannedTable): boolean {
    if (!this.reader?.entries.has(table.checkpointKey) || !isNumeric(table.dtype)) return false;
    return table.rows <= LOCAL_ROWS_MAX && table.rows > 0 && this.reader.ranges(table.checkpointKey)?.length === 1;
  }

  /** Where rows of a table come from: one source has the mapped tables of the checkpoint, so that a run asks once for all. */
  table({ checkpointKey, name, rows, rowShape, dtype }: PlannedTable): { source: LocalRows; table: number } {
    let table = this.#tables.get(checkpointKey);
    if (table === undefined) {
      const range = this.#need(checkpointKey).ranges(checkpointKey)?.[0];
      invariant(range && isNumeric(dtype), `${checkpointKey} is no local table`);
      const dim = elementCount(rowShape);
      const rowBytes = storedRowBytes("same", dtype, dim);
      const info = { name, checkpointKey, rows, rowShape, dim, dtype, rowDtype: "same" as const, rowBytes };
      table = this.#localRows.add({ info, path: range.path, offset: range.offset });
      this.#tables.set(checkpointKey, table);
      this.#useInPlace(checkpointKey);
    }
    return { source: this.#localRows, table };
  }

  /**
   * Compares the checksums of what is used in place, each once, by reading it; TensorFlow does so when it restores. What is
   * mapped lies in the page cache then.
   *
   * @throws ServingError CHECKSUM_MISMATCH naming file, bytes and tensor; the signal's reason
   */
  async verifyInPlace(signal?: AbortSignal): Promise<void> {
    for (const [key, begun] of this.#inPlace) {
      const comparison = begun ?? this.#compare(key, signal);
      this.#inPlace.set(key, comparison);
      await comparison;
    }
  }

  async close(): Promise<void> {
    await this.#localRows.close();
    this.#tables.clear();
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
    this.#values.clear();
    await this.reader?.close();
  }

  #useInPlace(key: string): void {
    if (!this.#inPlace.has(key)) this.#inPlace.set(key, undefined);
  }

  async #compare(key: string, signal: AbortSignal | undefined): Promise<void> {
    const reader = this.#need(key);
    const isBusy = () => this.#pace?.isBusy ?? false;
    if (!isBusy()) {
      const chunks = reader.stream(key, { ...(signal && { signal }) });
      while (!isBusy()) if ((await chunks.next()).done) return; // the stream compares at its end
      await chunks.return(undefined);
    }
    await reader.verifyWith(key, (...bytes) => this.#loadThread.checksumOf(...bytes), signal);
  }

  #need(key: string): BundleReader {
    if (this.reader?.entries.has(key)) return this.reader;
    throw new ServingError(
      "CHECKPOINT_INVALID",
      `the checkpoint has no tensor "${key}"; an exported version keeps its tables in partitions/ and needs its shards`,
    );
  }

  #range(key: string, slice: VariableBox | undefined) {
    const ranges = this.#need(key).ranges(key);
    const { shape, dtype } = this.tensors.get(key)!;
    if (!ranges) return undefined;
    const rowBytes = elementCount(shape.slice(1)) * DTYPES[dtype].bytes;
    let start = 0;
    let length = elementCount(shape) * DTYPES[dtype].bytes;
    if (slice) {
      if (slice.length.some((count, axis) => axis > 0 && count !== shape[axis])) return undefined;
      start = slice.start[0]! * rowBytes;
      length = slice.length[0]! * rowBytes;
    }
    const holder = ranges.find(({ byteStart, size }) => byteStart <= start && start + length <= byteStart + size);
    if (!holder) return undefined;
    return {
      kind: "file" as const,
      location: basename(holder.path),
      offset: holder.offset + start - holder.byteStart,
      length,
    };
  }
}

/** The box of a tensor that a slice names. */
function part(whole: Tensor, slice: VariableBox): Tensor {
  const { bytes: elementBytes } = dtypeInfo(whole.dtype);
  const source = bytesOf(whole.data as NumericData);
  const result = new Uint8Array(elementCount(slice.length) * elementBytes);
  const runLength = (slice.length.at(-1) ?? 1) * elementBytes;
  const runs = runLength === 0 ? 0 : result.length / runLength;
  const outer = slice.length.slice(0, -1);
  for (let run = 0; run < runs; run++) {
    let rest = run;
    let from = slice.start.at(-1) ?? 0;
    let stride = whole.shape.at(-1) ?? 1;
    for (let axis = outer.length - 1; axis >= 0; axis--) {
      from += (slice.start[axis]! + (rest % outer[axis]!)) * stride;
      rest = Math.floor(rest / outer[axis]!);
      stride *= whole.shape[axis]!;
    }
    result.set(source.subarray(from * elementBytes, from * elementBytes + runLength), run * runLength);
  }
  const data = new (whole.data.constructor as new (buffer: ArrayBufferLike) => NumericData)(result.buffer);
  return { dtype: whole.dtype, shape: slice.length, data: data as never };
}
