/** How SentencePiece brings a text into the form that its pieces have, and which byte came from where. */
import { check } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import { charSize } from "../call/utf8.js";
import type { ByteTrie } from "./byte-trie.js";
import { DoubleArrayTrie } from "./double-array-trie.js";
import type { NormalizerSpec } from "./sentencepiece-proto.js";

const SPACE = 0x20;
/** U+2581, which stands for a space in pieces. */
export const SPACE_SYMBOL = Uint8Array.of(0xe2, 0x96, 0x81);
const PLAIN_SPACE = Uint8Array.of(SPACE);
const REPLACEMENT = Uint8Array.of(0xef, 0xbf, 0xbd);

export interface Normalized {
  readonly bytes: Uint8Array;
  /** By byte, and one past the last, the byte of the text that it came from. */
  readonly origins: Int32Array;
}

export class SentencePieceNormalizer {
  readonly #spec: NormalizerSpec;
  readonly #spaceIsSuffix: boolean;
  readonly #userDefined: ByteTrie | undefined;
  readonly #trie: DoubleArrayTrie | undefined;
  /** Replacements, each with a zero behind it. */
  readonly #pool: Uint8Array;
  /** What is written for a space. */
  readonly #space: Uint8Array;
  #out = new Uint8Array(256);
  #origins = new Int32Array(257);
  #length = 0;

  /** @throws ServingError INVALID_ARGUMENT for a table of characters that is none */
  constructor(spec: NormalizerSpec, spaceIsSuffix: boolean, userDefined: ByteTrie | undefined) {
    this.#spec = spec;
    this.#spaceIsSuffix = spaceIsSuffix;
    this.#userDefined = userDefined;
    this.#space = spec.escapesSpaces ? SPACE_SYMBOL : PLAIN_SPACE;
    const map = spec.charsMap;
    const trieBytes = map.length > 4 ? new DataView(map.buffer, map.byteOffset).getUint32(0, true) : 0;
    check(
      map.length === 0 || (map.length > 4 && trieBytes < map.length - 4),
      () => "Blob for normalization rule is broken.",
    );
    this.#pool = map.subarray(4 + trieBytes);
    const units = new Uint32Array(Uint8Array.from(map.subarray(4, 4 + trieBytes - (trieBytes % 4))).buffer);
    if (units.length > 0) this.#trie = new DoubleArrayTrie(units);
  }

  /** The result is valid until the next call. */
  normalize(text: Uint8Array): Normalized {
    const { removesExtraSpaces, addsDummyPrefix, escapesSpaces } = this.#spec;
    this.#length = 0;
    let at = 0;
    while (removesExtraSpaces && at < text.length) {
      const { source, start, end, size } = this.#prefix(text, at);
      if (end - start !== 1 || source[start] !== SPACE) break;
      at += size;
    }
    if (at === text.length) return this.#result(0);
    if (!this.#spaceIsSuffix && addsDummyPrefix) this.#push(this.#space, at);
    let followsSpace = removesExtraSpaces;
    while (at < text.length) {
      const { source, start, end, size } = this.#prefix(text, at);
      let from = start;
      while (followsSpace && from < end && source[from] === SPACE) from++;
      if (from < end) {
        for (let i = from; i < end; i++) {
          if (escapesSpaces && source[i] === SPACE) this.#push(SPACE_SYMBOL, at);
          else this.#pushByte(source[i]!, at);
        }
        followsSpace = source[end - 1] === SPACE;
      }
      at += size;
      if (!removesExtraSpaces) followsSpace = false;
    }
    if (removesExtraSpaces) {
      while (this.#endsWithSpace()) {
        this.#length -= this.#space.length;
        at = this.#origins[this.#length]!;
      }
    }
    if (this.#spaceIsSuffix && addsDummyPrefix) this.#push(this.#space, at);
    return this.#result(at);
  }

  #result(end: number): Normalized {
    this.#origins[this.#length] = end;
    return { bytes: this.#out.subarray(0, this.#length), origins: this.#origins };
  }

  #endsWithSpace(): boolean {
    const start = this.#length - this.#space.length;
    return start >= 0 && this.#space.every((byte, i) => this.#out[start + i] === byte);
  }

  #push(bytes: Uint8Array, origin: number): void {
    for (const byte of bytes) this.#pushByte(byte, origin);
  }

  #pushByte(byte: number, origin: number): void {
    if (this.#length === this.#out.length) {
      checkOutput("string", 1, 2 * this.#length);
      const [out, origins] = [new Uint8Array(2 * this.#length), new Int32Array(2 * this.#length + 1)];
      out.set(this.#out);
      origins.set(this.#origins);
      [this.#out, this.#origins] = [out, origins];
    }
    this.#out[this.#length] = byte;
    this.#origins[this.#length++] = origin;
  }

  /** What the text starts with at a byte: `size` bytes of it become `source[start .. end)`. */
  #prefix(text: Uint8Array, at: number) {
    const symbol = this.#userDefined?.longestPrefix(text, at) ?? 0;
    if (symbol > 0) return { source: text, start: at, end: at + symbol, size: symbol };
    let replaced = 0;
    let start = 0;
    if (this.#trie) {
      let node: number = DoubleArrayTrie.ROOT;
      for (let next = at; next < text.length; ) {
        node = this.#trie.walk(node, text, next, next + 1);
        if (node < 0) break;
        next++;
        const value = this.#trie.valueAt(node);
        if (value >= 0) [replaced, start] = [next - at, value];
      }
    }
    if (replaced > 0) {
      const end = this.#pool.indexOf(0, start);
      return { source: this.#pool, start, end: end < 0 ? Math.max(start, this.#pool.length) : end, size: replaced };
    }
    const size = charSize(text, at, text.length);
    if (size < 0) return { source: REPLACEMENT, start: 0, end: REPLACEMENT.length, size: 1 };
    return { source: text, start: at, end: at + size, size };
  }
}
