import { concatInSlices } from "../slices.js";
import { formatFloat32, NUMBER_BYTES_MAX, writeFloat32, writeInteger } from "./format-number.js";

const DIGITS = "0123456789abcdef";

/** A small answer shares memory with others, as Node's small Buffers do; what needs more gets larger and larger pieces. */
const FIRST_BYTES = 128;
const GROWTH = 8;
const CHUNK_BYTES_MAX = 64 * 1024;
const SHORT_TEXT = 16;

/** Collects JSON text as bytes: strings of a tensor go out as they are, also where they are no UTF-8. */
export class JsonWriter {
  readonly #full: Buffer[] = [];
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;

  /** Appends text of one byte per character. */
  ascii(text: string): void {
    this.#reserve(text.length);
    if (text.length <= SHORT_TEXT) {
      // A call into the runtime costs more than a few bytes.
      for (let i = 0; i < text.length; i++) this.#bytes[this.#length++] = text.charCodeAt(i);
      return;
    }
    this.#length += this.#bytes.write(text, this.#length, "latin1");
  }

  /** Appends a float32 as TensorFlow Serving prints it. */
  float32(value: number): void {
    this.#reserve(NUMBER_BYTES_MAX);
    const end = writeFloat32(this.#bytes, this.#length, value);
    if (end < 0) this.ascii(formatFloat32(value));
    else this.#length = end;
  }

  /** Appends a safe integer. */
  integer(value: number): void {
    this.#reserve(NUMBER_BYTES_MAX);
    this.#length = writeInteger(this.#bytes, this.#length, value);
  }

  /** Appends a quoted string; quotes, backslashes and control characters are escaped. */
  string(content: Uint8Array): void {
    this.#reserve(content.length * 6 + 2);
    const bytes = this.#bytes;
    let length = this.#length;
    bytes[length++] = 0x22;
    for (const byte of content) {
      if (byte === 0x22 || byte === 0x5c) {
        bytes[length++] = 0x5c;
        bytes[length++] = byte;
      } else if (byte < 0x20) length += bytes.write(controlEscape(byte), length, "latin1");
      else bytes[length++] = byte;
    }
    bytes[length++] = 0x22;
    this.#length = length;
  }

  /** Everything written; nothing may be written afterwards. */
  *finish(): Generator<undefined, Buffer> {
    return yield* concatInSlices(this.parts());
  }

  /** The same in the pieces that it was written in. */
  parts(): readonly Buffer[] {
    return [...this.#full, this.#bytes.subarray(0, this.#length)];
  }

  /** Chunks are never copied while they fill, so that no write takes long however much there is already. */
  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    this.#full.push(this.#bytes.subarray(0, this.#length));
    this.#bytes = Buffer.allocUnsafe(Math.max(count, Math.min(this.#bytes.length * GROWTH, CHUNK_BYTES_MAX)));
    this.#length = 0;
  }
}

function controlEscape(byte: number): string {
  switch (byte) {
    case 8:
      return "\\b";
    case 9:
      return "\\t";
    case 10:
      return "\\n";
    case 12:
      return "\\f";
    case 13:
      return "\\r";
    default:
      return `\\u00${DIGITS[byte >> 4]}${DIGITS[byte & 15]}`;
  }
}
