/** Huffman codes of JPEG (ITU-T T.81, annexes C and F), and the bits that they stand in. */
import { invalid } from "../call/errors.js";

export interface Huffman {
  /** By the next {@link LOOKAHEAD} bits: length << 8 | symbol, 0 for longer codes. */
  readonly fast: Uint16Array;
  /** By length: largest code (-1 = none), and what to add to a code to find its symbol. */
  readonly largest: Int32Array;
  readonly shift: Int32Array;
  readonly symbols: Uint8Array;
}

/** Codes of so many bits are found at once: few are longer. */
const LOOKAHEAD = 10;

/** The error of a damaged stream. */
export function corrupt(what: string) {
  return invalid(`Invalid JPEG data or crop window: ${what}`);
}

/** @param counts  codes of each length, from 1 on */
export function huffman(counts: Uint8Array, symbols: Uint8Array): Huffman {
  const fast = new Uint16Array(1 << LOOKAHEAD);
  const largest = new Int32Array(18).fill(-1);
  const shift = new Int32Array(18);
  let code = 0;
  let k = 0;
  for (let length = 1; length <= 16; length++) {
    shift[length] = k - code;
    for (let i = 0; i < counts[length - 1]!; i++, code++, k++) {
      if (length <= LOOKAHEAD) {
        const first = code << (LOOKAHEAD - length);
        fast.fill((length << 8) | symbols[k]!, first, first + (1 << (LOOKAHEAD - length)));
      }
    }
    if (counts[length - 1]! > 0) largest[length] = code - 1;
    if (code > 1 << length) throw corrupt("a bad Huffman table");
    code <<= 1;
  }
  return { fast, largest, shift, symbols };
}

/** Bits of one entropy-coded segment. Behind its end come zeros, as libjpeg inserts them. */
export class BitReader {
  readonly #bytes: Uint8Array;
  position: number;
  #bits = 0;
  #count = 0;
  /** Zero bytes inserted behind the end. */
  overrun = 0;

  constructor(bytes: Uint8Array, position: number) {
    this.#bytes = bytes;
    this.position = position;
  }

  reset(): void {
    this.#bits = 0;
    this.#count = 0;
  }

  #fill(): void {
    const bytes = this.#bytes;
    let [bits, count, at] = [this.#bits, this.#count, this.position];
    for (; count <= 24; count += 8) {
      let byte = 0;
      if (at >= bytes.length) this.overrun++;
      else if (bytes[at] !== 0xff) byte = bytes[at++]!;
      else if (bytes[at + 1] === 0) {
        byte = 0xff;
        at += 2;
        // Else a marker: it stays, and zeros come.
      } else this.overrun++;
      bits = (bits << 8) | byte;
    }
    this.#bits = bits;
    this.#count = count;
    this.position = at;
  }

  bit(): number {
    if (this.#count === 0) this.#fill();
    return (this.#bits >>> --this.#count) & 1;
  }

  bits(count: number): number {
    if (count === 0) return 0;
    if (this.#count < count) this.#fill();
    this.#count -= count;
    return (this.#bits >>> this.#count) & ((1 << count) - 1);
  }

  /** A number of `count` bits with JPEG's sign rule. */
  signed(count: number): number {
    const value = this.bits(count);
    return count > 0 && value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
  }

  symbol(table: Huffman): number {
    if (this.#count < 16) this.#fill();
    const found = table.fast[(this.#bits >>> (this.#count - LOOKAHEAD)) & ((1 << LOOKAHEAD) - 1)]!;
    if (found > 0) {
      this.#count -= found >> 8;
      return found & 0xff;
    }
    let code = this.bits(LOOKAHEAD);
    for (let length = LOOKAHEAD; length <= 16; length++) {
      if (code <= table.largest[length]!) return table.symbols[code + table.shift[length]!]!;
      code = (code << 1) | this.bit();
    }
    throw corrupt("a bad Huffman code");
  }
}

/** @throws ServingError INVALID_ARGUMENT where the stream has not brought the table */
export function tableOf(table: Huffman | undefined): Huffman {
  if (!table) throw corrupt("a Huffman table is missing");
  return table;
}
