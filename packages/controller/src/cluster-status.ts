import { type PartitionMap, replicasOf, unionLoads } from "@shardserve/placement";
import {
  type AspiredRecord,
  type ExecutorRecord,
  mapsToHold,
  type RecordedError,
  type Registry,
  type ShardRecord,
  type VersionRecord,
} from "@shardserve/registry";
import { moveCounts } from "./decide/moves-in-flight.js";
import { type ClusterState, partitionBytesOf, readClusterState, type VersionState } from "./observe/cluster-state.js";

/** One version as `shardserve status` shows it. */
export interface VersionStatus {
  readonly version: number;
  /** `dropping`: gone from the registry's plans; shards still hold partitions for their grace. `unknown`: a map without a state. */
  readonly state: VersionRecord["state"] | "dropping" | "unknown";
  readonly error?: RecordedError & { readonly shard: string };
  /** Generation of the map that executors use; 0 = none yet. */
  readonly generation: number;
  /** Delta in force; 0 = as exported. */
  readonly epoch: number;
  /** Delta that shards are reading; absent = none. */
  readonly stagedEpoch?: number;
  /** Epochs that the operator took back. */
  readonly rejectedEpochs: readonly number[];
  readonly partitionCount: number;
  readonly replication: number;
  /** Bytes of all partitions, one replica. */
  readonly bytes: number;
  /** Replicas of the staged map (else the enabled one) that their shards report, and how many there should be. */
  readonly heldCount: number;
  readonly neededCount: number;
  /** A new placement is being loaded beside the one in force. */
  readonly isMoving: boolean;
  /** Partitions that are being copied to other shards, and those whose turn comes after them. */
  readonly movingCount: number;
  readonly movesLeftCount: number;
  /** Partitions of the enabled map with fewer living replicas than wanted, and those with none. */
  readonly degradedCount: number;
  readonly darkCount: number;
  /** Shards that are to hold some of it and read another manifest: not yet this one, or another model repository. */
  readonly estrangedShards: readonly string[];
  /** What living shards that are to hold some of it last failed at, by id; they try again. */
  readonly failures: readonly ShardFailure[];
}

/** Why a shard does not hold all that it should. */
export interface ShardFailure extends RecordedError {
  readonly shard: string;
}

/** A living shard, with what the maps give it. */
export interface ShardStatus extends ShardRecord {
  /** Partitions and bytes that the maps in force and staged give it, over all versions. */
  readonly partitionCount: number;
  readonly bytes: number;
}

/** A model's wishes, labels and versions, as `shardserve status` shows them. */
export interface ModelStatus {
  readonly model: string;
  /** What an operator wishes; absent = the leader's defaults. */
  readonly aspired?: AspiredRecord;
  readonly labels?: Readonly<Record<string, number>>;
  readonly versions: readonly VersionStatus[];
}

/** The cluster as the registry describes it at one moment. */
export interface ClusterStatus {
  /** Id of the shard that leads; absent = nobody does now. */
  readonly leader?: string;
  readonly shards: readonly ShardStatus[];
  readonly executors: readonly ExecutorRecord[];
  readonly models: readonly ModelStatus[];
  /** Shards that maps name and that are not there. */
  readonly missingShards: readonly string[];
  readonly unreadable: readonly string[];
}

/** The cluster as the registry shows it now; plain data. @throws ServingError REGISTRY_UNAVAILABLE */
export async function clusterStatus(
  registry: Registry,
  options: { readonly signal?: AbortSignal } = {},
): Promise<ClusterStatus> {
  const state = readClusterState((await registry.list("", options)).entries);
  const byId = <T extends { readonly id: string }>(items: Iterable<T>) =>
    [...items].sort((a, b) => (a.id < b.id ? -1 : 1));
  const versions = [...state.models.values()].flatMap((model) => [...model.versions.values()]);
  const loads = loadsByShard(versions);
  const maps = versions.flatMap(({ map }) => mapsToHold(map?.value));
  return {
    ...(state.leader && { leader: state.leader.id }),
    shards: byId(state.shards.values()).map((shard) => ({ ...shard, ...(loads.get(shard.id) ?? NO_LOAD) })),
    executors: byId(state.executors.values()),
    models: [...state.models]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([model, found]) => ({
        model,
        ...(found.aspired && { aspired: found.aspired }),
        ...(found.labels && { labels: Object.fromEntries(found.labels.labels) }),
        versions: [...found.versions]
          .sort(([a], [b]) => a - b)
          .map(([version, one]) => versionStatus(version, one, state)),
      })),
    missingShards: [...new Set(maps.flatMap((map) => map.shards))].filter((id) => !state.shards.has(id)).sort(),
    unreadable: state.unreadable,
  };
}

function versionStatus(version: number, found: VersionState, state: ClusterState): VersionStatus {
  const { enabled, staged } = found.map?.value ?? {};
  const target = staged ?? enabled;
  let degradedCount = 0;
  let darkCount = 0;
  for (let p = 0; enabled && p < enabled.partitionCount; p++) {
    const living = replicasOf(enabled, p).filter((id) => state.shards.has(id)).length;
    if (living < enabled.replication) degradedCount++;
    if (living === 0) darkCount++;
  }
  const record = found.record?.value;
  const moves = moveCounts(found.map?.value ?? {});
  const estranged = new Set(target?.shards.filter((id) => isEstranged(found, id)));
  return {
    version,
    state: record?.state ?? (found.map ? "unknown" : "dropping"),
    ...(record?.error && { error: record.error }),
    generation: enabled?.generation ?? 0,
    ...epochStatus(found),
    partitionCount: target?.partitionCount ?? record?.partitionCount ?? 0,
    replication: target?.replication ?? 0,
    bytes: record?.bytes ?? 0,
    heldCount: target ? heldCount(target, found, estranged) : 0,
    neededCount: target?.replicas.length ?? 0,
    isMoving: enabled !== undefined && (staged ?? found.map?.value.target) !== undefined,
    movingCount: moves.inFlightCount,
    movesLeftCount: moves.leftCount,
    degradedCount,
    darkCount,
    estrangedShards: [...estranged].sort(),
    failures: (target?.shards ?? []).flatMap((shard) => {
      const error = found.holdings.get(shard)?.error;
      return error ? [{ shard, ...error }] : [];
    }),
  };
}

function epochStatus({ map, rollback }: VersionState): Pick<VersionStatus, "epoch" | "stagedEpoch" | "rejectedEpochs"> {
  const epoch = map?.value.enabled?.epoch ?? 0;
  const newest = map?.value.epochs?.chain.at(-1)?.epoch ?? 0;
  return { epoch, ...(newest > epoch && { stagedEpoch: newest }), rejectedEpochs: rollback?.rejected ?? [] };
}

function isEstranged({ record, holdings }: VersionState, shard: string): boolean {
  const read = holdings.get(shard)?.manifestDigest;
  return record !== undefined && read !== undefined && read !== "" && read !== record.value.manifestDigest;
}

function heldCount(map: PartitionMap, { holdings }: VersionState, estranged: ReadonlySet<string>): number {
  const held = map.shards.map((id) => new Set(estranged.has(id) ? [] : holdings.get(id)?.partitions));
  let count = 0;
  for (let i = 0; i < map.replicas.length; i++) {
    if (held[map.replicas[i]!]?.has(Math.floor(i / map.replication))) count++;
  }
  return count;
}

/** Partitions and bytes that the maps in force and staged give to each shard. */
function loadsByShard(
  versions: readonly VersionState[],
): Map<string, { readonly partitionCount: number; readonly bytes: number }> {
  const loads = new Map<string, { readonly partitionCount: number; readonly bytes: number }>();
  for (const { record, map } of versions) {
    const partitionBytes = record ? partitionBytesOf(record.value) : 0;
    for (const [id, count] of unionLoads(mapsToHold(map?.value))) {
      const before = loads.get(id) ?? NO_LOAD;
      loads.set(id, {
        partitionCount: before.partitionCount + count,
        bytes: before.bytes + count * partitionBytes,
      });
    }
  }
  return loads;
}

const NO_LOAD = { partitionCount: 0, bytes: 0 };
