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
  return changedPartitions(before, after).map((partition) => {
    const old = replicasOf(before, partition);
    const now = replicasOf(after, partition);
    const added = now.filter((id) => !old.includes(id));
    const removed = old.filter((id) => !now.includes(id));
    return { partition, added, removed };
  });
}

/** How many partitions {@link moves} names. */
export function movedPartitionCount(before: PartitionMap, after: PartitionMap): number {
  return changedPartitions(before, after).length;
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
  const changed = changedPartitions(from, to);
  if (from.replication !== to.replication || changed.length <= partitionsMax) {
    return { map: { ...to, generation }, leftCount: 0 };
  }
  const left = changed.slice(partitionsMax);
  const ids = [...new Set([...from.shards, ...to.shards])].sort(compareText);
  const indexOf = new Map(ids.map((id, i) => [id, i]));
  const translated = (map: PartitionMap) => {
    const indexes = map.shards.map((id) => indexOf.get(id) as number);
    return map.replicas.map((index) => indexes[index]!);
  };
  const replicas = translated(to);
  const before = translated(from);
  for (const partition of left) {
    const [first, end] = [partition * to.replication, (partition + 1) * to.replication];
    replicas.set(before.subarray(first, end), first);
  }
  return { map: { ...to, generation, ...onlyNamed(ids, replicas) }, leftCount: left.length };
}

/** Partitions with another set of shards, ascending. Compared as numbers: maps of thousands of partitions are compared for every step. */
function changedPartitions(before: PartitionMap, after: PartitionMap): number[] {
  invariant(
    before.partitionCount === after.partitionCount,
    `maps of ${before.partitionCount} and of ${after.partitionCount} partitions cannot be compared`,
  );
  const indexOf = new Map(before.shards.map((id, i) => [id, i]));
  /** By shard of `after`: its index in `before`; none = one that nothing there has. */
  const indexes = Int32Array.from(after.shards, (id) => indexOf.get(id) ?? -1);
  const changed: number[] = [];
  for (let partition = 0; partition < before.partitionCount; partition++) {
    if (!isSameRow(before, after, indexes, partition)) changed.push(partition);
  }
  return changed;
}

/** Rows name distinct shards: they are the same set when they are as long and one contains the other. */
function isSameRow(before: PartitionMap, after: PartitionMap, indexes: Int32Array, partition: number): boolean {
  if (before.replication !== after.replication) return false;
  const first = partition * before.replication;
  const end = first + before.replication;
  for (let i = first; i < end; i++) {
    const index = indexes[after.replicas[i]!];
    let at = first;
    while (at < end && before.replicas[at] !== index) at++;
    if (at === end) return false;
  }
  return true;
}

/** Without shards that hold nothing. */
function onlyNamed(ids: readonly string[], replicas: Uint16Array): Pick<PartitionMap, "shards" | "replicas"> {
  const isNamed = new Uint8Array(ids.length);
  for (const index of replicas) isNamed[index] = 1;
  const shards = ids.filter((_, i) => isNamed[i] === 1);
  const indexes = new Uint16Array(ids.length);
  let count = 0;
  for (let i = 0; i < ids.length; i++) if (isNamed[i] === 1) indexes[i] = count++;
  return { shards, replicas: replicas.map((index) => indexes[index]!) };
}
