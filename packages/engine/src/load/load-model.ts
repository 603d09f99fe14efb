import { access } from "node:fs/promises";
import { join } from "node:path";
import type { MetaGraphDef } from "@shardserve/api";
import { runInTurns, ServingError, silentLogger } from "@shardserve/core";
import type { CheckpointTensor } from "@shardserve/graph";
import { returnFreedMemory } from "@shardserve/native";
import { hasOnnxModel } from "@shardserve/onnx";
import { MANIFEST_FILE } from "@shardserve/rowstore";
import {
  type Bindings,
  bindingVariables,
  objectKeys,
  readSavedModel,
  type SavedModel,
  selectMetaGraph,
} from "@shardserve/savedmodel";
import { Checkpoint } from "./checkpoint.js";
import { chooseCandidate } from "./choose-candidate.js";
import { LoadedModel } from "./loaded-model.js";
import { type Candidate, ModelSource } from "./model-source.js";
import { LoadingPace } from "./loading-pace.js";
import { loadOnnxModel } from "../onnx/onnx-model.js";
import type { EngineModel, LoadModelOptions, ModelEngine } from "./options.js";
import { signatureInfos, signatureMetadata } from "../signature-info.js";

/**
 * Loads a version directory. An ONNX model: see loadOnnxModel. A SavedModel: reads it, picks an engine, restores its variables, runs the
 * init op.
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

class Loader {
  readonly #options: LoadModelOptions;
  readonly #pace: LoadingPace | undefined;
  #checkpoint: Checkpoint | undefined;
  #candidate: Candidate | undefined;

  constructor(options: LoadModelOptions) {
    this.#pace = options.pace && new LoadingPace(options.pace);
    this.#options = { ...options, ...(this.#pace && { pace: this.#pace }) };
  }

  /** Reads the model and picks the way to serve it. */
  async choose(): Promise<{ engine: ModelEngine; candidate: Candidate; metaGraph: MetaGraphDef }> {
    const { dir, tags, rowSource, ort, pace, signal } = this.#options;
    const savedModel = await readSavedModel(dir, {
      ...(signal && { signal }),
      ...(pace && { pause: () => pace.pause() }),
    });
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
    const source = new ModelSource(this.#options, savedModel, metaGraph, this.#checkpoint, bindings);
    const { candidate, why } = await chooseCandidate(this.#options, source);
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
    this.#pace?.end();
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

  async #bindings(savedModel: SavedModel, metaGraph: MetaGraphDef, checkpoint: Checkpoint): Promise<Bindings> {
    if (savedModel.variablesPrefix === undefined || !checkpoint.reader) {
      return { variables: new Map(), tables: new Map(), ensembles: new Map(), unbound: [] };
    }
    const { signal, pace } = this.#options;
    const keys = await objectKeys(metaGraph, checkpoint.reader, { ...(signal && { signal }) });
    const isExported = this.#options.rowSource !== undefined || (await hasManifest(savedModel.dir));
    const entries = isExported ? new LeftOut(checkpoint.tensors) : checkpoint.tensors;
    return runInTurns(bindingVariables(metaGraph, entries, keys), signal, pace && (() => pace.pause()));
  }
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
