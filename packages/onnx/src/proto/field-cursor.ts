import type { FileHandle } from "node:fs/promises";
import { readAt } from "@shardserve/core";
import { WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT, type WireField } from "@shardserve/tensor";

const WINDOW_BYTES = 64 * 1024;
/** Tag and length of a field, as varints. */
const HEAD_BYTES_MAX = 20;

/** Goes over the fields of a protobuf message in a file without reading what it passes over. */
export class FieldCursor {
  readonly #file: FileHandle;
  readonly #size: number;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  #windowStart = 0;
  #windowEnd = 0;

  /** @param size  the file's bytes */
  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.#size = size;
  }

  /** The fields between two places of the file. @throws Error where they are none, or end behind `end` */
  async *fields(start: number, end = this.#size): AsyncGenerator<WireField, void> {
    for (let at = start; at < end; ) {
      const field = await this.#fieldAt(at);
      if (field.end > end) throw new Error(`a field at byte ${at} ends behind its message`);
      yield field;
      at = field.end;
    }
  }

  /** Bytes of the file. */
  async bytes(start: number, end: number): Promise<Uint8Array> {
    const inWindow = await this.#load(start, end - start);
    if (inWindow) return this.#window.slice(start - this.#windowStart, end - this.#windowStart);
    const out = new Uint8Array(end - start);
    await this.#read(out, start);
    return out;
  }

  async #fieldAt(start: number): Promise<WireField> {
    await this.#load(start, Math.min(HEAD_BYTES_MAX, this.#size - start));
    const tag = this.#varint(start);
    const type = tag.value % 8;
    const head = { number: Math.floor(tag.value / 8), isDelimited: type === WIRE_BYTES, start, lengthStart: tag.end };
    switch (type) {
      case WIRE_VARINT:
        return { ...head, valueStart: tag.end, end: this.#varint(tag.end).end };
      case WIRE_FIXED64:
        return { ...head, valueStart: tag.end, end: tag.end + 8 };
      case WIRE_BYTES: {
        const length = this.#varint(tag.end);
        return { ...head, valueStart: length.end, end: length.end + length.value };
      }
      case WIRE_FIXED32:
        return { ...head, valueStart: tag.end, end: tag.end + 4 };
      default:
        throw new Error(`there is no field at byte ${start}`);
    }
  }

  /** A varint in the window; of one beyond 2^53 only its end is right. */
  #varint(start: number): { readonly value: number; readonly end: number } {
    let value = 0;
    for (let i = 0, unit = 1; i < 10; i++, unit *= 128) {
      const at = start + i - this.#windowStart;
      if (at >= this.#windowEnd - this.#windowStart) break;
      const byte = this.#window[at]!;
      value += (byte & 127) * unit;
      if (byte < 128) return { value, end: start + i + 1 };
    }
    throw new Error(`a number at byte ${start} does not end`);
  }

  /** Has the window hold those bytes; false when they are more than it does. */
  async #load(start: number, length: number): Promise<boolean> {
    if (length > WINDOW_BYTES) return false;
    if (start >= this.#windowStart && start + length <= this.#windowEnd) return true;
    const count = Math.min(WINDOW_BYTES, this.#size - start);
    await this.#read(this.#window.subarray(0, count), start);
    this.#windowStart = start;
    this.#windowEnd = start + count;
    return true;
  }

  async #read(into: Uint8Array, start: number): Promise<void> {
    const count = await readAt(this.#file, into, start);
    if (count < into.length) throw new Error(`the file became shorter than ${start + count} bytes`);
  }
}
