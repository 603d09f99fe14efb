import {
  type Clock,
  isServingError,
  type Logger,
  type Random,
  ServingError,
  silentLogger,
  sleep,
  systemClock,
  systemRandom,
} from "@shardserve/core";
import { Backoff } from "@shardserve/transport";
import type { Compare, Lease, Registry } from "./registry.js";

/** How an office is run for. */
export interface CampaignOptions {
  /** How long a dead leader keeps the office, in seconds; default 10. */
  readonly ttlSeconds?: number;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** Office held: the key is ours as long as `lost` is silent. */
export interface Leadership {
  readonly key: string;
  /** Put it among the compares of every write: a leader that was deposed without knowing writes nothing. */
  readonly guard: Compare;
  /** Aborts with LEASE_LOST when the office is, or may be, somebody else's. */
  readonly lost: AbortSignal;
  /** Leaves the office, so that another takes it at once. Idempotent. */
  resign(): Promise<void>;
}

/**
 * Waits until this process is elected: the key is created under a lease by whoever comes first when it is free.
 * There is no order among those who wait; while the registry is away, everybody waits.
 *
 * @param value  says who leads, and must differ between processes: it tells our own key from another's
 * @throws the signal's reason; ServingError REGISTRY_DENIED
 */
export async function campaign(
  registry: Registry,
  key: string,
  value: Uint8Array,
  options: CampaignOptions = {},
): Promise<Leadership> {
  const { ttlSeconds = 10, clock = systemClock, random = systemRandom(), logger = silentLogger } = options;
  const signal = options.signal ?? new AbortController().signal;
  const backoff = new Backoff({ firstMs: 50, maxMs: 2_000 }, random);
  let lease: Lease | undefined;
  try {
    for (;;) {
      signal.throwIfAborted();
      try {
        if (!lease || lease.lost.aborted) lease = await registry.lease(ttlSeconds, { signal });
        const revision = await tryTake(registry, key, value, lease, signal);
        if (revision !== undefined) return hold(registry, key, revision, lease);
        await waitUntilFree(registry, key, AbortSignal.any([signal, lease.lost]));
        backoff.reset();
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        const cast = ServingError.from(error);
        if (cast.retry === "never") throw cast;
        logger.debug({ key, error: cast.message }, "campaign interrupted");
        await sleep(clock, backoff.nextMs(), signal);
      }
    }
  } catch (error) {
    await lease?.revoke().catch(() => undefined); // it expires; the first error is the one to report
    throw error;
  }
}

/** @returns the revision at which the key is ours, or undefined when somebody else has it */
async function tryTake(
  registry: Registry,
  key: string,
  value: Uint8Array,
  lease: Lease,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    return await registry.txn([{ key, modRevision: 0 }], [{ put: key, value, lease }], { signal });
  } catch (error) {
    if (!isServingError(error, "REGISTRY_CONFLICT")) throw error;
  }
  // Our own: an earlier try went through and its answer was lost, or an office that we lost stands until its lease ends.
  const entry = await registry.get(key, { signal });
  if (!entry || Buffer.compare(entry.value, value) !== 0) return undefined;
  return registry.txn([{ key, modRevision: entry.modRevision }], [{ put: key, value, lease }], { signal });
}

async function waitUntilFree(registry: Registry, key: string, signal: AbortSignal): Promise<void> {
  for await (const event of registry.watch(key, { signal })) {
    if (event.type === "snapshot") {
      if (!event.entries.some((entry) => entry.key === key)) return;
    } else {
      // The last change to the key decides.
      const last = event.changes
        .filter((change) => (change.type === "put" ? change.entry.key : change.key) === key)
        .at(-1);
      if (last?.type === "delete") return;
    }
  }
  signal.throwIfAborted();
  throw new ServingError("REGISTRY_UNAVAILABLE", `the watch on ${key} ended: the registry is closed`);
}

function hold(registry: Registry, key: string, revision: number, lease: Lease): Leadership {
  const lost = new AbortController();
  const resigned = new AbortController();
  const lose = (reason: unknown) => lost.abort(reason);
  lease.lost.addEventListener("abort", () => lose(lease.lost.reason), { once: true });
  if (lease.lost.aborted) lose(lease.lost.reason);
  const signal = AbortSignal.any([resigned.signal, lost.signal]);
  // The lease may live while an operator deleted the key.
  void watchOffice(registry, key, revision, signal).then(
    (why) => {
      if (!resigned.signal.aborted) lose(new ServingError("LEASE_LOST", `${key}: ${why}`));
    },
    (error: unknown) => lose(ServingError.from(error)),
  );
  return {
    key,
    guard: { key, modRevision: revision },
    lost: lost.signal,
    resign: () => {
      resigned.abort();
      return lease.revoke();
    },
  };
}

/** Settles when the key is no longer the one that was taken at `revision`, saying what happened. */
async function watchOffice(registry: Registry, key: string, revision: number, signal: AbortSignal): Promise<string> {
  for await (const event of registry.watch(key, { signal })) {
    if (event.type === "snapshot") {
      const found = event.entries.find((entry) => entry.key === key);
      if (!found) return "the key is gone";
      if (found.modRevision !== revision) return "the key was written by somebody else";
      continue;
    }
    for (const change of event.changes) {
      if (change.type === "delete" && change.key === key) return "the key was deleted";
      if (change.type === "put" && change.entry.key === key && change.entry.modRevision > revision) {
        return "the key was written by somebody else";
      }
    }
  }
  return "the registry was closed";
}
