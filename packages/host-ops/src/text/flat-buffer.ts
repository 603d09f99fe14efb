/** Reads tables of FlatBuffers (flatbuffers.dev), as far as tokenizer models need it. */
import { invalid } from "../call/errors.js";

/** One table: fields by their position in the schema, absent ones with their default. */
class FlatTable {
  readonly #view: DataView;
  readonly #at: number;

  private constructor(view: DataView, at: number) {
    this.#view = view;
    this.#at = at;
  }

  /** The root table of a buffer. */
  static root(bytes: Uint8Array): FlatTable {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new FlatTable(view, view.getUint32(0, true));
  }

  #field(field: number): number | undefined {
    const table = this.#at - this.#view.getInt32(this.#at, true);
    const slot = 4 + 2 * field;
    if (slot >= this.#view.getUint16(table, true)) return undefined;
    const offset = this.#view.getUint16(table + slot, true);
    return offset === 0 ? undefined : this.#at + offset;
  }

  int32(field: number): number {
    const at = this.#field(field);
    return at === undefined ? 0 : this.#view.getInt32(at, true);
  }

  uint32(field: number): number {
    return this.int32(field) >>> 0;
  }

  bool(field: number): boolean {
    const at = this.#field(field);
    return at !== undefined && this.#view.getUint8(at) !== 0;
  }

  /** Where the elements of a vector start, and how many there are. */
  #vector(field: number): { readonly start: number; readonly count: number } {
    const at = this.#field(field);
    if (at === undefined) return { start: 0, count: 0 };
    const vector = at + this.#view.getUint32(at, true);
    return { start: vector + 4, count: this.#view.getUint32(vector, true) };
  }

  /** A vector of 32-bit integers, or of structs of `perElement` of them; a copy. */
  uint32s(field: number, perElement = 1): Uint32Array {
    const { start, count } = this.#vector(field);
    const { buffer, byteOffset } = this.#view;
    const end = start + 4 * perElement * count;
    if (end > this.#view.byteLength) throw new RangeError("a vector leaves its buffer");
    return new Uint32Array(buffer.slice(byteOffset + start, byteOffset + end));
  }

  /** A vector of bytes, or a string; a view. */
  bytes(field: number): Uint8Array {
    const { start, count } = this.#vector(field);
    return this.#slice(start, count);
  }

  /** A vector of strings; views. */
  strings(field: number): Uint8Array[] {
    const { start, count } = this.#vector(field);
    if (start + 4 * count > this.#view.byteLength) throw new RangeError("a vector leaves its buffer");
    return Array.from({ length: count }, (_, i) => {
      const at = start + 4 * i;
      const text = at + this.#view.getUint32(at, true);
      return this.#slice(text + 4, this.#view.getUint32(text, true));
    });
  }

  #slice(start: number, count: number): Uint8Array {
    if (start + count > this.#view.byteLength) throw new RangeError("a vector leaves its buffer");
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + start, count);
  }
}

/**
 * What `read` makes of the root table.
 *
 * @throws ServingError INVALID_ARGUMENT for a buffer that is none, `name` being what it should hold
 */
export function readFlatBuffer<T>(bytes: Uint8Array, name: string, read: (root: FlatTable) => T): T {
  try {
    return read(FlatTable.root(bytes));
  } catch (error) {
    if (error instanceof RangeError) throw invalid(`${name} is damaged: ${error.message}`);
    throw error;
  }
}
