import { type PlacementShard, partitionsOf, place } from "@shardserve/placement";
import type { VersionContents } from "../observe/version-contents.js";

/** What `shardserve plan` prints: exact bytes before anything is loaded. */
export interface PlacementPlan {
  readonly partitionCount: number;
  readonly replication: number;
  /** Bytes of one partition's file. */
  readonly partitionBytes: number;
  /** Bytes over all shards: every replica. */
  readonly totalBytes: number;
  readonly shards: readonly PlannedShard[];
}

/** A shard of a plan: which partitions it would hold, and how many bytes of rows that is. */
export interface PlannedShard {
  readonly id: string;
  readonly partitions: readonly number[];
  readonly bytes: number;
}

/**
 * Where the leader would put a version on these shards, were they empty.
 *
 * @throws ServingError PLACEMENT_INFEASIBLE with the numbers
 */
export function planPlacement(
  contents: VersionContents,
  shards: readonly PlacementShard[],
  options: { readonly model: string; readonly version: number; readonly replication: number },
): PlacementPlan {
  const { partitionCount, partitionBytes } = contents;
  const { model, version, replication } = options;
  const map = place(shards, partitionCount, replication, { model, version, partitionBytes });
  const planned = shards.map(({ id }) => {
    const partitions = partitionsOf(map, id);
    return { id, partitions, bytes: partitions.length * partitionBytes };
  });
  planned.sort((a, b) => (a.id < b.id ? -1 : 1));
  return {
    partitionCount,
    replication,
    partitionBytes,
    totalBytes: planned.reduce((sum, shard) => sum + shard.bytes, 0),
    shards: planned,
  };
}
