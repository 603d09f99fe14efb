import { type PartitionMap, partitionsOf } from "@shardserve/placement";
import type { HoldingRecord, RecordedError } from "@shardserve/registry";
import { answers } from "../observe/answers.js";
import type { VersionContents } from "../observe/version-contents.js";

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
  /** Why shards have not opened the version at all: it is not in their repository, or another one is; they try again. */
  readonly unopened: ReadonlyMap<string, RecordedError>;
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
  const neededCount = contents.digests.length === 0 ? 0 : map.replicas.length;
  const missing = new Map<string, number>();
  const refusals = new Map<string, RecordedError>();
  const unopened = new Map<string, RecordedError>();
  const estranged: string[] = [];
  let missingCount = 0;
  for (const shard of map.shards) {
    const holding = holdings.get(shard);
    const claim = claimOf(holding ?? NOTHING_HELD, { map, shard, contents, inForce });
    if (claim.isEstranged) estranged.push(shard);
    if (holding?.error && holding.manifestDigest === "") unopened.set(shard, holding.error);
    if (claim.missingCount === 0) continue;
    missing.set(shard, claim.missingCount);
    missingCount += claim.missingCount;
    if (claim.refusal) refusals.set(shard, claim.refusal);
  }
  const provedCount = neededCount - missingCount;
  return { isComplete: missingCount === 0, provedCount, neededCount, missing, estranged, unopened, refusals };
}

/** What a proof still lacks, for an operator. */
export function describeProof({ provedCount, neededCount, missing, estranged, unopened, refusals }: Proof): string {
  const parts = [
    `${provedCount} of ${neededCount} replicas are proved; missing: ${[...missing].map(([id, count]) => `${id} (${count})`).join(", ")}`,
    ...estranged.map((id) => `${id} read another manifest: not yet this one, or another model repository`),
    ...[...unopened, ...refusals].map(([id, error]) => `${id}: ${error.message}`),
  ];
  return parts.join("; ");
}

/** What one shard's holding is compared with. */
interface Question {
  readonly map: PartitionMap;
  readonly shard: string;
  readonly contents: VersionContents;
  readonly inForce: PartitionMap | undefined;
}

/** How one shard's holding answers for its replicas of a map. */
interface Claim {
  /** Of another manifest. */
  readonly isEstranged: boolean;
  /** Replicas that are not proved. */
  readonly missingCount: number;
  readonly refusal: RecordedError | undefined;
}

const NOTHING_HELD: HoldingRecord = { instance: "", manifestDigest: "", epoch: 0, partitions: [], digests: [] };

/** The last answer of each holding: of a thousand shards that load a version, one has written since the last look. */
const answered = new WeakMap<HoldingRecord, { readonly question: Question; readonly claim: Claim }>();

function claimOf(holding: HoldingRecord, question: Question): Claim {
  const known = answered.get(holding);
  if (known && isSameQuestion(known.question, question)) return known.claim;
  const claim = compare(holding, question);
  answered.set(holding, { question, claim });
  return claim;
}

function isSameQuestion(a: Question, b: Question): boolean {
  return a.map === b.map && a.shard === b.shard && a.contents === b.contents && a.inForce === b.inForce;
}

function compare(holding: HoldingRecord, { map, shard, contents, inForce }: Question): Claim {
  const isOpen = holding.manifestDigest === contents.manifestDigest;
  const isEstranged = !isOpen && holding.manifestDigest !== "";
  if (contents.digests.length === 0) return { isEstranged, missingCount: 0, refusal: undefined };
  const held = !isOpen || !answers(holding, map.epoch) ? NO_DIGESTS : digestsOf(holding);
  const proved = new Set(inForce && partitionsOf(inForce, shard));
  let missingCount = 0;
  let refusal: RecordedError | undefined;
  for (const partition of partitionsOf(map, shard)) {
    const digest = held.get(partition);
    const expected = contents.digests[partition];
    if (digest === undefined ? proved.has(partition) : digest === expected) continue;
    missingCount++;
    if (digest === undefined) continue;
    const text = `partition ${partition} on ${shard} has digest ${digest}, the manifest says ${expected}; compare the files`;
    refusal = { code: "DIGEST_MISMATCH", message: text };
  }
  return { isEstranged, missingCount, refusal: isOpen ? (holding.error ?? refusal) : undefined };
}

const NO_DIGESTS: ReadonlyMap<number, string> = new Map();

function digestsOf({ partitions, digests }: HoldingRecord): ReadonlyMap<number, string> {
  return new Map(partitions.map((partition, i) => [partition, digests[i]!]));
}
