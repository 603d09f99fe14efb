import { type FileHandle, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clearField, create, onnx, toBinary } from "@shardserve/api";
import { ServingError, writeAt } from "@shardserve/core";
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
import type { DenseChanges, ExportSource, Remainder, SourceTensors, StoredPart } from "./export-source.js";
import { externalData, externalRange, OnnxTensors, storedPart, storedParts } from "./onnx-tensors.js";
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
    const parts = await storedParts(dir, model.graph, file);
    const initialisers: Initialiser[] = [];
    for (const tensor of model.graph.initializer) {
      const part = parts.get(tensor.name);
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
    const cut = tablesToInputs(model.graph, tables);
    const own = [...cut, ...tensorsOf(model)]
      .filter(isExternal)
      .map((tensor) => externalData(this.dir, tensor).location);
    await moveData(this.dir, model, file, dir, signal);
    await writeFile(join(dir, ONNX_MODEL_FILE), toBinary(onnx.ModelProtoSchema, model));
    await carryFiles(this.dir, dir, new Set([ONNX_MODEL_FILE, DATA_FILE, ...own]));
    for (const { bytes } of dense) progress.advance(bytes);
  }

  async changesSince(
    before: string,
    { tables, dense, signal }: Pick<Remainder, "tables" | "dense" | "signal">,
  ): Promise<DenseChanges> {
    const [was, is] = [await read(before, signal), await read(this.dir, signal)];
    tablesToInputs(is.model.graph, tables);
    await using then = new OnnxTensors(await storedParts(before, was.model.graph, was.bytes));
    await using now = new OnnxTensors(this.#parts);
    const [wasTensors, isTensors] = [initialisersOf(was.model.graph), initialisersOf(is.model.graph)];
    const changed: string[] = [];
    for (const { checkpointKey } of dense) {
      signal?.throwIfAborted();
      const [old, own] = [wasTensors.get(checkpointKey), isTensors.get(checkpointKey)];
      const isSame = old && own && isSameType(old, own) && (await now.isSame(own, then, old));
      if (!isSame) changed.push(checkpointKey);
    }
    return { tensors: changed, isGraphChanged: !withoutValues(was.model).equals(withoutValues(is.model)) };
  }
}

/** Puts inputs in the place of initialisers. @returns those */
function tablesToInputs(graph: onnx.GraphProto, tables: Remainder["tables"]): onnx.TensorProto[] {
  const names = new Set(tables.map(({ checkpointKey }) => checkpointKey));
  const cut = graph.initializer.filter(({ name }) => names.has(name));
  graph.initializer = graph.initializer.filter(({ name }) => !names.has(name));
  graph.input = [
    ...graph.input.filter(({ name }) => !names.has(name)),
    ...cut.map(({ name, dataType, dims }) =>
      tensorInfo(name, dataType, { shape: [-1, ...dims.slice(1).map(Number)], symbols: [`${name} rows`] }),
    ),
  ];
  return cut;
}

function initialisersOf({ initializer }: onnx.GraphProto): ReadonlyMap<string, onnx.TensorProto> {
  return new Map(initializer.map((tensor) => [tensor.name, tensor]));
}

function isSameType(a: onnx.TensorProto, b: onnx.TensorProto): boolean {
  return a.dataType === b.dataType && a.dims.join() === b.dims.join();
}

/** The bytes of a model that is not used any more, without the types and values of its initialisers. */
function withoutValues(model: onnx.ModelProto & { graph: onnx.GraphProto }): Buffer {
  model.graph.initializer = model.graph.initializer.map(({ name }) => create(onnx.TensorProtoSchema, { name }));
  return Buffer.from(toBinary(onnx.ModelProtoSchema, model));
}

/** The model, with its gathers where it can be cut. */
async function read(dir: string, signal: AbortSignal | undefined) {
  const bytes = await readOnnxFile(dir, signal);
  const model = decodeOnnxModel(bytes, join(dir, ONNX_MODEL_FILE));
  hoistGathers(model.graph);
  return { bytes, model };
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
      await writeAt(target, buffer.subarray(0, bytesRead), start + done);
      done += bytesRead;
    }
  } finally {
    await file.close();
  }
}
