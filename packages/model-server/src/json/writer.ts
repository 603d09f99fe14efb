const DIGITS = "0123456789abcdef";

const CHUNK_BYTES = 64 * 1024;

/** Collects JSON text as bytes: strings of a tensor go out as they are, also where they are no UTF-8. */
export class JsonWriter {
  readonly #full: Buffer[] = [];
  #bytes = Buffer.allocUnsafe(4096);
  #length = 0;

  /** Appends text of one byte per character. */
  ascii(text: string): void {
    this.#reserve(text.length);
    this.#length += this.#bytes.write(text, this.#length, "latin1");
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
  finish(): Buffer {
    const last = this.#bytes.subarray(0, this.#length);
    return this.#full.length === 0 ? last : Buffer.concat([...this.#full, last]);
  }

  /** Chunks are never copied while they fill, so that no write takes long however much there is already. */
  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    this.#full.push(this.#bytes.subarray(0, this.#length));
    this.#bytes = Buffer.allocUnsafe(Math.max(count, CHUNK_BYTES));
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
