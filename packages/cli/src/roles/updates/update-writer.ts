import { Changes, type Clock, isServingError, type Logger, ServingError } from "@shardserve/core";
import { type TableRows, writeApplied } from "@shardserve/exporter";
import type { EpochRecord, MapFollower } from "@shardserve/registry";
import {
  appliedBy,
  CHAIN_LENGTH_MAX,
  deltaPath,
  type EpochRef,
  readDeltaChain,
  type TableInfo,
  tablesAt,
} from "@shardserve/rowstore";
import { VERSION } from "../../version.js";
import type { Refusal } from "./refusals.js";
import { chainInForce, isSameEpoch } from "./chain-in-force.js";
import { ChainFolder, type FoldSettings } from "./chain-folder.js";
import type { EpochPlace, EpochPlaces } from "./epoch-place.js";
import { GatheredEpoch } from "./gathered-epoch.js";
import type { UpdateMetrics } from "./update-metrics.js";

export interface UpdateWriterOptions {
  readonly follower: MapFollower;
  /** Why shards do not take what the maps of a version want of them; asked when an epoch does not come into force. */
  readonly refusalsOf: (model: string, version: number) => Promise<readonly Refusal[]>;
  readonly places: EpochPlaces;
  /** Least time between two epochs. */
  readonly epochMs: number;
  /** How long an epoch may take from disk into force before its rows go back to their senders. */
  readonly commitTimeoutMs: number;
  /** Bytes of rows that may wait for one epoch. */
  readonly epochBytesMax: number;
  readonly fold: FoldSettings;
  readonly metrics: UpdateMetrics;
  /** Aborts when the process is to end. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How far one source is. */
export interface Standing {
  /** Every batch up to this one is in the epoch in force. */
  readonly sequence: number;
  readonly epoch: number;
}

/**
 * Makes streamed updates of one version into deltas, one after another: while one is written, proved by the shards and put
 * in force by the leader, the rows of the next gather. What is known of the sources lies in the deltas themselves, so this
 * process may die at any moment: what was acknowledged is in force, and the rest is sent again.
 *
 * Whoever else puts an epoch in force (an export, a rollback, a second writer) makes this one fail: a delta that does not
 * follow the epoch in force never gets there, so its rows were not acknowledged.
 */
export class UpdateWriter {
  readonly model: string;
  readonly version: number;
  readonly #options: UpdateWriterOptions;
  readonly #place: EpochPlace;
  readonly #tables: readonly TableInfo[];
  /** Of what decides whether a batch is taken and whether an epoch is written. */
  readonly #changes = new Changes();
  readonly #stop = new AbortController();
  /** Of what is in force. */
  readonly #outcomes = new Changes();
  readonly #unsubscribe: () => void;
  readonly #folder: ChainFolder;
  /** Deltas in force, this writer's included. */
  #chainLength: number;
  #head: EpochRef;
  #durable: ReadonlyMap<string, number>;
  #gathering: GatheredEpoch;
  /** The delta that was written and is not in force yet, and how far each source is with it. */
  #sealed: { readonly ref: EpochRef; readonly accepted: ReadonlyMap<string, number> } | undefined;
  #isWriting = false;
  /** Somebody waits for room. */
  #isFull = false;
  #failure: ServingError | undefined;

  private constructor(
    model: string,
    version: number,
    options: UpdateWriterOptions,
    on: {
      readonly place: EpochPlace;
      readonly tables: readonly TableInfo[];
      readonly chain: readonly EpochRecord[];
      readonly durable: ReadonlyMap<string, number>;
    },
  ) {
    this.model = model;
    this.version = version;
    this.#options = options;
    this.#place = on.place;
    this.#tables = on.tables;
    this.#chainLength = on.chain.length;
    this.#head = on.chain.at(-1) ?? { epoch: 0, digest: on.place.base.digest };
    this.#durable = on.durable;
    this.#gathering = new GatheredEpoch(
      { name: `${model}/${version}`, tables: on.tables, bytesMax: options.epochBytesMax },
      on.durable,
    );
    this.#folder = new ChainFolder({ ...options, ...options.fold, model, version, place: on.place });
    this.#unsubscribe = options.follower.subscribe(() => this.#onMaps());
    this.#onMaps(); // the epoch may have changed while the chain was read
    void this.#run();
  }

  /**
   * Reads where the sources of a version stand at the epoch in force.
   *
   * @throws ServingError NOT_FOUND when it is not in force or not in the repository here; RESOURCE_EXHAUSTED when it has as
   *   many deltas as it may; those of readDeltaChain
   */
  static async open(model: string, version: number, options: UpdateWriterOptions): Promise<UpdateWriter> {
    const chain = chainInForce(options.follower, model, version);
    if (!chain) throw new ServingError("NOT_FOUND", `${model}/${version} is not in force; see \`shardserve status\``);
    const place = await options.places.open(model, version, options.signal);
    const { versionDir, base } = place;
    const last = chain.at(-1);
    if (last) await place.provide(last, "manifests", options.signal);
    const deltas = await readDeltaChain(versionDir, base, last?.epoch ?? 0);
    if (deltas.at(-1)?.digest !== chain.at(-1)?.digest)
      throw new ServingError(
        "DIGEST_MISMATCH",
        `${versionDir}: epoch ${chain.at(-1)?.epoch} here is not the one in force; is it the same model repository?`,
      );
    const tables = tablesAt(base.manifest.tables, deltas.at(-1)?.manifest);
    return new UpdateWriter(model, version, options, { place, tables, chain, durable: appliedBy(deltas) });
  }

  /** Why it takes nothing any more; undefined = it does. */
  get failure(): ServingError | undefined {
    return this.#failure;
  }

  standing(source: string): Standing {
    return { sequence: this.#durable.get(source) ?? 0, epoch: this.#head.epoch };
  }

  /** True when nothing of the source waits for its epoch. */
  isIdle(source: string): boolean {
    return (this.#gathering.accepted.get(source) ?? 0) === this.standing(source).sequence;
  }

  /** Calls back after an epoch came into force, or after the writer failed. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    return this.#outcomes.subscribe(listener);
  }

  /**
   * Takes a batch, as soon as there is room for it; a known one has no effect.
   *
   * @throws ServingError FAILED_PRECONDITION on a gap, INVALID_ARGUMENT, ROW_OUT_OF_RANGE, RESOURCE_EXHAUSTED; the failure
   */
  async accept(source: string, sequence: number, batch: readonly TableRows[]): Promise<void> {
    for (;;) {
      if (this.#failure) throw this.#failure;
      const gathering = this.#gathering;
      if (gathering.knows(source, sequence)) return;
      const isNextWritten = this.#isWriting || this.#sealed !== undefined;
      if (this.#chainLength + (isNextWritten ? 1 : 0) >= CHAIN_LENGTH_MAX) throw this.#tooLong();
      const taken = gathering.take(source, sequence, batch);
      if (taken !== undefined) {
        this.#options.metrics.rows.inc({ model: this.model }, taken);
        if (gathering.sinceMs === undefined) {
          gathering.sinceMs = this.#options.clock.nowMs();
          this.#changes.notify();
        }
        return;
      }
      this.#isFull = true;
      this.#changes.notify();
      await this.#changes.next();
    }
  }

  /** Ends it; batches without an acknowledgement may be lost, or come into force after all. */
  close(reason = new ServingError("DRAINING", "the process is draining; open the stream again")): void {
    this.#fail(reason);
  }

  async #run(): Promise<void> {
    const { clock, epochMs, metrics, logger } = this.#options;
    const { model } = this;
    let dueMs = 0;
    try {
      for (;;) {
        await this.#until(() => this.#gathering.sinceMs !== undefined);
        const cancel = clock.after(Math.max(0, dueMs - clock.nowMs()), () => this.#changes.notify());
        try {
          await this.#until(() => this.#isFull || clock.nowMs() >= dueMs);
        } finally {
          cancel();
        }
        dueMs = clock.nowMs() + epochMs;
        const { rows, accepted, sinceMs = 0 } = this.#gathering;
        this.#gathering = this.#gathering.next();
        this.#isFull = false;
        metrics.pendingRows.set({ model }, rows.count);
        this.#isWriting = true;
        this.#changes.notify();
        const { signal } = this.#stop;
        const { versionDir, base } = this.#place;
        const takenUpTo = await this.#place.newestTaken(signal);
        const ref = await writeApplied(
          { versionDir, base, parent: this.#head, tables: this.#tables, takenUpTo },
          rows,
          {
            writer: `shardserve ${VERSION}`,
            createdAtMs: Math.floor(clock.wallMs()),
            applied: [...accepted].map(([source, sequence]) => ({ source, sequence })),
          },
        );
        await this.#place.publish(deltaPath(ref.epoch), signal);
        this.#sealed = { ref, accepted };
        this.#isWriting = false;
        this.#onMaps();
        await this.#committed(ref);
        metrics.epochs.inc({ model, result: "committed" });
        metrics.visibleSeconds.observe({ model }, (clock.nowMs() - sinceMs) / 1000);
        metrics.pendingRows.set({ model }, 0);
        logger.debug({ model, version: this.version, epoch: ref.epoch, rows: rows.count }, "epoch of streamed rows");
      }
    } catch (error) {
      const isTaken = isServingError(error, "OUTPUT_EXISTS");
      this.#fail(
        isTaken
          ? new ServingError("UNAVAILABLE", `somebody else writes this epoch: ${error.message}`, { cause: error })
          : ServingError.from(error),
      );
    }
  }

  /**
   * @throws ServingError UNAVAILABLE when it takes too long: it waits for a shard, say, or was taken back before it was in force;
   *   RESOURCE_EXHAUSTED when shards have no room for it
   */
  async #committed({ epoch }: EpochRef): Promise<void> {
    const { clock, commitTimeoutMs } = this.#options;
    const cancel = clock.after(commitTimeoutMs, () => void this.#giveUp(epoch));
    try {
      await this.#until(() => this.#sealed === undefined);
    } finally {
      cancel();
    }
  }

  async #giveUp(epoch: number): Promise<void> {
    const { commitTimeoutMs, refusalsOf } = this.#options;
    const refusals = await refusalsOf(this.model, this.version).catch(() => []); // the registry is away: that is why
    const isFull = refusals.some(({ error }) => error.code === "RESOURCE_EXHAUSTED");
    const why = refusals.map(({ shard, error }) => `${shard}: ${error.message}`).join("; ");
    this.#fail(
      new ServingError(
        isFull ? "RESOURCE_EXHAUSTED" : "UNAVAILABLE",
        `${this.model}/${this.version}: epoch ${epoch} is not in force after ${commitTimeoutMs / 1000} s${why === "" ? "" : ` (${why})`}; \`shardserve status\` and the leader's log say what it waits for; open the stream again`,
      ),
    );
  }

  /** After the maps changed: is this writer's delta in force, or somebody else's? */
  #onMaps(): void {
    if (this.#isWriting || this.#failure) return; // looked at again when the delta is written
    const chain = chainInForce(this.#options.follower, this.model, this.version);
    const sealed = this.#sealed;
    if (chain && sealed && chain.some((ref) => isSameEpoch(ref, sealed.ref))) {
      this.#head = sealed.ref;
      this.#durable = sealed.accepted;
      this.#sealed = undefined;
      this.#changes.notify();
      this.#outcomes.notify();
    }
    const head = chain?.at(-1) ?? (chain && { epoch: 0, digest: this.#place.base.digest });
    if (chain && head && isSameEpoch(head, this.#head)) {
      this.#chainLength = chain.length;
      this.#options.metrics.chainDeltas.set({ model: this.model }, chain.length);
      return this.#folder.observe(chain);
    }
    const name = `${this.model}/${this.version}`;
    this.#fail(
      head
        ? new ServingError(
            "EPOCH_MISMATCH",
            `${name}: epoch ${head.epoch} came into force, not one that follows ${this.#head.epoch} from here; open the stream again and go on behind its first reply`,
          )
        : new ServingError("NOT_FOUND", `${name} is no longer in force; open a stream to the version that is`),
    );
  }

  #tooLong(): ServingError {
    return new ServingError(
      "RESOURCE_EXHAUSTED",
      `${this.model}/${this.version} has ${CHAIN_LENGTH_MAX} deltas that are not folded; the log of apply or of the leader says why, try again later`,
    );
  }

  #fail(reason: ServingError): void {
    if (this.#failure) return;
    this.#failure = reason;
    const { metrics, logger } = this.#options;
    this.#unsubscribe();
    this.#folder.close();
    this.#stop.abort(reason);
    metrics.pendingRows.set({ model: this.model }, 0);
    if (reason.code !== "DRAINING") {
      metrics.epochs.inc({ model: this.model, result: "failed" });
      logger.warn({ model: this.model, version: this.version, error: reason.message }, "streams begin again");
    }
    this.#changes.notify();
    this.#outcomes.notify();
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.#failure) throw this.#failure;
      await this.#changes.next();
    }
  }
}
