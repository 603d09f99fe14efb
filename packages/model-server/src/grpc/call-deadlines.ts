import type { Clock } from "@shardserve/core";
import type { Deadline } from "@grpc/grpc-js";

/** A difference between wall and steady clock that grew by this between two calls was a jump, no drift. */
const JUMP_MS = 1000;
/** For how long after a jump calls may come that were dated before it. */
const DOUBT_MS = 60_000;

/**
 * Time left to the deadlines of calls. grpc-js dates a deadline by the wall clock when a call's headers come; one that seems to be over
 * just after that clock was set is not believed. The call ends in time all the same, by a timer of grpc-js.
 */
export class CallDeadlines {
  readonly #clock: Clock;
  #aheadMs: number;
  #jumpedAtMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#aheadMs = clock.wallMs() - clock.nowMs();
  }

  /** Milliseconds; undefined when the client set no deadline, or nobody can tell. */
  leftMs(deadline: Deadline): number | undefined {
    const [nowMs, wallMs] = [this.#clock.nowMs(), this.#clock.wallMs()];
    const aheadMs = wallMs - nowMs;
    if (Math.abs(aheadMs - this.#aheadMs) >= JUMP_MS) this.#jumpedAtMs = nowMs;
    this.#aheadMs = aheadMs;
    const atMs = deadline instanceof Date ? deadline.getTime() : deadline;
    if (!Number.isFinite(atMs)) return undefined;
    const leftMs = atMs - wallMs;
    return leftMs <= 0 && nowMs - this.#jumpedAtMs < DOUBT_MS ? undefined : leftMs;
  }
}
