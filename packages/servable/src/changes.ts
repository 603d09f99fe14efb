import type { CancelSignal } from "@shardserve/core";

/** Something that changes, and who waits for that. */
export class Changes {
  readonly #listeners = new Set<() => void>();

  /** Nobody waits. */
  get isIdle(): boolean {
    return this.#listeners.size === 0;
  }

  notify(): void {
    for (const listener of this.#listeners) listener();
  }

  /** @returns the unsubscriber */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @throws the signal's reason */
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
