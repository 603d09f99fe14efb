import { type Logger, ServingError, silentLogger } from "@shardserve/core";
import type { PartitionMap } from "@shardserve/placement";
import { MAPS_PREFIX, parseKey, SHARDS_PREFIX, shardKey } from "./cluster-keys.js";
import { mapRecord, type ShardRecord, shardRecord } from "./cluster-records.js";
import type { Entry, Registry } from "./registry.js";
import { RegistryView } from "./registry-view.js";

/** A shard as an executor knows it. */
export interface KnownShard {
  readonly record: ShardRecord;
  /** False once its lease ended; the address stays, because a map may still name it. */
  readonly isAlive: boolean;
}

interface ReadMap {
  readonly modRevision: number;
  readonly map: PartitionMap | undefined;
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
  readonly #listeners = new Set<() => void>();
  /** By key; with the entry that each was read from, so that only what changed is decoded again. */
  #enabled = new Map<string, ReadMap>();
  #byModel = new Map<string, Map<number, PartitionMap>>();
  readonly #shards = new Map<string, { readonly modRevision: number; shard: KnownShard }>();

  constructor(registry: Registry, options: { readonly logger?: Logger } = {}) {
    this.#logger = options.logger ?? silentLogger;
    this.#maps = new RegistryView(registry, MAPS_PREFIX, options);
    this.#shardView = new RegistryView(registry, SHARDS_PREFIX, options);
    this.#maps.subscribe(() => this.#readMaps());
    this.#shardView.subscribe(() => this.#readShards());
  }

  /** Begins to follow. Waiting is the caller's choice: {@link reach}. */
  start(): void {
    this.#maps.start();
    this.#shardView.start();
  }

  /** Waits until the registry was heard once. @throws the signal's reason */
  async reach(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await Promise.all([this.#maps.reach(1, options), this.#shardView.reach(1, options)]);
  }

  /** Calls back after something changed: maps or shards. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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
    const enabled = new Map<string, ReadMap>();
    const byModel = new Map<string, Map<number, PartitionMap>>();
    for (const entry of this.#maps.entries.values()) {
      const key = parseKey(entry.key);
      if (key?.kind !== "map") continue;
      const known = this.#enabled.get(entry.key);
      const read = known?.modRevision === entry.modRevision ? known : this.#readMap(entry, known?.map);
      enabled.set(entry.key, read);
      if (!read.map) continue;
      const versions = byModel.get(key.model) ?? new Map<number, PartitionMap>();
      byModel.set(key.model, versions.set(key.version, read.map));
    }
    this.#enabled = enabled;
    this.#byModel = byModel;
    this.#forgetShards();
    this.#notify();
  }

  #readMap(entry: Entry, before: PartitionMap | undefined): ReadMap {
    try {
      const { enabled } = mapRecord.decode(entry.value, entry.key);
      const isSame =
        before !== undefined && enabled?.generation === before.generation && enabled.epoch === before.epoch;
      return { modRevision: entry.modRevision, map: isSame ? before : enabled };
    } catch (error) {
      this.#logger.error({ error: ServingError.from(error).message }, "unreadable partition map; the last one stays");
      return { modRevision: entry.modRevision, map: before };
    }
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
    this.#notify();
  }

  /** Shards that are neither alive nor named by a map. */
  #forgetShards(): void {
    const named = new Set<string>();
    for (const versions of this.#byModel.values()) {
      for (const map of versions.values()) for (const id of map.shards) named.add(id);
    }
    for (const [id, { shard }] of this.#shards) if (!shard.isAlive && !named.has(id)) this.#shards.delete(id);
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
