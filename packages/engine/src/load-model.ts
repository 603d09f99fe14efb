import { access } from "node:fs/promises";
import { join } from "node:path";
import type { MetaGraphDef } from "@shardserve/api";
import { Semaphore, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { type CheckpointTensor, importModel, readSignatures, type ModelGraph, wholeGraph } from "@shardserve/graph";
import { hostKernels } from "@shardserve/host-ops";
import { returnFreedMemory, type TensorFlow } from "@shardserve/native";
import { hasOnnxModel } from "@shardserve/onnx";
import { MANIFEST_FILE } from "@shardserve/rowstore";
import {
  assets,
  type Bindings,
  initOp,
  objectKeys,
  readSavedModel,
  type SavedModel,
  selectMetaGraph,
  variableBindings,
} from "@shardserve/savedmodel";
import type { RunOptions, RunResult, SignatureInfo } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { Checkpoint } from "./checkpoint.js";
import type { Device } from "./device.js";
import { loadOnnxModel } from "./onnx-model.js";
import { DEFAULT_LIMITS, type EngineModel, type LoadModelOptions, type ModelEngine } from "./options.js";
import { OrtDevice } from "./ort-device.js";
import { SegmentedModel } from "./segmented-model.js";
import { signatureInfos, signatureMetadata, withGraphDTypes } from "./signature-info.js";
import { TfDevice } from "./tf-device.js";
import { WholeModel, wholeObstacles } from "./whole-model.js";

/**
 * Loads a version directory. An ONNX model: see loadOnnxModel. A SavedModel: reads it, picks an engine, restores its variables, runs the init op.
 *
 * On ONNX Runtime, and on TensorFlow where tables are sharded, every signature is compiled to a plan of host steps, lookups
 * and device steps. The same plans are made whether rows come from shards or from this machine, so both give the same
 * bits. On TensorFlow a model whose tables are all here runs as it stands.
 *
 * A signature with an op that nothing here can run answers UNIMPLEMENTED; when all are like that, the load fails.
 *
 * @throws ServingError SAVED_MODEL_INVALID, CHECKPOINT_INVALID, GRAPH_INVALID, OP_UNSUPPORTED; DEPENDENCY_MISSING when an
 *   engine is wanted that is not there; the signal's reason
 */
export async function loadModel(options: LoadModelOptions): Promise<EngineModel> {
  try {
    return (await hasOnnxModel(options.dir)) ? await loadOnnxModel(options) : await loadSavedModel(options);
  } finally {
    await returnFreedMemory();
  }
}

async function loadSavedModel(options: LoadModelOptions): Promise<EngineModel> {
  const loader = new Loader(options);
  try {
    return await loader.load();
  } catch (error) {
    await loader.close();
    throw error;
  }
}

/** What {@link loadModel} would load the model on, and what it could not serve. */
export interface EnginePlan {
  readonly engine: ModelEngine;
  /** Signatures that cannot be served, with the reason. */
  readonly broken: ReadonlyMap<string, string>;
}

/** Picks the engine as {@link loadModel} does, and loads nothing. @throws ServingError as loadModel */
export async function chooseEngine(options: LoadModelOptions): Promise<EnginePlan> {
  const loader = new Loader(options);
  try {
    const { engine, candidate } = await loader.choose();
    return { engine, broken: candidate.broken };
  } finally {
    await loader.close();
  }
}

interface Runner {
  run(inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult>;
}

/** One way to serve the model, found out before anything is opened. */
interface Candidate {
  readonly engine: Omit<ModelEngine, "why">;
  readonly signatures: ModelGraph["signatures"];
  /** Signatures that cannot be served this way, with the reason. */
  readonly broken: ReadonlyMap<string, string>;
  load(): Promise<ReadonlyMap<string, Runner>>;
  close(): Promise<void>;
}

class Loader {
  readonly #options: LoadModelOptions;
  #checkpoint: Checkpoint | undefined;
  #candidate: Candidate | undefined;

  constructor(options: LoadModelOptions) {
    this.#options = options;
  }

  /** Reads the model and picks the way to serve it. */
  async choose(): Promise<{ engine: ModelEngine; candidate: Candidate; metaGraph: MetaGraphDef }> {
    const { dir, tags, rowSource, ort, pace, signal } = this.#options;
    const savedModel = await readSavedModel(dir, { ...(signal && { signal }) });
    await pace?.pause();
    const metaGraph = selectMetaGraph(savedModel, tags);
    this.#checkpoint = await Checkpoint.open(savedModel.variablesPrefix, {
      rowSource,
      loadThread: ort.loadThread,
      pace,
      signal,
    });
    const bindings = await this.#bindings(savedModel, metaGraph, this.#checkpoint);
    await pace?.pause();
    const source = new Source(this.#options, savedModel, metaGraph, this.#checkpoint, bindings);
    const { candidate, why } = await choose(this.#options, source);
    this.#candidate = candidate;
    return { engine: { ...candidate.engine, why }, candidate, metaGraph };
  }

  async load(): Promise<EngineModel> {
    const { dir, signal, logger = silentLogger } = this.#options;
    const { engine, candidate, metaGraph } = await this.choose();
    const { signatures, broken } = candidate;
    if (broken.size > 0 && [...signatures.keys()].every((name) => broken.has(name))) {
      throw new ServingError(
        "OP_UNSUPPORTED",
        `no signature of ${dir} can be served: ${[...broken.values()].join("; ")}`,
      );
    }
    for (const [name, reason] of broken) logger.warn({ signature: name, dir }, `signature cannot be served: ${reason}`);
    const runners = await candidate.load();
    signal?.throwIfAborted();
    logger.info({ dir, engine }, `loaded on ${engine.library}, ${engine.device}, ${engine.form}: ${engine.why}`);
    return new LoadedModel({
      engine,
      signatures: signatureInfos(metaGraph, signatures),
      metadata: signatureMetadata(metaGraph),
      runners,
      broken,
      release: () => this.close(),
    });
  }

  async close(): Promise<void> {
    await this.#candidate?.close();
    await this.#checkpoint?.close();
    await this.#options.rowSource?.close();
  }

  async #bindings(
    savedModel: SavedModel,
    metaGraph: Parameters<typeof variableBindings>[0],
    checkpoint: Checkpoint,
  ): Promise<Bindings> {
    if (savedModel.variablesPrefix === undefined || !checkpoint.reader) {
      return { variables: new Map(), tables: new Map(), ensembles: new Map(), unbound: [] };
    }
    const { signal } = this.#options;
    const keys = await objectKeys(metaGraph, checkpoint.reader, { ...(signal && { signal }) });
    const isExported = this.#options.rowSource !== undefined || (await hasManifest(savedModel.dir));
    return variableBindings(metaGraph, isExported ? new LeftOut(checkpoint.tensors) : checkpoint.tensors, keys);
  }
}

/**
 * The way that is wanted, or the first that serves every signature; when none does, the first one.
 *
 * @throws ServingError DEPENDENCY_MISSING when TensorFlow is wanted and not there
 */
async function choose(
  { engine = "auto", ort, tensorFlow }: LoadModelOptions,
  source: Source,
): Promise<{ readonly candidate: Candidate; readonly why: string }> {
  if (engine === "onnxruntime") return { candidate: await source.onOnnxRuntime(), why: "it was asked for" };
  if (engine === "tensorflow") {
    if (tensorFlow) return { candidate: await source.onTensorFlow(tensorFlow), why: "it was asked for" };
    throw new ServingError(
      "DEPENDENCY_MISSING",
      "engine tensorflow was asked for and there is no libtensorflow: name its folder, or install @tensorflow/tfjs-node-gpu",
    );
  }
  if (!tensorFlow) return { candidate: await source.onOnnxRuntime(), why: "there is no libtensorflow" };
  const ways = [() => source.onOnnxRuntime(), () => source.onTensorFlow(tensorFlow)] as const;
  const [prefer, otherwise] = tensorFlow.hasGpu ? [ways[1], ways[0]] : ways;
  const first = await prefer();
  const without = ort.gpu ? `ONNX Runtime has a GPU (${ort.gpu.provider})` : "TensorFlow has no GPU";
  const why = tensorFlow.hasGpu ? "TensorFlow has a GPU" : without;
  const [problem] = [...first.broken].filter(([name]) => first.signatures.has(name));
  if (!problem) return { candidate: first, why };
  const second = await otherwise();
  if ([...first.broken.keys()].some((name) => second.broken.has(name))) {
    await second.close();
    return { candidate: first, why };
  }
  await first.close();
  return { candidate: second, why: `${first.engine.library} lacks something: ${problem[1]}` };
}

/** A SavedModel that was read, and the ways to serve it. */
class Source {
  readonly #options: LoadModelOptions;
  readonly #metaGraph: MetaGraphDef;
  readonly #checkpoint: Checkpoint;
  readonly #bindings: Bindings;
  readonly #assets: ReadonlyMap<string, string>;
  #model: ModelGraph | undefined;

  constructor(
    options: LoadModelOptions,
    savedModel: SavedModel,
    metaGraph: MetaGraphDef,
    checkpoint: Checkpoint,
    bindings: Bindings,
  ) {
    this.#options = options;
    this.#metaGraph = metaGraph;
    this.#checkpoint = checkpoint;
    this.#bindings = bindings;
    this.#assets = new Map(assets(savedModel, metaGraph).map(({ tensorName, path }) => [tensorName, path]));
  }

  async onOnnxRuntime(): Promise<Candidate> {
    const { ort, pace } = this.#options;
    const device = ort.gpu ? "gpu" : "cpu";
    const engine = { name: "onnxruntime", library: `ONNX Runtime ${ort.version}`, device } as const;
    return this.#segmented(engine, new OrtDevice(ort, this.#checkpoint, pace));
  }

  /**
   * As it stands where that can be, else in segments: rows of shards come in at cuts, the host helps with ops that
   * TensorFlow has dropped, and what requests change is kept there, so that its order does not hang on threads.
   */
  async onTensorFlow(tensorFlow: TensorFlow): Promise<Candidate> {
    const engine = {
      name: "tensorflow",
      library: `TensorFlow ${tensorFlow.version}`,
      device: tensorFlow.hasGpu ? "gpu" : "cpu",
    } as const;
    const whole = this.#options.rowSource ? undefined : this.#whole(engine, tensorFlow);
    if (whole && !whole.changesState) return whole;
    const segments = await this.#segmented(engine, new TfDevice(tensorFlow, this.#checkpoint));
    if (!whole || segments.broken.size <= whole.broken.size) return segments;
    await segments.close();
    return whole;
  }

  /** undefined when TensorFlow cannot run the graph as it stands. */
  #whole(
    engine: Omit<ModelEngine, "why" | "form">,
    tensorFlow: TensorFlow,
  ): (Candidate & { readonly changesState: boolean }) | undefined {
    const { clock = systemClock, signal } = this.#options;
    const limits = this.#limits;
    const { signatures, broken } = readSignatures(withGraphDTypes(this.#metaGraph));
    const graph = wholeGraph(this.#metaGraph, {
      signatures: signatures.values(),
      initOp: initOp(this.#metaGraph),
      assets: this.#assets,
      variables: this.#bindings.variables,
      tables: this.#bindings.tables,
    });
    if (wholeObstacles(graph, tensorFlow).length > 0) return undefined;
    let model: WholeModel | undefined;
    return {
      engine: { ...engine, form: "whole" },
      changesState: graph.writes.size > 0,
      signatures,
      broken,
      load: async () => {
        const opened = await WholeModel.open(graph, tensorFlow, this.#checkpoint, signal);
        model = opened;
        const context = {
          clock,
          runs: new Semaphore(limits.concurrentRuns, limits.waitingRuns),
          stateLock: new Semaphore(1, limits.waitingRuns),
        };
        return new Map([...signatures].map(([name, signature]) => [name, opened.runner(signature, context)]));
      },
      close: async () => model?.close(),
    };
  }

  async #segmented(engine: Omit<ModelEngine, "why" | "form">, device: Device): Promise<Candidate> {
    const { kernels = hostKernels, rowSource, clock = systemClock, pace, signal, dir, onPlanned } = this.#options;
    this.#model ??= importModel(withGraphDTypes(this.#metaGraph), {
      bindings: this.#bindings.variables,
      entries: this.#checkpoint.tensors,
      initOp: initOp(this.#metaGraph),
    });
    await pace?.pause();
    signal?.throwIfAborted();
    const segmented = await SegmentedModel.plan({
      model: this.#model,
      device,
      checkpoint: this.#checkpoint,
      kernels,
      rowSource,
      assets: this.#assets,
      tables: this.#bindings.tables,
      ensembles: this.#bindings.ensembles,
      limits: this.#limits,
      clock,
      pace,
      signal,
      dir,
      onPlanned,
      nodeCount: nodeCount(this.#metaGraph),
    });
    return {
      engine: { ...engine, form: "segments" },
      signatures: this.#model.signatures,
      broken: segmented.broken,
      load: () => segmented.load(),
      close: () => segmented.close(),
    };
  }

  get #limits() {
    return { ...DEFAULT_LIMITS, ...this.#options.limits };
  }
}

function nodeCount({ graphDef }: MetaGraphDef): number {
  const { node = [], library } = graphDef ?? {};
  return (library?.function ?? []).reduce((sum, { nodeDef }) => sum + nodeDef.length, node.length);
}

/**
 * Variables of an exported version. The export leaves out what no signature reads, although the restore op still names
 * it: such names count as present, and fail only if a plan reads them after all.
 */
class LeftOut extends Map<string, CheckpointTensor & { readonly size: number; readonly crc32c: number }> {
  override has(): boolean {
    return true;
  }
}

function hasManifest(dir: string): Promise<boolean> {
  return access(join(dir, MANIFEST_FILE)).then(
    () => true,
    () => false, // a plain SavedModel
  );
}

interface LoadedParts {
  readonly engine: ModelEngine;
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly runners: ReadonlyMap<string, Runner>;
  readonly broken: ReadonlyMap<string, string>;
  readonly release: () => Promise<void>;
}

class LoadedModel implements EngineModel {
  readonly engine: ModelEngine;
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly #parts: LoadedParts;
  #closed: Promise<void> | undefined;

  constructor(parts: LoadedParts) {
    this.engine = parts.engine;
    this.signatures = parts.signatures;
    this.metadata = parts.metadata;
    this.#parts = parts;
  }

  async run(signature: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    const { runners, broken } = this.#parts;
    const runner = runners.get(signature);
    if (runner) return runner.run(inputs, options);
    const reason = broken.get(signature);
    if (reason !== undefined) throw new ServingError("OP_UNSUPPORTED", reason);
    throw new ServingError("NOT_FOUND", `the model has no signature "${signature}"`);
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#parts.release().then(returnFreedMemory));
  }
}
