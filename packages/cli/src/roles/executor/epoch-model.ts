import { type Clock, invariant, type Logger, RepeatedWork, ServingError, sleep } from "@shardserve/core";
import type { ShardRows } from "@shardserve/lookup";
import type { PartitionMap } from "@shardserve/placement";
import type { EpochPlan, EpochRecord } from "@shardserve/registry";
import { EPOCH_FOLDERS, epochPath, type RowSource, type StoredManifest } from "@shardserve/rowstore";
import type { Model, RunOptions, RunResult, SignatureInfo } from "@shardserve/servable";
import type { VersionFiles } from "@shardserve/shard";
import type { Tensor } from "@shardserve/tensor";
import { changedBetween, type EpochOnDisk, openEpoch } from "../versions/epoch-chain.js";
import { LoadedEpoch, LoadedGraph } from "./loaded-epoch.js";

/** What is known of a version's maps now; the map follower, for one version. */
export interface EpochSource {
  map(this: void): PartitionMap | undefined;
  epochs(this: void): EpochPlan | undefined;
  subscribe(this: void, listener: () => void): () => void;
}

/** Loads the dense SavedModel of a directory; each run says at which epoch it looks rows up. */
export type DenseLoader = (dir: string, rows: RowSource, signal: AbortSignal) => Promise<Model>;

export interface EpochModelOptions {
  readonly name: string;
  /** Of the version; what its deltas consist of is provided when they come into force. */
  readonly files: VersionFiles;
  readonly base: StoredManifest;
  /** Taken over: closed with the model. */
  readonly rows: ShardRows;
  readonly source: EpochSource;
  readonly load: DenseLoader;
  /** The epoch that is answered changed, or what keeps the next one away did. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 10_000;

/**
 * A version in a cluster, epoch after epoch: graph, dense variables, rows and cache of a request belong to the one epoch
 * that was in force when it began. The next epoch is loaded beside it and swapped in within one turn of the event loop,
 * together with the map that names it, and just the rows that it changed leave the cache.
 */
export class EpochModel implements Model {
  readonly #options: EpochModelOptions;
  readonly #stop = new AbortController();
  readonly #unsubscribe: () => void;
  #current: LoadedEpoch | undefined;
  #error: ServingError | undefined;
  /** The map that the rows were given last, as it came. */
  #followed: PartitionMap | undefined;
  readonly #advances = new RepeatedWork(() => this.#keepAdvancing());
  readonly #leaving = new Set<Promise<void>>();

  private constructor(options: EpochModelOptions) {
    this.#options = options;
    this.#unsubscribe = options.source.subscribe(() => this.#follow());
  }

  /**
   * Loads the epoch in force. The rows must be ready.
   *
   * @throws what loading throws; then the rows are closed
   */
  static async load(options: EpochModelOptions, signal: AbortSignal): Promise<EpochModel> {
    const model = new EpochModel(options);
    try {
      // Until it is the one in force: what was loaded meanwhile may be on its way out.
      do await model.#advance(signal);
      while (options.source.map()?.epoch !== model.epoch);
      return model;
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /** Epoch that requests are answered at. */
  get epoch(): number {
    return this.#current?.at.epoch ?? -1;
  }

  /** What keeps the epoch in force from being answered here; undefined = nothing. */
  get error(): ServingError | undefined {
    return this.#error;
  }

  get signatures(): ReadonlyMap<string, SignatureInfo> {
    return this.#now().graph.model.signatures;
  }

  get metadata(): Uint8Array {
    return this.#now().graph.model.metadata;
  }

  get broken(): ReadonlyMap<string, string> {
    return this.#now().graph.model.broken ?? new Map<string, string>();
  }

  run(signature: string, inputs: ReadonlyMap<string, Tensor>, options: RunOptions): Promise<RunResult> {
    return this.#now().run(signature, inputs, options);
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#stop.abort(new ServingError("DRAINING", `${this.#options.name} is unloaded`));
    await this.#advances.whenIdle(); // it ends with the signal
    await Promise.all([...this.#leaving, this.#current?.close()]);
    await this.#options.rows.close();
  }

  #now(): LoadedEpoch {
    invariant(this.#current, `${this.#options.name}: no epoch is loaded`);
    return this.#current;
  }

  /** Takes a new placement at once; a new epoch in the background. */
  #follow(): void {
    const { rows, source } = this.#options;
    const map = source.map();
    if (!map || !this.#current) return;
    if (map !== this.#followed) {
      this.#followed = map;
      rows.setMap({ ...map, epoch: this.epoch });
    }
    if (map.epoch !== this.epoch) this.#advances.ask();
  }

  async #keepAdvancing(): Promise<void> {
    const { source, clock, logger, name, onChange } = this.#options;
    const { signal } = this.#stop;
    for (let pauseMs = RETRY_MIN_MS; !signal.aborted && source.map()?.epoch !== this.epoch; ) {
      try {
        await this.#advance(signal);
        this.#error = undefined;
        pauseMs = RETRY_MIN_MS;
      } catch (error) {
        if (signal.aborted) return;
        this.#error = ServingError.from(error);
        logger.error(
          { model: name, epoch: source.map()?.epoch, error: this.#error.message },
          "an epoch cannot be answered yet; trying again",
        );
        onChange();
        await sleep(clock, pauseMs, signal).catch(() => undefined); // closed meanwhile
        pauseMs = Math.min(RETRY_MAX_MS, pauseMs * 2);
      }
    }
    onChange();
  }

  /** Loads the epoch in force now and swaps it in, if it is still in force by then. */
  async #advance(signal: AbortSignal): Promise<void> {
    const { files, base, rows, source, logger, name } = this.#options;
    const chain = this.#chainInForce();
    const before = this.#current;
    const at = await openEpoch(files, base, chain, signal, before?.at);
    const changed = before && (await changedBetween(files, base, before.at, at, signal));
    rows.nameEpoch(at.epoch, at.chain.at(-1)?.digest ?? "");
    const next = new LoadedEpoch(at, before?.graph.isOf(at) ? before.graph : await this.#loadGraph(at, signal));
    const map = source.map();
    if (map?.epoch !== at.epoch || signal.aborted) {
      await next.close();
      return signal.throwIfAborted();
    }
    this.#followed = map;
    rows.setMap(map, changed);
    this.#current = next;
    if (!before) return;
    logger.info({ model: name, epoch: at.epoch, before: before.at.epoch }, "answers at another epoch");
    for (const folder of EPOCH_FOLDERS) await files.keepOnly(folder, chain.map(epochPath));
    const leaving: Promise<void> = before.close().finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  async #loadGraph(at: EpochOnDisk, signal: AbortSignal): Promise<LoadedGraph> {
    const { rows, load } = this.#options;
    return new LoadedGraph(at, await load(at.denseDir, rows.withTables(at.tables), signal));
  }

  /** @throws ServingError VERSION_NOT_READY when the maps do not say which deltas lead to the epoch in force */
  #chainInForce(): readonly EpochRecord[] {
    const { source, name } = this.#options;
    const epoch = source.map()?.epoch;
    if (epoch === undefined) throw new ServingError("VERSION_NOT_READY", `${name} has no partition map any more`);
    if (epoch === 0) return [];
    const chain = source.epochs()?.chain ?? [];
    const end = chain.findIndex((ref) => ref.epoch === epoch);
    if (end < 0) throw new ServingError("VERSION_NOT_READY", `${name}: the deltas of epoch ${epoch} are not known`);
    return chain.slice(0, end + 1);
  }
}
