/** SentencePiece in TensorFlow Text: texts to pieces or ids, and back, by a model in the graph. */
import { ServingError } from "@shardserve/core";
import { type HostResource, type ResourceHandle, resourceKey } from "@shardserve/graph";
import { StringColumn, StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integersOf } from "../call/shapes.js";
import { Turns } from "../call/turns.js";
import { charSize } from "../call/utf8.js";
import { type Encoder, encoderOf } from "./sentencepiece-encode.js";
import { SentencePieceModel } from "./sentencepiece-model.js";
import { SentencePieceNormalizer, SPACE_SYMBOL } from "./sentencepiece-normalizer.js";
import { BYTE, CONTROL, UNKNOWN } from "./sentencepiece-proto.js";

const REPLACEMENT = Uint8Array.of(0xef, 0xbf, 0xbd);
const SPACE = Uint8Array.of(0x20);
const NOTHING = new Uint8Array(0);

/** What a SentencepieceOp makes: a model that is ready to work. */
class Processor implements HostResource {
  readonly kind = "sentencepiece";
  readonly model: SentencePieceModel;
  readonly normalizer: SentencePieceNormalizer;
  readonly denormalizer: SentencePieceNormalizer | undefined;
  readonly encode: Encoder;

  constructor(model: SentencePieceModel) {
    this.model = model;
    const { normalizer, denormalizer, trainer, userDefined } = model;
    this.normalizer = new SentencePieceNormalizer(normalizer, trainer.treatsSpaceAsSuffix, userDefined);
    if (denormalizer && denormalizer.charsMap.length > 0) {
      this.denormalizer = new SentencePieceNormalizer(denormalizer, false, undefined);
    }
    this.encode = encoderOf(model);
  }
}

async function makeProcessor(op: OpCall): Promise<ResourceHandle[]> {
  const key = resourceKey(op.node);
  if (!(op.state.resources.get(key) instanceof Processor)) {
    const bytes = op.attrs.bytes("model");
    check(bytes.length > 0, () => "Model argument must be specified.");
    const turns = new Turns(op);
    op.state.resources.set(key, new Processor(await SentencePieceModel.read(bytes, () => turns.next())));
  }
  return [{ kind: "other", key }];
}

function processorOf(op: OpCall): Processor {
  const { key } = op.handle(0);
  const found = op.state.resources.get(key);
  if (found instanceof Processor) return found;
  throw new ServingError("NOT_FOUND", `Resource localhost/${key} does not exist`);
}

/** What stands around the pieces of every text. */
interface Extras {
  readonly addsBos: boolean;
  readonly addsEos: boolean;
  readonly reverses: boolean;
}

/** @param first  the input that says whether there is a first piece; the other two follow */
function extrasOf(op: OpCall, first: number, { model }: Processor): Extras {
  const flag = (i: number): boolean => (op.tensor(i).data as Uint8Array)[0] === 1;
  const extras = { addsBos: flag(first), addsEos: flag(first + 1), reverses: flag(first + 2) };
  for (const [isAdded, piece] of [
    [extras.addsBos, model.trainer.bos],
    [extras.addsEos, model.trainer.eos],
  ] as const) {
    if (isAdded && model.types[model.idOf(piece)] === UNKNOWN) {
      throw new ServingError("INTERNAL", `id for \`${new TextDecoder().decode(piece)}\` is not defined.`);
    }
  }
  return extras;
}

/** Tokens of texts, all in one. */
class Tokens {
  readonly ids: number[] = [];
  /** Copies of the pieces; empty where ids alone are asked for. */
  readonly pieces: Uint8Array[] = [];
  readonly starts: number[] = [];
  readonly limits: number[] = [];
  readonly splits = [0];
  readonly #keepsPieces: boolean;

  constructor(keepsPieces: boolean) {
    this.#keepsPieces = keepsPieces;
  }

  push(id: number, piece: Uint8Array, start: number, limit: number): void {
    this.ids.push(id);
    if (this.#keepsPieces) this.pieces.push(Uint8Array.from(piece));
    this.starts.push(start);
    this.limits.push(limit);
  }

  /** Makes the last token longer. */
  extend(piece: Uint8Array, limit: number): void {
    if (this.#keepsPieces) this.pieces.push(Buffer.concat([this.pieces.pop()!, piece]));
    this.limits[this.limits.length - 1] = limit;
  }

  /** Ends the row of one text, turned round where that is asked for. */
  endRow(reverses: boolean): void {
    const start = this.splits.at(-1)!;
    if (reverses) for (const list of [this.ids, this.pieces, this.starts, this.limits]) reverseFrom(list, start);
    this.splits.push(this.ids.length);
  }
}

/** Turns the end of a list round, in place. */
function reverseFrom(list: unknown[], start: number): void {
  for (let i = start, k = list.length - 1; i < k; i++, k--) [list[i], list[k]] = [list[k], list[i]];
}

function encodeText(processor: Processor, text: Uint8Array, extras: Extras, tokens: Tokens): void {
  const { model, normalizer, encode } = processor;
  const { trainer, types } = model;
  if (extras.addsBos) tokens.push(model.idOf(trainer.bos), trainer.bos, 0, 0);
  const { bytes, origins } = normalizer.normalize(text);
  const { ends, ids } = encode(bytes);
  let start = 0;
  let followsUnknown = false;
  for (let i = 0; i < ends.length; i++) {
    const [id, end] = [ids[i]!, ends[i]!];
    if (types[id] === CONTROL) {
      throw new ServingError("INTERNAL", "all normalized characters are not consumed.");
    }
    const isUnknown = types[id] === UNKNOWN;
    const [from, to] = [origins[start]!, origins[end]!];
    if (isUnknown && trainer.fallsBackToBytes) {
      for (let at = start; at < end; at++) {
        const byteId = model.byteIds[bytes[at]!]!;
        tokens.push(byteId, model.pieces.at(byteId), from, at === end - 1 ? to : from);
      }
    } else if (isUnknown && followsUnknown) {
      // Unknown neighbours are one.
      tokens.extend(bytes.subarray(start, end), to);
    } else tokens.push(id, bytes.subarray(start, end), from, to);
    followsUnknown = isUnknown;
    start = end;
  }
  // It stands nowhere, not even at the end.
  if (extras.addsEos) tokens.push(model.idOf(trainer.eos), trainer.eos, 0, 0);
  tokens.endRow(extras.reverses);
}

function tokenizeKernel(withOffsets: boolean): Kernel {
  return (op) => {
    const processor = processorOf(op);
    const input = op.strings(1);
    const asked = integersOf(op.tensor(2));
    if (asked.some((size) => size !== 0 && size !== 1)) {
      throw new ServingError(
        "UNIMPLEMENTED",
        "sampled and n-best tokens of SentencePiece are not supported: nbest_size must be 0 or 1",
      );
    }
    const extras = extrasOf(op, 4, processor);
    const givesPieces = op.attrs.dtype("out_type") === "string";
    const tokens = new Tokens(givesPieces);
    for (let i = 0; i < input.length; i++) {
      encodeText(processor, input.at(i), extras, tokens);
      checkOutput("string", tokens.ids.length, input.bytes.length);
    }
    const { ids, pieces, starts, limits, splits } = tokens;
    const splitsDtype = op.attrs.dtype("Tsplits");
    return [
      givesPieces
        ? tensor("string", [pieces.length], StringColumn.from(pieces))
        : tensor("int32", [ids.length], Int32Array.from(ids)),
      withData(splitsDtype, [splits.length], indexData(splitsDtype, splits)),
      ...(withOffsets
        ? [
            tensor("int64", [starts.length], fromIntegers(starts)),
            tensor("int64", [limits.length], fromIntegers(limits)),
          ]
        : []),
    ];
  };
}

/** The text of pieces. */
function decodePieces({ model, denormalizer }: Processor, pieces: readonly Uint8Array[]): Uint8Array {
  const { types, trainer, normalizer } = model;
  const dropsFirstSpace = normalizer.addsDummyPrefix || normalizer.removesExtraSpaces;
  const parts: Uint8Array[] = [];
  let isEmpty = true;
  const push = (part: Uint8Array): void => {
    if (part.length > 0) isEmpty = false;
    parts.push(part);
  };
  let run: number[] = [];
  const endRun = (): void => {
    if (run.length > 0) pushBytes(Uint8Array.from(run), push);
    run = [];
  };
  for (const piece of pieces) {
    const id = model.idOf(piece);
    if (types[id] === BYTE) {
      run.push(model.byteOf(id));
      continue;
    }
    endRun();
    if (types[id] === CONTROL) continue;
    if (types[id] === UNKNOWN) push(Buffer.compare(model.pieces.at(id), piece) === 0 ? trainer.unknownSurface : piece);
    else push(withSpaces(piece, isEmpty && dropsFirstSpace));
  }
  endRun();
  const text = Buffer.concat(parts);
  return denormalizer ? denormalizer.normalize(text).bytes.slice() : text;
}

/** Bytes that pieces stand for, as characters; what is none of them becomes U+FFFD. */
function pushBytes(bytes: Uint8Array, push: (part: Uint8Array) => void): void {
  for (let at = 0; at < bytes.length; ) {
    const size = charSize(bytes, at, bytes.length);
    push(size < 0 ? REPLACEMENT : bytes.subarray(at, at + size));
    at += Math.max(1, size);
  }
}

/** A piece with its space symbols as spaces, the first one dropped where the text begins. */
function withSpaces(piece: Uint8Array, dropsFirst: boolean): Uint8Array {
  const parts: Uint8Array[] = [];
  const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
  let from = 0;
  for (let at = bytes.indexOf(SPACE_SYMBOL); at >= 0; at = bytes.indexOf(SPACE_SYMBOL, from)) {
    parts.push(bytes.subarray(from, at), dropsFirst && at === 0 ? NOTHING : SPACE);
    from = at + SPACE_SYMBOL.length;
  }
  return from === 0 ? piece : Buffer.concat([...parts, bytes.subarray(from)]);
}

function detokenize(op: OpCall): Tensor[] {
  const processor = processorOf(op);
  const { model } = processor;
  const values = op.tensor(1);
  const splits = integersOf(op.tensor(2));
  check(splits.length > 0, () => "input_splits must have at least 1 element.");
  const extras = extrasOf(op, 3, processor);
  const count = values.shape.reduce((product, dim) => product * dim, 1);
  const pieceAt = (i: number): Uint8Array => {
    if (values.data instanceof StringColumn) return values.data.at(i);
    return pieceOf(model, (values.data as Int32Array)[i]!);
  };
  const out = new StringColumnBuilder(splits.length);
  let outBytes = 0;
  for (let row = 0; row + 1 < splits.length; row++) {
    const [start, end] = [splits[row]!, splits[row + 1]!];
    if (!(start >= 0 && start <= end && end <= count)) {
      throw new ServingError(
        "OUT_OF_RANGE",
        `Splits and values do not match; split ${end} but values size is ${count}`,
      );
    }
    const pieces = Array.from({ length: end - start }, (_, i) => pieceAt(extras.reverses ? end - 1 - i : start + i));
    const text = decodePieces(processor, pieces);
    outBytes += text.length;
    checkOutput("string", splits.length, outBytes);
    out.push(text);
  }
  return [tensor("string", [splits.length - 1], out.build())];
}

function pieceOf({ pieces }: SentencePieceModel, id: number): Uint8Array {
  if (id < 0 || id >= pieces.length) throw new ServingError("OUT_OF_RANGE", `Invalid id: ${id}`);
  return pieces.at(id);
}

function idsToPieces(op: OpCall): Tensor[] {
  const { model } = processorOf(op);
  const { shape, data } = op.tensor(1);
  return [tensor("string", shape, StringColumn.from(Array.from(data as Int32Array, (id) => pieceOf(model, id))))];
}

function piecesToIds(op: OpCall): Tensor[] {
  const { model } = processorOf(op);
  const input = op.strings(1);
  const ids = Int32Array.from({ length: input.length }, (_, i) => model.idOf(input.at(i)));
  return [tensor("int32", op.tensor(1).shape, ids)];
}

export const SENTENCEPIECE_KERNELS: Readonly<Record<string, Kernel>> = {
  SentencepieceOp: makeProcessor,
  SentencepieceTokenizeOp: tokenizeKernel(false),
  SentencepieceTokenizeWithOffsetsOp: tokenizeKernel(true),
  SentencepieceDetokenizeOp: detokenize,
  SentencepieceVocabSizeOp: (op) => [tensor("int32", [], Int32Array.of(processorOf(op).model.pieces.length))],
  SentencepieceIdToStringOp: idsToPieces,
  SentencepieceStringToIdOp: piecesToIds,
};
