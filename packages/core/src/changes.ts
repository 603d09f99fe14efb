import type { CancelSignal } from "./cancel-signal.js";

/** Something that changes, and who waits for that: each change wakes all of them, and they look again. */
export class Changes {
  readonly #listeners = new Set<() => void>();

  /** Nobody waits. */
  get isIdle(): boolean {
    return this.#listeners.size === 0;
  }

  /** It has changed. Listeners are called in this turn; they do not throw. */
  notify(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls back after every change. @returns a function that ends it */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves at the next change. @throws the signal's reason */
  next(signal?: CancelSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const settle = () => {
        off();
        signal?.removeEventListener("abort", settle);
        if (signal?.aborted) reject(signal.reason as Error);
        else resolve();
      };
      const off = this.subscribe(settle);
      signal?.addEventListener("abort", settle, { once: true });
    });
  }
}
