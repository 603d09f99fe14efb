import { ServingError } from "@shardserve/core";

/**
 * Reads protobuf's wire primitives from a byte range. Format: protobuf.dev/programming-guides/encoding.
 *
 * @throws ServingError INVALID_ARGUMENT from every method when the bytes end early or break the encoding; the message
 * holds the offset, the caller adds what the bytes are
 */
export class WireReader {
  readonly bytes: Uint8Array;
  position: number;
  readonly end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.position = start;
    this.end = end;
  }

  /** An unsigned varint below 2^53. A larger one, such as a negative int64, comes back as Infinity. */
  varint(): number {
    const first = this.bytes[this.position]!;
    if (first < 0x80 && this.position < this.end) {
      this.position++;
      return first;
    }
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      if (this.position >= this.end) throw this.#truncated();
      const byte = this.bytes[this.position++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value > Number.MAX_SAFE_INTEGER ? Infinity : value;
      scale *= 128;
    }
    throw new ServingError("INVALID_ARGUMENT", `a varint longer than 10 bytes ends at byte ${this.position}`);
  }

  /** The tag before a field: its number << 3 | its wire type. */
  tag(): number {
    const tag = this.varint();
    if (tag < 8 || tag > 0xffff_ffff) {
      throw new ServingError("INVALID_ARGUMENT", `an invalid field tag ends at byte ${this.position}`);
    }
    return tag;
  }

  /** Length of a length-delimited value; the value itself is known to lie within the range. */
  length(): number {
    const length = this.varint();
    if (length > this.end - this.position) throw this.#truncated();
    return length;
  }

  /** Steps over one value of the given wire type. */
  skip(wireType: number): void {
    switch (wireType) {
      case WIRE_VARINT:
        this.varint();
        break;
      case WIRE_FIXED64:
        this.#advance(8);
        break;
      case WIRE_BYTES:
        this.#advance(this.length());
        break;
      case WIRE_FIXED32:
        this.#advance(4);
        break;
      default: // groups: no format here has them
        throw new ServingError("INVALID_ARGUMENT", `wire type ${wireType} before byte ${this.position}`);
    }
  }

  #advance(byteCount: number): void {
    if (byteCount > this.end - this.position) throw this.#truncated();
    this.position += byteCount;
  }

  #truncated(): ServingError {
    return new ServingError("INVALID_ARGUMENT", `the bytes end early, at byte ${this.end}`);
  }
}

/** Wire type of protobuf: int32, int64, uint32, uint64, bool, enum. */
export const WIRE_VARINT = 0;
/** Wire type of protobuf: fixed64, double. */
export const WIRE_FIXED64 = 1;
/** Wire type of protobuf: strings, bytes, messages, packed fields. */
export const WIRE_BYTES = 2;
/** Wire type of protobuf: fixed32, float. */
export const WIRE_FIXED32 = 5;
