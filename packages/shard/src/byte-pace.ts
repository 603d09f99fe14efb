import { type CancelSignal, type Clock, sleep } from "@shardserve/core";

/** A second's bytes come in so many pieces at least, so that the rate holds within a second too. */
const PIECES_PER_SECOND = 10;
const PIECE_BYTES_MIN = 16 * 1024;

/**
 * Bounds how fast bytes are taken: whoever takes some waits until those before are paid for. Nothing is saved up while nobody
 * takes, so that there is never a burst.
 */
export class BytePace {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  /** @param bytesPerSecond  > 0 */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** Most bytes to take at once. */
  get pieceBytes(): number {
    return Math.max(PIECE_BYTES_MIN, Math.floor(this.#bytesPerSecond / PIECES_PER_SECOND));
  }

  /** Resolves when so many bytes may be read. @throws the signal's reason */
  async take(bytes: number, signal: CancelSignal): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (bytes / this.#bytesPerSecond) * 1000;
    if (startMs > nowMs) await sleep(this.#clock, startMs - nowMs, signal);
  }
}
