import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Loader, Model } from "@shardserve/servable";
import { type BatchingOptions, DEFAULT_BATCHING } from "./options.js";
import { readBatchingParameters } from "./parameters.js";

const FILE = "batching_params.pbtxt";

/** A loader that reads the batching parameters of every version, and what it read. */
export interface PerModelBatching {
  readonly loader: Loader;
  /** Options of a model that the loader loaded. */
  readonly batchingOf: (model: Model) => BatchingOptions | undefined;
}

/**
 * --enable_per_model_batching_parameters: each version directory may hold batching_params.pbtxt; requests to a version
 * without it are not joined. The threads are those of the process's parameters, as in TensorFlow Serving.
 *
 * @param directoryOf  version directory, by what the loader is given
 */
export function perModelBatching(
  loader: Loader,
  directoryOf: (...load: Parameters<Loader["load"]>) => Promise<string>,
  runsMax: number,
): PerModelBatching {
  const options = new WeakMap<Model, BatchingOptions>();
  return {
    loader: {
      async load(...load) {
        const path = join(await directoryOf(...load), FILE);
        const batching = existsSync(path)
          ? await readBatchingParameters(path, runsMax)
          : { ...DEFAULT_BATCHING, isEnabled: false };
        const model = await loader.load(...load);
        options.set(model, { ...batching, runsMax });
        return model;
      },
    },
    batchingOf: (model) => options.get(model),
  };
}
