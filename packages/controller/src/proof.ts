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
  const missingCounts = new Uint32Array(map.shards.length);
  const refusals = new Map<string, RecordedError>();
  const estranged: string[] = [];
  const neededCount = contents.digests.length === 0 ? 0 : map.replicas.length;
  let provedCount = 0;
  const claims = map.shards.map((shard): Claim => {
    const holding = holdings.get(shard);
    const isEstranged = holding !== undefined && holding.manifestDigest !== contents.manifestDigest;
    if (isEstranged) estranged.push(shard);
    const held = !holding || isEstranged || !answers(holding, map.epoch) ? NOTHING : digestsByPartition(holding);
    return { shard, held, error: isEstranged ? undefined : holding?.error };
  });
  for (let i = 0; i < neededCount; i++) {
    const index = map.replicas[i] as number;
    const { shard, held } = claims[index] as Claim;
    const partition = Math.floor(i / map.replication);
    const digest = held.get(partition);
    const expected = contents.digests[partition];
    const isProved = digest === undefined ? inForce && isReplica(inForce, partition, shard) : digest === expected;
    if (isProved) {
      provedCount++;
      continue;
    }
    missingCounts[index] = (missingCounts[index] as number) + 1;
    if (digest === undefined) continue;
    const text = `partition ${partition} on ${shard} has digest ${digest}, the manifest says ${expected}; compare the files`;
    refusals.set(shard, { code: "DIGEST_MISMATCH", message: text });
  }
  const missing = new Map(
    [...missingCounts].flatMap((count, i) => (count > 0 ? [[map.shards[i] as string, count]] : [])),
  );
  for (const { shard, error } of claims) if (error && missing.has(shard)) refusals.set(shard, error);
  return { isComplete: provedCount === neededCount, provedCount, neededCount, missing, estranged, refusals };
}

/** What a proof still lacks, for an operator. */
export function describeProof({ provedCount, neededCount, missing, estranged, refusals }: Proof): string {
  const parts = [
    `${provedCount} of ${neededCount} replicas are proved; missing: ${[...missing].map(([id, count]) => `${id} (${count})`).join(", ")}`,
    ...estranged.map((id) => `${id} read another manifest: not yet this one, or another model repository`),
    ...[...refusals].map(([id, error]) => `${id}: ${error.message}`),
  ];
  return parts.join("; ");
}

/** What one shard of the map says that it holds. */
interface Claim {
  readonly shard: string;
  readonly held: ReadonlyMap<number, string>;
  readonly error: RecordedError | undefined;
}

function isReplica({ shards, replicas, replication }: PartitionMap, partition: number, shard: string): boolean {
  const first = partition * replication;
  for (let i = first; i < first + replication; i++) if (shards[replicas[i] as number] === shard) return true;
  return false;
}

const NOTHING: ReadonlyMap<number, string> = new Map();

/** By record, which keeps its identity until the shard writes it again. */
const digestMaps = new WeakMap<HoldingRecord, ReadonlyMap<number, string>>();

function digestsByPartition(record: HoldingRecord): ReadonlyMap<number, string> {
  const known = digestMaps.get(record);
  if (known) return known;
  const made = new Map(record.partitions.map((partition, i) => [partition, record.digests[i] as string]));
  digestMaps.set(record, made);
  return made;
}
