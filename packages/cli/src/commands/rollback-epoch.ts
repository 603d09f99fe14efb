import { type Clock, isServingError, ServingError, sleep, systemClock } from "@shardserve/core";
import { mapKey, MODELS_PREFIX, parseKey, type Registry, rollbackKey, rollbackRecord } from "@shardserve/registry";
import { type MapInForce, mapInForce } from "../roles/operator/map-in-force.js";
import type { Outcome } from "../roles/operator/outcome.js";

const POLL_MS = 50;

export interface EpochRollback {
  readonly model: string;
  /** -1 = the newest in force. */
  readonly version: number;
  /** Newest epoch to keep. */
  readonly epoch: number;
  /** How long to wait until it is in force; 0 = not at all. */
  readonly waitSeconds: number;
}

/**
 * Takes the deltas of a version back that came after an epoch.
 *
 * @throws ServingError NOT_FOUND when there is no such epoch to go back to; DEADLINE_EXCEEDED when it is not in force in time
 */
export async function rollbackEpoch(
  registry: Registry,
  wish: EpochRollback,
  outcome: Outcome,
  signal: AbortSignal,
): Promise<void> {
  const { model, epoch, waitSeconds } = wish;
  const startMs = systemClock.nowMs();
  const { version, rejected } = await reject(registry, wish, signal);
  const back = `taken back: ${rejected.join(", ") || "nothing"}`;
  const facts = { model, version, epoch, rejectedEpochs: rejected };
  if (waitSeconds === 0)
    return outcome.done(`${model}/${version}: epoch ${epoch} is wanted; ${back}`, { ...facts, isInForce: false });
  const endMs = startMs + waitSeconds * 1000;
  await whenInForce(registry, model, version, epoch, { clock: systemClock, endMs, signal });
  const seconds = ((systemClock.nowMs() - startMs) / 1000).toFixed(2);
  outcome.done(`${model}/${version}: epoch ${epoch} is in force after ${seconds} s; ${back}`, {
    ...facts,
    isInForce: true,
  });
}

/** Forgets what was taken back of all versions of a model: their newest deltas are taken up again. */
export async function forgetRollbacks(registry: Registry, model: string, signal: AbortSignal): Promise<void> {
  const { entries } = await registry.list(MODELS_PREFIX, { signal });
  const keys = entries
    .map(({ key }) => key)
    .filter((key) => {
      const parsed = parseKey(key);
      return parsed?.kind === "rollback" && parsed.model === model;
    });
  if (keys.length > 0)
    await registry.txn(
      [],
      keys.map((key) => ({ delete: key })),
      { signal },
    );
}

/**
 * Writes what is taken back against the map that it was decided on: deltas may be folded, or come, at any moment.
 *
 * @returns epochs that are taken back now, earlier ones included
 */
async function reject(
  registry: Registry,
  { model, version: wanted, epoch }: EpochRollback,
  signal: AbortSignal,
): Promise<{ readonly version: number; readonly rejected: readonly number[] }> {
  for (;;) {
    const inForce = await mapInForce(registry, model, wanted, signal);
    try {
      return { version: inForce.version, rejected: await rejectOn(registry, model, inForce, epoch, signal) };
    } catch (error) {
      if (!isServingError(error, "REGISTRY_CONFLICT")) throw error;
    }
  }
}

async function rejectOn(
  registry: Registry,
  model: string,
  { version, record: { enabled, epochs }, modRevision }: MapInForce,
  epoch: number,
  signal: AbortSignal,
): Promise<number[]> {
  const chain = epochs?.chain.map((ref) => ref.epoch) ?? [];
  const fold = epochs?.chain[0]?.fold === undefined ? undefined : chain[0];
  const known = [...(fold === undefined ? [0] : []), ...chain.filter((one) => one <= (enabled?.epoch ?? 0))];
  if (!known.includes(epoch)) {
    const why = fold === undefined ? "" : `; what came before epoch ${fold} is folded into it`;
    throw new ServingError(
      "NOT_FOUND",
      `${model}/${version} has no epoch ${epoch} to go back to; there are ${known.join(", ")}${why}`,
    );
  }
  const key = rollbackKey(model, version);
  const entry = await registry.get(key, { signal });
  const before = entry ? rollbackRecord.decode(entry.value, key).rejected : [];
  const rejected = [...new Set([...before, ...chain.filter((one) => one > epoch)])].sort((a, b) => a - b);
  await registry.txn(
    [
      { key, modRevision: entry?.modRevision ?? 0 },
      { key: mapKey(model, version), modRevision },
    ],
    [{ put: key, value: rollbackRecord.encode({ rejected }) }],
    { signal },
  );
  return rejected;
}

/** @throws ServingError DEADLINE_EXCEEDED saying what is in force instead */
async function whenInForce(
  registry: Registry,
  model: string,
  version: number,
  epoch: number,
  { clock, endMs, signal }: { readonly clock: Clock; readonly endMs: number; readonly signal: AbortSignal },
): Promise<void> {
  for (;;) {
    const { record } = await mapInForce(registry, model, version, signal);
    if (record.enabled?.epoch === epoch) return;
    if (clock.nowMs() >= endMs) {
      throw new ServingError(
        "DEADLINE_EXCEEDED",
        `${model}/${version} is still at epoch ${record.enabled?.epoch}; epoch ${epoch} follows when a leader and all shards are there`,
      );
    }
    await sleep(clock, POLL_MS, signal);
  }
}
