import { existsSync } from "node:fs";
import { join } from "node:path";
import { fromBinary, PredictionLogSchema, PredictRequestSchema, type PredictionLog, toBinary } from "@shardserve/api";
import { type Clock, type Logger, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { LoadedVersion, type Loader, type Model, type ServableHandle, type ServableId } from "@shardserve/servable";
import { Batcher } from "../batching/batcher.js";
import { DEFAULT_BATCHING } from "../batching/options.js";
import { specFields } from "../predict/describe-model.js";
import { exampleTensor } from "../predict/example-input.js";
import { classify, regress } from "../predict/examples.js";
import { multiInference } from "../predict/multi-inference.js";
import { Predictor } from "../predict/predictor.js";
import { RequestScope } from "../scope.js";
import { runInSlices } from "../slices.js";
import { readRecords } from "./record-file.js";

const FILE = join("assets.extra", "tf_serving_warmup_requests");
const RECORDS_MAX = 1000;
const NO_SPEC = { name: "", version: undefined, label: undefined, signatureName: "" };
/** Field numbers of the log types that are not run, for the message. */
const UNSUPPORTED = { sessionRunLog: 5, predictStreamedLog: 7 } as const;

/** For warming a version up with the requests that it was exported with. */
export interface WarmUpOptions {
  /** Version directory, by what the loader is given. */
  readonly directoryOf: (id: ServableId, path: string) => Promise<string>;
  /** How often each request is run, at least once (--num_request_iterations_for_warmup). */
  readonly iterations: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/**
 * A loader whose models have answered their own warm-up requests: the PredictionLogs in
 * assets.extra/tf_serving_warmup_requests of the version directory. Their model specs count for the signature only.
 * Rules are TensorFlow Serving's (servables/tensorflow/saved_model_warmup.cc): a request that fails fails the load.
 */
export function warmingLoader(loader: Loader, options: WarmUpOptions): Loader {
  return {
    async load(id, path, load) {
      const { signal } = load;
      const model = await loader.load(id, path, load);
      try {
        await warmUp(id, model, join(await options.directoryOf(id, path), FILE), options, signal);
      } catch (error) {
        await model.close();
        throw error;
      }
      return model;
    },
  };
}

async function warmUp(
  id: ServableId,
  model: Model,
  file: string,
  options: WarmUpOptions,
  signal: AbortSignal,
): Promise<void> {
  if (!existsSync(file)) return;
  const { iterations, clock = systemClock, logger = silentLogger } = options;
  const predictor = new OneModel(new LoadedVersion(id, model), clock, logger);
  const startMs = clock.nowMs();
  let count = 0;
  for await (const record of readRecords(file)) {
    count++;
    if (count > RECORDS_MAX) {
      throw invalid(`Number of warmup records exceeds the maximum (${RECORDS_MAX}) at ${file}`);
    }
    try {
      const log = decodeLog(record);
      for (let i = 0; i < iterations; i++) await runLog(predictor, log, clock, signal);
    } catch (reason) {
      signal.throwIfAborted();
      const error = ServingError.from(reason);
      throw new ServingError(error.code, `${file}, record ${count}: ${error.message}`, { cause: error });
    }
  }
  const fields = { model: id.name, version: id.version, records: count, iterations, ms: clock.nowMs() - startMs };
  logger.info(fields, "version is warmed up");
}

function decodeLog(record: Uint8Array): PredictionLog {
  try {
    return fromBinary(PredictionLogSchema, record);
  } catch (error) {
    throw invalid(`it is no PredictionLog: ${(error as Error).message}`);
  }
}

async function runLog(
  predictor: Predictor,
  { logType }: PredictionLog,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const scope = new RequestScope(clock, undefined, () => undefined);
  const onAbort = () => scope.abort(ServingError.from(signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    switch (logType.case) {
      case "predictLog": {
        const { request } = logType.value;
        if (request) await predictor.predict(toBinary(PredictRequestSchema, request), scope, () => undefined);
        return;
      }
      case "classifyLog":
      case "regressLog": {
        const { request } = logType.value;
        if (!request) return;
        const spec = specFields(request.modelSpec) ?? NO_SPEC;
        const examples = () => runInSlices(exampleTensor(request.input, scope.hold), scope.signal);
        await (logType.case === "classifyLog" ? classify : regress)(predictor, spec, examples, scope);
        return;
      }
      case "multiInferenceLog":
        if (logType.value.request) await multiInference(predictor, logType.value.request, scope);
        return;
      case undefined:
        return; // as in TensorFlow Serving
      default:
        throw new ServingError("UNIMPLEMENTED", `Unsupported log_type for warmup: ${UNSUPPORTED[logType.case]}`);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    scope.end();
  }
}

/** Answers every request with one version, whatever its model spec says, outside of the server's metrics. */
class OneModel extends Predictor {
  readonly #loaded: LoadedVersion;

  constructor(loaded: LoadedVersion, clock: Clock, logger: Logger) {
    super({
      manager: { handle: () => loaded.pin() },
      batcher: new Batcher({
        batching: { ...DEFAULT_BATCHING, isEnabled: false },
        clock,
        logger,
        onRun: () => undefined,
      }),
      metrics: { runtimeDone: () => undefined, stageDone: () => undefined },
      clock,
      isContentEncoded: false,
      isMethodChecked: false,
    });
    this.#loaded = loaded;
  }

  override handle(): ServableHandle {
    return this.#loaded.pin();
  }
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
