import { invariant } from "@shardserve/core";
import { type PartitionMap, replicasOf } from "./partition-map.js";
import { compareText } from "./ring.js";

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

/** Replicas that `after` places on shards that did not hold them under `before`: what has to be copied. */
export function movedCount(before: PartitionMap, after: PartitionMap): number {
  return moves(before, after).reduce((sum, { added }) => sum + added.length, 0);
}

/**
 * A map on the way from one to another: at most `partitionsMax` partitions, the first that differ, are placed as in `to`,
 * all others as in `from`. Repeated from its own result it arrives at `to`, and every replica is moved once.
 *
 * @param partitionsMax  >= 1; maps of different replication have nothing between them: the result is `to`
 * @returns the map, of the given generation, and how many partitions still differ from `to`
 */
export function towards(
  from: PartitionMap,
  to: PartitionMap,
  partitionsMax: number,
  generation: number,
): { readonly map: PartitionMap; readonly leftCount: number } {
  invariant(partitionsMax >= 1, `${partitionsMax} partitions at a time lead nowhere`);
  const changed = moves(from, to);
  if (from.replication !== to.replication || changed.length <= partitionsMax) {
    return { map: { ...to, generation }, leftCount: 0 };
  }
  const isLeft = new Set(changed.slice(partitionsMax).map(({ partition }) => partition));
  const rows = Array.from({ length: from.partitionCount }, (_, p) => replicasOf(isLeft.has(p) ? from : to, p));
  const shards = [...new Set(rows.flat())].sort(compareText);
  const indexOf = new Map(shards.map((id, i) => [id, i]));
  const replicas = Uint16Array.from(rows.flat(), (id) => indexOf.get(id) as number);
  return { map: { ...to, generation, shards, replicas }, leftCount: isLeft.size };
}
