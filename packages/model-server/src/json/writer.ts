const DIGITS = "0123456789abcdef";

/** Collects JSON text as bytes: strings of a tensor go out as they are, also where they are no UTF-8. */
export class JsonWriter {
  #bytes = Buffer.allocUnsafe(4096);
  #length = 0;

  get length(): number {
    return this.#length;
  }

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

  /** Everything written, without a copy; nothing may be written afterwards. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#length + count, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
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
