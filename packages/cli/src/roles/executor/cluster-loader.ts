import { Changes, type Logger, ServingError, systemClock } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import {
  type DegradedRows,
  type HottestIds,
  type LookupMetrics,
  proofExpectation,
  type ReadyOptions,
  type RedisFor,
  type RedisLevel,
  ShardRows,
  warmUp,
} from "@shardserve/lookup";
import type { MapFollower } from "@shardserve/registry";
import { readManifest, type StoredManifest } from "@shardserve/rowstore";
import { type Loader, type LoadOptions, type Model, type ServableId, servableIdText } from "@shardserve/servable";
import type { Engines } from "../serving/engines.js";
import { type DenseLoader, EpochModel, type EpochSource } from "./epoch-model.js";
import { LoadTroubles } from "./load-troubles.js";
import type { HotRowsSource } from "./peer-executors.js";
import type { DenseFiles } from "../versions/dense-files.js";

export interface ClusterLoaderOptions {
  readonly engines: Engines;
  readonly cluster: string;
  /** Names this executor in the shards' logs. */
  readonly id: string;
  readonly machine: string;
  /** The dense remainders. */
  readonly files: DenseFiles;
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
  /** What may stand in for rows that cannot be had; undefined = nothing. */
  readonly degraded: DegradedRows | undefined;
  /** How long the cache of a version may be filled, before it is available, with rows that are asked for most; 0 = not at all. */
  readonly cacheWarmUpMs: number;
  /** Whom to learn those rows from where no version of the model is loaded here; undefined = nobody. */
  readonly findPeer: (id: ServableId, signal: AbortSignal) => Promise<HotRowsSource | undefined>;
  /** How long a load waits for a replica of every partition. */
  readonly readyTimeoutMs: number;
  readonly metrics: LookupMetrics;
  readonly logger: Logger;
}

/** Loads dense remainders of sharded versions, with rows from the cluster's shards. */
export class ClusterLoader implements Loader {
  readonly #options: ClusterLoaderOptions;
  /** Loaded versions by servable. */
  readonly #models = new Map<string, EpochModel>();
  readonly #rows = new Map<string, { readonly id: ServableId; readonly rows: ShardRows }>();
  readonly #changes = new Changes();
  readonly #troubles = new LoadTroubles(systemClock, () => this.#changes.notify());

  constructor(options: ClusterLoaderOptions) {
    this.#options = options;
    const { follower } = options;
    follower.subscribe(() => this.#troubles.keepOnly(({ name, version }) => follower.map(name, version) !== undefined));
  }

  async load(id: ServableId, path: string, options: LoadOptions): Promise<Model> {
    this.#troubles.begin(id);
    try {
      const model = await this.#load(id, path, options);
      this.#troubles.end(id);
      return model;
    } catch (error) {
      this.#options.files.distrust(id);
      if (options.signal.aborted) this.#troubles.end(id);
      else this.#troubles.failed(id, ServingError.from(error));
      throw error;
    }
  }

  async #load(id: ServableId, _path: string, { signal, onPlanned }: LoadOptions): Promise<Model> {
    const { follower, logger } = this.#options;
    const files = await this.#options.files.open(id, signal);
    const stored = await readManifest(files.directory);
    if (!stored)
      throw new ServingError(
        "MANIFEST_INVALID",
        `${files.directory} has no shardserve.manifest; export it with shard-export`,
      );
    const rows = this.#openRows(id, stored);
    const source: EpochSource = {
      map: () => follower.map(id.name, id.version),
      epochs: () => follower.epochs(id.name, id.version),
      subscribe: (listener) => follower.subscribe(listener),
    };
    const deadlineMs = systemClock.nowMs() + this.#options.readyTimeoutMs;
    await whenRowsReady(rows, source, { signal, deadlineMs, onWaiting: (why) => this.#troubles.waits(id, why) });
    await this.#warmUp(id, rows, signal);
    const model = await EpochModel.load(
      {
        name: servableIdText(id),
        files,
        base: stored,
        rows,
        source,
        load: this.#denseLoader(onPlanned),
        onChange: () => this.#changes.notify(),
        clock: systemClock,
        logger,
      },
      signal,
    );
    const key = servableIdText(id);
    this.#models.set(key, model);
    this.#rows.set(key, { id, rows });
    return closing(
      model,
      () => {
        this.#models.delete(key);
        this.#rows.delete(key);
      },
      async () => {
        if (!follower.map(id.name, id.version)) await this.#options.files.remove(id);
      },
    );
  }

  /** The rows of a version; they ask nobody before they are given a map. */
  #openRows({ name, version }: ServableId, stored: StoredManifest): ShardRows {
    const { follower, lookupTimeoutMs: timeoutMs, degraded, redis, redisFor } = this.#options;
    const { cluster, id, machine, cacheBytes, hedgeShare, zone, metrics, logger } = this.#options;
    const { tables, partitionCount } = stored.manifest;
    return new ShardRows({
      expectation: proofExpectation(cluster, name, version, stored),
      tables,
      partitionCount,
      directory: { shard: (shard) => follower.shard(shard)?.record },
      machine,
      peer: `executor ${id}`,
      cacheBytes,
      timeoutMs,
      hedgeShare,
      zone,
      ...(degraded && { degraded }),
      ...(redis && { redis, redisFor }),
      metrics,
      logger,
    });
  }

  /** Loads dense parts; what the first is planned to need is told, since those of later epochs take its place. */
  #denseLoader(onPlanned: LoadOptions["onPlanned"]): DenseLoader {
    const { engines, tags, logger } = this.#options;
    let planned = onPlanned;
    return (dir, rowSource, signal) => {
      const options = { ...engines, tags, kernels: hostKernels, dir, rowSource, signal, logger, onPlanned: planned };
      planned = undefined;
      return loadModel(options);
    };
  }

  /**
   * Fetches what the version before is asked for most, or another executor where none is loaded here. A version whose cache
   * stays cold is still served.
   */
  async #warmUp(id: ServableId, rows: ShardRows, signal: AbortSignal): Promise<void> {
    const { cacheWarmUpMs, logger, findPeer } = this.#options;
    if (cacheWarmUpMs === 0) return;
    const startMs = systemClock.nowMs();
    const options = { deadlineMs: startMs + cacheWarmUpMs, signal, nowMs: () => systemClock.nowMs() };
    const fields = { model: id.name, version: id.version };
    try {
      await using source = this.#loadedBefore(id) ?? (await findPeer(id, signal));
      if (!source) return;
      const count = await warmUp(rows, source.hottest, options);
      const ms = Math.round(systemClock.nowMs() - startMs);
      logger.info({ ...fields, from: source.from, rows: count, ms }, "cache warmed up");
    } catch (reason) {
      if (!signal.aborted)
        return logger.warn({ ...fields, error: ServingError.from(reason).message }, "cache not warmed up");
      await rows.close();
      throw reason;
    }
  }

  #loadedBefore(id: ServableId): HotRowsSource | undefined {
    const others = [...this.#rows.values()].filter(
      (other) => other.id.name === id.name && other.id.version !== id.version,
    );
    const before = others.sort((a, b) => b.id.version - a.id.version)[0];
    return (
      before && {
        from: `version ${before.id.version}`,
        hottest: (table) => before.rows.hottest(table),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }
    );
  }

  /** What a loaded version is asked for most, for executors that start; undefined = it is not loaded. */
  hottestOf(model: string, version: number): HottestIds | undefined {
    const rows = this.#rows.get(servableIdText({ name: model, version }))?.rows;
    return rows && ((table) => rows.hottest(table));
  }

  /** Epoch that a loaded version is answered at, and what keeps it from the one in force; undefined when it is not loaded. */
  epochOf(id: ServableId): { readonly epoch: number; readonly error: ServingError | undefined } | undefined {
    return this.#models.get(servableIdText(id));
  }

  /** What keeps a version that is being loaded from being served; undefined = nothing that is known. */
  troubleOf(id: ServableId): ServingError | undefined {
    return this.#troubles.of(id);
  }

  /** Calls back after what {@link epochOf} or {@link troubleOf} says has changed. */
  onChange(listener: () => void): void {
    this.#changes.subscribe(listener);
  }
}

/**
 * Hands maps to the rows until every partition has a replica that proved it.
 *
 * @throws ServingError UNAVAILABLE at the deadline, the signal's reason; then the rows are closed
 */
async function whenRowsReady(rows: ShardRows, source: EpochSource, options: ReadyOptions): Promise<void> {
  const update = () => {
    const map = source.map();
    if (map && map !== rows.map) rows.setMap(map);
  };
  update();
  const unsubscribe = source.subscribe(update);
  try {
    await rows.whenReady(options);
  } catch (error) {
    await rows.close();
    throw error;
  } finally {
    unsubscribe();
  }
}

/** The model, with something to do when it is closed, and when it was. */
function closing(model: Model, onClose: () => void, onClosed: () => Promise<void>): Model {
  return {
    get signatures() {
      return model.signatures;
    },
    get metadata() {
      return model.metadata;
    },
    run: (signature, inputs, options) => model.run(signature, inputs, options),
    close: async () => {
      onClose();
      await model.close();
      await onClosed();
    },
  };
}
