import { invariant } from "@shardserve/core";
import { zeroedArray } from "./small-data.js";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * A column of binary strings: one byte buffer and `length + 1` offsets, so that a batch of strings is two allocations.
 * Element i is `bytes[offsets[i] .. offsets[i + 1])`. Immutable once built.
 */
export class StringColumn {
  readonly bytes: Uint8Array;
  readonly offsets: Uint32Array;

  constructor(bytes: Uint8Array, offsets: Uint32Array) {
    invariant(offsets.length > 0 && offsets[offsets.length - 1]! <= bytes.length, "string offsets exceed their bytes");
    this.bytes = bytes;
    this.offsets = offsets;
  }

  static from(values: readonly (string | Uint8Array)[]): StringColumn {
    const builder = new StringColumnBuilder(values.length);
    for (const value of values) builder.push(typeof value === "string" ? encoder.encode(value) : value);
    return builder.build();
  }

  /** `count` copies of one value. */
  static filled(count: number, value: Uint8Array): StringColumn {
    const builder = new StringColumnBuilder(count);
    for (let i = 0; i < count; i++) builder.push(value);
    return builder.build();
  }

  get length(): number {
    return this.offsets.length - 1;
  }

  /** A view of element i, not a copy. */
  at(i: number): Uint8Array {
    return this.bytes.subarray(this.offsets[i]!, this.offsets[i + 1]!);
  }

  /** Element i decoded as UTF-8; invalid bytes become U+FFFD. */
  textAt(i: number): string {
    return decoder.decode(this.at(i));
  }

  toTexts(): string[] {
    return Array.from({ length: this.length }, (_, i) => this.textAt(i));
  }
}

/** Shorter strings are copied faster by a loop than by a view and a copy. */
const COPY_BYTES_MIN = 48;

/** Copies `source[start .. end)` to `to[at ..]`. */
export function copyBytes(source: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start < COPY_BYTES_MIN) for (let from = start, k = at; from < end; from++, k++) to[k] = source[from]!;
  else to.set(start === 0 && end === source.length ? source : source.subarray(start, end), at);
}

/** Appends strings and packs them once. */
export class StringColumnBuilder {
  #bytes: Uint8Array;
  #byteLength = 0;
  #offsets: Uint32Array;
  #count = 0;

  /** What is expected is only a start: both buffers grow. */
  constructor(expectedCount = 16, expectedBytes = 256) {
    this.#bytes = zeroedArray(Uint8Array, expectedBytes);
    this.#offsets = zeroedArray(Uint32Array, expectedCount + 1);
  }

  get length(): number {
    return this.#count;
  }

  /** Of all strings so far. */
  get byteLength(): number {
    return this.#byteLength;
  }

  push(value: Uint8Array): void {
    this.pushRange(value, 0, value.length);
  }

  pushText(value: string): void {
    this.push(encoder.encode(value));
  }

  /** Appends `source[start .. end)`. */
  pushRange(source: Uint8Array, start: number, end: number): void {
    const needed = this.#byteLength + end - start;
    if (needed > this.#bytes.length) this.#grow(needed);
    copyBytes(source, start, end, this.#bytes, this.#byteLength);
    this.#byteLength = needed;
    if (++this.#count >= this.#offsets.length) {
      const offsets = new Uint32Array(this.#offsets.length * 2 + 1);
      offsets.set(this.#offsets);
      this.#offsets = offsets;
    }
    this.#offsets[this.#count] = needed;
  }

  build(): StringColumn {
    return new StringColumn(this.#bytes.subarray(0, this.#byteLength), this.#offsets.subarray(0, this.#count + 1));
  }

  #grow(needed: number): void {
    invariant(needed < 2 ** 32, "a string tensor holds at most 4 GiB");
    const bytes = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    bytes.set(this.#bytes.subarray(0, this.#byteLength));
    this.#bytes = bytes;
  }
}
