import type { WatchEvent } from "./registry.js";

/** Events that wait for a slow reader; above it they are dropped and the reader gets a snapshot instead. */
const QUEUE_EVENTS_MAX = 1024;

/** Events on their way to one reader of a watch: bounded, and never a gap that the reader does not hear of. */
export class WatchQueue {
  readonly #snapshot: () => WatchEvent;
  readonly #ended: AbortSignal;
  #events: WatchEvent[] = [];
  #isSnapshotDue = true;
  #wake: () => void = () => undefined;

  /** @param snapshot  the present state; called at the start and after an overflow */
  constructor(snapshot: () => WatchEvent, ended: AbortSignal) {
    this.#snapshot = snapshot;
    this.#ended = ended;
  }

  push(event: WatchEvent): void {
    if (this.#isSnapshotDue) return; // the snapshot will hold it
    if (this.#events.length >= QUEUE_EVENTS_MAX) {
      this.#events = [];
      this.#isSnapshotDue = true;
    } else {
      this.#events.push(event);
    }
    this.#wake();
  }

  /** Yields until the watch is ended; what still waits then is dropped. */
  async *read(): AsyncGenerator<WatchEvent, void, void> {
    const wake = () => this.#wake();
    this.#ended.addEventListener("abort", wake, { once: true });
    try {
      while (!this.#ended.aborted) {
        if (this.#isSnapshotDue) {
          this.#isSnapshotDue = false;
          yield this.#snapshot();
          continue;
        }
        const next = this.#events.shift();
        if (next) yield next;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.#ended.removeEventListener("abort", wake);
    }
  }
}
