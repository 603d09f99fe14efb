import { join } from "node:path";
import { RepeatedWork, ServingError } from "@shardserve/core";
import { type PartitionMap, partitionsOf } from "@shardserve/placement";
import {
  holdingKey,
  holdingRecord,
  type KnownMap,
  type LeasedKeys,
  type MapRecord,
  mapsToHold,
} from "@shardserve/registry";
import { MANIFEST_FILE, PartitionSet, partitionPath, readManifest } from "@shardserve/rowstore";
import { DeltaBudget } from "./delta-budget.js";
import { HeldEpochs } from "./held-epochs.js";
import { checkName, failedAgain, type HeldVersion, holdingOf, newHeldVersion, nextChangeMs } from "./held-version.js";
import { type PartitionLoadOptions, PartitionLoads } from "./partition-loads.js";
import { type ServedVersion, type ServedVersions, servableName } from "./served-version.js";
import type { VersionFiles } from "../files/version-files.js";

export interface KeeperOptions extends PartitionLoadOptions {
  /** Random per process start. */
  readonly instance: string;
  /** Where the files of a version are. */
  readonly filesOf: (model: string, version: number, enabled: () => PartitionMap | undefined) => VersionFiles;
  /** Bytes of mapped rows that are expected to stay in memory; beyond it every gather leaves the event loop. */
  readonly residentBytesMax: number;
  /** Bytes of deltas in memory above which new epochs are refused. */
  readonly deltaBytesMax: number;
  /** How long a partition that no map gives us any more is still served, in milliseconds. */
  readonly dropAfterMs: number;
  readonly keys: Pick<LeasedKeys, "set" | "delete">;
  readonly versions: ServedVersions;
}

/**
 * Holds what the partition maps give this shard: maps and verifies partitions, proves them in the registry, and lets
 * them go after a grace. One pass at a time; every pass works towards the newest maps, so that it can be repeated freely.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #held = new Map<string, HeldVersion>();
  readonly #loads: PartitionLoads;
  readonly #deltaBudget: DeltaBudget;
  readonly #passes = new RepeatedWork(() => this.#pass());
  #isMapped = false;
  #isClosed = false;
  readonly #abort = new AbortController();
  #cancelTimer: () => void = () => undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#deltaBudget = new DeltaBudget(options.deltaBytesMax, () => this.#deltaBytes());
    this.#loads = new PartitionLoads({
      ...options,
      enabledOf: ({ model, version }) => this.#maps.get(servableName(model, version))?.record.enabled,
      mappedBytes: () => this.#mappedBytes(),
      onProgress: (held) => this.#publish(held),
      onLoaded: () => this.#observeMapped(),
      onFetched: () => this.#kick(),
      signal: this.#abort.signal,
    });
  }

  /** Takes all maps as they stand now; replaces what was known. Works in the background. */
  setMaps(maps: readonly KnownMap[]): void {
    const { shard } = this.#options;
    const byName = new Map(maps.map((known) => [servableName(known.model, known.version), known]));
    for (const { model, version, record } of maps) {
      const wanted = new Set<number>();
      for (const map of mapsToHold(record)) for (const partition of partitionsOf(map, shard)) wanted.add(partition);
      const name = servableName(model, version);
      let held = this.#held.get(name);
      if (!held) {
        if (wanted.size === 0) continue;
        held = newHeldVersion(model, version);
        this.#held.set(name, held);
      }
      held.wanted = wanted;
      if (held.served) this.#setEnabled(held.served, record);
      held.epochFailure = undefined; // what the maps want now may be whole
      if (record.manifestDigest !== this.#maps.get(name)?.record.manifestDigest) held.openFailure = undefined;
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
  whenIdle(): Promise<void> {
    return this.#passes.whenIdle();
  }

  /** Stops working and lets everything go. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#abort.abort(new ServingError("DRAINING", "the shard closes"));
    this.#cancelTimer();
    await this.#loads.close();
    await this.whenIdle();
    for (const held of this.#held.values()) await this.#closeServed(held);
    this.#held.clear();
  }

  #kick(): void {
    if (!this.#isClosed) this.#passes.ask();
  }

  async #pass(): Promise<void> {
    for (const held of this.#held.values()) {
      if (this.#isClosed) return;
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
    if (!this.#isClosed) this.#schedule();
  }

  async #advance(held: HeldVersion): Promise<void> {
    if (held.served && this.#isOutdated(held.served)) await this.#reopen(held, held.served);
    if (held.wanted.size > 0 && !held.served) await this.#open(held);
    if (held.served) {
      await this.#followEpochs(held, held.served);
      const heldBefore = held.served.digests.size;
      await this.#loads.loadMissing(held, held.served);
      this.#noteLoaded(held, held.served, held.served.digests.size - heldBefore);
      await this.#dropExpired(held, held.served);
    }
    const isGone = held.wanted.size === 0 && (held.served?.digests.size ?? 0) === 0;
    if (!isGone) return this.#publish(held);
    const { files } = held;
    await this.#closeServed(held);
    await files?.remove();
    this.#held.delete(servableName(held.model, held.version));
    this.#write(this.#options.keys.delete(holdingKey(this.#options.shard, held.model, held.version)));
  }

  async #open(held: HeldVersion): Promise<void> {
    const { clock, versions, residentBytesMax, loadsMax, logger } = this.#options;
    const { model, version } = held;
    if (held.openFailure && clock.nowMs() < held.openFailure.retryAtMs) return;
    try {
      checkName(held);
      const enabled = () => this.#maps.get(servableName(model, version))?.record.enabled;
      const files = (held.files ??= this.#options.filesOf(model, version, enabled));
      await files.provide(MANIFEST_FILE, this.#abort.signal);
      const stored = await readManifest(files.directory);
      if (!stored)
        throw new ServingError("NOT_FOUND", `${files.directory} has no manifest; export ${model} ${version} into it`);
      const { manifest, digest } = stored;
      const wantedDigest = this.#maps.get(servableName(model, version))?.record.manifestDigest;
      if (wantedDigest !== undefined && digest !== wantedDigest) {
        await files.discard(MANIFEST_FILE);
        const path = join(files.directory, MANIFEST_FILE);
        throw new ServingError(
          "DIGEST_MISMATCH",
          `${path} has digest ${digest}, the leader wants ${wantedDigest}; is it the same model repository?`,
        );
      }
      await files.dropOutdated(stored);
      await files.keepOnly("partitions", [...held.wanted].map(partitionPath)); // some went while the shard was down
      const set = new PartitionSet(manifest.tables, manifest.partitionCount, { residentBytesMax });
      held.served = {
        model,
        version,
        channel: versions.nextChannel(),
        epoch: 0,
        epochs: new HeldEpochs({ model, version, files, stored, set, loadsMax, budget: this.#deltaBudget, logger }),
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
      held.openFailure = failedAgain(held, held.openFailure, error, this.#options);
    }
  }

  /** True when the maps are of another manifest, and nobody asks for rows of the one that is open. */
  #isOutdated({ model, version, manifestDigest, isEnabled }: ServedVersion): boolean {
    const wanted = this.#maps.get(servableName(model, version))?.record.manifestDigest;
    return !isEnabled && wanted !== undefined && wanted !== manifestDigest;
  }

  /** The version was exported anew in its place before it was in use. */
  async #reopen(held: HeldVersion, { files }: ServedVersion): Promise<void> {
    await this.#closeServed(held);
    await files.remove(); // copies of what the other manifest names
    held.failures.clear();
    held.fetched.clear();
    held.dropAtMs.clear();
    await this.#open(held);
  }

  /** Brings the deltas that the maps want into memory. A failure leaves epochs as they were, and is tried again. */
  async #followEpochs(held: HeldVersion, served: ServedVersion): Promise<void> {
    const { clock, metrics } = this.#options;
    const { model, version } = held;
    if (held.epochFailure && clock.nowMs() < held.epochFailure.retryAtMs) return;
    const { epochs: plan = NO_EPOCHS, enabled } = this.#maps.get(servableName(model, version))?.record ?? {};
    try {
      const surroundings = {
        inForce: enabled?.epoch ?? Number.POSITIVE_INFINITY,
        partitions: [...served.digests.keys()],
        wanted: held.wanted,
      };
      await served.epochs.follow(plan, surroundings, this.#abort.signal);
      held.epochFailure = undefined;
    } catch (error) {
      if (this.#isClosed) return;
      held.epochFailure = failedAgain(held, held.epochFailure, error, this.#options);
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

  async #dropExpired(held: HeldVersion, served: ServedVersion): Promise<void> {
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
      held.fetched.delete(partition);
      served.digests.delete(partition); // proved no more before it goes
      held.dropAtMs.delete(partition);
      await served.set.remove(partition);
      await served.files.forget(partitionPath(partition));
      await served.epochs.forget(partition);
      dropped++;
      metrics.partitions.set({ model: held.model, version: String(held.version) }, served.digests.size);
    }
    if (dropped > 0) {
      const { model, version } = held;
      logger.info({ model, version, dropped, held: served.digests.size }, "partitions dropped");
    }
    this.#observeMapped();
  }

  /** One line once all that is wanted is held, however many passes that took. */
  #noteLoaded(held: HeldVersion, { digests }: ServedVersion, loaded: number): void {
    held.loadedSinceNote += loaded;
    if (held.loadedSinceNote === 0) return;
    for (const partition of held.wanted) if (!digests.has(partition)) return;
    const { model, version, loadedSinceNote } = held;
    this.#options.logger.info({ model, version, loaded: loadedSinceNote, held: digests.size }, "partitions held");
    held.loadedSinceNote = 0;
  }

  #publish(held: HeldVersion): void {
    const { shard, instance, keys } = this.#options;
    const heldGeneration = this.#maps.get(servableName(held.model, held.version))?.held?.generation;
    const record = holdingOf(held, instance, heldGeneration);
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

  async #closeServed(held: HeldVersion): Promise<void> {
    const { served } = held;
    if (!served) return;
    this.#options.versions.remove(served);
    held.served = undefined;
    held.files = undefined;
    await served.set.close();
    await served.epochs.close();
    this.#options.metrics.epochs.forget(served);
    this.#options.metrics.partitions.remove({ model: held.model, version: String(held.version) });
    this.#observeMapped();
  }

  #mappedBytes(): number {
    let bytes = 0;
    for (const { served } of this.#held.values()) bytes += served?.set.mappedBytes ?? 0;
    return bytes;
  }

  #deltaBytes(): number {
    let bytes = 0;
    for (const { served } of this.#held.values()) bytes += served?.set.overlay.use.bytes ?? 0;
    return bytes;
  }

  #observeMapped(): void {
    this.#options.metrics.mappedBytes.set(this.#mappedBytes());
  }

  /** Wakes up when the next partition is to be dropped or tried again. */
  #schedule(): void {
    const nextMs = Math.min(...[...this.#held.values()].map(nextChangeMs));
    this.#cancelTimer();
    if (nextMs === Number.POSITIVE_INFINITY) return;
    this.#cancelTimer = this.#options.clock.after(Math.max(1, nextMs - this.#options.clock.nowMs()), () =>
      this.#kick(),
    );
  }
}

const NO_EPOCHS = { chain: [], oldest: 0 };
