/**
 * Memory that holds stored rows, of any tables, and the views that decoders look at it through: each is made once, however many
 * tables lie in it. A view costs about what copying a short row does.
 */
export class StoredRows {
  readonly bytes: Uint8Array;
  #int8: Int8Array | undefined;
  #int16: Int16Array | undefined;
  #uint16: Uint16Array | undefined;
  #int32: Int32Array | undefined;
  #float32: Float32Array | undefined;

  /** @param bytes  begins at a multiple of 4 of its buffer */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get int8(): Int8Array {
    const { buffer, byteOffset, length } = this.bytes;
    return (this.#int8 ??= new Int8Array(buffer, byteOffset, length));
  }

  get int16(): Int16Array {
    const { buffer, byteOffset, length } = this.bytes;
    return (this.#int16 ??= new Int16Array(buffer, byteOffset, length >> 1));
  }

  get uint16(): Uint16Array {
    const { buffer, byteOffset, length } = this.bytes;
    return (this.#uint16 ??= new Uint16Array(buffer, byteOffset, length >> 1));
  }

  get int32(): Int32Array {
    const { buffer, byteOffset, length } = this.bytes;
    return (this.#int32 ??= new Int32Array(buffer, byteOffset, length >> 2));
  }

  get float32(): Float32Array {
    const { buffer, byteOffset, length } = this.bytes;
    return (this.#float32 ??= new Float32Array(buffer, byteOffset, length >> 2));
  }
}
