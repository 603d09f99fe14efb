/** How SentencePiece cuts a normalised text, by the kind of its model. */
import { FINITE_MAX } from "../call/numeric.js";
import { ROOT } from "./byte-trie.js";
import type { SentencePieceModel } from "./sentencepiece-model.js";
import { SPACE_SYMBOL } from "./sentencepiece-normalizer.js";
import { BPE, CHAR, NORMAL, UNUSED, USER_DEFINED, WORD } from "./sentencepiece-proto.js";

/** Where pieces end, and what they are: `[ends[i - 1], ends[i])` is piece `ids[i]`. */
export interface Pieces {
  readonly ends: number[];
  readonly ids: number[];
}

/** Cuts normalised bytes into pieces. */
export type Encoder = (bytes: Uint8Array) => Pieces;

/** Float32's least normal number, which SentencePiece starts its search for the greatest score with. */
const FLOAT_MIN = 1.1754943508222875e-38;
/** How much worse an unknown character is than the worst piece. */
const UNKNOWN_PENALTY = 10;

export function encoderOf(model: SentencePieceModel): Encoder {
  switch (model.trainer.modelType) {
    case BPE:
      return (bytes) => mergePairs(model, bytes);
    case WORD:
      return (bytes) => splitWords(model, bytes);
    case CHAR:
      return (bytes) => splitSymbols(model, bytes);
    default:
      return bestPath(model);
  }
}

/** Bytes of the character at `at` by its first byte alone, as SentencePiece walks. */
function charLength(bytes: Uint8Array, at: number): number {
  const high = bytes[at]! >> 4;
  const size = high < 12 ? 1 : high < 14 ? 2 : high === 14 ? 3 : 4;
  return Math.min(size, bytes.length - at);
}

/** Unigram models: the pieces whose scores have the greatest sum. Sums are float32, as SentencePiece's are. */
function bestPath(model: SentencePieceModel): Encoder {
  const { scores, types, trie, unknownId } = model;
  let [least, greatest] = [FINITE_MAX.float32, FLOAT_MIN];
  for (const [id, score] of scores.entries()) {
    if (types[id] === NORMAL) [least, greatest] = [Math.min(least, score), Math.max(greatest, score)];
  }
  const unknownScore = Math.fround(least - UNKNOWN_PENALTY);
  return (bytes) => {
    const size = bytes.length;
    /** By end of a path: its score, and its last piece. */
    const best = new Float32Array(size + 1);
    const starts = new Int32Array(size + 1).fill(-1);
    const ids = new Int32Array(size + 1);
    const offer = (end: number, start: number, id: number, score: number): void => {
      if (starts[end]! >= 0 && score <= best[end]!) return;
      best[end] = score;
      starts[end] = start;
      ids[end] = id;
    };
    for (let start = 0; start < size; ) {
      const char = charLength(bytes, start);
      const before = best[start]!;
      let hasChar = false;
      let node: number = ROOT;
      for (let at = start; at < size; ) {
        node = trie.step(node, bytes[at++]!);
        if (node < 0) break;
        const id = trie.valueAt(node);
        if (id < 0 || types[id] === UNUSED) continue;
        // What the user defined wins always.
        const score = types[id] === USER_DEFINED ? Math.fround((at - start) * greatest) - 0.1 : scores[id]!;
        offer(at, start, id, types[id] === USER_DEFINED ? score + before : Math.fround(score + before));
        hasChar ||= at - start === char;
      }
      if (!hasChar) offer(start + char, start, unknownId, Math.fround(unknownScore + before));
      start += char;
    }
    const pieces: Pieces = { ends: [], ids: [] };
    for (let end = size; end > 0; end = starts[end]!) {
      pieces.ends.push(end);
      pieces.ids.push(ids[end]!);
    }
    pieces.ends.reverse();
    pieces.ids.reverse();
    return pieces;
  };
}

/** Ends of the symbols that a text starts as: what the user defined, else characters. */
function symbolEnds({ userDefined }: SentencePieceModel, bytes: Uint8Array) {
  const ends: number[] = [];
  const isFrozen: boolean[] = [];
  for (let at = 0; at < bytes.length; ) {
    const defined = userDefined?.longestPrefix(bytes, at) ?? 0;
    at += defined > 0 ? defined : charLength(bytes, at);
    ends.push(at);
    isFrozen.push(defined > 0);
  }
  return { ends, isFrozen };
}

function splitSymbols(model: SentencePieceModel, bytes: Uint8Array): Pieces {
  const { ends } = symbolEnds(model, bytes);
  return { ends, ids: ends.map((end, i) => model.idOf(bytes, ends[i - 1] ?? 0, end)) };
}

/** A word starts at each space. */
function splitWords(model: SentencePieceModel, bytes: Uint8Array): Pieces {
  const ends: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = charLength(bytes, at);
    const isSpace = size === SPACE_SYMBOL.length && SPACE_SYMBOL.every((byte, i) => bytes[at + i] === byte);
    if (isSpace && at > 0) ends.push(at);
    at += size;
  }
  if (bytes.length > 0) ends.push(bytes.length);
  return { ends, ids: ends.map((end, i) => model.idOf(bytes, ends[i - 1] ?? 0, end)) };
}

/** Pairs of neighbours that may merge, best first: the greater score, then the more left one. */
class Agenda {
  readonly #heap: number[] = [];
  readonly lefts: number[] = [];
  readonly rights: number[] = [];
  readonly sizes: number[] = [];
  readonly #scores: number[] = [];

  push(left: number, right: number, size: number, score: number): void {
    const pair = this.lefts.length;
    this.lefts.push(left);
    this.rights.push(right);
    this.sizes.push(size);
    this.#scores.push(score);
    const heap = this.#heap;
    let at = heap.push(pair) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(pair, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = pair;
  }

  /** The best pair, -1 when there is none. */
  pop(): number {
    const heap = this.#heap;
    const best = heap[0] ?? -1;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return best;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && this.#isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return best;
  }

  #isBefore(a: number, b: number): boolean {
    const [first, second] = [this.#scores[a]!, this.#scores[b]!];
    return first > second || (first === second && this.lefts[a]! < this.lefts[b]!);
  }
}

/** Byte pair encoding: the best pair of neighbours that is a piece becomes one, until none is. */
function mergePairs(model: SentencePieceModel, bytes: Uint8Array): Pieces {
  const { scores, types } = model;
  const { ends, isFrozen } = symbolEnds(model, bytes);
  const count = ends.length;
  const start = Int32Array.from(ends, (_, i) => ends[i - 1] ?? 0);
  const size = Int32Array.from(ends, (end, i) => end - start[i]!);
  const next = Int32Array.from(ends, (_, i) => (i + 1 < count ? i + 1 : -1));
  const previous = Int32Array.from(ends, (_, i) => i - 1);
  const agenda = new Agenda();
  /** By unused piece, the bytes of the left one of the two that it was made of. */
  const madeOf = new Map<number, number>();
  const offer = (left: number, right: number): void => {
    if (left < 0 || right < 0 || isFrozen[left] || isFrozen[right]) return;
    const both = size[left]! + size[right]!;
    const id = model.normalIdOf(bytes, start[left]!, start[left]! + both);
    if (id < 0) return;
    agenda.push(left, right, both, scores[id]!);
    if (types[id] === UNUSED) madeOf.set(id, size[left]!);
  };
  for (let i = 1; i < count; i++) offer(i - 1, i);
  for (let pair = agenda.pop(); pair >= 0; pair = agenda.pop()) {
    const [left, right] = [agenda.lefts[pair]!, agenda.rights[pair]!];
    if (size[left] === 0 || size[right] === 0 || size[left]! + size[right]! !== agenda.sizes[pair]) continue;
    size[left] = agenda.sizes[pair]!;
    size[right] = 0;
    next[left] = next[right]!;
    if (next[left]! >= 0) previous[next[left]!] = left;
    offer(previous[left]!, left);
    offer(left, next[left]!);
  }
  const pieces: Pieces = { ends: [], ids: [] };
  /** Unused pieces fall back into what they were made of. */
  const emit = (from: number, end: number): void => {
    const id = model.idOf(bytes, from, end);
    const leftSize = types[id] === UNUSED ? madeOf.get(id) : undefined;
    if (leftSize === undefined) {
      pieces.ends.push(end);
      pieces.ids.push(id);
      return;
    }
    emit(from, from + leftSize);
    emit(from + leftSize, end);
  };
  for (let i = count > 0 ? 0 : -1; i >= 0; i = next[i]!) emit(start[i]!, start[i]! + size[i]!);
  return pieces;
}
