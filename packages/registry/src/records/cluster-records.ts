/** Values of the registry's keys (cluster-keys.ts): plain data. record-codecs.ts has their bytes. */
import { ServingError } from "@shardserve/core";
import type { PartitionMap } from "@shardserve/placement";

/** Where a process can be reached; absent = not offered. */
export interface Addresses {
  /** `host:port` of the framed protocol. */
  readonly tcp?: string;
  /** Path of a Unix socket of the framed protocol; of use only where `machine` is the reader's own. */
  readonly unix?: string;
  /** `host:port` of gRPC. */
  readonly grpc?: string;
  /** `host:port` of REST and metrics. */
  readonly rest?: string;
}

/** `shards/ID` */
export interface ShardRecord {
  readonly id: string;
  /** Random per process start: tells a restarted shard from its predecessor. */
  readonly instance: string;
  /** Identity of the machine (boot id, say); equal = Unix sockets work. */
  readonly machine: string;
  readonly addresses: Addresses;
  readonly zone: string;
  /** Share of the load relative to other shards; 1 unless the operator says otherwise. > 0. */
  readonly weight: number;
  /** Bytes of partitions that the shard may hold over all versions; absent = not limited. */
  readonly capacityBytes?: number;
  /** Asked to leave: keeps serving, gets nothing new, its partitions move away. */
  readonly isDraining: boolean;
}

/** `holdings/ID/NAME/V`: what a shard mapped, verified and now serves of one version. */
export interface HoldingRecord {
  readonly instance: string;
  /** Digest of the manifest that the shard read, hex. */
  readonly manifestDigest: string;
  /** Newest epoch of all partitions below. */
  readonly epoch: number;
  /** Digest of that epoch's delta as the shard read and proved it, hex; absent for epoch 0. It names all deltas before it. */
  readonly epochDigest?: string;
  /** Oldest epoch that can still be asked for; absent = `epoch` alone. */
  readonly oldestEpoch?: number;
  /** Ascending. */
  readonly partitions: readonly number[];
  /** Digest of each partition's file as the shard computed it, hex, in the order of `partitions`. */
  readonly digests: readonly string[];
  /** Why partitions of the version, or deltas, are missing here; absent = nothing went wrong. */
  readonly error?: RecordedError;
  /** True where `error` is of deltas: what partitions are missing are still being loaded. Absent where an older program says it. */
  readonly isDeltaError?: boolean;
  /** Generation of the map that the shard goes on with because the registry, having lost its history, has an older one. */
  readonly heldGeneration?: number;
}

/** A failure as a record keeps it. */
export interface RecordedError {
  /** A code of the error table. */
  readonly code: string;
  readonly message: string;
}

/** `executors/ID` */
export interface ExecutorRecord {
  readonly id: string;
  readonly instance: string;
  readonly addresses: Addresses;
  readonly zone: string;
  readonly serving: readonly ServedVersion[];
}

/** A version on an executor, as the executor itself says. */
export interface ServedVersion {
  readonly model: string;
  readonly version: number;
  /** `available` = answers requests; `unloading` = no longer does. */
  readonly state: "loading" | "available" | "unloading" | "failed";
  /** Epoch that requests are answered at; absent = 0. */
  readonly epoch?: number;
  /** What the executor counts towards its memory limit for it; absent while it holds none. */
  readonly memoryBytes?: number;
  readonly error?: RecordedError;
}

/** A delta by its place in the chain. */
export interface EpochRecord {
  readonly epoch: number;
  /** Digest of the delta's manifest, hex. */
  readonly digest: string;
  /**
   * Only of the first in a chain: digest of the manifest of the fold that is read in place of this delta and of all before
   * it. It changes what is read, not what the epoch is.
   */
  readonly fold?: string;
}

/** Which deltas shards hold of a version. */
export interface EpochPlan {
  /** Deltas to hold, first to last; each follows the one before it. */
  readonly chain: readonly EpochRecord[];
  /** Oldest epoch that may still be asked for: 0 or one of the chain; not before a fold that came into force. */
  readonly oldest: number;
}

/** `models/NAME/rollbacks/V`: epochs that the operator took back; deltas that follow one of them are not taken up either. */
export interface RollbackRecord {
  readonly rejected: readonly number[];
}

/** Which versions of those found in the repository are wanted (TensorFlow Serving's ServableVersionPolicy). */
export type VersionPolicy =
  | { readonly kind: "latest"; readonly count: number }
  | { readonly kind: "all" }
  | { readonly kind: "specific"; readonly versions: readonly number[] };

/** `models/NAME/aspired`: an operator's wish; without it the controller's defaults apply. */
export interface AspiredRecord {
  readonly policy: VersionPolicy;
  /** Replicas per partition; absent = the controller's default. */
  readonly replication?: number;
}

/** `wishes/ID` */
export interface ShardWish {
  /** The shard's partitions are to move away; it goes on serving meanwhile. */
  readonly isDraining: boolean;
}

/** `models/NAME/level` */
export interface LevelWish {
  /** Wall clock of the wish, ms since the epoch; informational. */
  readonly wishedAtMs: number;
}

/** `news`: the model repository has something new, and its leader may look at once. */
export interface NewsRecord {
  /** Wall clock, ms since the epoch; informational. */
  readonly writtenAtMs: number;
}

/** `traffic/NAME`: how requests that name no version are shared out (servable's TrafficPolicy). */
export interface TrafficRecord {
  readonly split: readonly { readonly version: number /** > 0 */; readonly weight: number }[];
  readonly shadow?: { readonly version: number /** in (0, 1] */; readonly fraction: number };
}

/** `labels/NAME`: names for versions that requests may ask by, as in TensorFlow Serving. */
export interface LabelsRecord {
  readonly labels: ReadonlyMap<string, number>;
}

/**
 * `models/NAME/versions/V`. `staged`: shards are told to load. `loaded`: every replica of every partition is proved.
 * `enabled`: executors may use it. `retiring`: replaced; goes in a while. `failed`: a shard refused it; it goes on
 * by itself when the missing replicas are proved after all.
 */
export interface VersionRecord {
  readonly state: "staged" | "loaded" | "enabled" | "retiring" | "failed";
  readonly manifestDigest: string;
  readonly partitionCount: number;
  /** Bytes of all partitions, one replica. */
  readonly bytes: number;
  /** Wall clock of the leader that wrote the state, ms since the epoch. */
  readonly changedAtMs: number;
  /** Why it failed. */
  readonly error?: RecordedError & { readonly shard: string };
}

/**
 * `maps/NAME/V`: shards hold the union of both maps; executors use `enabled` only. A flip moves `staged` to `enabled`
 * in one write; shards drop what is in neither after their grace.
 */
export interface MapRecord {
  readonly enabled?: PartitionMap;
  readonly staged?: PartitionMap;
  /** Where the moves lead, while `staged` is only a part of the way; nobody loads it yet. */
  readonly target?: PartitionMap;
  /** Absent = no delta. The epoch in force is that of `enabled`; one behind it in the chain is being staged. */
  readonly epochs?: EpochPlan;
  /** Digest of the manifest that the maps are of; absent = an older leader wrote the record. */
  readonly manifestDigest?: string;
}

/** `leader` */
export interface LeaderRecord {
  readonly id: string;
  readonly instance: string;
}

/** The maps whose partitions shards hold: what is in force, and what is to follow. */
export function mapsToHold({ enabled, staged }: MapRecord = {}): PartitionMap[] {
  return [enabled, staged].filter((map) => map !== undefined);
}

/** The recorded form of a failure. */
export function recordError(reason: unknown): RecordedError {
  const { code, message } = ServingError.from(reason);
  return { code, message };
}
