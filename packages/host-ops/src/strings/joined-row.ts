import type { StringColumnBuilder } from "@shardserve/tensor";
import { checkOutput } from "../call/limits.js";

/** The tokens of one row, joined once: each of its n-grams is a range of these bytes. Reused from row to row. */
export class JoinedRow {
  readonly #separator: Uint8Array;
  #bytes = new Uint8Array(256);
  /** Where token k starts; the last entry is where a further one would. */
  readonly #starts = [0];
  #appendedBytes = 0;

  constructor(separator: Uint8Array) {
    this.#separator = separator;
  }

  /** Count of tokens. */
  get length(): number {
    return this.#starts.length - 1;
  }

  clear(): void {
    this.#starts.length = 1;
  }

  /** Adds the token `source[start .. end)`. */
  add(source: Uint8Array, start: number, end: number): void {
    const separator = this.#separator;
    let to = this.#starts[this.#starts.length - 1]!;
    const needed = to + end - start + separator.length;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, to));
      this.#bytes = grown;
    }
    const bytes = this.#bytes;
    for (let from = start; from < end; from++) bytes[to++] = source[from]!;
    for (let from = 0; from < separator.length; from++) bytes[to++] = separator[from]!;
    this.#starts.push(to);
  }

  /**
   * Appends tokens [first, first + width) to `out` as one string.
   *
   * @throws ServingError RESOURCE_EXHAUSTED where all that was appended is more than an output may hold
   */
  appendTo(out: StringColumnBuilder, first: number, width: number): void {
    const start = this.#starts[first]!;
    const end = width === 0 ? start : this.#starts[first + width]! - this.#separator.length;
    this.#appendedBytes += end - start;
    checkOutput("string", out.length + 1, this.#appendedBytes);
    out.pushRange(this.#bytes, start, end);
  }
}
