import type { OutcomeSummary } from "./outcomes.js";

/** How a new version is watched beside the one before it, and when it has to go. */
export interface ProbationSettings {
  /** How long a version that took over is watched, in milliseconds; the one before stays loaded for that long. */
  readonly durationMs: number;
  /** Errors per request that a version may have above those of the version before. */
  readonly errorRateMargin: number;
  /** 99th percentile of the run time that it may have, as a multiple of that of the version before. */
  readonly latencyRatioMax: number;
}

/** Fewer requests say nothing about a rate. */
const REQUESTS_MIN = 50;
const ERRORS_MIN = 5;
/** Fewer times say nothing about a 99th percentile. */
const TIMED_MIN = 500;
/** A percentile that grows by less is noise, whatever the ratio. */
const LATENCY_SLACK_MS = 1;

/**
 * Whether a version on probation has to go. Compared with the version before, so that what clients do wrong, and what
 * the machine is like, counts against neither.
 *
 * @returns why, with its numbers; undefined = it may stay
 */
export function judge(
  candidate: OutcomeSummary,
  before: OutcomeSummary,
  settings: ProbationSettings,
): string | undefined {
  if (before.requests < REQUESTS_MIN || candidate.requests < REQUESTS_MIN) return undefined;
  const rate = candidate.errors / candidate.requests;
  const rateBefore = before.errors / before.requests;
  if (candidate.errors >= ERRORS_MIN && rate > rateBefore + settings.errorRateMargin) {
    return `${candidate.errors} of ${candidate.requests} requests failed, before it ${before.errors} of ${before.requests}`;
  }
  if (before.timed < TIMED_MIN || candidate.timed < TIMED_MIN) return undefined;
  const limitMs = Math.max(before.p99Ms * settings.latencyRatioMax, before.p99Ms + LATENCY_SLACK_MS);
  if (candidate.p99Ms <= limitMs) return undefined;
  return `1 % of the requests took longer than ${candidate.p99Ms.toFixed(1)} ms, before it ${before.p99Ms.toFixed(1)} ms`;
}
