/** TensorFlow Text's fast BERT normaliser: every character has its replacement in a trie that comes with the graph. */
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { checkVector, invalid } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { charSize } from "../call/utf8.js";
import { DoubleArrayTrie } from "./double-array-trie.js";
import { readFlatBuffer } from "./flat-buffer.js";

/** In what the trie has of a character: that it is replaced, where in the pool its replacement starts, and its bytes. */
const IS_REPLACED = 0x40000000;
const LENGTH_BITS = 6;
const LENGTH_MASK = 0x3f;

interface Normalizer {
  readonly trie: DoubleArrayTrie;
  /** Of the character 0, which no trie can have. */
  readonly zero: number;
  readonly pool: Uint8Array;
}

const normalizers = new WeakMap<Uint8Array, Normalizer>();

function normalizerOf(model: Uint8Array): Normalizer {
  let normalizer = normalizers.get(model);
  if (!normalizer) {
    const { units, zero, pool } = readFlatBuffer(model, "FastBertNormalizerModel", (table) => ({
      units: table.uint32s(1),
      zero: table.int32(2),
      pool: table.bytes(3),
    }));
    if (units.length === 0) throw invalid("FastBertNormalizerModel or its required fields are null");
    normalizer = { trie: new DoubleArrayTrie(units), zero, pool };
    normalizers.set(model, normalizer);
  }
  return normalizer;
}

function replacementOf({ trie, zero }: Normalizer, text: Uint8Array, start: number, end: number): number {
  if (text[start] === 0) return zero;
  const node = trie.walk(DoubleArrayTrie.ROOT, text, start, end);
  const value = node < 0 ? 0 : trie.valueAt(node);
  return value < 0 ? 0 : value;
}

/** A text being normalised: its bytes so far, and where each came from. */
class Output {
  bytes = new Uint8Array(256);
  origins = new Int32Array(256);
  length = 0;

  reserve(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    const size = 2 * (this.length + more);
    const [bytes, origins] = [new Uint8Array(size), new Int32Array(size)];
    bytes.set(this.bytes.subarray(0, this.length));
    origins.set(this.origins.subarray(0, this.length));
    [this.bytes, this.origins] = [bytes, origins];
  }
}

function normalizeText(normalizer: Normalizer, text: Uint8Array, out: Output): void {
  out.length = 0;
  for (let at = 0; at < text.length; ) {
    const next = at + Math.abs(charSize(text, at, text.length));
    const found = replacementOf(normalizer, text, at, next);
    const isReplaced = (found & IS_REPLACED) !== 0;
    const source = isReplaced ? normalizer.pool : text;
    const from = isReplaced ? (found & (IS_REPLACED - 1)) >>> LENGTH_BITS : at;
    const count = isReplaced ? found & LENGTH_MASK : next - at;
    out.reserve(count);
    for (let i = 0; i < count; i++) {
      out.bytes[out.length] = source[from + i] ?? 0;
      // Bytes of a replacement all come from the start of the character.
      out.origins[out.length] = isReplaced ? at : at + i;
      out.length++;
    }
    at = next;
  }
}

function normalize(op: OpCall): Tensor[] {
  checkVector(op.tensor(0), "input_values");
  const input = op.strings(0);
  const normalizer = normalizerOf(op.tensor(1).data as Uint8Array);
  const withOffsets = op.attrs.bool("get_offsets");
  const texts = new StringColumnBuilder(input.length, input.bytes.length);
  const origins: number[] = [];
  const splits = [0];
  const out = new Output();
  let outBytes = 0;
  for (let i = 0; i < input.length; i++) {
    const text = input.at(i);
    normalizeText(normalizer, text, out);
    texts.pushRange(out.bytes, 0, out.length);
    outBytes += out.length;
    checkOutput("string", input.length, outBytes);
    if (withOffsets) {
      for (let k = 0; k < out.length; k++) origins.push(out.origins[k]!);
      origins.push(text.length);
      checkOutput("int64", origins.length);
    }
    splits.push(origins.length);
  }
  return [
    tensor("string", [input.length], texts.build()),
    tensor("int64", [origins.length], fromIntegers(origins)),
    tensor("int64", [splits.length], fromIntegers(splits)),
  ];
}

export const FAST_BERT_KERNELS: Readonly<Record<string, Kernel>> = { FastBertNormalize: normalize };
