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
import { CHAIN_LENGTH_MAX } from "@shardserve/rowstore";
import type { VersionState } from "../observe/cluster-state.js";
import type { DeltaContents, FoldContents, VersionContents } from "../observe/version-contents.js";

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

/**
 * The next step of a version's deltas. A shard that is gone keeps no delta back as long as every partition has a living
 * replica: it reads the chain when it comes back, before it answers for the epoch.
 */
export function epochStep(state: VersionState, contents: VersionContents, around: EpochSurroundings): EpochDecision {
  const record = state.map?.value;
  const enabled = record?.enabled;
  if (!enabled) return undefined;
  const epochs = record.epochs ?? NO_EPOCHS;
  const current = enabled.epoch;
  const target = wantedEpoch(contents, epochs, new Set(state.rollback?.rejected), current);
  const folded = target.epoch >= current ? foldStep(record, epochs, contents) : undefined;
  if (folded) return folded;
  if (target.epoch === current) {
    return forgetStep(record, epochs, current, around) ?? (target.why === undefined ? undefined : wait(target.why));
  }
  const chain = target.chain as readonly EpochRecord[];
  const isBack = target.epoch < current;
  const isPlanned = isBack ? isPrefix(chain, epochs.chain) : isSame(chain, epochs.chain);
  if (isPlanned && epochs.oldest <= target.epoch)
    return enforceStep(state, { ...record, enabled, epochs }, target.epoch, around);
  if (!isBack) return stageStep(record, epochs, chain, current, target.epoch, around);
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
  const end = indexOf(chain, current) + 1;
  if (newest === undefined || newest.epoch === current || end === chain.length) return undefined;
  const behind = executorsElsewhere(around, (epoch) => epoch === current);
  if (behind.length > 0) return wait(`epochs behind ${current} go once ${behind.join(", ")} answer at it`);
  return {
    kind: "forget-epochs",
    why: `back at epoch ${current}`,
    map: { ...record, epochs: { chain: chain.slice(0, end), oldest: Math.min(oldest, current) } },
  };
}

/** Shards are told of the deltas up to `target`, once every executor is at the epoch in force or on that way. */
function stageStep(
  record: MapRecord,
  epochs: EpochPlan,
  chain: readonly EpochRecord[],
  current: number,
  target: number,
  around: EpochSurroundings,
): EpochDecision {
  const isOnTheWay = (epoch: number) => epoch === current || (epoch > current && indexOf(chain, epoch) >= 0);
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
  record: MapRecord & { readonly enabled: PartitionMap; readonly epochs: EpochPlan },
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

/**
 * The epoch that shards go on with although the registry has forgotten it: the newest that all of them answer, as far as
 * the deltas on disk lead there. They may have merged what lies before it, so the version is staged at that epoch anew.
 */
export function recalledEpoch(
  holdings: ReadonlyMap<string, HoldingRecord>,
  { deltas = NO_DELTAS, folds = NO_FOLDS, manifestDigest }: VersionContents,
): { readonly epoch: number; readonly epochs: EpochPlan } | undefined {
  const held = [...holdings.values()].filter(
    (holding) => holding.heldGeneration !== undefined && holding.manifestDigest === manifestDigest,
  );
  if (held.length === 0) return undefined;
  const oldest = Math.max(...held.map((holding) => holding.oldestEpoch ?? holding.epoch));
  const newest = Math.min(...held.map(({ epoch }) => epoch));
  for (const epoch of [...deltas.keys()].sort((a, b) => b - a)) {
    if (epoch > newest) continue;
    if (epoch < oldest) break;
    const chain = pathFrom(epoch, { deltas, folds }, [], manifestDigest);
    if (typeof chain === "string") continue;
    const isOther = held.some((holding) => holding.epoch === epoch && holding.epochDigest !== chain.at(-1)?.digest);
    if (!isOther) return { epoch, epochs: { chain, oldest: Math.max(oldest, foldOf(chain)?.epoch ?? 0) } };
  }
  return undefined;
}

/** The plan with the newest fold in it that takes nothing from anybody; undefined when there is no newer one than it has. */
function foldedPlan({ chain, oldest }: EpochPlan, { folds }: VersionContents): EpochPlan | undefined {
  if (!folds) return undefined;
  for (let i = chain.length - 1; i > 0; i--) {
    const { epoch, digest } = chain[i]!;
    const found = folds.get(epoch);
    if (found?.digest === digest && epoch <= oldest)
      return { chain: [{ epoch, digest, fold: found.fold }, ...chain.slice(i + 1)], oldest };
  }
  return undefined;
}

function foldOf([first]: readonly EpochRecord[]): EpochRecord | undefined {
  return first?.fold === undefined ? undefined : first;
}

const NO_EPOCHS: EpochPlan = { chain: [], oldest: 0 };

function wait(why: string): EpochDecision {
  return { kind: "wait", why };
}

interface Wanted {
  readonly epoch: number;
  readonly chain: readonly EpochRecord[] | undefined;
  /** Why a newer epoch on disk is not wanted. */
  readonly why: string | undefined;
}

/**
 * The epoch that should be in force. It only ever follows the one that is: what the chain in force has lost on disk stays in
 * force, and a delta that does not continue it is refused.
 */
function wantedEpoch(
  { deltas = NO_DELTAS, folds = NO_FOLDS, manifestDigest }: VersionContents,
  epochs: EpochPlan,
  rejected: ReadonlySet<number>,
  current: number,
): Wanted {
  const inForce = epochs.chain.slice(0, indexOf(epochs.chain, current) + 1);
  const isBack = inForce.findIndex(({ epoch, fold }) => fold === undefined && rejected.has(epoch));
  if (isBack >= 0) {
    const chain = inForce.slice(0, isBack);
    return { epoch: chain.at(-1)?.epoch ?? 0, chain, why: undefined };
  }
  let why: string | undefined;
  for (const epoch of [...deltas.keys()].sort((a, b) => b - a)) {
    if (epoch <= current) break;
    if (rejected.has(epoch)) continue;
    const path = pathFrom(epoch, { deltas, folds }, inForce, manifestDigest);
    if (typeof path === "string") {
      why ??= path;
      continue;
    }
    const taken = path.find((ref) => rejected.has(ref.epoch));
    if (taken) {
      why ??= `epoch ${epoch} builds on epoch ${taken.epoch}, which was taken back; export it again with --parent=${current}`;
      continue;
    }
    const chain = [...inForce, ...path];
    if (chain.length <= CHAIN_LENGTH_MAX) return { epoch, chain, why: undefined };
    why = `${chain.length} deltas are more than ${CHAIN_LENGTH_MAX}; fold old ones (\`shardserve fold\`), or export the version as a whole`;
  }
  return { epoch: current, chain: inForce, why };
}

const NO_DELTAS: ReadonlyMap<number, DeltaContents> = new Map();
const NO_FOLDS: ReadonlyMap<number, FoldContents> = new Map();

/** The deltas from the epoch in force (exclusive) to one on disk, or why there is no way. From the export on, a fold is one. */
function pathFrom(
  epoch: number,
  { deltas, folds }: Required<Pick<VersionContents, "deltas" | "folds">>,
  inForce: readonly EpochRecord[],
  baseDigest: string,
): EpochRecord[] | string {
  const head = inForce.at(-1) ?? { epoch: 0, digest: baseDigest };
  const path: EpochRecord[] = [];
  for (let at = epoch, child: DeltaContents | undefined; at !== head.epoch; ) {
    const fold = head.epoch === 0 ? folds.get(at) : undefined;
    const isSameEpoch = fold?.digest === (child?.parent.digest ?? deltas.get(at)?.digest);
    if (fold?.baseDigest === baseDigest && isSameEpoch) {
      path.unshift({ epoch: at, digest: fold.digest, fold: fold.fold });
      return path;
    }
    const delta = deltas.get(at);
    if (!delta) return `epoch ${epoch} builds on epoch ${at}, which is not in the repository: a delta is missing`;
    if (delta.baseDigest !== baseDigest)
      return `epoch ${at} changes another version (${delta.baseDigest}); export it against this one`;
    path.unshift({ epoch: at, digest: delta.digest });
    const { parent } = delta;
    if (parent.epoch < head.epoch)
      return `epoch ${at} follows epoch ${parent.epoch}, in force is ${head.epoch}; export it again`;
    if (parent.epoch === head.epoch && parent.digest !== head.digest)
      return `epoch ${at} follows another epoch ${parent.epoch} than the one in force; export it again`;
    at = parent.epoch;
    child = delta;
  }
  return path;
}

function indexOf(chain: readonly EpochRecord[], epoch: number): number {
  return chain.findIndex((ref) => ref.epoch === epoch);
}

function isPrefix(part: readonly EpochRecord[], whole: readonly EpochRecord[]): boolean {
  return part.every(({ epoch, digest }, i) => epoch === whole[i]?.epoch && digest === whole[i].digest);
}

function isSame(a: readonly EpochRecord[], b: readonly EpochRecord[]): boolean {
  return a.length === b.length && isPrefix(a, b);
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

/** True when a shard proved that it can answer an epoch. */
export function answers(holding: HoldingRecord, epoch: number): boolean {
  return epoch <= holding.epoch && epoch >= (holding.oldestEpoch ?? holding.epoch);
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
