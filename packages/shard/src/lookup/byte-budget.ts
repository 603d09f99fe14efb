import { invariant, ServingError } from "@shardserve/core";

/** Bytes that may be in use at once. Nobody waits: what does not fit is refused, so that overload is seen at once. */
export class ByteBudget {
  readonly limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /**
   * Takes bytes, to be given back once.
   *
   * @param what  names the work in the error
   * @throws ServingError RESOURCE_EXHAUSTED when they are not free now
   */
  take(bytes: number, what: string): void {
    if (this.#usedBytes + bytes > this.limitBytes) {
      throw new ServingError(
        "RESOURCE_EXHAUSTED",
        `${what} needs ${bytes} bytes, ${this.limitBytes - this.#usedBytes} of ${this.limitBytes} are free; ask another replica or later`,
      );
    }
    this.#usedBytes += bytes;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
    invariant(this.#usedBytes >= 0, "more bytes were given back than taken");
  }
}
