/** TensorFlow Text's wordpieces: each word is cut, from its start, into the longest pieces that the vocabulary has. */
import { type StringColumn, StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { charSize } from "../call/utf8.js";
import type { StringSet } from "../tables/lookup-table.js";
import { tableOf } from "../tables/tables.js";

interface Options {
  /** What stands before pieces inside of a word, such as "##". */
  readonly suffix: Uint8Array;
  readonly unknown: Uint8Array;
  /** Whether what the vocabulary lacks becomes `unknown`, or stays. */
  readonly usesUnknown: boolean;
  /** Longer words are unknown as a whole. */
  readonly wordBytesMax: number;
  /** Longer pieces are not looked for; 0 = no limit. */
  readonly pieceCharsMax: number;
  /** Whether characters that start no piece are pieces, or make their whole word unknown. */
  readonly splitsUnknown: boolean;
}

function optionsOf({ attrs }: OpCall): Options {
  return {
    suffix: attrs.bytes("suffix_indicator"),
    unknown: attrs.bytes("unknown_token"),
    usesUnknown: attrs.bool("use_unknown_token"),
    wordBytesMax: attrs.int("max_bytes_per_word"),
    pieceCharsMax: attrs.int("max_chars_per_token"),
    splitsUnknown: attrs.bool("split_unknown_characters"),
  };
}

/** Cuts words into pieces; its buffers serve all words of a batch. */
class Cutter {
  readonly #vocabulary: StringSet;
  readonly #options: Options;
  /** The suffix indicator, and behind it the piece that is looked up. */
  #key: Uint8Array;
  /** Where the characters behind the start of a piece end, as far as a piece may reach. */
  readonly #charEnds: number[] = [];
  readonly #pieceEnds: number[] = [];
  readonly #isUnknown: boolean[] = [];
  readonly pieces: StringColumnBuilder;
  readonly starts: number[] = [];
  readonly limits: number[] = [];
  pieceBytes = 0;

  constructor(vocabulary: StringSet, options: Options, words: StringColumn) {
    this.#vocabulary = vocabulary;
    this.#options = options;
    this.#key = Uint8Array.from(options.suffix);
    this.pieces = new StringColumnBuilder(words.length, words.bytes.length);
  }

  /** Appends the pieces of one word. */
  add(word: Uint8Array): void {
    const { usesUnknown, unknown, wordBytesMax } = this.#options;
    if (word.length > wordBytesMax) {
      // TensorFlow Text gives the length of the unknown token here.
      this.#push(usesUnknown ? unknown : word, 0, usesUnknown ? unknown.length : word.length);
    } else if (this.#cut(word)) {
      let start = 0;
      for (let i = 0; i < this.#pieceEnds.length; i++) {
        const end = this.#pieceEnds[i]!;
        const text = this.#isUnknown[i] && usesUnknown ? unknown : word.subarray(start, end);
        this.#push(start > 0 ? this.#withSuffix(text) : text, start, end);
        start = end;
      }
    } else {
      this.#push(usesUnknown ? unknown : word, 0, word.length);
    }
  }

  #push(piece: Uint8Array, start: number, limit: number): void {
    this.pieces.push(piece);
    this.starts.push(start);
    this.limits.push(limit);
    this.pieceBytes += piece.length;
  }

  /** Finds where the pieces of a word end; false when the vocabulary does not have it. */
  #cut(word: Uint8Array): boolean {
    this.#pieceEnds.length = this.#isUnknown.length = 0;
    for (let start = 0; start < word.length; ) {
      this.#readChars(word, start);
      const longest = this.#longestPiece(word, start);
      if (longest < 0 && !this.#options.splitsUnknown) return false;
      const end = longest < 0 ? start + Math.abs(charSize(word, start, word.length)) : longest;
      this.#pieceEnds.push(end);
      this.#isUnknown.push(longest < 0);
      start = end;
    }
    return true;
  }

  #readChars(word: Uint8Array, start: number): void {
    const { pieceCharsMax, suffix } = this.#options;
    const bytesMax = this.#vocabulary.longest - (start > 0 ? suffix.length : 0);
    this.#charEnds.length = 0;
    for (let at = start; at < word.length; ) {
      at += Math.abs(charSize(word, at, word.length));
      if (at - start > bytesMax) return;
      this.#charEnds.push(at);
      if (pieceCharsMax > 0 && this.#charEnds.length === pieceCharsMax) return;
    }
  }

  /** End of the longest piece of the vocabulary from `start` on, -1 when there is none. */
  #longestPiece(word: Uint8Array, start: number): number {
    const ends = this.#charEnds;
    if (ends.length === 0) return -1;
    const isInside = start > 0;
    const key = isInside ? this.#withSuffix(word.subarray(start, ends.at(-1))) : word;
    const shift = isInside ? this.#options.suffix.length - start : 0;
    for (let i = ends.length - 1; i >= 0; i--) {
      if (this.#vocabulary.has(key, 0, ends[i]! + shift)) return ends[i]!;
    }
    return -1;
  }

  /** A view that is valid until the next call. */
  #withSuffix(piece: Uint8Array): Uint8Array {
    const { suffix } = this.#options;
    const length = suffix.length + piece.length;
    if (length > this.#key.length) {
      this.#key = new Uint8Array(2 * length);
      this.#key.set(suffix);
    }
    this.#key.set(piece, suffix.length);
    return this.#key.subarray(0, length);
  }
}

function wordpieces(op: OpCall): Tensor[] {
  const words = op.strings(0);
  const partition = op.attrs.text("output_row_partition_type");
  check(
    partition === "row_lengths" || partition === "row_splits",
    () => `Unexpected value for output_row_partition_type: ${partition}`,
  );
  const cutter = new Cutter(tableOf(op, 1).stringSet(-1), optionsOf(op), words);
  const { starts, limits, pieces } = cutter;
  const lengths: number[] = [];
  const splits = [0];
  for (let i = 0; i < words.length; i++) {
    cutter.add(words.at(i));
    lengths.push(starts.length - splits[i]!);
    splits.push(starts.length);
    checkOutput("string", starts.length, cutter.pieceBytes);
  }
  const rows = partition === "row_lengths" ? lengths : splits;
  return [
    tensor("string", [starts.length], pieces.build()),
    tensor("int64", [rows.length], fromIntegers(rows)),
    tensor("int64", [starts.length], fromIntegers(starts)),
    tensor("int64", [limits.length], fromIntegers(limits)),
  ];
}

export const WORDPIECE_KERNELS: Readonly<Record<string, Kernel>> = { WordpieceTokenizeWithOffsets: wordpieces };
