import type { Clock } from "@shardserve/core";
import type { TransportLimits } from "../limits.js";

export interface LivenessEvents {
  /** The peer is to be asked for a sign of life. */
  readonly onPing: () => void;
  /** True: the peer owes an answer and is silent, even to a ping. False: a byte came all the same. */
  readonly onSuspect: (isSuspect: boolean) => void;
  /** Two idle intervals without a byte, the second one with a ping. */
  readonly onDead: () => void;
  /** Whether an answer is due now; a stream that only waits for news owes none. */
  readonly isWaiting: () => boolean;
}

/**
 * Watches for signs of life on one connection.
 *
 * An idle connection is asked every `pingIntervalMs`. One that owes an answer is watched closer: silent for `doubtMs` it is
 * asked, and `doubtReplyMs` later it is suspect, until a byte comes. An answer that was given up is still owed: when the
 * caller has stopped using a link that swallows requests, that is all there is to tell it from an idle one.
 */
export class Liveness {
  readonly #limits: TransportLimits;
  readonly #clock: Clock;
  readonly #events: LivenessEvents;
  #silentIntervals = 0;
  /** A byte came since the timer of the watch was set. */
  #isHeard = false;
  /** Something was asked since the last byte came. */
  #isOwed = false;
  #isWatched = false;
  #isSuspect = false;
  #cancelIdle: () => void = () => undefined;
  #cancelWatch: () => void = () => undefined;

  constructor(limits: TransportLimits, clock: Clock, events: LivenessEvents) {
    this.#limits = limits;
    this.#clock = clock;
    this.#events = events;
  }

  /** From now on an idle connection is asked. */
  start(): void {
    const { pingIntervalMs } = this.#limits;
    this.#cancelIdle = this.#clock.after(pingIntervalMs, () => {
      if (this.#silentIntervals >= 2) return this.#events.onDead();
      if (this.#silentIntervals > 0) this.#events.onPing();
      this.#silentIntervals += 1;
      this.start();
    });
  }

  stop(): void {
    this.#cancelIdle();
    this.#cancelWatch();
    this.#isWatched = true; // no more timers
  }

  /** Bytes came. */
  heard(): void {
    this.#silentIntervals = 0;
    this.#isHeard = true;
    this.#isOwed = false;
    if (!this.#isSuspect) return;
    this.#isSuspect = false;
    this.#isWatched = false;
    this.#events.onSuspect(false);
  }

  /** An answer is owed from now on; said again when it is given up. */
  asked(): void {
    this.#isOwed = true;
    if (!this.#isWatched) this.#watch();
  }

  #watch(): void {
    this.#isWatched = true;
    this.#wait(this.#limits.doubtMs, () => {
      if (this.#isHeard) return this.#watchOn();
      this.#events.onPing();
      this.#wait(this.#limits.doubtReplyMs, () => {
        if (this.#isHeard) return this.#watchOn();
        this.#isSuspect = true;
        this.#events.onSuspect(true);
      });
    });
  }

  /** It lives: watched on only where it owes something more, or idle connections would be asked for ever. */
  #watchOn(): void {
    if (this.#isOwed || this.#events.isWaiting()) this.#watch();
    else this.#isWatched = false;
  }

  #wait(waitMs: number, onPassed: () => void): void {
    this.#isHeard = false;
    // When this process stood still, timers come first: what has arrived meanwhile is read before anybody is doubted.
    this.#cancelWatch = this.#clock.after(waitMs, () => {
      const turn = setImmediate(onPassed);
      this.#cancelWatch = () => clearImmediate(turn);
    });
  }
}
