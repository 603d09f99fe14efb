import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, sleep, systemClock } from "@shardserve/core";
import type { LoadPace } from "./options.js";

/** How long requests keep a process busy after the last one came. */
const BUSY_MS = 1000;
/** A load that gives way takes one part in this many of the event loop's time. */
const REST_RATIO = 9;
/** More than a piece of work takes; a longer time since the last pause was spent waiting. */
const PIECE_MS_MAX = 10;

/**
 * Loads take a tenth of the event loop while requests come, together, and all of it otherwise: a server that starts loads as fast as it can.
 */
export class TrafficPace implements LoadPace {
  readonly #clock: Clock;
  #requestCount: () => number = () => 0;
  #seen = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #resumedMs = 0;
  /** Loads that pause at the same time go on one after another. */
  #turn: Promise<void> = Promise.resolve();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** @param requestCount  requests that came since the process started */
  follow(requestCount: () => number): void {
    this.#requestCount = requestCount;
  }

  get isBusy(): boolean {
    const count = this.#requestCount();
    const nowMs = this.#clock.nowMs();
    if (count !== this.#seen) this.#lastMs = nowMs;
    this.#seen = count;
    return nowMs - this.#lastMs < BUSY_MS;
  }

  pause(): Promise<void> {
    this.#turn = this.#turn.then(() => this.#rest());
    return this.#turn;
  }

  async #rest(): Promise<void> {
    const workedMs = Math.min(this.#clock.nowMs() - this.#resumedMs, PIECE_MS_MAX);
    await (this.isBusy ? sleep(this.#clock, workedMs * REST_RATIO) : nextTurn());
    this.#resumedMs = this.#clock.nowMs();
  }
}
