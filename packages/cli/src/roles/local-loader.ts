import type { Logger } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import { PartitionRows, readManifest } from "@shardserve/rowstore";
import type { Loader } from "@shardserve/servable";
import type { Engines } from "./engines.js";

export interface LocalLoaderOptions {
  readonly engines: Engines;
  readonly tags: readonly string[];
  readonly logger: Logger;
}

/**
 * Loads versions whose rows all lie on this machine: of a SavedModel in the mapped checkpoint, of a version that
 * shard-export wrote in its partition files.
 */
export function localLoader({ engines, tags, logger }: LocalLoaderOptions): Loader {
  return {
    async load(_id, dir, { signal }) {
      const stored = await readManifest(dir);
      const rows = stored && (await PartitionRows.open(dir, stored.manifest, { signal }));
      return loadModel({
        ...engines,
        dir,
        tags,
        kernels: hostKernels,
        ...(rows && { rowSource: rows }),
        logger,
        signal,
      });
    },
  };
}
