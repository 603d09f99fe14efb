import { type Clock, invariant, type Logger, ServingError } from "@shardserve/core";
import { type HoldingRecord, recordError, type RecordedError } from "@shardserve/registry";
import type { ShardMetrics } from "../metrics.js";
import type { ServedVersion } from "./served-version.js";
import type { VersionFiles } from "../files/version-files.js";

const RETRY_MAX_MS = 60_000;

/** Something that failed and is tried again. */
export interface Failure {
  readonly error: RecordedError;
  /** On the clock's `nowMs` scale. */
  readonly retryAtMs: number;
  readonly pauseMs: number;
}

/** Logs and counts a failure. @param before  the one before it, if it was tried already: the pause doubles, up to a minute */
export function failedAgain(
  { model, version }: HeldVersion,
  before: Failure | undefined,
  reason: unknown,
  on: {
    readonly metrics: Pick<ShardMetrics, "loadFailures">;
    readonly logger: Logger;
    readonly clock: Clock;
    /** First pause. */
    readonly retryMs: number;
  },
): Failure {
  const error = recordError(reason);
  on.logger.error({ model, version, ...error }, "load refused");
  on.metrics.loadFailures.inc({ model, code: error.code });
  const pauseMs = Math.min(RETRY_MAX_MS, (before?.pauseMs ?? on.retryMs / 2) * 2);
  return { error, retryAtMs: on.clock.nowMs() + pauseMs, pauseMs };
}

/** One version that the maps give this shard, or gave it. */
export interface HeldVersion {
  readonly model: string;
  readonly version: number;
  wanted: ReadonlySet<number>;
  served: ServedVersion | undefined;
  /** Kept while the version cannot be opened: they know who gave a manifest that was refused. */
  files: VersionFiles | undefined;
  /** Partitions that moved here and whose files were fetched. */
  readonly fetched: Set<number>;
  /** Per partition that is no longer wanted: when it goes, on the clock's `nowMs` scale. */
  readonly dropAtMs: Map<number, number>;
  /** Per partition that failed to load. */
  readonly failures: Map<number, Failure>;
  /** Partitions that were loaded and of which the log does not say so yet. */
  loadedSinceNote: number;
  /** Why the version could not be opened at all. */
  openFailure: Failure | undefined;
  /** Why the deltas that the maps want are not all here. */
  epochFailure: Failure | undefined;
  /** What was published last, to publish only changes. */
  published: string;
}

export function newHeldVersion(model: string, version: number): HeldVersion {
  return {
    model,
    version,
    wanted: new Set(),
    served: undefined,
    files: undefined,
    fetched: new Set(),
    dropAtMs: new Map(),
    failures: new Map(),
    loadedSinceNote: 0,
    openFailure: undefined,
    epochFailure: undefined,
    published: "",
  };
}

/** @throws ServingError INVALID_ARGUMENT */
export function checkName({ model, version }: HeldVersion): void {
  invariant(Number.isSafeInteger(version), `version ${version}`);
  if (model === "" || model.startsWith(".") || /[/\\\0]/.test(model)) {
    throw new ServingError("INVALID_ARGUMENT", `model name "${model}" cannot be a folder of the repository`);
  }
}

/** When something of it is next to be dropped or tried again, on the clock's `nowMs` scale; Infinity = nothing is. */
export function nextChangeMs({ dropAtMs, failures, epochFailure, openFailure }: HeldVersion): number {
  let nextMs = Number.POSITIVE_INFINITY;
  for (const atMs of dropAtMs.values()) nextMs = Math.min(nextMs, atMs);
  for (const failure of [...failures.values(), epochFailure, openFailure]) {
    if (failure) nextMs = Math.min(nextMs, failure.retryAtMs);
  }
  return nextMs;
}

/** What this shard proves of the version. @param heldGeneration  of the map that is held against an older one */
export function holdingOf(held: HeldVersion, instance: string, heldGeneration: number | undefined): HoldingRecord {
  const { served } = held;
  const partitions = [...(served?.digests.keys() ?? [])].sort((a, b) => a - b);
  const loadError = held.openFailure?.error ?? firstFailure(held);
  const error = loadError ?? held.epochFailure?.error;
  const newest = served?.epochs.newest;
  return {
    instance,
    manifestDigest: served?.manifestDigest ?? "",
    epoch: newest?.epoch ?? 0,
    ...(served && newest && newest.epoch > 0 && { epochDigest: newest.digest, oldestEpoch: served.epochs.oldest }),
    partitions,
    digests: partitions.map((partition) => served?.digests.get(partition) ?? ""),
    ...(error && { error }),
    ...(error && !loadError && { isDeltaError: true }),
    ...(heldGeneration !== undefined && { heldGeneration }),
  };
}

function firstFailure(held: HeldVersion): RecordedError | undefined {
  for (const partition of [...held.failures.keys()].sort((a, b) => a - b)) {
    if (held.wanted.has(partition)) return held.failures.get(partition)?.error;
  }
  return undefined;
}
