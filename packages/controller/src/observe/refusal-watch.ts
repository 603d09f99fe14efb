import { type PartitionMap, partitionsOf } from "@shardserve/placement";
import type { HoldingRecord } from "@shardserve/registry";
import { answers } from "./answers.js";
import type { ClusterState, VersionState } from "./cluster-state.js";

/** For how long a shard that refused what moved to it gets no more of that version, in milliseconds; then it is asked anew. */
const AVOIDED_MS = 5 * 60_000;

/** One shard's refusals of one version. */
interface Refusal {
  readonly instance: string;
  /** Since when nothing more of what moves to it came. */
  sinceMs: number;
  /** Of the partitions that move to it, how many were missing the last time. */
  missingCount: number;
  /** Until when it gets no more; 0 = it may still come to take what it was given. */
  avoidedUntilMs: number;
}

/**
 * Which shards do not take what moves to them: their disk is full or damaged, or their repository another one. A move is flipped
 * when all of it is proved, so one such shard would keep every other partition of the version where it is, those of a lost
 * shard with it. Timers only: the next leader begins them anew.
 */
export class RefusalWatch {
  readonly #patienceMs: number;
  readonly #refusals = new Map<string, Refusal>();

  /** @param patienceMs  how long a shard that reports failures may go on trying */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** @returns who gets no more of what, by {@link refusalKey}; a shard that was started anew is asked anew */
  observe(state: ClusterState, nowMs: number): ReadonlySet<string> {
    const refusing = new Set<string>();
    for (const [model, { versions }] of state.models) {
      for (const [version, found] of versions) {
        for (const [shard, missingCount] of missingOfRefusing(found)) {
          const key = refusalKey(model, version, shard);
          refusing.add(key);
          this.#count(key, found.holdings.get(shard) as HoldingRecord, missingCount, nowMs);
        }
      }
    }
    const avoided = new Set<string>();
    for (const [key, { instance, avoidedUntilMs }] of this.#refusals) {
      const isRestarted = (state.shards.get(shardOf(key))?.instance ?? instance) !== instance;
      if (isRestarted || (!refusing.has(key) && avoidedUntilMs <= nowMs)) this.#refusals.delete(key);
      else if (avoidedUntilMs > nowMs) avoided.add(key);
    }
    return avoided;
  }

  #count(key: string, { instance }: HoldingRecord, missingCount: number, nowMs: number): void {
    const before = this.#refusals.get(key);
    const refusal =
      before?.instance === instance ? before : { instance, sinceMs: nowMs, missingCount, avoidedUntilMs: 0 };
    if (missingCount < refusal.missingCount) refusal.sinceMs = nowMs; // slow, but it goes on
    refusal.missingCount = missingCount;
    if (nowMs - refusal.sinceMs >= this.#patienceMs) refusal.avoidedUntilMs = nowMs + AVOIDED_MS;
    this.#refusals.set(key, refusal);
  }
}

/** Names a shard in its relation to a version. */
export function refusalKey(model: string, version: number, shard: string): string {
  return JSON.stringify([model, version, shard]);
}

function shardOf(key: string): string {
  return (JSON.parse(key) as [string, number, string])[2];
}

/**
 * Shards that a move of an enabled version gives something that they report to fail at, with how many partitions of it are missing.
 * A delta that is not in force yet is no part of the move: the shard that failed at it may be loading.
 */
function missingOfRefusing({ map, holdings, record }: VersionState): Map<string, number> {
  const refusing = new Map<string, number>();
  const { enabled, staged } = map?.value ?? {};
  if (!enabled || !staged) return refusing;
  for (const shard of staged.shards) {
    const holding = holdings.get(shard);
    if (!holding) continue;
    const isOther = record !== undefined && holding.manifestDigest !== record.value.manifestDigest;
    const isFailing = holding.error !== undefined && !(holding.isDeltaError && answers(holding, enabled.epoch));
    if (!isFailing && !(isOther && holding.manifestDigest !== "")) continue;
    const held = new Set(isOther || !answers(holding, enabled.epoch) ? [] : holding.partitions);
    const missingCount = gainedBy(shard, enabled, staged).filter((partition) => !held.has(partition)).length;
    if (missingCount > 0) refusing.set(shard, missingCount);
  }
  return refusing;
}

/** Partitions that a shard has in the one map and not in the other. */
export function gainedBy(shard: string, from: PartitionMap, to: PartitionMap): number[] {
  const before = new Set(partitionsOf(from, shard));
  return partitionsOf(to, shard).filter((partition) => !before.has(partition));
}
