import type { Logger } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import { newestEpoch, PartitionRows, readDeltaChain, readManifest } from "@shardserve/rowstore";
import type { Loader } from "@shardserve/servable";
import { RepositoryFiles } from "@shardserve/shard";
import type { Engines } from "./engines.js";
import { openEpoch, refsOf } from "../versions/epoch-chain.js";

export interface LocalLoaderOptions {
  readonly engines: Engines;
  readonly tags: readonly string[];
  readonly logger: Logger;
}

/**
 * Loads versions that need nothing but this machine: SavedModels, with rows in the mapped checkpoint, and ONNX models;
 * versions that shard-export wrote, with rows in their partition files and the deltas that are there by then.
 */
export function localLoader({ engines, tags, logger }: LocalLoaderOptions): Loader {
  return {
    async load(_id, dir, { signal, onPlanned }) {
      const stored = await readManifest(dir);
      const chain = stored ? await readDeltaChain(dir, stored, await newestEpoch(dir)) : [];
      const epoch = stored && (await openEpoch(new RepositoryFiles(dir), stored, refsOf(chain), signal));
      const rows = stored && (await PartitionRows.open(dir, stored.manifest, { signal, chain }));
      if (epoch && epoch.epoch > 0) logger.info({ dir, epoch: epoch.epoch }, "serves the newest delta");
      return loadModel({
        ...engines,
        dir: epoch?.denseDir ?? dir,
        tags,
        kernels: hostKernels,
        ...(rows && { rowSource: rows }),
        logger,
        signal,
        onPlanned,
      });
    },
  };
}
