import type { CancelSignal } from "./cancel-signal.js";
/** Time, injected so that tests and simulations own it. The only module that reads the system's clocks. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean something. */
  nowMs(): number;
  /** Milliseconds since the Unix epoch; may jump. */
  wallMs(): number;
  /**
   * Calls back once, when `nowMs` has gone on by `delayMs` or more; the returned function cancels. Never keeps the process
   * alive.
   */
  after(delayMs: number, callback: () => void): () => void;
}

/** What setTimeout takes; it turns more into 1 ms. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The clock of this machine: monotonic milliseconds of the process, and the wall clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback) {
    const dueMs = performance.now() + delayMs;
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number) => {
      timer = setTimeout(look, Math.min(Math.ceil(leftMs), TIMEOUT_MS_MAX));
      timer.unref();
    };
    // Node counts in whole milliseconds from a start that it rounds down, so a timer may come early: who then asks whether
    // its time has come hears no, and waits for ever.
    const look = () => {
      const leftMs = dueMs - performance.now();
      if (leftMs > 0) arm(leftMs);
      else callback();
    };
    arm(delayMs);
    return () => clearTimeout(timer);
  },
};

/**
 * Waits `delayMs`, or until the signal aborts.
 *
 * @throws the signal's reason when it aborts first
 */
export function sleep(clock: Clock, delayMs: number, signal?: CancelSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = () => {
      cancel();
      reject(signal?.reason as Error);
    };
    const cancel = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #epochMs: number;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();

  constructor(epochMs = 0) {
    this.#epochMs = epochMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#epochMs + this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves time forward and fires every timer that became due, in order of time. */
  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (;;) {
      let next: { atMs: number; callback: () => void } | undefined;
      for (const timer of this.#timers) if (timer.atMs <= untilMs && (!next || timer.atMs < next.atMs)) next = timer;
      if (!next) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.callback();
    }
    this.#nowMs = untilMs;
  }
}
