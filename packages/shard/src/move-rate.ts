/**
 * Spreads the copying of moved partitions over time: each start pushes the next one back by its bytes over the rate.
 * Nothing is saved up while nothing moves, so moves never begin with a burst.
 */
export class MoveRate {
  readonly #bytesPerSecond: number;
  #freeAtMs = -Infinity;

  /** @param bytesPerSecond  > 0; Infinity = not limited */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** @returns 0 when a copy of so many bytes may start now, which is then counted; else how long to wait, in milliseconds */
  tryStart(bytes: number, nowMs: number): number {
    if (nowMs < this.#freeAtMs) return this.#freeAtMs - nowMs;
    this.#freeAtMs = nowMs + (bytes / this.#bytesPerSecond) * 1000;
    return 0;
  }
}
