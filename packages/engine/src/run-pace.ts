/** Below this the hop to another thread costs more than it frees; above it the event loop would notice. */
const SYNC_MS_MAX = 0.3;
/** What the hop adds to a run on another thread. */
const HOP_MS = 0.1;
/** Input sizes are told apart by their power of two. */
const SIZE_CLASSES = 32;

/** Learns from runs of an engine which sizes of input are quick enough for the event loop. */
export class RunPace {
  /** Expected milliseconds by size class; NaN = never run. */
  readonly #expectedMs = new Float64Array(SIZE_CLASSES).fill(Number.NaN);

  /** True when a run with `size` input elements may block the event loop. */
  isQuick(size: number): boolean {
    return this.#expectedMs[classOf(size)]! <= SYNC_MS_MAX;
  }

  ranSync(size: number, elapsedMs: number): void {
    const at = classOf(size);
    this.#expectedMs[at] = 0.75 * this.#expectedMs[at]! + 0.25 * elapsedMs;
  }

  ranAsync(size: number, elapsedMs: number): void {
    const at = classOf(size);
    const netMs = Math.max(elapsedMs - HOP_MS, 0);
    const expectedMs = this.#expectedMs[at]!;
    // Waiting for a thread only ever adds: believe the quickest run, but forget it slowly.
    this.#expectedMs[at] = Number.isNaN(expectedMs) ? netMs : Math.min(netMs, expectedMs * 1.05);
  }
}

function classOf(size: number): number {
  return Math.min(31 - Math.clz32(Math.max(size, 1)), SIZE_CLASSES - 1);
}
