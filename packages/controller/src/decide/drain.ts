import { partitionsOf, type PlacementShard, quotas } from "@shardserve/placement";
import type { ClusterState } from "../observe/cluster-state.js";
import { eligibleShards } from "./eligible-shards.js";

/** Partitions, over all versions, that maps in force or staged give to a shard. */
export function replicasOn(state: ClusterState, id: string): number {
  let count = 0;
  for (const { versions } of state.models.values()) {
    for (const { map } of versions.values()) {
      const maps = [map?.value.enabled, map?.value.staged].filter((found) => found !== undefined);
      count += new Set(maps.flatMap((found) => partitionsOf(found, id))).size;
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
  const others = eligibleShards(state).filter((other) => !ids.includes(other));
  const left = new Map<string, number>();
  for (const other of others) left.set(other, state.shards.get(other)?.capacityBytes ?? Infinity);
  for (const [model, { versions }] of [...state.models].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const [version, { record, map }] of versions) {
      const wanted = map?.value.enabled ?? map?.value.staged;
      if (!record || !wanted) continue;
      const { partitionCount, bytes } = record.value;
      const partitionBytes = Math.ceil(bytes / partitionCount);
      const shards = others.map((other): PlacementShard => {
        const { weight, zone } = state.shards.get(other) as PlacementShard;
        const capacityBytes = left.get(other) as number;
        return { id: other, weight, zone, ...(capacityBytes < Infinity && { capacityBytes }) };
      });
      const demand = { partitionCount, replication: wanted.replication, partitionBytes, loadFactor: 1.1 };
      const { target } = quotas(`${model} version ${version} without ${ids.join(", ")}`, shards, demand);
      for (const [i, other] of others.entries()) {
        left.set(other, (left.get(other) as number) - target[i]! * partitionBytes);
      }
    }
  }
}
