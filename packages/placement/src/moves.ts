import { invariant } from "@shardserve/core";
import { type PartitionMap, replicasOf } from "./partition-map.js";

/** What changes for one partition. */
export interface Move {
  readonly partition: number;
  /** Shards that hold it under the new map only. */
  readonly added: readonly string[];
  /** Shards that held it under the old map only. */
  readonly removed: readonly string[];
}

/** Partitions whose set of shards differs, ascending; their order of preference does not count. Both maps have one partition count. */
export function moves(before: PartitionMap, after: PartitionMap): Move[] {
  invariant(
    before.partitionCount === after.partitionCount,
    `maps of ${before.partitionCount} and of ${after.partitionCount} partitions cannot be compared`,
  );
  const changed: Move[] = [];
  for (let partition = 0; partition < before.partitionCount; partition++) {
    const old = replicasOf(before, partition);
    const now = replicasOf(after, partition);
    const added = now.filter((id) => !old.includes(id));
    const removed = old.filter((id) => !now.includes(id));
    if (added.length > 0 || removed.length > 0) changed.push({ partition, added, removed });
  }
  return changed;
}
