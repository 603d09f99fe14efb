/**
 * Protocol-buffer wire writer: just what an ONNX ModelProto needs (varints, fixed 32-bit floats, bytes and messages).
 * Wire format: https://protobuf.dev/programming-guides/encoding/.
 */

const encoder = new TextEncoder();

/** What one UTF-16 code unit takes at most. */
const UTF8_BYTES_MAX = 3;

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

export class WireWriter {
  #bytes: Uint8Array;
  #length = 0;

  /** @param expectedBytes  about how much will be written: what is reserved at once is never copied to grow */
  constructor(expectedBytes = 512) {
    this.#bytes = new Uint8Array(expectedBytes);
  }

  /** What was written, as a view of the writer's memory. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** An int32 / int64 / enum field. @param value  a safe integer or any int64 */
  int(field: number, value: number | bigint): void {
    this.#tag(field, 0);
    this.#varint(value);
  }

  float(field: number, value: number): void {
    this.#tag(field, 5);
    const at = this.#room(4);
    new DataView(this.#bytes.buffer).setFloat32(at, value, true);
  }

  text(field: number, value: string): void {
    this.#delimited(field, () => {
      const at = this.#room(value.length * UTF8_BYTES_MAX);
      this.#length = at + encoder.encodeInto(value, this.#bytes.subarray(at)).written;
    });
  }

  bytes(field: number, value: Uint8Array): void {
    this.#tag(field, 2);
    this.#varint(value.length);
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
  }

  /** Fields that are written already. */
  raw(fields: Uint8Array): void {
    const at = this.#room(fields.length);
    this.#bytes.set(fields, at);
  }

  /** A packed `repeated int64` field; nothing when empty. */
  ints(field: number, values: readonly (number | bigint)[]): void {
    if (values.length === 0) return;
    this.#delimited(field, () => {
      for (const value of values) this.#varint(value);
    });
  }

  /** A packed `repeated float` field; nothing when empty. */
  floats(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.bytes(field, new Uint8Array(Float32Array.from(values).buffer));
  }

  /** @param expectedBytes  about how long it will be: it is moved where its length takes another number of bytes than that */
  message(field: number, write: (inner: WireWriter) => void, expectedBytes = 0): void {
    this.#delimited(field, () => write(this), expectedBytes);
  }

  /**
   * A field whose length is known once it is written. A graph is tens of thousands of them: each is written where it
   * stands, behind as many bytes as its length is expected to take, and moved where they are too few or too many.
   */
  #delimited(field: number, write: () => void, expectedBytes = 0): void {
    this.#tag(field, 2);
    const reserved = varintBytes(expectedBytes);
    const start = this.#room(reserved) + reserved;
    write();
    const end = this.#length;
    const length = end - start;
    const more = varintBytes(length) - reserved;
    if (more > 0) this.#room(more);
    if (more !== 0) this.#bytes.copyWithin(start + more, start, end);
    this.#length = start - reserved;
    this.#varint(length);
    this.#length += length;
  }

  #tag(field: number, wireType: number): void {
    this.#varint(field * 8 + wireType);
  }

  #varint(value: number | bigint): void {
    let rest = typeof value === "bigint" || value < 0 ? BigInt.asUintN(64, BigInt(value)) : value;
    if (typeof rest === "bigint") {
      for (; rest >= 128n; rest >>= 7n) this.#byte(Number(rest & 127n) | 128);
      return this.#byte(Number(rest));
    }
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#byte((rest % 128) | 128);
    this.#byte(rest);
  }

  #byte(value: number): void {
    const at = this.#room(1);
    this.#bytes[at] = value;
  }

  /** Makes place for `count` bytes and returns where it begins. */
  #room(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    return at;
  }
}
