/**
 * Chains of deltas: which epoch of those on disk should be in force, and how one gets there from the one that is. Pure.
 *
 * A chain is the deltas from the export on, each following the one before it by digest; the first may be a fold, which stands
 * for all up to it.
 */
import type { EpochPlan, EpochRecord, HoldingRecord } from "@shardserve/registry";
import { CHAIN_LENGTH_MAX } from "@shardserve/rowstore";
import type { DeltaContents, FoldContents, VersionContents } from "../observe/version-contents.js";

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
export function foldedPlan({ chain, oldest }: EpochPlan, { folds }: VersionContents): EpochPlan | undefined {
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

export const NO_EPOCHS: EpochPlan = { chain: [], oldest: 0 };

/** Which epoch should be in force. */
export interface WantedEpoch {
  readonly epoch: number;
  /** Deltas up to it. */
  readonly chain: readonly EpochRecord[];
  /** Why a newer epoch on disk is not wanted. */
  readonly why: string | undefined;
}

/**
 * The epoch that should be in force. It only ever follows the one that is: what the chain in force has lost on disk stays in
 * force, and a delta that does not continue it is refused.
 */
export function wantedEpoch(
  { deltas = NO_DELTAS, folds = NO_FOLDS, manifestDigest }: VersionContents,
  epochs: EpochPlan,
  rejected: ReadonlySet<number>,
  current: number,
): WantedEpoch {
  const inForce = epochs.chain.slice(0, indexOfEpoch(epochs.chain, current) + 1);
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

export function indexOfEpoch(chain: readonly EpochRecord[], epoch: number): number {
  return chain.findIndex((ref) => ref.epoch === epoch);
}

export function isPrefix(part: readonly EpochRecord[], whole: readonly EpochRecord[]): boolean {
  return part.every(({ epoch, digest }, i) => epoch === whole[i]?.epoch && digest === whole[i].digest);
}

export function isSame(a: readonly EpochRecord[], b: readonly EpochRecord[]): boolean {
  return a.length === b.length && isPrefix(a, b);
}
