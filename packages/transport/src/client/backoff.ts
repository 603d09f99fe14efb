import type { Random } from "@shardserve/core";

/** Waits between attempts to connect. */
export interface BackoffOptions {
  /** Longest first wait, in milliseconds. */
  readonly firstMs: number;
  /** Longest wait, in milliseconds. */
  readonly maxMs: number;
}

/** Soon enough for a process that restarts, rare enough for a host that is gone. */
export const DEFAULT_BACKOFF: BackoffOptions = { firstMs: 50, maxMs: 2_000 };

/** Exponential backoff with equal jitter (AWS architecture blog, "Exponential Backoff And Jitter"): peers do not return in step. */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #attempt = 0;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** The next wait, in milliseconds: uniform in [half the ceiling, the ceiling), which doubles up to maxMs. */
  nextMs(): number {
    const ceilingMs = Math.min(this.#options.maxMs, this.#options.firstMs * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 30);
    return ceilingMs * (0.5 + 0.5 * this.#random.next());
  }

  /** After a success: start small again. */
  reset(): void {
    this.#attempt = 0;
  }
}
