import { ServingError } from "@shardserve/core";

/** What one writer pushes and one reader pulls, bounded: a reader that falls behind ends it. */
export class PullQueue<T> {
  readonly #itemsMax: number;
  readonly #what: string;
  readonly #items: T[] = [];
  #ended: { readonly error: unknown } | undefined;
  #wake: () => void = () => undefined;

  /** @param what  whose items they are, for the message */
  constructor(itemsMax: number, what: string) {
    this.#itemsMax = itemsMax;
    this.#what = what;
  }

  /** @returns false when the queue is ended, or full, and thereby ended: the item is not taken */
  push(item: T): boolean {
    if (this.#ended) return false;
    const hasRoom = this.#items.length < this.#itemsMax;
    if (hasRoom) {
      this.#items.push(item);
      this.#wake();
    } else {
      const text = `${this.#items.length} items of ${this.#what} wait for their reader; the stream is ended`;
      this.end(new ServingError("RESOURCE_EXHAUSTED", text));
    }
    return hasRoom;
  }

  /** The reader gets what is queued, and then this error; undefined = it is done. The first end counts. */
  end(error: unknown): void {
    this.#ended ??= { error };
    this.#wake();
  }

  /** All items in order; for one reader. @throws what the queue ended with */
  async *read(): AsyncGenerator<T, void, void> {
    for (;;) {
      yield* this.#items.splice(0);
      if (this.#items.length > 0) continue;
      if (this.#ended) {
        if (this.#ended.error !== undefined) throw this.#ended.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
