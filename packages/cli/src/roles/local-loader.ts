import { type Logger, ServingError } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import type { Ort } from "@shardserve/native";
import { readManifest } from "@shardserve/rowstore";
import type { Loader } from "@shardserve/servable";

/** Loads whole SavedModels: every row comes from the mapped checkpoint. */
export function localLoader(options: {
  readonly ort: Ort;
  readonly tags: readonly string[];
  readonly logger: Logger;
}): Loader {
  const { ort, tags, logger } = options;
  return {
    async load(_id, dir, { signal }) {
      if (await readManifest(dir)) {
        throw new ServingError(
          "FAILED_PRECONDITION",
          `${dir} is a sharded version: serve it with \`shardserve up\`, or with shards and an executor`,
        );
      }
      return loadModel({ dir, tags, ort, kernels: hostKernels, logger, signal });
    },
  };
}
