import { ServingError } from "@shardserve/core";

/**
 * How many bytes of deltas a shard keeps in memory, over all its versions. Rows of deltas lie in memory that the system cannot
 * take back, unlike those of partition files; without a bound a stream of updates ends with the process killed, and every
 * version on it. So a new epoch that does not fit is refused: the one in force goes on, and nothing is copied.
 */
export class DeltaBudget {
  readonly #limitBytes: number;
  readonly #usedBytes: () => number;

  /** @param usedBytes  bytes of deltas in memory now */
  constructor(limitBytes: number, usedBytes: () => number) {
    this.#limitBytes = limitBytes;
    this.#usedBytes = usedBytes;
  }

  /**
   * @param what  whose bytes, for the message
   * @throws ServingError RESOURCE_EXHAUSTED when they do not fit beside what is in memory
   */
  admit(what: string, bytes: number): void {
    const usedBytes = this.#usedBytes();
    if (usedBytes + bytes <= this.#limitBytes) return;
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `${what}: its ${bytes} bytes and the ${usedBytes} of deltas in memory are more than the ${this.#limitBytes} of ` +
        "--delta-bytes; export the version as a whole, or allow more",
      { details: { bytes, usedBytes, limitBytes: this.#limitBytes } },
    );
  }
}
