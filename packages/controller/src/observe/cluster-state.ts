import { byIdentity, ServingError } from "@shardserve/core";
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
  type ParsedKey,
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

/** What the registry says of one version of a model. */
export interface VersionState {
  readonly record: Stored<VersionRecord> | undefined;
  readonly map: Stored<MapRecord> | undefined;
  /** Epochs that the operator took back. */
  readonly rollback?: RollbackRecord | undefined;
  /** By shard id; only holdings that the live process of that shard wrote. */
  readonly holdings: ReadonlyMap<string, HoldingRecord>;
}

/** Bytes of one partition's file. */
export function partitionBytesOf({ bytes, partitionCount }: VersionRecord): number {
  return Math.ceil(bytes / partitionCount);
}

/** What the registry says of one model: wishes, labels, and its versions by number. */
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

const CODECS = {
  leader: leaderRecord,
  shard: shardRecord,
  executor: executorRecord,
  wish: shardWish,
  labels: labelsRecord,
  aspired: aspiredRecord,
  version: versionRecord,
  map: mapRecord,
  rollback: rollbackRecord,
  holding: holdingRecord,
};
type Kind = keyof typeof CODECS;
type Decoded<K extends Kind> = ReturnType<(typeof CODECS)[K]["decode"]>;

/** What an entry says; its value is undefined where it has none that concerns us, or cannot be read. */
interface Reading {
  readonly key: ParsedKey | undefined;
  readonly value: unknown;
  readonly error: string | undefined;
}

/** A view keeps the entry object until the key is written again, and a leader of a large cluster looks at all of them often. */
const readingOf = byIdentity(readEntry);

function readEntry({ key: text, value }: Entry): Reading {
  const key = parseKey(text);
  if (!key || !(key.kind in CODECS)) return { key, value: undefined, error: undefined };
  try {
    return { key, value: CODECS[key.kind as Kind].decode(value, text), error: undefined };
  } catch (error) {
    return { key, value: undefined, error: ServingError.from(error).message };
  }
}

/** Decodes a listing of the whole cluster. Keys that are not ours are skipped. */
export function readClusterState(entries: Iterable<Entry>): ClusterState {
  const builder = new ClusterStateBuilder();
  for (const entry of entries) builder.add(readingOf(entry), entry.modRevision);
  return builder.finish();
}

/** Puts what entries say, in whatever order they come, under shards, executors, models and versions. */
class ClusterStateBuilder {
  readonly #shards = new Map<string, ShardRecord>();
  readonly #executors = new Map<string, ExecutorRecord>();
  readonly #models = new Map<string, MutableModel>();
  readonly #holdings: Reading[] = [];
  readonly #unreadable: string[] = [];
  readonly #drained = new Set<string>();
  #leader: LeaderRecord | undefined;

  add(reading: Reading, modRevision: number): void {
    const { key, value, error } = reading;
    if (!key) return;
    if (error !== undefined) {
      this.#unreadable.push(error);
      return;
    }
    switch (key.kind) {
      case "holding":
        this.#holdings.push(reading);
        break;
      case "leader":
        this.#leader = value as Decoded<"leader">;
        break;
      case "shard":
        this.#shards.set(key.id, value as Decoded<"shard">);
        break;
      case "executor":
        this.#executors.set(key.id, value as Decoded<"executor">);
        break;
      case "wish":
        if ((value as Decoded<"wish">).isDraining) this.#drained.add(key.shard);
        break;
      case "level":
        this.#model(key.model).levelRevision = modRevision;
        break;
      case "labels":
        this.#model(key.model).labels = value as Decoded<"labels">;
        break;
      case "aspired":
        this.#model(key.model).aspired = value as Decoded<"aspired">;
        break;
      case "version":
        this.#version(key.model, key.version).record = { value: value as Decoded<"version">, modRevision };
        break;
      case "map":
        this.#version(key.model, key.version).map = { value: value as Decoded<"map">, modRevision };
        break;
      case "rollback":
        this.#version(key.model, key.version).rollback = value as Decoded<"rollback">;
        break;
      case "traffic": // the executors' business
        break;
    }
  }

  /** What is said of shards is said of those that are there: wishes by id, holdings also by instance. */
  finish(): ClusterState {
    const shards = this.#shards;
    for (const id of this.#drained) {
      const shard = shards.get(id);
      if (shard) shards.set(id, { ...shard, isDraining: true });
    }
    for (const { key, value } of this.#holdings) {
      const { shard, model, version } = key as Extract<ParsedKey, { kind: "holding" }>;
      const record = value as Decoded<"holding">;
      if (shards.get(shard)?.instance === record.instance) this.#version(model, version).holdings.set(shard, record);
    }
    return {
      leader: this.#leader,
      shards,
      executors: this.#executors,
      models: this.#models,
      unreadable: this.#unreadable,
    };
  }

  #model(name: string): MutableModel {
    let found = this.#models.get(name);
    if (!found) {
      found = { aspired: undefined, levelRevision: undefined, labels: undefined, versions: new Map() };
      this.#models.set(name, found);
    }
    return found;
  }

  #version(model: string, version: number): MutableVersion {
    const { versions } = this.#model(model);
    let found = versions.get(version);
    if (!found) {
      found = { record: undefined, map: undefined, holdings: new Map() };
      versions.set(version, found);
    }
    return found;
  }
}
