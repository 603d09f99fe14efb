/** The model of TensorFlow Text's fast wordpiece tokenizer: a trie of the pieces with what to do where it has no way on. */
import { invalid } from "../call/errors.js";
import { DoubleArrayTrie } from "./double-array-trie.js";
import { readFlatBuffer } from "./flat-buffer.js";

/** No node. */
export const NULL_NODE = 0xffffffff;

/** A piece of the vocabulary: its id, its bytes without the suffix indicator, and whether it stands inside of words. */
export interface Piece {
  readonly id: number;
  readonly length: number;
  readonly isSuffix: boolean;
}

export class FastWordpieceModel {
  readonly trie: DoubleArrayTrie;
  /** The node of the suffix indicator: all of a word is cut. */
  readonly suffixRoot: number;
  /** Where all punctuation leads on. */
  readonly punctuationEnd: number;
  readonly wordBytesMax: number;
  readonly suffix: Uint8Array;
  readonly unknown: Uint8Array;
  readonly unknownId: number;
  /** The pieces of a word that is the suffix indicator itself. */
  readonly suffixPieces: Uint32Array;
  /** Whether it takes texts, or words. */
  readonly takesTexts: boolean;
  /** For tokenizers that go back, the pieces by id without suffix indicator; else empty. */
  readonly vocabulary: readonly Uint8Array[];
  readonly isSuffix: Uint8Array;
  readonly #failures: Uint32Array;
  readonly #pops: Uint32Array;

  private constructor(bytes: Uint8Array) {
    const fields = readFlatBuffer(bytes, "FastWordpieceTokenizerConfig", (table) => ({
      trie: table.uint32s(0),
      failures: table.uint32s(1, 2),
      pops: table.uint32s(2),
      suffixRoot: table.uint32(3),
      wordBytesMax: table.int32(4),
      suffix: table.bytes(5),
      unknown: table.bytes(6),
      unknownId: table.int32(7),
      suffixPieces: table.uint32s(8),
      punctuationEnd: table.uint32(9),
      takesTexts: table.bool(10),
      vocabulary: table.bool(11) ? table.strings(12) : [],
      isSuffix: table.bytes(13),
    }));
    if (fields.trie.length === 0) throw invalid("FastWordpieceTokenizerConfig or its trie_array is null.");
    this.trie = new DoubleArrayTrie(fields.trie);
    this.suffixRoot = fields.suffixRoot;
    this.punctuationEnd = fields.punctuationEnd;
    this.wordBytesMax = fields.wordBytesMax;
    this.suffix = fields.suffix;
    this.unknown = fields.unknown;
    this.unknownId = fields.unknownId;
    this.suffixPieces = fields.suffixPieces;
    this.takesTexts = fields.takesTexts;
    this.vocabulary = fields.vocabulary;
    this.isSuffix = fields.isSuffix;
    this.#failures = fields.failures;
    this.#pops = fields.pops;
  }

  /** Reads a model once for all calls that bring the same bytes. */
  static of(bytes: Uint8Array): FastWordpieceModel {
    let model = models.get(bytes);
    if (!model) {
      model = new FastWordpieceModel(bytes);
      models.set(bytes, model);
    }
    return model;
  }

  /**
   * Where to go on from a node that has no way on, {@link NULL_NODE} for nowhere; before that, `pop` gets the pieces that the
   * way to the node starts with.
   */
  follow(node: number, pop: (piece: number) => void): number {
    const value = this.trie.valueAt(node);
    const link = this.#failures[2 * node] ?? NULL_NODE;
    if (value >= 0) {
      pop(value);
      return link;
    }
    if (link === NULL_NODE) return link;
    const list = this.#failures[2 * node + 1]!;
    const start = list >>> 8;
    for (let i = start; i <= start + (list & 0xff); i++) pop(this.#pops[i] ?? 0);
    return link;
  }
}

const models = new WeakMap<Uint8Array, FastWordpieceModel>();

/** A piece as the model packs it. */
export function unpackPiece(piece: number): Piece {
  return { id: (piece & 0x3fffff00) >>> 8, length: (piece & 0xff) + 1, isSuffix: piece >>> 30 !== 0 };
}
