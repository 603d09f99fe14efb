import { join } from "node:path";
import { type Clock, invariant, type Logger, ServingError } from "@shardserve/core";
import { type PartitionMap, partitionsOf, replicasOf } from "@shardserve/placement";
import {
  holdingKey,
  holdingRecord,
  type KnownMap,
  type LeasedKeys,
  type MapRecord,
  type RecordedError,
  recordError,
} from "@shardserve/registry";
import { MANIFEST_FILE, partitionDigestOf, PartitionSet, partitionPath, readManifest } from "@shardserve/rowstore";
import { HeldEpochs, isDamage } from "./held-epochs.js";
import type { ShardMetrics } from "./metrics.js";
import { MoveRate } from "./move-rate.js";
import { type ServedVersion, type ServedVersions, servableName } from "./served-version.js";
import type { VersionFiles } from "./version-files.js";

export interface KeeperOptions {
  readonly shard: string;
  /** Random per process start. */
  readonly instance: string;
  /** Where the files of a version are. */
  readonly filesOf: (model: string, version: number, enabled: () => PartitionMap | undefined) => VersionFiles;
  /** Bytes of partitions that may be mapped over all versions; Infinity = no limit. */
  readonly capacityBytes: number;
  /** Bytes of mapped rows that are expected to stay in memory; beyond it every gather leaves the event loop. */
  readonly residentBytesMax: number;
  /** How long a partition that no map gives us any more is still served, in milliseconds. */
  readonly dropAfterMs: number;
  /** Partition files verified at the same time. */
  readonly loadsMax: number;
  /** Bytes a second at which partitions that move here are read; Infinity = not limited. Restarts and rollouts are not slowed. */
  readonly moveBytesPerSecond: number;
  /** First pause after a failed load, doubled up to {@link RETRY_MAX_MS}, in milliseconds. */
  readonly retryMs: number;
  readonly keys: Pick<LeasedKeys, "set" | "delete">;
  readonly versions: ServedVersions;
  readonly metrics: ShardMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
}

const RETRY_MAX_MS = 60_000;
/** A long load proves what it has this often, so that a rollout's progress can be seen. */
const PROGRESS_MS = 1_000;

/** One version that the maps give us, or gave us. */
interface Held {
  readonly model: string;
  readonly version: number;
  wanted: ReadonlySet<number>;
  served: ServedVersion | undefined;
  /** Per partition that is no longer wanted: when it goes, on the clock's `nowMs` scale. */
  readonly dropAtMs: Map<number, number>;
  /** Per partition that failed to load. */
  readonly failures: Map<
    number,
    { readonly error: RecordedError; readonly retryAtMs: number; readonly pauseMs: number }
  >;
  /** Why the version could not be opened at all. */
  openFailure: { readonly error: RecordedError; readonly retryAtMs: number; readonly pauseMs: number } | undefined;
  /** Why the deltas that the maps want are not all here. */
  epochFailure: { readonly error: RecordedError; readonly retryAtMs: number; readonly pauseMs: number } | undefined;
  /** What was published last, to publish only changes. */
  published: string;
}

/**
 * Holds what the partition maps give this shard: maps and verifies partitions, proves them in the registry, and lets
 * them go after a grace. One pass at a time; every pass works towards the newest maps, so that it can be repeated freely.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #held = new Map<string, Held>();
  readonly #moveRate: MoveRate;
  /** When a move that had to wait may start, on the clock's `nowMs` scale. */
  #nextMoveAtMs = Number.POSITIVE_INFINITY;
  #pass: Promise<void> | undefined;
  #isDirty = false;
  #isMapped = false;
  #isClosed = false;
  #abort = new AbortController();
  #cancelTimer: () => void = () => undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#moveRate = new MoveRate(options.moveBytesPerSecond);
  }

  /** Takes all maps as they stand now; replaces what was known. Works in the background. */
  setMaps(maps: readonly KnownMap[]): void {
    const { shard } = this.#options;
    const byName = new Map(maps.map((known) => [servableName(known.model, known.version), known]));
    for (const { model, version, record } of maps) {
      const wanted = new Set<number>();
      for (const map of [record.staged, record.enabled]) {
        if (map) for (const partition of partitionsOf(map, shard)) wanted.add(partition);
      }
      const name = servableName(model, version);
      let held = this.#held.get(name);
      if (!held) {
        if (wanted.size === 0) continue;
        held = newHeld(model, version);
        this.#held.set(name, held);
      }
      held.wanted = wanted;
      if (held.served) this.#setEnabled(held.served, record);
      held.epochFailure = undefined; // what the maps want now may be whole
    }
    for (const [name, held] of this.#held) {
      if (byName.has(name)) continue;
      held.wanted = new Set();
      if (held.served) held.served.isEnabled = false;
    }
    this.#maps = byName;
    this.#isMapped = true;
    this.#kick();
  }

  #maps: ReadonlyMap<string, KnownMap> = new Map();

  /** True once the maps are known and every partition that executors may ask of this shard is held. */
  get isComplete(): boolean {
    if (!this.#isMapped) return false;
    for (const [name, { record }] of this.#maps) {
      const served = this.#held.get(name)?.served;
      if (!record.enabled || served?.set.tables.length === 0) continue; // without tables there are no partition files
      for (const partition of partitionsOf(record.enabled, this.#options.shard)) {
        if (!served?.digests.has(partition)) return false;
      }
    }
    return true;
  }

  /** Resolves when the pass that runs, or the next one if maps came since, has ended. For tests and orderly closing. */
  async whenIdle(): Promise<void> {
    while (this.#pass) await this.#pass;
  }

  /** Stops working and lets everything go. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#abort.abort(new ServingError("DRAINING", "the shard closes"));
    this.#cancelTimer();
    await this.whenIdle();
    for (const held of this.#held.values()) await this.#closeServed(held);
    this.#held.clear();
  }

  #kick(): void {
    if (this.#isClosed) return;
    this.#isDirty = true;
    this.#pass ??= this.#run().finally(() => {
      this.#pass = undefined;
      if (!this.#isClosed) this.#schedule();
    });
  }

  async #run(): Promise<void> {
    while (this.#isDirty && !this.#isClosed) {
      this.#isDirty = false;
      this.#nextMoveAtMs = Number.POSITIVE_INFINITY;
      for (const held of this.#held.values()) {
        try {
          await this.#advance(held);
        } catch (error) {
          if (this.#isClosed) return;
          this.#options.logger.error(
            { model: held.model, error: ServingError.from(error).message },
            "keeping a version failed",
          );
        }
      }
    }
  }

  async #advance(held: Held): Promise<void> {
    if (held.wanted.size > 0 && !held.served) await this.#open(held);
    if (held.served) {
      await this.#followEpochs(held, held.served);
      await this.#loadMissing(held, held.served);
      await this.#dropExpired(held, held.served);
    }
    const isGone = held.wanted.size === 0 && (held.served?.digests.size ?? 0) === 0;
    if (!isGone) return this.#publish(held);
    const files = held.served?.files;
    await this.#closeServed(held);
    await files?.remove();
    this.#held.delete(servableName(held.model, held.version));
    this.#write(this.#options.keys.delete(holdingKey(this.#options.shard, held.model, held.version)));
  }

  async #open(held: Held): Promise<void> {
    const { clock, versions, metrics, retryMs, residentBytesMax, loadsMax, logger } = this.#options;
    const { model, version } = held;
    if (held.openFailure && clock.nowMs() < held.openFailure.retryAtMs) return;
    try {
      checkName(held);
      const files = this.#options.filesOf(
        model,
        version,
        () => this.#maps.get(servableName(model, version))?.record.enabled,
      );
      await files.provide(MANIFEST_FILE, this.#abort.signal);
      const stored = await readManifest(files.directory);
      if (!stored)
        throw new ServingError("NOT_FOUND", `${files.directory} has no manifest; export ${model} ${version} into it`);
      const { manifest, digest } = stored;
      await files.keepOnly("partitions", [...held.wanted].map(partitionPath)); // some went while the shard was down
      const set = new PartitionSet(manifest.tables, manifest.partitionCount, { residentBytesMax });
      held.served = {
        model,
        version,
        channel: versions.nextChannel(),
        epoch: 0,
        epochs: new HeldEpochs({ model, version, files, stored, set, loadsMax, logger }),
        files,
        manifest,
        manifestDigest: digest,
        set,
        digests: new Map(),
        isEnabled: false,
        generation: 0,
      };
      const record = this.#maps.get(servableName(model, version))?.record;
      if (record) this.#setEnabled(held.served, record);
      held.openFailure = undefined;
      versions.add(held.served);
    } catch (error) {
      const pauseMs = Math.min(RETRY_MAX_MS, (held.openFailure?.pauseMs ?? retryMs / 2) * 2);
      const recorded = this.#recordFailure(held, error);
      metrics.loadFailures.inc({ model, code: recorded.code });
      held.openFailure = { error: recorded, retryAtMs: clock.nowMs() + pauseMs, pauseMs };
    }
  }

  /** Brings the deltas that the maps want into memory. A failure leaves epochs as they were, and is tried again. */
  async #followEpochs(held: Held, served: ServedVersion): Promise<void> {
    const { clock, metrics, retryMs } = this.#options;
    const { model, version } = held;
    if (held.epochFailure && clock.nowMs() < held.epochFailure.retryAtMs) return;
    const plan = this.#maps.get(servableName(model, version))?.record.epochs ?? NO_EPOCHS;
    try {
      await served.epochs.follow(plan, [...served.digests.keys()], this.#abort.signal);
      held.epochFailure = undefined;
    } catch (error) {
      if (this.#isClosed) return;
      const pauseMs = Math.min(RETRY_MAX_MS, (held.epochFailure?.pauseMs ?? retryMs / 2) * 2);
      const recorded = this.#recordFailure(held, error);
      metrics.loadFailures.inc({ model, code: recorded.code });
      held.epochFailure = { error: recorded, retryAtMs: clock.nowMs() + pauseMs, pauseMs };
    }
    metrics.epochs.observe(served, clock);
  }

  /** Whether executors may use the version, under which map and at which epoch. */
  #setEnabled(served: ServedVersion, { enabled, staged }: MapRecord): void {
    served.isEnabled = enabled !== undefined;
    served.generation = enabled?.generation ?? staged?.generation ?? 0;
    served.epoch = enabled?.epoch ?? 0;
    this.#options.metrics.epochs.committed(served, this.#options.clock);
  }

  async #loadMissing(held: Held, served: ServedVersion): Promise<void> {
    const { clock, loadsMax } = this.#options;
    const nowMs = clock.nowMs();
    if (served.set.tables.length === 0) return; // such a version has no partition files
    const missing = [...held.wanted].filter(
      (partition) => !served.digests.has(partition) && (held.failures.get(partition)?.retryAtMs ?? 0) <= nowMs,
    );
    let provedAtMs = nowMs;
    const load = async () => {
      for (let partition = missing.shift(); partition !== undefined; partition = missing.shift()) {
        if (this.#isClosed || !held.wanted.has(partition)) continue;
        if (this.#isMove(held, partition)) {
          // Its turn comes later; a restart or a rollout is not kept waiting for it.
          const waitMs = this.#moveRate.tryStart(served.set.layout.fileBytes, clock.nowMs());
          if (waitMs > 0) {
            this.#nextMoveAtMs = Math.min(this.#nextMoveAtMs, clock.nowMs() + waitMs);
            continue;
          }
        }
        await this.#load(held, served, partition);
        if (clock.nowMs() - provedAtMs < PROGRESS_MS) continue;
        provedAtMs = clock.nowMs();
        this.#publish(held);
      }
    };
    await Promise.all(Array.from({ length: loadsMax }, load));
  }

  async #load(held: Held, served: ServedVersion, partition: number): Promise<void> {
    const { metrics, clock, retryMs } = this.#options;
    const { model, version } = held;
    let isProved = false;
    try {
      this.#checkCapacity(served);
      const { signal } = this.#abort;
      await served.files.provide(partitionPath(partition), signal);
      const path = join(served.files.directory, partitionPath(partition));
      const expectedDigest = partitionDigestOf(served.manifest, partition);
      const prepare = () => {
        isProved = true;
        return served.epochs.prepare(partition, signal);
      };
      const { digest } = await served.set.add(partition, path, { expectedDigest, signal, prepare });
      served.digests.set(partition, digest);
      held.failures.delete(partition);
      held.dropAtMs.delete(partition);
    } catch (error) {
      if (this.#isClosed) return;
      if (isDamage(error) && !isProved) await served.files.discard(partitionPath(partition));
      const pauseMs = Math.min(RETRY_MAX_MS, (held.failures.get(partition)?.pauseMs ?? retryMs / 2) * 2);
      const recorded = this.#recordFailure(held, error);
      metrics.loadFailures.inc({ model, code: recorded.code });
      held.failures.set(partition, { error: recorded, retryAtMs: clock.nowMs() + pauseMs, pauseMs });
    }
    metrics.partitions.set({ model, version: String(version) }, served.digests.size);
    this.#observeMapped();
  }

  /** True when the partition comes from another shard: an enabled version has it elsewhere. */
  #isMove({ model, version }: Held, partition: number): boolean {
    const enabled = this.#maps.get(servableName(model, version))?.record.enabled;
    return enabled !== undefined && !replicasOf(enabled, partition).includes(this.#options.shard);
  }

  async #dropExpired(held: Held, served: ServedVersion): Promise<void> {
    const { clock, dropAfterMs, metrics, logger } = this.#options;
    const nowMs = clock.nowMs();
    let dropped = 0;
    for (const partition of served.digests.keys()) {
      if (held.wanted.has(partition)) {
        held.dropAtMs.delete(partition);
        continue;
      }
      const dropAtMs = held.dropAtMs.get(partition) ?? nowMs + dropAfterMs;
      held.dropAtMs.set(partition, dropAtMs);
      if (dropAtMs > nowMs) continue;
      served.digests.delete(partition); // proved no more before it goes
      held.dropAtMs.delete(partition);
      await served.set.remove(partition);
      await served.files.forget(partitionPath(partition));
      dropped++;
      metrics.partitions.set({ model: held.model, version: String(held.version) }, served.digests.size);
    }
    if (dropped > 0) {
      const { model, version } = held;
      logger.info({ model, version, dropped, held: served.digests.size }, "partitions dropped");
    }
    this.#observeMapped();
  }

  #publish(held: Held): void {
    const { shard, instance, keys } = this.#options;
    const { served } = held;
    const partitions = [...(served?.digests.keys() ?? [])].sort((a, b) => a - b);
    const error = held.openFailure?.error ?? firstFailure(held) ?? held.epochFailure?.error;
    const newest = served?.epochs.newest;
    const heldGeneration = this.#maps.get(servableName(held.model, held.version))?.held?.generation;
    const record = {
      instance,
      manifestDigest: served?.manifestDigest ?? "",
      epoch: newest?.epoch ?? 0,
      ...(served && newest && newest.epoch > 0 && { epochDigest: newest.digest, oldestEpoch: served.epochs.oldest }),
      partitions,
      digests: partitions.map((partition) => served?.digests.get(partition) ?? ""),
      ...(error && { error }),
      ...(heldGeneration !== undefined && { heldGeneration }),
    };
    const text = JSON.stringify(record);
    if (text === held.published) return;
    held.published = text;
    this.#write(keys.set(holdingKey(shard, held.model, held.version), holdingRecord.encode(record)));
  }

  /** LeasedKeys writes until it succeeds; nothing here waits for it: while the registry is away, rows are served on. */
  #write(written: Promise<void>): void {
    written.catch((error: unknown) => {
      if (!this.#isClosed)
        this.#options.logger.error({ error: ServingError.from(error).message }, "a holding was not published");
    });
  }

  async #closeServed(held: Held): Promise<void> {
    const { served } = held;
    if (!served) return;
    this.#options.versions.remove(served);
    held.served = undefined;
    await served.set.close();
    await served.epochs.close();
    this.#options.metrics.epochs.forget(served);
    this.#options.metrics.partitions.remove({ model: held.model, version: String(held.version) });
    this.#observeMapped();
  }

  #checkCapacity(served: ServedVersion): void {
    const { capacityBytes, shard } = this.#options;
    const mappedBytes = this.#mappedBytes();
    const { dataBytes } = served.set.layout;
    if (mappedBytes + dataBytes <= capacityBytes) return;
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `shard ${shard} holds ${mappedBytes} bytes; ${dataBytes} more exceed its capacity of ${capacityBytes}`,
    );
  }

  #mappedBytes(): number {
    let bytes = 0;
    for (const { served } of this.#held.values()) bytes += served?.set.mappedBytes ?? 0;
    return bytes;
  }

  #observeMapped(): void {
    this.#options.metrics.mappedBytes.set(this.#mappedBytes());
  }

  #recordFailure(held: Held, reason: unknown): RecordedError {
    const error = recordError(reason);
    this.#options.logger.error({ model: held.model, version: held.version, ...error }, "load refused");
    return error;
  }

  /** Wakes up when the next partition is to be dropped or tried again. */
  #schedule(): void {
    let nextMs = this.#nextMoveAtMs;
    for (const held of this.#held.values()) {
      for (const dropAtMs of held.dropAtMs.values()) nextMs = Math.min(nextMs, dropAtMs);
      for (const { retryAtMs } of held.failures.values()) nextMs = Math.min(nextMs, retryAtMs);
      if (held.epochFailure) nextMs = Math.min(nextMs, held.epochFailure.retryAtMs);
      if (held.openFailure) nextMs = Math.min(nextMs, held.openFailure.retryAtMs);
    }
    this.#cancelTimer();
    if (nextMs === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer = this.#options.clock.after(Math.max(1, nextMs - this.#options.clock.nowMs()), () =>
      this.#kick(),
    );
  }
}

/** @throws ServingError INVALID_ARGUMENT */
function checkName({ model, version }: Held): void {
  invariant(Number.isSafeInteger(version), `version ${version}`);
  if (model === "" || model.startsWith(".") || /[/\\\0]/.test(model)) {
    throw new ServingError("INVALID_ARGUMENT", `model name "${model}" cannot be a folder of the repository`);
  }
}

function newHeld(model: string, version: number): Held {
  return {
    model,
    version,
    wanted: new Set(),
    served: undefined,
    dropAtMs: new Map(),
    failures: new Map(),
    openFailure: undefined,
    epochFailure: undefined,
    published: "",
  };
}

const NO_EPOCHS = { chain: [], oldest: 0 };

function firstFailure(held: Held): RecordedError | undefined {
  for (const partition of [...held.failures.keys()].sort((a, b) => a - b)) {
    if (held.wanted.has(partition)) return held.failures.get(partition)?.error;
  }
  return undefined;
}
