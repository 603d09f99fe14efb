import { type FileHandle, open, realpath, stat, writeFile } from "node:fs/promises";
import { isAbsolute, join, normalize, relative, sep } from "node:path";
import { clearField, create, onnx, toBinary } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import {
  decodeOnnxModel,
  findOnnxTables,
  type FoundOnnxTable,
  hoistGathers,
  isExternal,
  ONNX_MODEL_FILE,
  readOnnxFile,
  tensorInfo,
  tensorsOf,
} from "@shardserve/onnx";
import { digestHex, fileDigest } from "@shardserve/rowstore";
import type { ExportSource, Remainder, SourceTensors, StoredPart } from "./export-source.js";
import { carryFiles } from "./saved-model-source.js";

/** External data of the remainder. */
const DATA_FILE = "model.onnx.data";
/** Where tensors begin in it, so that ONNX Runtime can map them. */
const ALIGNMENT = 4096;
/** Larger initialisers leave model.onnx: executors take it apart on the event loop, and map what is not in it. */
const INLINE_BYTES_MAX = 64 * 1024;
const COPY_BYTES = 4 * 2 ** 20;

interface Initialiser {
  readonly name: string;
  readonly bytes: number;
  /** Why it is no table. */
  readonly why: string;
}

/** An ONNX model: `model.onnx`, with its external data. */
export class OnnxSource implements ExportSource {
  readonly kind = "ONNX model";
  readonly dir: string;
  readonly tables: readonly FoundOnnxTable[];
  /** All initialisers of the graph. */
  readonly initialisers: readonly Initialiser[];
  /** Identifies the model's content. */
  readonly digest: string;
  readonly #parts: ReadonlyMap<string, StoredPart>;

  private constructor(
    dir: string,
    tables: readonly FoundOnnxTable[],
    initialisers: readonly Initialiser[],
    digest: string,
    parts: ReadonlyMap<string, StoredPart>,
  ) {
    this.dir = dir;
    this.tables = tables;
    this.initialisers = initialisers;
    this.digest = digest;
    this.#parts = parts;
  }

  /**
   * Reads the model and finds its tables.
   *
   * @throws ServingError GRAPH_INVALID, MODEL_TOO_LARGE; CHECKPOINT_INVALID when external data is not where the model says
   */
  static async open(dir: string, signal?: AbortSignal): Promise<OnnxSource> {
    const { bytes: file, model } = await read(dir, signal);
    const { tables, whole } = findOnnxTables(model.graph);
    const parts = new Map<string, StoredPart>();
    const initialisers: Initialiser[] = [];
    for (const tensor of model.graph.initializer) {
      const part = await storedPart(dir, tensor, file);
      if (part) parts.set(tensor.name, part);
      const bytes = part?.size ?? toBinary(onnx.TensorProtoSchema, tensor).length;
      initialisers.push({ name: tensor.name, bytes, why: whole.get(tensor.name) ?? "not looked up" });
    }
    for (const table of tables) {
      const size = parts.get(table.name)?.size;
      if (table.shardable !== true || size === table.bytes) continue;
      throw new ServingError(
        "CHECKPOINT_INVALID",
        `${dir}: the initialiser "${table.name}" has ${size ?? 0} bytes, its shape needs ${table.bytes}; export the model again`,
      );
    }
    return new OnnxSource(dir, tables, initialisers, await digestOf(dir, file, model, signal), parts);
  }

  async openTensors(): Promise<SourceTensors> {
    return new OnnxTensors(this.#parts);
  }

  /** The graph with the tables as inputs instead of initialisers; large and external ones in one file beside it. */
  async writeRemainder({ tables, dense, dir, progress, signal }: Remainder): Promise<void> {
    const { bytes: file, model } = await read(this.dir, signal);
    const names = new Set(tables.map(({ checkpointKey }) => checkpointKey));
    const { graph } = model;
    const cut = graph.initializer.filter(({ name }) => names.has(name));
    graph.initializer = graph.initializer.filter(({ name }) => !names.has(name));
    graph.input = [
      ...graph.input.filter(({ name }) => !names.has(name)),
      ...cut.map(({ name, dataType, dims }) =>
        tensorInfo(name, dataType, { shape: [-1, ...dims.slice(1).map(Number)], symbols: [`${name} rows`] }),
      ),
    ];
    const own = [...cut, ...tensorsOf(model)]
      .filter(isExternal)
      .map((tensor) => externalData(this.dir, tensor).location);
    await moveData(this.dir, model, file, dir, signal);
    await writeFile(join(dir, ONNX_MODEL_FILE), toBinary(onnx.ModelProtoSchema, model));
    await carryFiles(this.dir, dir, new Set([ONNX_MODEL_FILE, DATA_FILE, ...own]));
    for (const { bytes } of dense) progress.advance(bytes);
  }
}

/** The model, with its gathers where it can be cut. */
async function read(dir: string, signal: AbortSignal | undefined) {
  const bytes = await readOnnxFile(dir, signal);
  const model = decodeOnnxModel(bytes, join(dir, ONNX_MODEL_FILE));
  hoistGathers(model.graph);
  return { bytes, model };
}

/** Where an initialiser's raw bytes are; undefined when it has none. */
async function storedPart(dir: string, tensor: onnx.TensorProto, file: Uint8Array): Promise<StoredPart | undefined> {
  const { rawData } = tensor;
  const common = { byteStart: 0, crc32c: undefined };
  if (!isExternal(tensor)) {
    if (rawData.length === 0) return undefined;
    const offset = rawData.byteOffset - file.byteOffset; // a view of the file as it was read
    return { ...common, path: join(dir, ONNX_MODEL_FILE), offset, size: rawData.length };
  }
  const { path, offset, size } = await externalRange(dir, tensor);
  return { ...common, path, offset, size };
}

/** What an external tensor says of its place. @throws ServingError CHECKPOINT_INVALID */
function externalData(dir: string, tensor: onnx.TensorProto) {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const refuse = (why: string) =>
    new ServingError("CHECKPOINT_INVALID", `${join(dir, ONNX_MODEL_FILE)}: external data of "${tensor.name}": ${why}`);
  const location = normalize(entries.get("location") ?? "");
  if (location === "." || isAbsolute(location) || location.split(sep).includes(".."))
    throw refuse(`${JSON.stringify(entries.get("location") ?? "")} is no file of the directory`);
  const numberOf = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text === "" || !Number.isSafeInteger(value) || value < 0) throw refuse(`${key} is ${JSON.stringify(text)}`);
    return value;
  };
  return { location, offset: numberOf("offset") ?? 0, length: numberOf("length"), refuse };
}

/**
 * The range of a file that holds an external tensor, known to be there. Links may lead to it, but not out of the directory: what ONNX
 * Runtime refuses when it loads the model must not be read into partitions.
 */
async function externalRange(dir: string, tensor: onnx.TensorProto) {
  const { location, offset, length, refuse } = externalData(dir, tensor);
  const path = join(dir, location);
  const unreadable = (cause: unknown) => {
    throw new ServingError("CHECKPOINT_INVALID", `${path} cannot be read: ${(cause as Error).message}`, { cause });
  };
  const [resolved, allowed] = [await realpath(path).catch(unreadable), await realpath(dir).catch(unreadable)];
  if (relative(allowed, resolved).split(sep)[0] === "..")
    throw refuse(
      `External data path escapes model directory: ${JSON.stringify(location)} leads to ${resolved}; put the file into the directory`,
    );
  const { size: fileBytes } = await stat(path).catch(unreadable);
  const size = length ?? fileBytes - offset;
  if (size < 0 || offset + size > fileBytes)
    throw refuse(`it ends at byte ${offset + Math.max(size, 0)}, ${location} has ${fileBytes}; copy the file again`);
  return { path, offset, size };
}

/** Content of the model file and of every file that it refers to. */
async function digestOf(
  dir: string,
  bytes: Uint8Array,
  model: onnx.ModelProto,
  signal: AbortSignal | undefined,
): Promise<string> {
  const paths = new Set<string>();
  for (const tensor of tensorsOf(model)) if (isExternal(tensor)) paths.add((await externalRange(dir, tensor)).path);
  const digests = [digestHex(bytes)];
  for (const path of [...paths].sort()) digests.push(await fileDigest(path, signal ? { signal } : {}));
  return digestHex(Buffer.from(digests.join("")));
}

/** Copies large initialisers, and what is left of the external data, into one file, and has the model refer to it. */
async function moveData(
  source: string,
  model: onnx.ModelProto,
  file: Uint8Array,
  dir: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const large = model.graph!.initializer.filter(
    (tensor) => !isExternal(tensor) && tensor.rawData.length > INLINE_BYTES_MAX,
  );
  const moved = [...[...tensorsOf(model)].filter(isExternal), ...large];
  if (moved.length === 0) return;
  const target = await open(join(dir, DATA_FILE), "w");
  try {
    let end = 0;
    for (const tensor of moved) {
      const { path, offset, size } = (await storedPart(source, tensor, file))!;
      const start = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
      await copyRange(path, offset, size, target, start, signal);
      end = start + size;
      const entry = (key: string, value: string) => create(onnx.StringStringEntryProtoSchema, { key, value });
      tensor.externalData = [
        entry("location", DATA_FILE),
        entry("offset", String(start)),
        entry("length", String(size)),
      ];
      tensor.dataLocation = onnx.TensorProto_DataLocation.EXTERNAL;
      clearField(tensor, onnx.TensorProtoSchema.field.rawData);
    }
    await target.sync();
  } finally {
    await target.close();
  }
}

async function copyRange(
  path: string,
  offset: number,
  size: number,
  target: FileHandle,
  start: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await open(path);
  try {
    const buffer = new Uint8Array(Math.min(COPY_BYTES, size));
    for (let done = 0; done < size; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - done), offset + done);
      if (bytesRead === 0) throw new ServingError("CHECKPOINT_INVALID", `${path} ends while it is read`);
      for (let written = 0; written < bytesRead; ) {
        const result = await target.write(buffer, written, bytesRead - written, start + done + written);
        written += result.bytesWritten;
      }
      done += bytesRead;
    }
  } finally {
    await file.close();
  }
}

/** The raw bytes of initialisers. */
class OnnxTensors implements SourceTensors {
  readonly #parts: ReadonlyMap<string, StoredPart>;
  readonly #files = new Map<string, FileHandle>();

  constructor(parts: ReadonlyMap<string, StoredPart>) {
    this.#parts = parts;
  }

  parts(checkpointKey: string): readonly StoredPart[] {
    return [this.#part(checkpointKey)];
  }

  async readRange(checkpointKey: string, start: number, length: number): Promise<Uint8Array> {
    const { path, offset, size } = this.#part(checkpointKey);
    if (start + length > size)
      throw new ServingError("INVALID_ARGUMENT", `bytes ${start} to ${start + length} of "${checkpointKey}" exceed it`);
    let file = this.#files.get(path);
    if (!file) this.#files.set(path, (file = await open(path)));
    const out = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const { bytesRead } = await file.read(out, filled, length - filled, offset + start + filled);
      if (bytesRead === 0) throw new ServingError("CHECKPOINT_INVALID", `${path} ends while it is read`);
      filled += bytesRead;
    }
    return out;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.close()));
    this.#files.clear();
  }

  #part(checkpointKey: string): StoredPart {
    const part = this.#parts.get(checkpointKey);
    if (part) return part;
    throw new ServingError("CHECKPOINT_INVALID", `the model has no raw initialiser "${checkpointKey}"`);
  }
}
