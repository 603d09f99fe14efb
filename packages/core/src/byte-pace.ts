import type { CancelSignal } from "./cancel-signal.js";
import { type Clock, sleep } from "./clock.js";

/** A second's bytes come in so many pieces at least, so that the rate holds within a second too. */
const PIECES_PER_SECOND = 10;
const PIECE_BYTES_MIN = 16 * 1024;

/**
 * Bounds how fast bytes come, those of all who share it together. Nothing is saved up while nobody takes any, so that there is never a
 * burst.
 */
export class BytePace {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  /** @param bytesPerSecond  > 0; Infinity = not limited */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** Most bytes to take at once. */
  get pieceBytes(): number {
    return Math.max(PIECE_BYTES_MIN, Math.floor(this.#bytesPerSecond / PIECES_PER_SECOND));
  }

  /** Before so many bytes are read: resolves when those before them are paid for. @throws the signal's reason */
  async take(bytes: number, signal?: CancelSignal): Promise<void> {
    const startMs = Math.max(this.#clock.nowMs(), this.#freeAtMs);
    this.#add(bytes);
    await this.#until(startMs, signal);
  }

  /** After so many bytes came: resolves when they are paid for themselves. @throws the signal's reason */
  async spend(bytes: number, signal?: CancelSignal): Promise<void> {
    this.#add(bytes);
    await this.#until(this.#freeAtMs, signal);
  }

  #add(bytes: number): void {
    this.#freeAtMs = Math.max(this.#clock.nowMs(), this.#freeAtMs) + (bytes / this.#bytesPerSecond) * 1000;
  }

  async #until(atMs: number, signal: CancelSignal | undefined): Promise<void> {
    const waitMs = atMs - this.#clock.nowMs();
    if (waitMs > 0) await sleep(this.#clock, waitMs, signal);
  }
}
