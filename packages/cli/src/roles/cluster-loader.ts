import { type Logger, ServingError, systemClock } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import { type LookupMetrics, proofExpectation, type RedisFor, type RedisLevel, ShardRows } from "@shardserve/lookup";
import type { MapFollower } from "@shardserve/registry";
import { readManifest } from "@shardserve/rowstore";
import type { Loader, Model, ServableId } from "@shardserve/servable";
import type { Engines } from "./engines.js";
import { versionDirectory } from "./version-directory.js";

export interface ClusterLoaderOptions {
  readonly engines: Engines;
  readonly cluster: string;
  /** Names this executor in the shards' logs. */
  readonly id: string;
  readonly machine: string;
  /** BASE of BASE/NAME/VERSION, with the dense remainders. */
  readonly repository: string;
  readonly tags: readonly string[];
  readonly follower: MapFollower;
  /** Memory for cached rows of one version. */
  readonly cacheBytes: number;
  readonly lookupTimeoutMs: number;
  /** Frames that may go to a second replica, as a share of all. */
  readonly hedgeShare: number;
  /** Failure domain of this executor; "" = not known. */
  readonly zone: string;
  /** Second level of rows; closed by whoever opened it. */
  readonly redis: RedisLevel | undefined;
  readonly redisFor: RedisFor;
  /** How long a load waits for a replica of every partition. */
  readonly readyTimeoutMs: number;
  readonly metrics: LookupMetrics;
  readonly logger: Logger;
}

/** Loads dense remainders of sharded versions, with rows from the cluster's shards. */
export class ClusterLoader implements Loader {
  readonly #options: ClusterLoaderOptions;

  constructor(options: ClusterLoaderOptions) {
    this.#options = options;
  }

  async load(id: ServableId, _path: string, { signal }: { readonly signal: AbortSignal }): Promise<Model> {
    const { engines, cluster, repository, tags, cacheBytes, lookupTimeoutMs, metrics, logger } = this.#options;
    const dir = await versionDirectory(repository, id.name, id.version);
    const stored = await readManifest(dir);
    if (!stored)
      throw new ServingError("MANIFEST_INVALID", `${dir} has no shardserve.manifest; export it with shard-export`);
    const { tables, partitionCount } = stored.manifest;
    const rows = new ShardRows({
      expectation: proofExpectation(cluster, id.name, id.version, stored),
      tables,
      partitionCount,
      directory: { shard: (shard) => this.#options.follower.shard(shard)?.record },
      machine: this.#options.machine,
      peer: `executor ${this.#options.id}`,
      cacheBytes,
      timeoutMs: lookupTimeoutMs,
      hedgeShare: this.#options.hedgeShare,
      zone: this.#options.zone,
      ...(this.#options.redis && { redis: this.#options.redis, redisFor: this.#options.redisFor }),
      metrics,
      logger,
    });
    const unfollow = this.#follow(id, rows);
    try {
      await rows.whenReady({ signal, deadlineMs: systemClock.nowMs() + this.#options.readyTimeoutMs });
    } catch (error) {
      unfollow();
      await rows.close();
      throw error;
    }
    try {
      // The engine closes the rows: with the model, or when it cannot load it.
      const model = await loadModel({ ...engines, dir, tags, kernels: hostKernels, rowSource: rows, logger, signal });
      return closing(model, unfollow);
    } catch (error) {
      unfollow();
      throw error;
    }
  }

  /** Hands every new partition map to the rows. */
  #follow(id: ServableId, rows: ShardRows): () => void {
    const { follower } = this.#options;
    const update = () => {
      const map = follower.map(id.name, id.version);
      if (map && map !== rows.map) rows.setMap(map);
    };
    update();
    return follower.subscribe(update);
  }
}

/** The model, with something to end when it is closed. */
function closing(model: Model, onClose: () => void): Model {
  return {
    signatures: model.signatures,
    metadata: model.metadata,
    run: (signature, inputs, options) => model.run(signature, inputs, options),
    close: () => {
      onClose();
      return model.close();
    },
  };
}
