import type { ShardRecord } from "@shardserve/registry";
import type { ClusterState } from "./cluster-state.js";

/** Shards that partitions may be placed on, by id. */
export function eligibleShards(state: ClusterState, unsteady: ReadonlySet<string> = new Set()): ShardRecord[] {
  return [...state.shards.values()]
    .filter((shard) => !shard.isDraining && !unsteady.has(shard.id))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
