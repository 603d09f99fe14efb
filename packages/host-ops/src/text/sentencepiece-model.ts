/** A SentencePiece model, ready to cut texts: its pieces by id, by bytes and by prefix. */
import { StringColumn } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { BytesIndex } from "../call/key-index.js";
import { ByteTrie } from "./byte-trie.js";
import {
  BYTE,
  type ModelProto,
  NORMAL,
  type NormalizerSpec,
  PIECES_PER_TURN,
  readModelProto,
  type TrainerSpec,
  UNKNOWN,
  UNUSED,
  USER_DEFINED,
} from "./sentencepiece-proto.js";

interface IdIndex {
  readonly index: BytesIndex;
  readonly ids: number[];
}

function find({ index, ids }: IdIndex, bytes: Uint8Array, start: number, end: number): number {
  const ordinal = index.find(bytes, start, end);
  return ordinal < 0 ? -1 : ids[ordinal]!;
}

export class SentencePieceModel {
  readonly trainer: TrainerSpec;
  readonly normalizer: NormalizerSpec;
  readonly denormalizer: NormalizerSpec | undefined;
  readonly pieces: StringColumn;
  readonly scores: Float32Array;
  readonly types: Uint8Array;
  readonly unknownId: number;
  /** Pieces that texts are cut into. */
  readonly trie = new ByteTrie();
  /** Pieces that are always cut out, undefined for none. */
  readonly userDefined: ByteTrie | undefined;
  /** By byte, the piece that stands for it in unknown characters; -1 in models without such pieces. */
  readonly byteIds = new Int32Array(256).fill(-1);
  /** Pieces by their bytes: ordinals in the index lead to ids. */
  readonly #normal: IdIndex = { index: new BytesIndex(), ids: [] };
  readonly #reserved: IdIndex = { index: new BytesIndex(), ids: [] };

  private constructor(proto: ModelProto) {
    this.trainer = proto.trainer;
    this.normalizer = proto.normalizer;
    this.denormalizer = proto.denormalizer;
    this.pieces = StringColumn.from(proto.pieces.map(({ piece }) => piece));
    this.scores = Float32Array.from(proto.pieces, ({ score }) => score);
    this.types = Uint8Array.from(proto.pieces, ({ type }) => type);
    this.unknownId = this.types.indexOf(UNKNOWN);
    this.userDefined = this.types.includes(USER_DEFINED) ? new ByteTrie() : undefined;
  }

  /**
   * Reads a model, `turn` by turn of the event loop.
   *
   * @throws ServingError INVALID_ARGUMENT for bytes that are no model, or a model that contradicts itself
   */
  static async read(bytes: Uint8Array, turn: () => Promise<void>): Promise<SentencePieceModel> {
    const model = new SentencePieceModel(await readModelProto(bytes, turn));
    for (let id = 0; id < model.pieces.length; id++) {
      model.#add(id);
      if (id % PIECES_PER_TURN === PIECES_PER_TURN - 1) await turn();
    }
    model.#check();
    return model;
  }

  #add(id: number): void {
    const piece = this.pieces.at(id);
    const type = this.types[id];
    check(piece.length > 0, () => "piece must not be empty.");
    const isNormal = type === NORMAL || type === USER_DEFINED || type === UNUSED;
    const { index, ids } = isNormal ? this.#normal : this.#reserved;
    check(index.find(piece, 0, piece.length) < 0, () => `${this.pieces.textAt(id)} is already defined.`);
    index.add(piece, 0, piece.length);
    ids.push(id);
    if (isNormal) this.trie.add(piece, id);
    if (type === USER_DEFINED) this.userDefined!.add(piece, id);
  }

  #check(): void {
    check(this.unknownId >= 0, () => "unk is not defined.");
    check(this.types.lastIndexOf(UNKNOWN) === this.unknownId, () => "unk is already defined.");
    const { fallsBackToBytes } = this.trainer;
    for (const [id, type] of this.types.entries()) {
      if (type !== BYTE) continue;
      const byte = this.byteOf(id);
      check(byte >= 0 && fallsBackToBytes, () => `byte piece ${this.pieces.textAt(id)} is invalid.`);
      this.byteIds[byte] = id;
    }
    check(
      !fallsBackToBytes || !this.byteIds.includes(-1),
      () => "there are not 256 byte pieces although `byte_fallback` is true.",
    );
  }

  /** The id of a piece, that of unknown ones when it is none. */
  idOf(bytes: Uint8Array, start = 0, end = bytes.length): number {
    const reserved = find(this.#reserved, bytes, start, end);
    if (reserved >= 0) return reserved;
    const normal = find(this.#normal, bytes, start, end);
    return normal >= 0 ? normal : this.unknownId;
  }

  /** The id of a piece that texts are cut into, -1 when it is none. */
  normalIdOf(bytes: Uint8Array, start: number, end: number): number {
    return find(this.#normal, bytes, start, end);
  }

  /** The byte that a piece such as "<0x0A>" stands for, -1 for others. */
  byteOf(id: number): number {
    const match = /^<0x([0-9A-F]{2})>$/.exec(this.pieces.textAt(id));
    return match ? parseInt(match[1]!, 16) : -1;
  }
}
