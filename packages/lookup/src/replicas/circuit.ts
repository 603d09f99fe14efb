import type { Random } from "@shardserve/core";

/** Weight of what was before one more outcome: the last ten or so count. */
const MEMORY = 0.9;
/** Outcomes, faded, that must have failed before the circuit opens, and their share of all. */
const FAILURES_MIN = 3;
const FAILURE_SHARE = 0.5;
const OPEN_FIRST_MS = 250;
const OPEN_MAX_MS = 5_000;

/** Whether a shard should be asked: `probe` = one frame, to see. */
export type CircuitState = "closed" | "open" | "probe";

/**
 * Circuit breaker of one shard. It opens when half of the recent answers failed or were far too late, lets one frame
 * through after a pause with jitter that doubles up to 5 s, and closes when that frame is answered in time.
 *
 * Open means avoided, never refused: where no other replica is left the shard is asked all the same.
 */
export class Circuit {
  readonly #random: Random;
  #total = 0;
  #failed = 0;
  #openUntilMs = 0;
  #openMs = 0;
  /** When the frame that probes was sent; -1 = none under way. */
  #probeSinceMs = -1;
  #openedCount = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get isOpen(): boolean {
    return this.#openMs > 0;
  }

  /** How often it opened so far, renewals not counted. */
  get openedCount(): number {
    return this.#openedCount;
  }

  state(nowMs: number): CircuitState {
    if (this.#openMs === 0) return "closed";
    const isProbing = this.#probeSinceMs >= 0 && nowMs - this.#probeSinceMs < OPEN_MAX_MS;
    return nowMs < this.#openUntilMs || isProbing ? "open" : "probe";
  }

  /** A frame goes out to see whether the shard is well again. */
  probing(nowMs: number): void {
    this.#probeSinceMs = nowMs;
  }

  succeeded(): void {
    this.#count(0);
    if (this.#openMs === 0 || this.#probeSinceMs < 0) return;
    this.reset();
  }

  /** @returns true when this opened the circuit */
  failed(nowMs: number): boolean {
    this.#count(1);
    if (this.#openMs > 0) {
      if (this.#probeSinceMs >= 0) this.#open(nowMs);
      return false;
    }
    if (this.#failed < FAILURES_MIN || this.#failed < FAILURE_SHARE * this.#total) return false;
    this.#openedCount++;
    this.#open(nowMs);
    return true;
  }

  /** A new connection: what the old one did says nothing. */
  reset(): void {
    this.#total = 0;
    this.#failed = 0;
    this.#openMs = 0;
    this.#probeSinceMs = -1;
  }

  #count(failed: number): void {
    this.#total = this.#total * MEMORY + 1;
    this.#failed = this.#failed * MEMORY + failed;
  }

  #open(nowMs: number): void {
    this.#openMs = this.#openMs === 0 ? OPEN_FIRST_MS : Math.min(OPEN_MAX_MS, this.#openMs * 2);
    this.#openUntilMs = nowMs + this.#openMs * (0.5 + 0.5 * this.#random.next());
    this.#probeSinceMs = -1;
  }
}
