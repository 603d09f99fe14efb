import { ServingError } from "@shardserve/core";

/** Everything that is wrong with a module's bytes. */
export function malformed(what: string): ServingError {
  return new ServingError("GRAPH_INVALID", `the module of an XlaCallModule node is no StableHLO artifact: ${what}`);
}

const decoder = new TextDecoder();

/**
 * Reads the primitives of MLIR bytecode (mlir.llvm.org/docs/BytecodeFormat) from a range of bytes.
 *
 * @throws ServingError GRAPH_INVALID from every method when the bytes end early or break the encoding
 */
export class BytecodeReader {
  readonly bytes: Uint8Array;
  #position: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  byte(): number {
    if (this.#position >= this.#end) throw malformed("it ends early");
    return this.bytes[this.#position++]!;
  }

  /** An unsigned varint, of which the low zeros of the first byte count the bytes that follow. */
  bigVarint(): bigint {
    const first = this.byte();
    if (first & 1) return BigInt(first >> 1);
    const extra = first === 0 ? 8 : 31 - Math.clz32(first & -first);
    let value = first === 0 ? 0n : BigInt(first);
    for (let i = 0; i < extra; i++) value |= BigInt(this.byte()) << BigInt(8 * (first === 0 ? i : i + 1));
    return first === 0 ? value : value >> BigInt(extra + 1);
  }

  /** A varint that fits into a number: indices, counts, lengths. */
  varint(): number {
    const first = this.bytes[this.#position]!;
    if (first & 1 && this.#position < this.#end) {
      this.#position++;
      return first >> 1;
    }
    const value = this.bigVarint();
    if (value > 0xffff_ffffn) throw malformed(`it counts ${value} of something`);
    return Number(value);
  }

  /** A varint whose low bit is something else. */
  flagged(): { readonly value: number; readonly flag: boolean } {
    const value = this.varint();
    return { value: Math.floor(value / 2), flag: value % 2 === 1 };
  }

  /** A zigzag varint. */
  signedVarint(): bigint {
    const value = this.bigVarint();
    return value & 1n ? -(value >> 1n) - 1n : value >> 1n;
  }

  /** A count of things that take a byte at least, so that no count asks for more memory than there are bytes. */
  count(): number {
    const count = this.varint();
    if (count > this.remaining) throw malformed(`it counts ${count} things in ${this.remaining} bytes`);
    return count;
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: this.count() }, read);
  }

  /** The next `length` bytes, not copied. */
  take(length: number): Uint8Array {
    if (length > this.remaining) throw malformed("it ends early");
    this.#position += length;
    return this.bytes.subarray(this.#position - length, this.#position);
  }

  /** A reader of the next `length` bytes. */
  sub(length: number): BytecodeReader {
    this.take(length);
    return new BytecodeReader(this.bytes, this.#position - length, this.#position);
  }

  /** A second reader of what is left. */
  fork(): BytecodeReader {
    return new BytecodeReader(this.bytes, this.#position, this.#end);
  }

  /** Text up to a zero byte. */
  cString(): string {
    const end = this.bytes.indexOf(0, this.#position);
    if (end < 0 || end >= this.#end) throw malformed("a text has no end");
    const text = decoder.decode(this.take(end - this.#position));
    this.#position++;
    return text;
  }

  /** A section's id and contents. */
  section(): { readonly id: number; readonly data: BytecodeReader } {
    const first = this.byte();
    const length = this.varint();
    if (first & 0x80) {
      const alignment = this.varint();
      if (alignment === 0 || (alignment & (alignment - 1)) !== 0) throw malformed(`alignment ${alignment}`);
      this.take((alignment - (this.#position % alignment)) % alignment);
    }
    return { id: first & 0x7f, data: this.sub(length) };
  }
}

/** Strings of the string section: lengths last to first, then the texts one after another, each with a zero at its end. */
export function readStrings(section: BytecodeReader): readonly string[] {
  const lengths = section.list(() => section.varint()).reverse();
  return lengths.map((length) => {
    if (length === 0) throw malformed("a text without an end");
    return decoder.decode(section.take(length).subarray(0, length - 1));
  });
}

/** The entry of a table. */
export function at<T>(table: readonly (T | undefined)[], index: number, what: string): T {
  const entry = table[index];
  if (entry === undefined) throw malformed(`${what} ${index} of ${table.length}`);
  return entry;
}
