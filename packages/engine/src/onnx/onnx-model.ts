import { join } from "node:path";
import { type Clock, Semaphore, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { type OrtSession, OrtValue, returnFreedMemory } from "@shardserve/native";
import { hasLoops, ONNX_MODEL_FILE, readWithWeightsInPlace, servedFile } from "@shardserve/onnx";
import type { RunOptions, RunResult, SignatureInfo } from "@shardserve/servable";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { deviceError } from "../device/device-error.js";
import { type LoadOnnxOptions, onnxEngine, onnxSessionOptions } from "./onnx-options.js";
import { onnxMetadata, onnxSignature } from "./onnx-signature.js";
import { DEFAULT_LIMITS, type EngineModel, type ModelEngine } from "../load/options.js";
import { PacedSession } from "../load/paced-session.js";
import { loadShardedOnnxModel } from "./sharded-onnx-model.js";

/**
 * Loads an ONNX model, as PyTorch, scikit-learn and others export it. It is served under one signature, `serving_default`,
 * with its own inputs and outputs; a ZipMap's output is the tensor under it, and others that are no tensors are left out.
 *
 * @throws ServingError MODEL_TOO_LARGE; OP_UNSUPPORTED when an input is no tensor or no output is one; ENGINE_FAILED with
 *   ONNX Runtime's text; GRAPH_INVALID when it is not what its manifest says; the signal's reason
 */
export async function loadOnnxModel(options: LoadOnnxOptions): Promise<EngineModel> {
  const { rowSource } = options;
  if (!rowSource) return loadWhole(options);
  try {
    return await loadShardedOnnxModel({ ...options, rowSource });
  } catch (error) {
    await rowSource.close();
    throw error;
  }
}

async function loadWhole(options: LoadOnnxOptions): Promise<EngineModel> {
  const { dir, ort, logger = silentLogger, signal } = options;
  const path = join(dir, ONNX_MODEL_FILE);
  const bytes = await servedFile(await readWithWeightsInPlace(dir, signal), path);
  const isUnpredictable = await hasLoops(bytes);
  const session = await ort.createSession(bytes, onnxSessionOptions(options));
  try {
    const signature = onnxSignature(session.inputs, session.outputs, path, logger);
    return new OnnxModel(session, isUnpredictable, signature, options);
  } catch (error) {
    session.close();
    throw error;
  }
}

class OnnxModel implements EngineModel {
  readonly engine: ModelEngine;
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly #session: PacedSession;
  /** Index among the session's outputs by alias. */
  readonly #outputs: ReadonlyMap<string, number>;
  readonly #clock: Clock;

  constructor(session: OrtSession, isUnpredictable: boolean, signature: SignatureInfo, options: LoadOnnxOptions) {
    const { concurrentRuns, waitingRuns } = { ...DEFAULT_LIMITS, ...options.limits };
    const { clock = systemClock } = options;
    this.engine = onnxEngine(options.ort, "whole");
    const runs = new Semaphore(concurrentRuns, waitingRuns);
    this.#session = new PacedSession(session, isUnpredictable, clock, runs);
    this.#outputs = new Map(session.outputs.map(({ name }, i) => [name, i]));
    this.#clock = clock;
    this.signatures = new Map([[signature.name, signature]]);
    this.metadata = onnxMetadata(signature);
  }

  async run(name: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    const signature = this.signatures.get(name);
    if (!signature) throw new ServingError("NOT_FOUND", `the model has no signature "${name}"`);
    const { outputs, signal, isAlone } = options;
    const aliases = outputs ?? [...signature.outputs.keys()];
    const wanted = aliases.map((alias) => this.#outputs.get(alias)!);
    const feeds: OrtValue[] = [];
    let results: OrtValue[] = [];
    try {
      let size = 1;
      for (const info of this.#session.session.inputs) {
        const input = inputs.get(info.name)!;
        feeds.push(OrtValue.forRun(input));
        size += elementCount(input.shape);
      }
      const startMs = this.#clock.nowMs();
      results = await this.#session.run(feeds, size, { outputs: wanted, signal, isAlone });
      const deviceMs = this.#clock.nowMs() - startMs;
      const tensors = results.map((value) => value.toTensor());
      return {
        outputs: new Map(aliases.map((alias, i) => [alias, tensors[i]!])),
        timings: { hostMs: 0, lookupMs: 0, deviceMs },
      };
    } catch (error) {
      throw signal?.aborted ? signal.reason : deviceError(error);
    } finally {
      for (const value of [...feeds, ...results]) value.dispose();
    }
  }

  async close(): Promise<void> {
    await this.#session.session.closeElsewhere();
    await returnFreedMemory();
  }
}
