import type { ShardHealth } from "./shard-health.js";

export interface HedgingOptions {
  /** Second frames to other replicas, as a share of first ones; 0 = none. */
  readonly budgetShare: number;
}

/** Hedges that may go out in one burst, when little was spent before. */
const TOKENS_MAX = 50;
/** Before a shard has answered this often, its p95 says nothing. */
const SAMPLES_MIN = 20;
/** Delay while no p95 is known. */
const DELAY_UNKNOWN_MS = 20;
/** A timer cannot do better, and a hedge within it saves nothing. */
const DELAY_MIN_MS = 2;
const DELAY_MAX_MS = 1_000;
const DELAY_VALID_MS = 100;
/** An answer that takes so many times the delay is a failure of the shard, not bad luck. */
const OVERDUE_FACTOR = 8;
const OVERDUE_MIN_MS = 50;

/**
 * When a frame's rows are asked of another replica as well, and how often that may happen ("The Tail at Scale", Dean and
 * Barroso 2013): after the p95 of shards' latencies for frames of its size, out of a budget that every first frame adds to.
 *
 * The p95 is each shard's own and the delay the lower median of them: one slow shard does not make everybody wait longer.
 */
export class Hedging {
  readonly #budgetShare: number;
  readonly #delays: { ms: number; untilMs: number }[] = [];
  #tokens: number;

  constructor(options: HedgingOptions) {
    this.#budgetShare = options.budgetShare;
    this.#tokens = options.budgetShare > 0 ? TOKENS_MAX : 0;
  }

  get isOn(): boolean {
    return this.#budgetShare > 0;
  }

  /** A frame goes out that is no hedge. */
  earn(): void {
    this.#tokens = Math.min(TOKENS_MAX, this.#tokens + this.#budgetShare);
  }

  /** @returns false when the budget does not allow so many hedges now; then nothing is spent */
  spend(frames: number): boolean {
    if (this.#tokens < frames) return false;
    this.#tokens -= frames;
    return true;
  }

  /** How long a frame of a size class may take before its rows are asked of others, in milliseconds. */
  delayMs(size: number, shards: readonly { readonly health: ShardHealth }[], nowMs: number): number {
    const known = this.#delays[size];
    if (known && nowMs < known.untilMs) return known.ms;
    const p95s = shards
      .map(({ health }) => health.latencies(size))
      .filter(({ count }) => count >= SAMPLES_MIN)
      .map((latencies) => latencies.quantileMs(0.95))
      .sort((a, b) => a - b);
    const p95 = p95s[(p95s.length - 1) >> 1] ?? DELAY_UNKNOWN_MS;
    const ms = Math.min(DELAY_MAX_MS, Math.max(DELAY_MIN_MS, p95));
    this.#delays[size] = { ms, untilMs: nowMs + DELAY_VALID_MS };
    return ms;
  }

  /** How long an answer may take before it counts as a failure of its shard, in milliseconds. */
  static overdueMs(delayMs: number): number {
    return Math.max(OVERDUE_MIN_MS, delayMs * OVERDUE_FACTOR);
  }
}
