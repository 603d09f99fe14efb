/**
 * Protocol-buffer wire writer: just what an ONNX ModelProto needs (varints, fixed 32-bit floats, bytes and messages).
 * Wire format: https://protobuf.dev/programming-guides/encoding/.
 */

const encoder = new TextEncoder();

export class WireWriter {
  #bytes = new Uint8Array(512);
  #length = 0;

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
    this.bytes(field, encoder.encode(value));
  }

  bytes(field: number, value: Uint8Array): void {
    this.#tag(field, 2);
    this.#varint(value.length);
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
  }

  /** A packed `repeated int64` field; nothing when empty. */
  ints(field: number, values: readonly (number | bigint)[]): void {
    if (values.length === 0) return;
    const packed = new WireWriter();
    for (const value of values) packed.#varint(value);
    this.bytes(field, packed.finish());
  }

  /** A packed `repeated float` field; nothing when empty. */
  floats(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.bytes(field, new Uint8Array(Float32Array.from(values).buffer));
  }

  message(field: number, write: (inner: WireWriter) => void): void {
    const inner = new WireWriter();
    write(inner);
    this.bytes(field, inner.finish());
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
