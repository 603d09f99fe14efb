import type { Logger } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import type { Ort } from "@shardserve/native";
import { PartitionRows, readManifest } from "@shardserve/rowstore";
import type { Loader } from "@shardserve/servable";

export interface LocalLoaderOptions {
  readonly ort: Ort;
  readonly tags: readonly string[];
  readonly logger: Logger;
}

/**
 * Loads versions whose rows all lie on this machine: of a SavedModel in the mapped checkpoint, of a version that
 * shard-export wrote in its partition files.
 */
export function localLoader({ ort, tags, logger }: LocalLoaderOptions): Loader {
  return {
    async load(_id, dir, { signal }) {
      const stored = await readManifest(dir);
      const rows = stored && (await PartitionRows.open(dir, stored.manifest, { signal }));
      return loadModel({ dir, tags, ort, kernels: hostKernels, ...(rows && { rowSource: rows }), logger, signal });
    },
  };
}
