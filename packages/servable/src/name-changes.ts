import { CancelSource, type CancelSignal, Changes } from "@shardserve/core";

/** Names that change, and who waits for which of them: a change asks those alone who wait for its name. */
export class NameChanges {
  readonly #byName = new Map<string, Changes>();

  /** @param name  that changed; absent = any may have */
  notify(name?: string): void {
    const changed = name === undefined ? [...this.#byName.values()] : [this.#byName.get(name)];
    for (const changes of changed) changes?.notify();
  }

  /**
   * Resolves at a moment at which all names are settled; one that is settled is asked again once the others are, too.
   *
   * @param isSettled  asked of a name after it changed
   * @throws the signal's reason
   */
  async whenAll(names: readonly string[], isSettled: (name: string) => boolean, signal?: CancelSignal): Promise<void> {
    const cancel = new CancelSource(); // one listener on the signal, however many names
    const onAbort = () => cancel.abort(signal!.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for (;;) {
        signal?.throwIfAborted();
        const open = names.filter((name) => !isSettled(name));
        if (open.length === 0) return;
        await Promise.all(open.map((name) => this.#whenSettled(name, isSettled, cancel)));
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async #whenSettled(name: string, isSettled: (name: string) => boolean, signal: CancelSignal): Promise<void> {
    while (!isSettled(name)) await this.#next(name, signal);
  }

  async #next(name: string, signal: CancelSignal): Promise<void> {
    const changes = this.#byName.get(name) ?? new Changes();
    this.#byName.set(name, changes);
    try {
      await changes.next(signal);
    } finally {
      if (this.#byName.get(name)?.isIdle) this.#byName.delete(name); // another wait may have begun the name anew
    }
  }
}
