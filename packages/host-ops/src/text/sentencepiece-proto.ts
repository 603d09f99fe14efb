/** SentencePiece's models on the wire (github.com/google/sentencepiece, sentencepiece_model.proto), as far as tokens need them. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { invalid } from "../call/errors.js";
import { readMessage } from "../call/proto-message.js";

/** SentencePiece.Type of the proto. */
export const NORMAL = 1;
export const UNKNOWN = 2;
export const CONTROL = 3;
export const USER_DEFINED = 4;
export const UNUSED = 5;
export const BYTE = 6;

/** ModelType of the proto. */
const UNIGRAM = 1;
export const BPE = 2;
export const WORD = 3;
export const CHAR = 4;

export interface NormalizerSpec {
  readonly charsMap: Uint8Array;
  readonly addsDummyPrefix: boolean;
  readonly removesExtraSpaces: boolean;
  readonly escapesSpaces: boolean;
}

export interface TrainerSpec {
  readonly modelType: number;
  readonly treatsSpaceAsSuffix: boolean;
  readonly fallsBackToBytes: boolean;
  readonly unknownSurface: Uint8Array;
  readonly bos: Uint8Array;
  readonly eos: Uint8Array;
}

export interface PieceProto {
  piece: Uint8Array;
  score: number;
  type: number;
}

export interface ModelProto {
  readonly pieces: readonly PieceProto[];
  readonly trainer: TrainerSpec;
  readonly normalizer: NormalizerSpec;
  readonly denormalizer: NormalizerSpec | undefined;
}

/** Pieces read or indexed between two turns of the event loop: a few milliseconds. */
export const PIECES_PER_TURN = 2000;

function nonEmpty(bytes: Uint8Array, fallback: Uint8Array): Uint8Array {
  return bytes.length > 0 ? bytes : fallback;
}

/**
 * Reads a model, `turn` by turn.
 *
 * @throws ServingError INVALID_ARGUMENT for bytes that are none
 */
export async function readModelProto(bytes: Uint8Array, turn: () => Promise<void>): Promise<ModelProto> {
  const encoder = new TextEncoder();
  const pieces: PieceProto[] = [];
  const trainer = {
    modelType: UNIGRAM,
    treatsSpaceAsSuffix: false,
    fallsBackToBytes: false,
    unknownSurface: encoder.encode(" \u2047 "),
    bos: encoder.encode("<s>"),
    eos: encoder.encode("</s>"),
  };
  const normalizer = newNormalizerSpec();
  let denormalizer: ReturnType<typeof newNormalizerSpec> | undefined;
  const reader = new BinaryReader(bytes);
  const readField = (field: number, type: WireType): boolean => {
    if (type !== WireType.LengthDelimited) return false;
    if (field === 1) return readMessage(reader, pieceReader(reader, pieces));
    if (field === 2) return readMessage(reader, trainerReader(reader, trainer));
    if (field === 3) return readMessage(reader, normalizerReader(reader, normalizer));
    if (field !== 5) return false;
    denormalizer ??= newNormalizerSpec();
    return readMessage(reader, normalizerReader(reader, denormalizer));
  };
  while (reader.pos < reader.len) {
    try {
      const [field, type] = reader.tag();
      if (!readField(field, type)) reader.skip(type, field);
    } catch (error) {
      throw invalid(`the SentencePiece model is damaged: ${(error as Error).message}`);
    }
    if (pieces.length % PIECES_PER_TURN === PIECES_PER_TURN - 1) await turn();
  }
  return { pieces, trainer, normalizer, denormalizer };
}

function newNormalizerSpec() {
  return { charsMap: new Uint8Array(0), addsDummyPrefix: true, removesExtraSpaces: true, escapesSpaces: true };
}

function pieceReader(reader: BinaryReader, pieces: PieceProto[]) {
  const piece: PieceProto = { piece: new Uint8Array(0), score: 0, type: NORMAL };
  pieces.push(piece);
  return (field: number, type: WireType): boolean => {
    if (field === 1 && type === WireType.LengthDelimited) piece.piece = reader.bytes();
    else if (field === 2 && type === WireType.Bit32) piece.score = reader.float();
    else if (field === 3 && type === WireType.Varint) piece.type = reader.int32();
    else return false;
    return true;
  };
}

function trainerReader(reader: BinaryReader, spec: { -readonly [K in keyof TrainerSpec]: TrainerSpec[K] }) {
  return (field: number, type: WireType): boolean => {
    const isText = type === WireType.LengthDelimited;
    const isNumber = type === WireType.Varint;
    if (field === 3 && isNumber) spec.modelType = reader.int32();
    else if (field === 24 && isNumber) spec.treatsSpaceAsSuffix = reader.bool();
    else if (field === 35 && isNumber) spec.fallsBackToBytes = reader.bool();
    else if (field === 44 && isText) spec.unknownSurface = reader.bytes();
    else if (field === 46 && isText) spec.bos = nonEmpty(reader.bytes(), spec.bos);
    else if (field === 47 && isText) spec.eos = nonEmpty(reader.bytes(), spec.eos);
    else return false;
    return true;
  };
}

function normalizerReader(reader: BinaryReader, spec: { -readonly [K in keyof NormalizerSpec]: NormalizerSpec[K] }) {
  return (field: number, type: WireType): boolean => {
    if (field === 2 && type === WireType.LengthDelimited) spec.charsMap = reader.bytes();
    else if (field === 3 && type === WireType.Varint) spec.addsDummyPrefix = reader.bool();
    else if (field === 4 && type === WireType.Varint) spec.removesExtraSpaces = reader.bool();
    else if (field === 5 && type === WireType.Varint) spec.escapesSpaces = reader.bool();
    else return false;
    return true;
  };
}
