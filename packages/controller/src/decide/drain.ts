import { partitionsOf, type PlacementShard, quotas } from "@shardserve/placement";
import { mapsToHold } from "@shardserve/registry";
import { type ClusterState, partitionBytesOf } from "../observe/cluster-state.js";
import { eligibleShards } from "../observe/eligible-shards.js";

/** Partitions, over all versions, that maps in force or staged give to a shard. */
export function replicasOn(state: ClusterState, id: string): number {
  let count = 0;
  for (const { versions } of state.models.values()) {
    for (const { map } of versions.values()) {
      count += new Set(mapsToHold(map?.value).flatMap((found) => partitionsOf(found, id))).size;
    }
  }
  return count;
}

/**
 * Whether the other shards can take what some shards hold: their number, and their capacities over all versions.
 *
 * @throws ServingError PLACEMENT_INFEASIBLE with the numbers
 */
export function checkDrain(state: ClusterState, ids: readonly string[]): void {
  const others = eligibleShards(state)
    .filter(({ id }) => !ids.includes(id))
    .map(({ id, weight, zone, capacityBytes = Infinity }) => ({ id, weight, zone, leftBytes: capacityBytes }));
  for (const [model, { versions }] of [...state.models].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const [version, { record, map }] of versions) {
      const wanted = map?.value.enabled ?? map?.value.staged;
      if (!record || !wanted) continue;
      const { partitionCount } = record.value;
      const partitionBytes = partitionBytesOf(record.value);
      const shards = others.map(
        ({ id, weight, zone, leftBytes }): PlacementShard => ({
          id,
          weight,
          zone,
          ...(leftBytes < Infinity && { capacityBytes: leftBytes }),
        }),
      );
      const demand = { partitionCount, replication: wanted.replication, partitionBytes };
      const { target } = quotas(`${model} version ${version} without ${ids.join(", ")}`, shards, demand);
      for (const [i, other] of others.entries()) other.leftBytes -= target[i]! * partitionBytes;
    }
  }
}
