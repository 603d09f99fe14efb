/** TensorFlow Text's fast wordpiece tokenizer: texts or words, cut in one pass over a trie of the vocabulary. */
import { ServingError } from "@shardserve/core";
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { checkVector, invalid } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { charSize, codePointAt } from "../call/utf8.js";
import { DoubleArrayTrie } from "./double-array-trie.js";
import { FastWordpieceModel, NULL_NODE, unpackPiece } from "./fast-wordpiece-model.js";
import { eachRow } from "./row-splits.js";
import { isWhitespace } from "./text-tokenize.js";

const PUNCTUATION = /^\p{P}$/u;
const HAN: readonly (readonly [number, number])[] = [
  [0x4e00, 0x9fff],
  [0x3400, 0x4dbf],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f],
  [0x2b820, 0x2ceaf],
  [0xf900, 0xfaff],
  [0x2f800, 0x2fa1f],
];

/** What stands alone in BERT's texts: punctuation, ASCII's symbols and Chinese characters. */
function standsAlone(code: number): boolean {
  if (code < 0x80)
    return (
      (code >= 33 && code <= 47) ||
      (code >= 58 && code <= 64) ||
      (code >= 91 && code <= 96) ||
      (code >= 123 && code <= 126)
    );
  return HAN.some(([first, last]) => code >= first && code <= last) || PUNCTUATION.test(String.fromCodePoint(code));
}

/** Cuts one text after the other; the tokens of the last one lie in its arrays. */
class Cutter {
  readonly #model: FastWordpieceModel;
  #text: Uint8Array = new Uint8Array(0);
  readonly ids: number[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  readonly #isInside: boolean[] = [];
  /** A piece with the suffix indicator before it. */
  #scratch = new Uint8Array(64);
  /** Where the bytes of the word are that is cut. */
  #wordStart = 0;
  /** Bytes of the word that are cut. */
  #cut = 0;
  /** Tokens before the word. */
  #before = 0;
  /** Links that were followed: a sound model has one for each byte at most. */
  #followed = 0;
  /** The last node that {@link #step} tried. */
  #node: number = DoubleArrayTrie.ROOT;

  constructor(model: FastWordpieceModel) {
    this.#model = model;
  }

  tokenize(text: Uint8Array): void {
    this.#text = text;
    this.ids.length = this.starts.length = this.ends.length = 0;
    this.#before = this.#followed = 0;
    if (this.#model.takesTexts) this.#words();
    else this.#word();
  }

  /** Appends the tokens of the last text to a column. */
  pushPieces(out: StringColumnBuilder): void {
    const { suffix, unknown, unknownId } = this.#model;
    for (let i = 0; i < this.ids.length; i++) {
      const isUnknown = this.ids[i] === unknownId;
      const source = isUnknown ? unknown : this.#text;
      const start = isUnknown ? 0 : this.starts[i]!;
      const end = isUnknown ? unknown.length : Math.min(this.ends[i]!, source.length);
      if (!this.#isInside[i]) {
        out.pushRange(source, Math.min(start, end), end);
        continue;
      }
      const length = suffix.length + Math.max(0, end - start);
      if (length > this.#scratch.length) this.#scratch = new Uint8Array(2 * length);
      this.#scratch.set(suffix);
      for (let from = start, to = suffix.length; from < end; from++, to++) this.#scratch[to] = source[from]!;
      out.pushRange(this.#scratch, 0, length);
    }
  }

  #startWord(at: number): void {
    this.#wordStart = at;
    this.#cut = 0;
  }

  /** Follows the failure link of a node; {@link NULL_NODE} where there is none. */
  #follow(node: number): number {
    if (++this.#followed > 2 * this.#text.length + 16)
      throw invalid("FastWordpieceTokenizerConfig is damaged: its links lead nowhere");
    return this.#model.follow(node, this.#pop);
  }

  readonly #pop = (packed: number): void => {
    const piece = unpackPiece(packed);
    const isFirst = this.#cut === 0;
    // A word may start with the suffix indicator itself.
    const length = piece.length + (isFirst && piece.isSuffix ? this.#model.suffix.length : 0);
    const start = this.#wordStart + this.#cut;
    this.#push(piece.id, start, start + length, !isFirst);
    this.#cut += length;
  };

  #push(id: number, start: number, end: number, isInside: boolean): void {
    this.#isInside[this.ids.length] = isInside;
    this.ids.push(id);
    this.starts.push(start);
    this.ends.push(end);
  }

  /** Makes all of the word one unknown token. */
  #unknown(end: number): void {
    this.ids.length = this.starts.length = this.ends.length = this.#before;
    this.#push(this.#model.unknownId, this.#wordStart, end, false);
    this.#before++;
  }

  /** The text is one word. */
  #word(): void {
    const text = this.#text;
    if (text.length === 0) return;
    this.#startWord(0);
    if (text.length > this.#model.wordBytesMax) return this.#unknown(text.length);
    let node = DoubleArrayTrie.ROOT;
    for (let at = 0; at < text.length; at++) {
      node = this.#step(node, at, at + 1);
      if (node < 0) return this.#unknown(text.length);
    }
    this.#endWord(node, text.length);
  }

  /** The node behind the bytes [start, end) after as many failure links as it takes; -1 when there is none. */
  #step(node: number, start: number, end: number): number {
    for (let at = node; at !== NULL_NODE; at = this.#follow(at)) {
      this.#node = at;
      const next = this.#model.trie.walk(at, this.#text, start, end);
      if (next >= 0) return next;
    }
    return -1;
  }

  /** Cuts what the way to `node` stands for, which is all of the word that is not cut yet. */
  #endWord(last: number, end: number): void {
    const { suffixRoot, punctuationEnd, suffixPieces, unknownId } = this.#model;
    if (last === DoubleArrayTrie.ROOT) return;
    if (last === suffixRoot && this.ids.length === this.#before) {
      const isUnknown = suffixPieces.length === 1 && unpackPiece(suffixPieces[0]!).id === unknownId;
      if (isUnknown) this.#unknown(end);
      else suffixPieces.forEach(this.#pop);
      this.#before = this.ids.length;
      return;
    }
    for (let node = last; node !== suffixRoot && node !== punctuationEnd; ) {
      node = this.#follow(node);
      if (node === NULL_NODE) return this.#unknown(end);
    }
    this.#before = this.ids.length;
  }

  /** Words are parted by whitespace, and by characters that stand alone. */
  #words(): void {
    const text = this.#text;
    const { wordBytesMax } = this.#model;
    let code = -1;
    for (let at = 0; at < text.length; ) {
      this.#startWord(at);
      let node: number = DoubleArrayTrie.ROOT;
      let before = -1;
      let next = at;
      while (at < text.length) {
        before = code;
        const size = charSize(text, at, text.length);
        next = at + Math.abs(size);
        code = size < 0 ? -1 : codePointAt(text, at, size);
        if (next - this.#wordStart > wordBytesMax) break;
        const stepped = this.#step(node, at, next);
        if (stepped < 0) {
          node = this.#node;
          break;
        }
        node = stepped;
        at = next;
      }
      if (at >= text.length) return this.#endWord(node, text.length);
      const isSpace = isWhitespace(code);
      if (isSpace || standsAlone(code) || (at > 0 && standsAlone(before))) {
        this.#endWord(node, at);
        if (!isSpace && at === this.#wordStart) this.#unknown(next);
        if (isSpace || at === this.#wordStart) at = next;
        continue;
      }
      const rest = this.#restOfWord(next);
      this.#unknown(rest.wordEnd);
      at = rest.next;
    }
  }

  #restOfWord(from: number): { readonly wordEnd: number; readonly next: number } {
    const text = this.#text;
    for (let at = from; at < text.length; ) {
      const size = charSize(text, at, text.length);
      const next = at + Math.abs(size);
      const code = size < 0 ? -1 : codePointAt(text, at, size);
      if (isWhitespace(code)) return { wordEnd: at, next };
      if (standsAlone(code)) return { wordEnd: at, next: at };
      at = next;
    }
    return { wordEnd: text.length, next: text.length };
  }
}

function tokenize(op: OpCall): Tensor[] {
  checkVector(op.tensor(0), "input_values");
  const input = op.strings(0);
  const cutter = new Cutter(FastWordpieceModel.of(op.tensor(1).data as Uint8Array));
  const pieces = new StringColumnBuilder(input.length, input.bytes.length);
  const ids: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  const splits = [0];
  for (let i = 0; i < input.length; i++) {
    cutter.tokenize(input.at(i));
    cutter.pushPieces(pieces);
    for (let k = 0; k < cutter.ids.length; k++) {
      ids.push(cutter.ids[k]!);
      starts.push(cutter.starts[k]!);
      ends.push(cutter.ends[k]!);
    }
    splits.push(ids.length);
    checkOutput("int64", ids.length);
  }
  return [
    tensor("string", [ids.length], pieces.build()),
    tensor("int64", [ids.length], fromIntegers(ids)),
    tensor("int64", [splits.length], fromIntegers(splits)),
    tensor("int64", [starts.length], fromIntegers(starts)),
    tensor("int64", [ends.length], fromIntegers(ends)),
  ];
}

/** Words of ids, one text a row: pieces inside of words join what is before them. */
function detokenize(op: OpCall): Tensor[] {
  const ids = op.tensor(0).data as Int32Array;
  const splits = integersOf(op.tensor(1));
  const { vocabulary, isSuffix, suffix } = FastWordpieceModel.of(op.tensor(2).data as Uint8Array);
  if (vocabulary.length === 0) {
    throw new ServingError(
      "FAILED_PRECONDITION",
      "Detokenize function is only enabled when support_detokenization is true in the config flatbuffer. Please rebuild the model flatbuffer by setting support_detokenization=true.",
    );
  }
  const out = new StringColumnBuilder(splits.length);
  const space = Buffer.from(" ");
  eachRow(splits, ids.length, "input_row_splits", (start, end) => {
    const parts: Uint8Array[] = [];
    for (const id of ids.subarray(start, end)) {
      if (id < 0 || id >= vocabulary.length) throw new ServingError("OUT_OF_RANGE", `Token ID out of bounds: ${id}`);
      if (!isSuffix[id] && parts.length > 0) parts.push(space);
      if (isSuffix[id] && parts.length === 0) parts.push(suffix);
      parts.push(vocabulary[id]!);
    }
    out.push(Buffer.concat(parts));
  });
  return [tensor("string", [Math.max(0, splits.length - 1)], out.build())];
}

export const FAST_WORDPIECE_KERNELS: Readonly<Record<string, Kernel>> = {
  FastWordpieceTokenizeWithOffsets: tokenize,
  "TFText>FastWordpieceDetokenize": detokenize,
};
