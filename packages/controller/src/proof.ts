import type { PartitionMap } from "@shardserve/placement";
import type { HoldingRecord, RecordedError } from "@shardserve/registry";
import { answers } from "./epoch-steps.js";
import type { VersionContents } from "./version-contents.js";

/** How much of a map its shards proved to hold. */
export interface Proof {
  /** Every replica of every partition is proved. */
  readonly isComplete: boolean;
  readonly provedCount: number;
  readonly neededCount: number;
  /** Shards with replicas that are not proved yet, sorted, and how many. */
  readonly missing: ReadonlyMap<string, number>;
  /** Shards that read another manifest than the leader: not yet the new one, or another model repository. */
  readonly estranged: readonly string[];
  /** What shards refused, by shard: files that do not match, or failures that they report. */
  readonly refusals: ReadonlyMap<string, RecordedError>;
}

/**
 * Compares what shards hold with the manifest. A replica is proved when its shard computed, from the bytes that it
 * mapped, the digest that the manifest names.
 *
 * @param inForce  replicas of this map need no proof: a move must prove what it adds, whatever became of the rest
 */
export function proveMap(
  map: PartitionMap,
  contents: VersionContents,
  holdings: ReadonlyMap<string, HoldingRecord>,
  inForce?: PartitionMap,
): Proof {
  const missing = new Map<string, number>();
  const refusals = new Map<string, RecordedError>();
  const estranged: string[] = [];
  const neededCount = contents.digests.length === 0 ? 0 : map.replicas.length;
  let provedCount = 0;
  for (const [index, shard] of map.shards.entries()) {
    const holding = holdings.get(shard);
    const isEstranged = holding !== undefined && holding.manifestDigest !== contents.manifestDigest;
    if (isEstranged) estranged.push(shard);
    const held = !holding || isEstranged || !answers(holding, map.epoch) ? NOTHING : digestsByPartition(holding);
    for (let i = 0; i < neededCount; i++) {
      if (map.replicas[i] !== index) continue;
      const partition = Math.floor(i / map.replication);
      const digest = held.get(partition);
      if (digest === undefined && inForce && isReplica(inForce, partition, shard)) {
        provedCount++;
        continue;
      }
      if (digest !== undefined && digest === contents.digests[partition]) {
        provedCount++;
        continue;
      }
      missing.set(shard, (missing.get(shard) ?? 0) + 1);
      if (digest === undefined) continue;
      const text = `partition ${partition} on ${shard} has digest ${digest}, the manifest says ${contents.digests[partition]}; compare the files`;
      refusals.set(shard, { code: "DIGEST_MISMATCH", message: text });
    }
    if (holding?.error && !isEstranged && missing.has(shard)) refusals.set(shard, holding.error);
  }
  return { isComplete: provedCount === neededCount, provedCount, neededCount, missing, estranged, refusals };
}

function isReplica({ shards, replicas, replication }: PartitionMap, partition: number, shard: string): boolean {
  const first = partition * replication;
  for (let i = first; i < first + replication; i++) if (shards[replicas[i] as number] === shard) return true;
  return false;
}

const NOTHING: ReadonlyMap<number, string> = new Map();

function digestsByPartition({ partitions, digests }: HoldingRecord): ReadonlyMap<number, string> {
  return new Map(partitions.map((partition, i) => [partition, digests[i] as string]));
}
