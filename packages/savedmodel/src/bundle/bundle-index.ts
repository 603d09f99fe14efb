/** The decoded `variables.index` of a TensorBundle (tensorflow/core/util/tensor_bundle/tensor_bundle.cc). */
import { open } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import {
  type BundleEntryProto,
  BundleEntryProtoSchema,
  BundleHeaderProto_Endianness,
  BundleHeaderProtoSchema,
  fromBinary,
  type TensorSliceProto,
} from "@shardserve/api";
import { ServingError, unreadable } from "@shardserve/core";
import { type DType, DTYPES, dtypeFromTf, elementCount, isNumeric } from "@shardserve/tensor";
import { decodeSliceKey, isSliceKey } from "./ordered-code.js";
import { readTable } from "./table-reader.js";

/** Where bytes lie: `[offset, offset + size)` of data file `shardId`, with their masked crc32c. */
export interface StoredBytes {
  readonly shardId: number;
  readonly offset: number;
  readonly size: number;
  readonly crc32c: number;
}

/** A box of a partitioned variable: element `start` is its first, `shape` its extents. */
export interface BundleSlice extends StoredBytes {
  readonly start: readonly number[];
  readonly shape: readonly number[];
}

/** A tensor of a checkpoint. With `slices` the tensor itself has no bytes (size 0): they lie in the slices. */
export interface BundleEntry extends StoredBytes {
  readonly key: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Slices that fill the tensor, in row-major order of their starts. */
  readonly slices: readonly BundleSlice[] | undefined;
}

/** The index of a checkpoint: where each tensor's bytes are, by checkpoint key. */
export interface BundleIndex {
  readonly shardCount: number;
  readonly entries: ReadonlyMap<string, BundleEntry>;
}

/** An index of a million tensors has about 100 MB. */
const INDEX_BYTES_MAX = 2 ** 30;

/** @throws ServingError CHECKPOINT_INVALID or CHECKSUM_MISMATCH naming the file and the offset or key */
export async function readBundleIndex(path: string, signal?: AbortSignal): Promise<BundleIndex> {
  const bytes = await readIndexFile(path);
  const stored = new Map<string, BundleEntryProto>();
  const slices = new Map<string, SliceEntry[]>();
  let shardCount = 0;
  for await (const { key, value, offset } of readTable(path, bytes, signal)) {
    const at = `${path}, block at byte ${offset}`;
    if (key.length === 0) {
      shardCount = readHeader(at, value);
    } else if (isSliceKey(key)) {
      const { name, starts, lengths } = decodeSliceKey(key);
      const text = textOf(at, name);
      const list = slices.get(text) ?? [];
      list.push({ starts, lengths, proto: parse(at, () => fromBinary(BundleEntryProtoSchema, value)) });
      slices.set(text, list);
    } else {
      stored.set(
        textOf(at, key),
        parse(at, () => fromBinary(BundleEntryProtoSchema, value)),
      );
    }
  }
  if (shardCount === 0) throw invalid(path, "its header is missing");
  const entries = new Map<string, BundleEntry>();
  for (const [key, proto] of stored) {
    if (entries.size % 1000 === 999) await setImmediate();
    entries.set(key, toEntry(`${path}, tensor "${key}"`, key, proto, slices.get(key) ?? [], shardCount));
  }
  return { shardCount, entries };
}

interface SliceEntry {
  readonly starts: readonly number[];
  readonly lengths: readonly number[];
  readonly proto: BundleEntryProto;
}

async function readIndexFile(path: string): Promise<Uint8Array> {
  const file = await open(path).catch((cause: unknown) => {
    throw unreadable(path, cause, "CHECKPOINT_INVALID");
  });
  try {
    const { size } = await file.stat();
    if (size > INDEX_BYTES_MAX)
      throw invalid(path, `${size} bytes are too many for an index, ${INDEX_BYTES_MAX} the limit`);
    return await file.readFile();
  } catch (cause) {
    throw unreadable(path, cause, "CHECKPOINT_INVALID");
  } finally {
    await file.close();
  }
}

function readHeader(at: string, value: Uint8Array): number {
  const header = parse(at, () => fromBinary(BundleHeaderProtoSchema, value));
  if (header.endianness === BundleHeaderProto_Endianness.BIG) {
    throw invalid(at, "the checkpoint is big-endian, which is not read; save it on a little-endian machine");
  }
  // The writer of TensorFlow 2.21 is version 1, and so is the reader of every release.
  if ((header.version?.minConsumer ?? 0) > 1)
    throw invalid(at, `the checkpoint needs a reader of version ${header.version?.minConsumer}`);
  if (header.numShards < 1 || header.numShards > 99_999)
    throw invalid(at, `the header names ${header.numShards} data files`);
  return header.numShards;
}

function toEntry(
  at: string,
  key: string,
  proto: BundleEntryProto,
  candidates: readonly SliceEntry[],
  shardCount: number,
): BundleEntry {
  const dtype = parse(at, () => dtypeFromTf(proto.dtype));
  const shape = shapeOf(at, proto);
  if (proto.slices.length === 0) {
    return { key, dtype, shape, slices: undefined, ...storedBytes(at, proto, dtype, shape, shardCount) };
  }
  // In a key, a length of -1 stands for the whole dimension.
  const byBox = new Map(
    candidates.map(({ starts, lengths, proto }) => [
      `${starts.join()}:${lengths.map((length, i) => (length === -1 ? shape[i] : length)).join()}`,
      proto,
    ]),
  );
  const slices = proto.slices.map((slice): BundleSlice => {
    const { starts, lengths } = boxOf(at, slice, shape);
    const found = byBox.get(`${starts.join()}:${lengths.join()}`);
    if (!found) throw invalid(at, `slice ${starts.join(",")}:${lengths.join(",")} is missing`);
    return { start: starts, shape: lengths, ...storedBytes(at, found, dtype, lengths, shardCount) };
  });
  slices.sort((a, b) => compareNumbers(a.start, b.start));
  const covered = slices.reduce((sum, slice) => sum + elementCount(slice.shape), 0);
  if (covered !== elementCount(shape))
    throw invalid(at, `its slices hold ${covered} of ${elementCount(shape)} elements`);
  return { key, dtype, shape, slices, shardId: 0, offset: 0, size: 0, crc32c: 0 };
}

function shapeOf(at: string, proto: BundleEntryProto): number[] {
  const shape = (proto.shape?.dim ?? []).map((dim) => Number(dim.size));
  if (shape.some((dim) => dim < 0) || !(elementCount(shape) <= Number.MAX_SAFE_INTEGER / 16)) {
    throw invalid(at, `shape [${shape.join(",")}] is impossible`);
  }
  return shape;
}

function boxOf(at: string, slice: TensorSliceProto, shape: readonly number[]): { starts: number[]; lengths: number[] } {
  if (slice.extent.length !== shape.length) throw invalid(at, "a slice has another rank");
  const starts = slice.extent.map((extent) => (extent.hasLength.case ? Number(extent.start) : 0));
  const lengths = slice.extent.map((extent, i) => (extent.hasLength.case ? Number(extent.hasLength.value) : shape[i]!));
  const fits = starts.every((start, i) => start >= 0 && lengths[i]! >= 0 && start + lengths[i]! <= shape[i]!);
  if (!fits) throw invalid(at, `slice ${starts.join(",")}:${lengths.join(",")} exceeds shape [${shape.join(",")}]`);
  return { starts, lengths };
}

function storedBytes(
  at: string,
  proto: BundleEntryProto,
  dtype: DType,
  shape: readonly number[],
  shardCount: number,
): StoredBytes {
  const stored = {
    shardId: proto.shardId,
    offset: Number(proto.offset),
    size: Number(proto.size),
    crc32c: proto.crc32c,
  };
  if (stored.shardId < 0 || stored.shardId >= shardCount)
    throw invalid(at, `data file ${stored.shardId} of ${shardCount}`);
  if (stored.offset < 0 || stored.size < 0 || !Number.isSafeInteger(stored.offset + stored.size)) {
    throw invalid(at, `${stored.size} bytes at ${stored.offset}`);
  }
  if (isNumeric(dtype) && stored.size !== elementCount(shape) * DTYPES[dtype].bytes) {
    throw invalid(at, `${stored.size} bytes stored for ${dtype} of shape [${shape.join(",")}]`);
  }
  return stored;
}

function compareNumbers(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(at: string, key: Uint8Array): string {
  return parse(at, () => decoder.decode(key));
}

function parse<T>(at: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new ServingError("CHECKPOINT_INVALID", `${at}: ${(cause as Error).message}`, { cause });
  }
}

function invalid(at: string, what: string): ServingError {
  return new ServingError("CHECKPOINT_INVALID", `${at}: ${what}`);
}
