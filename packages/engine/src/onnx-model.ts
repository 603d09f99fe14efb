import { access, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { create, SignatureDefMapSchema, type TensorInfo, TensorInfoSchema, toBinary } from "@shardserve/api";
import { type Clock, type Logger, Semaphore, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { type Ort, type OrtSession, OrtValue, type ValueInfo } from "@shardserve/native";
import type { Model, RunOptions, RunResult, SignatureInfo, TensorSpec } from "@shardserve/servable";
import { DTYPES, elementCount, type Tensor } from "@shardserve/tensor";
import { deviceError } from "./device-error.js";
import { DEFAULT_LIMITS, type EngineLimits } from "./options.js";
import { RunPace } from "./run-pace.js";

/** The file that makes a version directory one of an ONNX model. */
const MODEL_FILE = "model.onnx";
/** The one signature of an ONNX model. */
const SIGNATURE = "serving_default";
const METHOD = "tensorflow/serving/predict";
/** A protobuf message cannot be larger; bigger models keep their weights in files of their own. */
const MODEL_BYTES_MAX = 2 ** 31 - 1;

export interface LoadOnnxOptions {
  /** Version directory with a model.onnx, and the files of its external data if it has some. */
  readonly dir: string;
  readonly ort: Ort;
  readonly limits?: Pick<EngineLimits, "concurrentRuns" | "waitingRuns">;
  readonly logger?: Logger;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

/** Whether a version directory holds an ONNX model and no SavedModel. */
export async function hasOnnxModel(dir: string): Promise<boolean> {
  const exists = (file: string) =>
    access(join(dir, file)).then(
      () => true,
      () => false, // who loads the directory says what is wrong with it
    );
  return (await exists(MODEL_FILE)) && !(await exists("saved_model.pb"));
}

/**
 * Loads an ONNX model, as PyTorch, scikit-learn and others export it. It is served under one signature, `serving_default`,
 * with its own inputs and outputs; outputs that are no tensors (a ZipMap's) are left out.
 *
 * @throws ServingError MODEL_TOO_LARGE; OP_UNSUPPORTED when an input is no tensor or no output is one; ENGINE_FAILED with
 *   ONNX Runtime's text; the signal's reason
 */
export async function loadOnnxModel(options: LoadOnnxOptions): Promise<Model> {
  const { dir, ort, logger = silentLogger, signal } = options;
  const path = join(dir, MODEL_FILE);
  const { size } = await stat(path);
  if (size > MODEL_BYTES_MAX) {
    throw new ServingError(
      "MODEL_TOO_LARGE",
      `${path} has ${size} bytes; export it with external data: 2 GiB is protobuf's limit`,
    );
  }
  const bytes = await readFile(path, { signal });
  const config = { "session.model_external_initializers_file_folder_path": dir };
  const session = await ort.createSession(bytes, { config, gpu: ort.gpu, signal });
  try {
    return new OnnxModel(session, signatureOf(session, path, logger), options);
  } catch (error) {
    session.close();
    throw error;
  }
}

class OnnxModel implements Model {
  readonly signatures: ReadonlyMap<string, SignatureInfo>;
  readonly metadata: Uint8Array;
  readonly #session: OrtSession;
  /** Index among the session's outputs by alias. */
  readonly #outputs: ReadonlyMap<string, number>;
  readonly #clock: Clock;
  readonly #runs: Semaphore;
  readonly #pace = new RunPace();

  constructor(session: OrtSession, signature: SignatureInfo, { limits, clock = systemClock }: LoadOnnxOptions) {
    const { concurrentRuns, waitingRuns } = { ...DEFAULT_LIMITS, ...limits };
    this.#session = session;
    this.#outputs = new Map(session.outputs.map(({ name }, i) => [name, i]));
    this.#clock = clock;
    this.#runs = new Semaphore(concurrentRuns, waitingRuns);
    this.signatures = new Map([[SIGNATURE, signature]]);
    this.metadata = metadataOf(signature);
  }

  async run(name: string, inputs: ReadonlyMap<string, Tensor>, { outputs, signal }: RunOptions): Promise<RunResult> {
    const signature = this.signatures.get(name);
    if (!signature) throw new ServingError("NOT_FOUND", `the model has no signature "${name}"`);
    const aliases = outputs ?? [...signature.outputs.keys()];
    const wanted = { outputs: aliases.map((alias) => this.#outputs.get(alias)!) };
    const feeds: OrtValue[] = [];
    let results: OrtValue[] = [];
    try {
      let size = 1;
      for (const info of this.#session.inputs) {
        const input = inputs.get(info.name)!;
        feeds.push(OrtValue.fromTensor(input));
        size += elementCount(input.shape);
      }
      const startMs = this.#clock.nowMs();
      if (this.#pace.isQuick(size)) {
        results = this.#session.runSync(feeds, wanted);
        this.#pace.ranSync(size, this.#clock.nowMs() - startMs);
      } else {
        results = await this.#runAsync(feeds, wanted, signal, size);
      }
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
    this.#session.close();
  }

  async #runAsync(
    feeds: readonly OrtValue[],
    wanted: { readonly outputs: readonly number[] },
    signal: AbortSignal | undefined,
    size: number,
  ): Promise<OrtValue[]> {
    await this.#runs.acquire(1, signal);
    try {
      const startMs = this.#clock.nowMs();
      const results = await this.#session.run(feeds, { ...wanted, signal });
      this.#pace.ranAsync(size, this.#clock.nowMs() - startMs);
      return results;
    } finally {
      this.#runs.release();
    }
  }
}

/** @throws ServingError OP_UNSUPPORTED */
function signatureOf(session: OrtSession, path: string, logger: Logger): SignatureInfo {
  const foreign = session.inputs.find(({ dtype }) => dtype === undefined);
  if (foreign) throw new ServingError("OP_UNSUPPORTED", `${path}: the input "${foreign.name}" is no tensor`);
  const outputs = session.outputs.filter(({ dtype }) => dtype !== undefined);
  if (outputs.length === 0) throw new ServingError("OP_UNSUPPORTED", `${path}: no output is a tensor`);
  for (const { name, dtype } of session.outputs) {
    if (dtype === undefined) logger.warn({ path, output: name }, "an output that is no tensor is left out");
  }
  return {
    name: SIGNATURE,
    method: METHOD,
    inputs: specs(session.inputs),
    outputs: specs(outputs),
    defaults: new Map(),
  };
}

function specs(values: readonly ValueInfo[]): ReadonlyMap<string, TensorSpec> {
  return new Map(values.map(({ name, dtype, shape }) => [name, { name, dtype: dtype!, shape, tensorName: name }]));
}

function metadataOf({ inputs, outputs, method }: SignatureInfo): Uint8Array {
  const infos = (tensors: ReadonlyMap<string, TensorSpec>): Record<string, TensorInfo> =>
    Object.fromEntries(
      [...tensors.values()].map(({ name, dtype, shape, tensorName }) => [
        name,
        create(TensorInfoSchema, {
          encoding: { case: "name", value: tensorName },
          dtype: DTYPES[dtype].tf,
          tensorShape: shape ? { dim: shape.map((size) => ({ size: BigInt(size) })) } : { unknownRank: true },
        }),
      ]),
    );
  const definition = { inputs: infos(inputs), outputs: infos(outputs), methodName: method };
  return toBinary(SignatureDefMapSchema, create(SignatureDefMapSchema, { signatureDef: { [SIGNATURE]: definition } }));
}
