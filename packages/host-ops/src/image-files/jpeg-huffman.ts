/** Huffman codes of JPEG (annex K of the standard), and blocks written with them. */

interface CodeTable {
  /** Codes of each length, 1 to 16. */
  readonly counts: readonly number[];
  /** What they stand for, by code. */
  readonly symbols: readonly number[];
  /** By symbol. */
  readonly codes: Uint16Array;
  readonly sizes: Uint8Array;
}

function codeTable(counts: readonly number[], symbols: readonly number[]): CodeTable {
  const [codes, sizes] = [new Uint16Array(256), new Uint8Array(256)];
  let [code, k] = [0, 0];
  for (const [i, count] of counts.entries()) {
    for (let n = 0; n < count; n++) {
      codes[symbols[k]!] = code++;
      sizes[symbols[k++]!] = i + 1;
    }
    code <<= 1;
  }
  return { counts, symbols, codes, sizes };
}

const DC_SYMBOLS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const hex = (text: string): number[] => [...Buffer.from(text, "hex")];

/** For luminance and chrominance. */
export const DC_CODES: readonly CodeTable[] = [
  codeTable([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], DC_SYMBOLS),
  codeTable([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], DC_SYMBOLS),
];

/** For luminance and chrominance. */
export const AC_CODES: readonly CodeTable[] = [
  codeTable(
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
    hex(
      "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a" +
        "434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aa" +
        "b2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa",
    ),
  ),
  codeTable(
    [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
    hex(
      "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a" +
        "434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aa" +
        "b2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa",
    ),
  ),
];

const NO_MORE = 0x00;
const SIXTEEN_ZEROS = 0xf0;

/** A file that grows: a header, then bits. */
export class HuffmanWriter {
  #bytes: Uint8Array;
  #length: number;
  #bits = 0;
  #count = 0;

  constructor(header: readonly number[]) {
    this.#length = header.length;
    this.#bytes = new Uint8Array(Math.max(1 << 12, 2 * header.length));
    this.#bytes.set(header);
  }

  /** One block of quantised coefficients in the scan's order. @param before  the DC of the block before */
  block(block: Int32Array, before: number, table: 0 | 1): void {
    this.#value(DC_CODES[table]!, 0, block[0]! - before);
    const codes = AC_CODES[table]!;
    let zeros = 0;
    for (let k = 1; k < 64; k++) {
      const value = block[k]!;
      if (value === 0) {
        zeros++;
        continue;
      }
      for (; zeros > 15; zeros -= 16) this.#put(codes.codes[SIXTEEN_ZEROS]!, codes.sizes[SIXTEEN_ZEROS]!);
      this.#value(codes, zeros << 4, value);
      zeros = 0;
    }
    if (zeros > 0) this.#put(codes.codes[NO_MORE]!, codes.sizes[NO_MORE]!);
  }

  finish(): Uint8Array {
    // The last byte is filled up with ones.
    this.#put(0x7f, 7);
    this.#byte(0xff);
    this.#byte(0xd9);
    return this.#bytes.slice(0, this.#length);
  }

  /** A code for how many bits a value has, then these; negative ones are stored as if less one. */
  #value({ codes, sizes }: CodeTable, prefix: number, value: number): void {
    const size = 32 - Math.clz32(Math.abs(value));
    this.#put(codes[prefix | size]!, sizes[prefix | size]!);
    if (size > 0) this.#put((value < 0 ? value - 1 : value) & ((1 << size) - 1), size);
  }

  #put(code: number, size: number): void {
    this.#bits = (this.#bits << size) | code;
    this.#count += size;
    for (; this.#count >= 8; this.#count -= 8) {
      const byte = (this.#bits >> (this.#count - 8)) & 255;
      this.#byte(byte);
      if (byte === 0xff) this.#byte(0);
    }
    this.#bits &= (1 << this.#count) - 1;
  }

  #byte(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = byte;
  }
}
