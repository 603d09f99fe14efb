/** Below this the hop to another thread costs more than it frees; above it the event loop would notice. */
const SYNC_MS_MAX = 0.3;
/**
 * The same where the event loop would only wait for the run: a hop comes to a quarter of a millisecond then, because both threads wake up for
 * it and the other one's core has none of the model in its cache. Whoever arrives meanwhile waits for no longer than this.
 */
const ALONE_MS_MAX = 1;
/** What the hop adds to a run on another thread. */
const HOP_MS = 0.1;
/** Runs that may be this quick are tried on the event loop now and then: waiting for a thread can hide how quick they are. */
const TRIAL_MS_MAX = 2;
const TRIAL_EVERY = 16;
/** One slow run is an accident, of another process say; only a row of them is news. */
const GROWTH_MAX = 2;
/** Unless it held the event loop for so long that a second one would be worse than to be wrong about an accident. */
const HELD_MS_MAX = 10;
/** Input sizes are told apart by their power of two. */
const SIZE_CLASSES = 32;

/** Learns from runs of an engine which sizes of input are quick enough for the event loop. */
export class RunPace {
  /** Expected milliseconds by size class; NaN = never run. */
  readonly #expectedMs = new Float64Array(SIZE_CLASSES).fill(Number.NaN);
  /** Runs on other threads since the last one on this. */
  readonly #asyncRuns = new Uint32Array(SIZE_CLASSES);

  /**
   * True when a run with `size` input elements may block the event loop.
   *
   * @param isAlone  whether the loop would have nothing else to do; asked only when it matters
   */
  isQuick(size: number, isAlone?: () => boolean): boolean {
    const at = classOf(size);
    const expectedMs = this.#expectedMs[at]!;
    if (expectedMs > SYNC_MS_MAX && expectedMs <= ALONE_MS_MAX && isAlone?.()) return true;
    return expectedMs <= SYNC_MS_MAX || (expectedMs <= TRIAL_MS_MAX && this.#asyncRuns[at]! >= TRIAL_EVERY);
  }

  ranSync(size: number, elapsedMs: number): void {
    const at = classOf(size);
    const expectedMs = this.#expectedMs[at]!;
    this.#asyncRuns[at] = 0;
    if (elapsedMs > HELD_MS_MAX) this.#expectedMs[at] = elapsedMs;
    else if (elapsedMs < expectedMs) this.#expectedMs[at] = Math.min(elapsedMs * 1.25, expectedMs);
    else this.#expectedMs[at] = 0.75 * expectedMs + 0.25 * Math.min(elapsedMs, expectedMs * GROWTH_MAX);
  }

  ranAsync(size: number, elapsedMs: number): void {
    const at = classOf(size);
    this.#asyncRuns[at]!++;
    const netMs = Math.max(elapsedMs - HOP_MS, 0);
    const expectedMs = this.#expectedMs[at]!;
    // Waiting for a thread only ever adds: believe the quickest run, but forget it slowly.
    this.#expectedMs[at] = Number.isNaN(expectedMs) ? netMs : Math.min(netMs, expectedMs * 1.05);
  }
}

function classOf(size: number): number {
  return Math.min(31 - Math.clz32(Math.max(size, 1)), SIZE_CLASSES - 1);
}
