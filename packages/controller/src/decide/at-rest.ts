import type { PartitionMap, PlacementShard } from "@shardserve/placement";

/**
 * Maps that were found to need no move, with what that rested on: placing is the dearest part of a decision, and most
 * decisions find everything at rest. A cache of a pure function; maps keep their identity until they are written again.
 */
const atRest = new WeakMap<PartitionMap, string>();

function basis(shards: readonly PlacementShard[], replication: number, levelRevision: number | undefined): string {
  return JSON.stringify([shards, replication, levelRevision]);
}

export function isAtRest(map: PartitionMap, ...on: Parameters<typeof basis>): boolean {
  return atRest.get(map) === basis(...on);
}

export function rest(map: PartitionMap, ...on: Parameters<typeof basis>): void {
  atRest.set(map, basis(...on));
}
