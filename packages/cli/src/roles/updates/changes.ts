/** Those who wait for a change of state: each change wakes all of them, and they look again. */
export class Changes {
  #wake: () => void = () => undefined;
  #next: Promise<void> | undefined;

  /** Resolves at the next change. */
  next(): Promise<void> {
    return (this.#next ??= new Promise((resolve) => {
      this.#wake = resolve;
    }));
  }

  happened(): void {
    this.#next = undefined;
    this.#wake();
  }
}
