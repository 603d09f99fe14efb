import { Changes, type Logger, ServingError, silentLogger } from "@shardserve/core";
import type { PartitionMap } from "@shardserve/placement";
import { mapKey, MAPS_PREFIX, parseKey, SHARDS_PREFIX, shardKey } from "./records/cluster-keys.js";
import type { EpochPlan, ShardRecord } from "./records/cluster-records.js";
import { shardRecord } from "./records/record-codecs.js";
import { KnownMaps } from "./records/known-maps.js";
import type { Registry } from "./registry.js";
import { RegistryView, type RegistryViewOptions } from "./registry-view.js";
import type { StateFile } from "./records/state-file.js";

/** A shard as an executor knows it. */
export interface KnownShard {
  readonly record: ShardRecord;
  /** False once its lease ended; the address stays, because a map may still name it. */
  readonly isAlive: boolean;
}

/** For {@link MapFollower}. */
export interface MapFollowerOptions extends Omit<RegistryViewOptions, "state"> {
  /** Where maps and shards are kept for a start without the registry; absent = nowhere. */
  readonly state?: { readonly maps: StateFile; readonly shards: StateFile };
}

/**
 * What an executor follows of the cluster: the enabled partition map of every version, and where shards are. All reads
 * are synchronous, of the last known state; when the registry is away, or something unreadable is written there, that
 * state stays. Nothing of the data plane ever waits for it.
 */
export class MapFollower {
  readonly #maps: RegistryView;
  readonly #shardView: RegistryView;
  readonly #logger: Logger;
  readonly #changes = new Changes();
  readonly #known: KnownMaps;
  #byModel = new Map<string, Map<number, PartitionMap>>();
  readonly #shards = new Map<string, { readonly modRevision: number; shard: KnownShard }>();

  constructor(registry: Registry, options: MapFollowerOptions = {}) {
    const { state, ...rest } = options;
    this.#logger = options.logger ?? silentLogger;
    this.#known = new KnownMaps({ logger: this.#logger });
    this.#maps = new RegistryView(registry, MAPS_PREFIX, { ...rest, ...(state && { state: state.maps }) });
    this.#shardView = new RegistryView(registry, SHARDS_PREFIX, { ...rest, ...(state && { state: state.shards }) });
    this.#maps.subscribe(() => this.#readMaps());
    this.#shardView.subscribe(() => this.#readShards());
  }

  /** Begins to follow. Waiting is the caller's choice: {@link reach}. */
  start(): void {
    this.#maps.start();
    this.#shardView.start();
  }

  /** When what is known was saved, ms since the epoch, as long as it comes from the state files; else undefined. */
  get savedAtMs(): number | undefined {
    return this.#maps.savedAtMs;
  }

  /** Versions whose map is held because the registry lost its history. */
  get heldCount(): number {
    return [...this.#known.all.values()].filter(({ held }) => held).length;
  }

  /** Waits until the registry was heard once, or the state files were taken instead. @throws the signal's reason */
  async reach(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await Promise.all([this.#maps.reach(1, options), this.#shardView.reach(1, options)]);
  }

  /** Calls back after something changed: maps or shards. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    return this.#changes.subscribe(listener);
  }

  /** Models that have an enabled version, sorted. */
  models(): string[] {
    return [...this.#byModel.keys()].sort();
  }

  /** Versions with an enabled map, ascending. */
  versions(model: string): number[] {
    return [...(this.#byModel.get(model)?.keys() ?? [])].sort((a, b) => a - b);
  }

  /** The enabled map of a version; the object changes when, and only when, the map does. */
  map(model: string, version: number): PartitionMap | undefined {
    return this.#byModel.get(model)?.get(version);
  }

  /** The deltas of a version that shards hold; undefined = none. The epoch in force is that of its map. */
  epochs(model: string, version: number): EpochPlan | undefined {
    return this.#known.all.get(mapKey(model, version))?.record.epochs;
  }

  /** Where a shard is, or was last heard to be. */
  shard(id: string): KnownShard | undefined {
    return this.#shards.get(id)?.shard;
  }

  /** All shards that are alive or named by a map, sorted by id. */
  shards(): KnownShard[] {
    return [...this.#shards.keys()].sort().map((id) => (this.#shards.get(id) as { shard: KnownShard }).shard);
  }

  async close(): Promise<void> {
    await Promise.all([this.#maps.close(), this.#shardView.close()]);
  }

  #readMaps(): void {
    this.#known.update(this.#maps);
    const byModel = new Map<string, Map<number, PartitionMap>>();
    for (const { model, version, record } of this.#known.all.values()) {
      if (!record.enabled) continue;
      const before = this.map(model, version);
      const versions = byModel.get(model) ?? new Map<number, PartitionMap>();
      byModel.set(model, versions.set(version, isSame(before, record.enabled) ? before : record.enabled));
    }
    this.#byModel = byModel;
    this.#forgetShards();
    this.#changes.notify();
  }

  #readShards(): void {
    const keys = this.#shardView.entries;
    for (const [id, known] of this.#shards) known.shard = { ...known.shard, isAlive: keys.has(shardKey(id)) };
    for (const entry of this.#shardView.entries.values()) {
      const key = parseKey(entry.key);
      if (key?.kind !== "shard" || this.#shards.get(key.id)?.modRevision === entry.modRevision) continue;
      try {
        const record = shardRecord.decode(entry.value, entry.key);
        this.#shards.set(key.id, { modRevision: entry.modRevision, shard: { record, isAlive: true } });
      } catch (error) {
        this.#logger.error({ error: ServingError.from(error).message }, "unreadable shard record; the last one stays");
      }
    }
    this.#forgetShards();
    this.#changes.notify();
  }

  /** Shards that are neither alive nor named by a map. */
  #forgetShards(): void {
    const named = new Set<string>();
    for (const versions of this.#byModel.values()) {
      for (const map of versions.values()) for (const id of map.shards) named.add(id);
    }
    for (const [id, { shard }] of this.#shards) if (!shard.isAlive && !named.has(id)) this.#shards.delete(id);
  }
}

function isSame(before: PartitionMap | undefined, now: PartitionMap): before is PartitionMap {
  return before !== undefined && before.generation === now.generation && before.epoch === now.epoch;
}
