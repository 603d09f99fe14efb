/**
 * Deltas of an enabled version: which epoch should be in force, and the next step towards it. Pure.
 *
 *     stage -> (every replica proves the epoch) -> commit -> (every executor is there) -> the next one
 *
 * A delta is staged beside the epoch in force and committed by one write of the map; the epoch before it stays in memory
 * until the next commit, so that the way back costs one write too. A rollback is the same in the other direction.
 *
 * A fold, once it is on disk, takes the place of the oldest deltas in the chain as soon as nobody may ask for what is before
 * it any more. That moves no epoch, and there is nothing to wait for: shards have those rows in memory.
 */
import { type PartitionMap, replicasOf } from "@shardserve/placement";
import type { EpochPlan, EpochRecord, ExecutorRecord, HoldingRecord, MapRecord } from "@shardserve/registry";
import { answers } from "../observe/answers.js";
import type { VersionState } from "../observe/cluster-state.js";
import type { VersionContents } from "../observe/version-contents.js";
import { foldedPlan, indexOfEpoch, isPrefix, isSame, NO_EPOCHS, wantedEpoch } from "./epoch-chain.js";

/** What to do about deltas: a new map record, or something to wait for, or nothing. */
export type EpochDecision =
  | {
      readonly kind: "stage-epoch" | "commit-epoch" | "rollback-epoch" | "forget-epochs" | "fold-epochs";
      readonly why: string;
      readonly map: MapRecord;
    }
  | { readonly kind: "wait"; readonly why: string }
  | undefined;

/** What a decision about deltas rests on besides the version itself. */
export interface EpochSurroundings {
  readonly model: string;
  readonly version: number;
  /** Shards with a living lease. */
  readonly shards: ReadonlyMap<string, unknown>;
  readonly executors: Iterable<ExecutorRecord>;
  /** Higher than that of any map of the version that somebody may hold. */
  readonly generation: number;
}

/** The maps of a version that has one in force. */
type EnabledMaps = MapRecord & { readonly enabled: PartitionMap };

function isEnabled(record: MapRecord): record is EnabledMaps {
  return record.enabled !== undefined;
}

/**
 * The next step of a version's deltas. A shard that is gone keeps no delta back as long as every partition has a living
 * replica: it reads the chain when it comes back, before it answers for the epoch.
 */
export function epochStep(state: VersionState, contents: VersionContents, around: EpochSurroundings): EpochDecision {
  const record = state.map?.value;
  if (!record || !isEnabled(record)) return undefined;
  const { enabled } = record;
  const epochs = record.epochs ?? NO_EPOCHS;
  const current = enabled.epoch;
  const target = wantedEpoch(contents, epochs, new Set(state.rollback?.rejected), current);
  const folded = target.epoch >= current ? foldStep(record, epochs, contents) : undefined;
  if (folded) return folded;
  if (target.epoch === current) {
    return forgetStep(record, epochs, current, around) ?? (target.why === undefined ? undefined : wait(target.why));
  }
  const { chain } = target;
  const isBack = target.epoch < current;
  const isPlanned = isBack ? isPrefix(chain, epochs.chain) : isSame(chain, epochs.chain);
  if (isPlanned && epochs.oldest <= target.epoch)
    return enforceStep(state, { ...record, epochs }, target.epoch, around);
  if (!isBack) return stageStep(record, epochs, chain, around);
  return {
    kind: "rollback-epoch",
    why: `epoch ${current} was taken back; ${target.epoch} is read again`,
    map: { ...record, epochs: { chain: epochs.chain, oldest: target.epoch } },
  };
}

/** A fold takes the place of the oldest deltas, where one is on disk for them. */
function foldStep(record: MapRecord, epochs: EpochPlan, contents: VersionContents): EpochDecision {
  const folded = foldedPlan(epochs, contents);
  if (!folded) return undefined;
  const why = `${epochs.chain.length - folded.chain.length + 1} deltas up to epoch ${folded.chain[0]?.epoch}`;
  return { kind: "fold-epochs", why, map: { ...record, epochs: folded } };
}

/** Deltas behind the epoch in force, which a rollback left there, go once no executor answers at them. */
function forgetStep(
  record: MapRecord,
  { chain, oldest }: EpochPlan,
  current: number,
  around: EpochSurroundings,
): EpochDecision {
  const newest = chain.at(-1);
  const end = indexOfEpoch(chain, current) + 1;
  if (newest === undefined || newest.epoch === current || end === chain.length) return undefined;
  const behind = executorsElsewhere(around, (epoch) => epoch === current);
  if (behind.length > 0) return wait(`epochs behind ${current} go once ${behind.join(", ")} answer at it`);
  return {
    kind: "forget-epochs",
    why: `back at epoch ${current}`,
    map: { ...record, epochs: { chain: chain.slice(0, end), oldest: Math.min(oldest, current) } },
  };
}

/** Shards are told of the deltas up to the end of `chain`, once every executor is at the epoch in force or on that way. */
function stageStep(
  record: EnabledMaps,
  epochs: EpochPlan,
  chain: readonly EpochRecord[],
  around: EpochSurroundings,
): EpochDecision {
  const current = record.enabled.epoch;
  const target = chain.at(-1)?.epoch;
  const isOnTheWay = (epoch: number) => epoch === current || (epoch > current && indexOfEpoch(chain, epoch) >= 0);
  const behind = executorsElsewhere(around, isOnTheWay);
  if (behind.length > 0) return wait(`epoch ${target} is staged once ${behind.join(", ")} answer at epoch ${current}`);
  return {
    kind: "stage-epoch",
    why: `epoch ${target} after ${current}`,
    map: { ...record, epochs: { chain, oldest: Math.min(epochs.oldest, current) } },
  };
}

/** One write of the maps puts `target` in force, once every replica has proved it. */
function enforceStep(
  { holdings }: VersionState,
  record: EnabledMaps & { readonly epochs: EpochPlan },
  target: number,
  { shards, generation }: EpochSurroundings,
): EpochDecision {
  const { enabled, staged, epochs } = record;
  const current = enabled.epoch;
  const isBack = target < current;
  const lacking = replicasLacking(enabled, epochs.chain.at(-1) as EpochRecord, target, holdings, shards);
  if (lacking.length > 0) return wait(`epoch ${target} is not proved yet: ${lacking.join("; ")}`);
  const map: MapRecord = {
    ...record,
    enabled: { ...enabled, epoch: target, generation },
    ...(staged && { staged: { ...staged, epoch: target, generation: generation + 1 } }),
    epochs: { chain: epochs.chain, oldest: isBack ? Math.min(epochs.oldest, target) : current },
  };
  return isBack
    ? { kind: "rollback-epoch", why: `epoch ${current} was taken back; ${target} is in force`, map }
    : { kind: "commit-epoch", why: `epoch ${target} after ${current}`, map };
}

function wait(why: string): EpochDecision {
  return { kind: "wait", why };
}

/** What keeps a map from answering an epoch: living shards without it, each with the reason that it gives, and dark partitions. */
function replicasLacking(
  map: PartitionMap,
  newest: EpochRecord,
  epoch: number,
  holdings: ReadonlyMap<string, HoldingRecord>,
  shards: ReadonlyMap<string, unknown>,
): string[] {
  const lacking = map.shards.flatMap((shard) => {
    if (!shards.has(shard)) return [];
    const holding = holdings.get(shard);
    if (holding && answers(holding, epoch) && holding.epoch === newest.epoch && holding.epochDigest === newest.digest)
      return [];
    return [holding?.error ? `${shard}: ${holding.error.message}` : shard];
  });
  if (lacking.length > 0 || map.shards.every((shard) => shards.has(shard))) return lacking;
  for (let partition = 0; partition < map.partitionCount; partition++) {
    if (!replicasOf(map, partition).some((shard) => shards.has(shard)))
      return [`partition ${partition} has no living replica`];
  }
  return [];
}

/** Executors that answer from the version at an epoch that `isFine` does not take, sorted. */
function executorsElsewhere(
  { executors, model, version }: EpochSurroundings,
  isFine: (epoch: number) => boolean,
): string[] {
  const found: string[] = [];
  for (const { id, serving } of executors) {
    const served = serving.find((one) => one.model === model && one.version === version && one.state === "available");
    if (served && !isFine(served.epoch ?? 0)) found.push(id);
  }
  return found.sort();
}
