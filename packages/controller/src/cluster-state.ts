import { ServingError } from "@shardserve/core";
import {
  type AspiredRecord,
  aspiredRecord,
  type Entry,
  type ExecutorRecord,
  executorRecord,
  type HoldingRecord,
  holdingRecord,
  type LabelsRecord,
  labelsRecord,
  type LeaderRecord,
  leaderRecord,
  type MapRecord,
  mapRecord,
  parseKey,
  type RollbackRecord,
  rollbackRecord,
  type ShardRecord,
  shardRecord,
  shardWish,
  type VersionRecord,
  versionRecord,
} from "@shardserve/registry";

/** A value with the revision that a transaction on it must compare. */
export interface Stored<T> {
  readonly value: T;
  readonly modRevision: number;
}

export interface VersionState {
  readonly record: Stored<VersionRecord> | undefined;
  readonly map: Stored<MapRecord> | undefined;
  /** Epochs that the operator took back. */
  readonly rollback?: RollbackRecord | undefined;
  /** By shard id; only holdings that the live process of that shard wrote. */
  readonly holdings: ReadonlyMap<string, HoldingRecord>;
}

export interface ModelState {
  readonly aspired: AspiredRecord | undefined;
  /** Revision of the operator's wish to have the model levelled; undefined = there is none. */
  readonly levelRevision: number | undefined;
  readonly labels: LabelsRecord | undefined;
  readonly versions: ReadonlyMap<number, VersionState>;
}

/** Everything in the registry, decoded: what the leader decides from and what `status` shows. */
export interface ClusterState {
  readonly leader: LeaderRecord | undefined;
  readonly shards: ReadonlyMap<string, ShardRecord>;
  readonly executors: ReadonlyMap<string, ExecutorRecord>;
  readonly models: ReadonlyMap<string, ModelState>;
  /** Values that could not be read; each names its key. They are treated as absent, and never overwritten. */
  readonly unreadable: readonly string[];
}

interface MutableVersion {
  record: Stored<VersionRecord> | undefined;
  map: Stored<MapRecord> | undefined;
  rollback?: RollbackRecord;
  holdings: Map<string, HoldingRecord>;
}

interface MutableModel {
  aspired: AspiredRecord | undefined;
  levelRevision: number | undefined;
  labels: LabelsRecord | undefined;
  versions: Map<number, MutableVersion>;
}

/** Parsed keys by entry, as {@link decoded}; null = none of ours. */
const parsed = new WeakMap<Entry, ReturnType<typeof parseKey> | null>();

function keyOf(entry: Entry): ReturnType<typeof parseKey> {
  const known = parsed.get(entry);
  if (known !== undefined) return known ?? undefined;
  const key = parseKey(entry.key);
  parsed.set(entry, key ?? null);
  return key;
}

/** Decoded values by entry: a view keeps the entry object until the key is written again. */
const decoded = new WeakMap<Entry, unknown>();

/** Decodes a listing of the whole cluster. Keys that are not ours are skipped. */
export function readClusterState(entries: Iterable<Entry>): ClusterState {
  const shards = new Map<string, ShardRecord>();
  const executors = new Map<string, ExecutorRecord>();
  const models = new Map<string, MutableModel>();
  const holdings: {
    readonly shard: string;
    readonly model: string;
    readonly version: number;
    readonly record: HoldingRecord;
  }[] = [];
  const unreadable: string[] = [];
  const drained = new Set<string>();
  let leader: LeaderRecord | undefined;

  const modelOf = (name: string): MutableModel => {
    const found: MutableModel = models.get(name) ?? {
      aspired: undefined,
      levelRevision: undefined,
      labels: undefined,
      versions: new Map(),
    };
    models.set(name, found);
    return found;
  };
  const versionOf = (name: string, version: number): MutableVersion => {
    const { versions } = modelOf(name);
    const found = versions.get(version) ?? {
      record: undefined,
      map: undefined,
      holdings: new Map<string, HoldingRecord>(),
    };
    versions.set(version, found);
    return found;
  };

  for (const entry of entries) {
    const key = keyOf(entry);
    if (!key) continue;
    const read = <T>(codec: { decode(bytes: Uint8Array, where: string): T }): T => {
      const known = decoded.get(entry) as T | undefined;
      if (known !== undefined) return known;
      const value = codec.decode(entry.value, entry.key);
      decoded.set(entry, value);
      return value;
    };
    const stored = <T>(codec: { decode(bytes: Uint8Array, where: string): T }): Stored<T> => ({
      value: read(codec),
      modRevision: entry.modRevision,
    });
    try {
      if (key.kind === "leader") leader = read(leaderRecord);
      else if (key.kind === "shard") shards.set(key.id, read(shardRecord));
      else if (key.kind === "executor") executors.set(key.id, read(executorRecord));
      else if (key.kind === "wish") {
        if (read(shardWish).isDraining) drained.add(key.shard);
      } else if (key.kind === "level") modelOf(key.model).levelRevision = entry.modRevision;
      else if (key.kind === "labels") modelOf(key.model).labels = read(labelsRecord);
      else if (key.kind === "aspired") modelOf(key.model).aspired = read(aspiredRecord);
      else if (key.kind === "version") versionOf(key.model, key.version).record = stored(versionRecord);
      else if (key.kind === "map") versionOf(key.model, key.version).map = stored(mapRecord);
      else if (key.kind === "rollback") versionOf(key.model, key.version).rollback = read(rollbackRecord);
      else if (key.kind === "traffic")
        continue; // the executors' business
      else holdings.push({ ...key, record: read(holdingRecord) });
    } catch (error) {
      unreadable.push(ServingError.from(error).message);
    }
  }
  for (const id of drained) {
    const shard = shards.get(id);
    if (shard) shards.set(id, { ...shard, isDraining: true });
  }
  for (const { shard, model, version, record } of holdings) {
    if (shards.get(shard)?.instance === record.instance) versionOf(model, version).holdings.set(shard, record);
  }
  return { leader, shards, executors, models, unreadable };
}
