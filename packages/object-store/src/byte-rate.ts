import { type Clock, sleep } from "@shardserve/core";

/** Spreads bytes over time, those of all who read at once together. Nothing is saved up while nobody reads. */
export class ByteRate {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  /** @param bytesPerSecond  > 0; Infinity = not limited */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** Resolves when the next bytes may be read. @throws the signal's reason */
  async spend(bytes: number, signal?: AbortSignal): Promise<void> {
    const nowMs = this.#clock.nowMs();
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + (bytes / this.#bytesPerSecond) * 1000;
    if (this.#freeAtMs > nowMs) await sleep(this.#clock, this.#freeAtMs - nowMs, signal);
  }
}
