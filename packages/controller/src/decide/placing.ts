/** Where the partitions of a version should lie, and why where they lie may no longer do. */
import { isServingError, type Pieces } from "@shardserve/core";
import {
  LOAD_FACTOR,
  loadOf,
  type PartitionMap,
  partitionsOf,
  type PlacementShard,
  placePieces,
  quotas,
} from "@shardserve/placement";
import { bytesInUse } from "./bytes-in-use.js";
import type { ClusterState } from "../observe/cluster-state.js";
import { gainedBy, refusalKey } from "../observe/refusal-watch.js";
import { eligibleShards } from "../observe/eligible-shards.js";
import type { VersionCase } from "./version-case.js";
import type { VersionContents } from "../observe/version-contents.js";

/** Why a map can no longer be what it is: a shard of it left, or is leaving. */
export function lost({ observed }: VersionCase, map: PartitionMap): string | undefined {
  const { state, absentForMs, settings } = observed;
  for (const id of map.shards) {
    const shard = state.shards.get(id);
    if (shard?.isDraining) return `${id} is draining`;
    const absentMs = absentForMs.get(id) ?? 0;
    if (!shard && absentMs >= settings.replaceAfterMs) return `${id} is gone for ${Math.round(absentMs / 1000)} s`;
    if (shard && absentMs >= settings.replaceAfterMs)
      return `${id} comes and goes for ${Math.round(absentMs / 1000)} s`;
  }
  return undefined;
}

/** Why a map could be better: a shard joined, or another replication is wanted. */
export function gained(version: VersionCase, map: PartitionMap): string | undefined {
  const { state, unsteady } = version.observed;
  if (map.shards.some((id) => !state.shards.has(id))) return undefined; // it may come back before anything is moved
  const wanted = replicationOf(version);
  if (map.replication !== wanted) return `${wanted} replicas are wanted, there are ${map.replication}`;
  const known = new Set(map.shards);
  const joined = eligibleShards(state, unsteady)
    .map(({ id }) => id)
    .filter((id) => !known.has(id) && !isAvoided(version, id));
  return joined.length > 0 ? `${joined.join(", ")} joined` : undefined;
}

/** Why a map gives some shards too much or too little: weights or capacities changed, or the operator wants it level. */
export function uneven(
  { model, modelState }: VersionCase,
  map: PartitionMap,
  contents: VersionContents,
  shards: readonly PlacementShard[],
): string | undefined {
  const ids = new Set(shards.map((shard) => shard.id));
  if (map.shards.some((id) => !ids.has(id))) return undefined; // it may come back before anything is moved
  if (modelState.levelRevision !== undefined) return "levelling was asked for";
  const load = new Map([...loadOf(map)].map((count, i) => [map.shards[i]!, count]));
  try {
    const demand = { ...contents, replication: map.replication };
    const { share, bound } = quotas(model, shards, demand);
    for (const [i, { id }] of shards.entries()) {
      const held = load.get(id) ?? 0;
      if (held > bound[i]!) return `${id} holds ${held} replicas, its bound is ${bound[i]}`;
      const least = Math.floor(share[i]! / LOAD_FACTOR);
      if (held < least) return `${id} holds ${held} replicas, its share is ${Math.round(share[i]!)}`;
    }
  } catch (error) {
    if (!isServingError(error, "PLACEMENT_INFEASIBLE")) throw error; // what is served stays as it is
  }
  return undefined;
}

export function replicationOf({ modelState, observed }: VersionCase): number {
  return modelState.aspired?.replication ?? observed.settings.replication;
}

/** Why what a map moves will not come to be: a shard did not take it for as long as a lost one would have been waited for. */
export function refused(version: VersionCase, from: PartitionMap, to: PartitionMap): string | undefined {
  const id = to.shards.find((shard) => isAvoided(version, shard) && gainedBy(shard, from, to).length > 0);
  return id === undefined ? undefined : `${id} does not take what moves to it`;
}

function isAvoided({ observed, model, version }: VersionCase, shard: string): boolean {
  return observed.avoided.has(refusalKey(model, version, shard));
}

/** The eligible shards with what each has left for a version; those that take no more of it keep what they have. */
export function shardsFor(version: VersionCase): PlacementShard[] {
  return roomFor(version).flatMap((shard) => {
    if (!isAvoided(version, shard.id)) return [shard];
    const { map, contents } = version;
    const held = map?.enabled ? partitionsOf(map.enabled, shard.id).length : 0;
    if (held === 0 || !contents) return [];
    const heldBytes = held * contents.partitionBytes;
    const room = Math.min(heldBytes, shard.capacityBytes ?? heldBytes);
    return [{ ...shard, capacityBytes: room, isClosed: true }]; // nothing in exchange for what it has either
  });
}

function roomFor({ observed, model, version }: VersionCase): PlacementShard[] {
  const { state, unsteady } = observed;
  /** Counted once, and only where a shard has a limit. */
  let used: ReadonlyMap<string, number> | undefined;
  return eligibleShards(state, unsteady).map(({ id, weight, zone, capacityBytes }): PlacementShard => {
    if (capacityBytes === undefined) return { id, weight, zone };
    used ??= bytesInUse(state, model, version);
    return { id, weight, zone, capacityBytes: Math.max(0, capacityBytes - (used.get(id) ?? 0)) };
  });
}

/**
 * A map of what the eligible shards should hold, or undefined with the reason among what waits.
 *
 * @param previous  the map to stay near; undefined = one in force that may have the same files
 * @param isLevelled  evens out all shards, not only those that joined
 */
export function* placed(
  version: VersionCase,
  contents: VersionContents,
  {
    previous,
    generation,
    isLevelled = false,
  }: { previous?: PartitionMap | undefined; generation: number; isLevelled?: boolean },
): Pieces<PartitionMap | undefined> {
  const { state, settings, settledForMs } = version.observed;
  const shards = shardsFor(version);
  if (shards.length < settings.minShards && !isFormed(state)) {
    return version.wait(`${shards.length} shards are there, ${settings.minShards} are needed (minShards)`);
  }
  if (settledForMs < settings.settleMs) return version.wait("the set of shards changed just now");
  const near = previous ?? served(version, contents.partitionCount);
  try {
    return yield* placePieces(shards, contents.partitionCount, replicationOf(version), {
      model: version.model,
      version: version.version,
      generation,
      partitionBytes: contents.partitionBytes,
      isLevelled,
      ...(near && { previous: near }),
    });
  } catch (error) {
    if (isServingError(error, "PLACEMENT_INFEASIBLE")) return version.wait(error.message);
    throw error;
  }
}

/** The map of an enabled version of the model with as many partitions: its files may be the same, so stay near it. */
function served({ modelState }: VersionCase, partitionCount: number): PartitionMap | undefined {
  const enabled = [...modelState.versions].sort(([a], [b]) => b - a).map(([, state]) => state.map?.value.enabled);
  return enabled.find((map) => map?.partitionCount === partitionCount);
}

/** True once anything is served: then the loss of a shard must not keep the rest from being repaired. */
function isFormed(state: ClusterState): boolean {
  for (const { versions } of state.models.values()) {
    for (const { map } of versions.values()) if (map?.value.enabled) return true;
  }
  return false;
}
