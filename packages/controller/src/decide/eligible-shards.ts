import type { ClusterState } from "../observe/cluster-state.js";

/** Shards that partitions may be placed on. */
export function eligibleShards(state: ClusterState, unsteady: ReadonlySet<string> = new Set()): string[] {
  return [...state.shards.values()]
    .filter((shard) => !shard.isDraining && !unsteady.has(shard.id))
    .map((shard) => shard.id)
    .sort();
}
