import { ServingError } from "@shardserve/core";
import { StringColumn, StringColumnBuilder, type Tensor, tensor, WIRE_BYTES, WireReader } from "@shardserve/tensor";
import { varintBytes, writeBytes, writeVarint } from "./wire.js";

/**
 * tensorflow.serving.Input by hand, in slices: a message of 40 MB holds 20 million empty examples, which as objects were 2.6 GB and
 * twenty seconds of everybody's time.
 */

/** Field 1 of Input, an ExampleList, and of both lists: an example. */
const EXAMPLES = (1 << 3) | WIRE_BYTES;
/** Field 2 of Input, an ExampleListWithContext, and its context. */
const CONTEXT = (2 << 3) | WIRE_BYTES;

/** Bytes of a message read between two pauses. */
const SLICE_BYTES = 256 * 1024;
/** Bytes of examples written between two pauses. */
const SLICE_WRITTEN_BYTES = 4 * 2 ** 20;
/** Of where an example begins, in a column. */
export const OFFSET_BYTES = 4;

/** Counts what a request takes beyond its own bytes; throws when that is too much. */
export type Hold = (bytes: number) => void;

/**
 * The examples of a serialised Input as a tensor [n] of serialised tf.Examples. A context goes in front of each example byte by
 * byte: features that both have are the example's.
 *
 * @throws ServingError INVALID_ARGUMENT "Input is empty.", or for bytes that are no Input; what `hold` throws
 */
export function* exampleTensor(input: Uint8Array, hold: Hold): Generator<undefined, Tensor<"string">> {
  const list = new ListReader(input, hold);
  try {
    while (!list.read()) yield;
  } catch (error) {
    const reason = ServingError.from(error);
    if (reason.code !== "INVALID_ARGUMENT") throw reason;
    throw invalid(`the request is no valid Input: ${reason.message}`);
  }
  if (list.column.length === 0) throw invalid("Input is empty.");
  return yield* withContext(list.context, list.column.build(), hold);
}

/**
 * A tensor of examples, each with the same bytes in front.
 *
 * @throws what `hold` throws: a context of a megabyte and a million examples are a terabyte
 */
export function* withContext(
  context: Uint8Array,
  { length, bytes, offsets }: StringColumn,
  hold: Hold,
): Generator<undefined, Tensor<"string">> {
  if (context.length === 0) return tensor("string", [length], new StringColumn(bytes, offsets));
  const totalBytes = context.length * length + offsets[length]!;
  hold(totalBytes + offsets.byteLength);
  const joined = new Uint8Array(totalBytes);
  const starts = new Uint32Array(length + 1);
  let at = 0;
  let pauseAt = SLICE_WRITTEN_BYTES;
  for (let i = 0; i < length; i++) {
    joined.set(context, at);
    joined.set(bytes.subarray(offsets[i], offsets[i + 1]), at + context.length);
    at += context.length + offsets[i + 1]! - offsets[i]!;
    starts[i + 1] = at;
    if (at < pauseAt) continue;
    yield;
    pauseAt = at + SLICE_WRITTEN_BYTES;
  }
  return tensor("string", [length], new StringColumn(joined, starts));
}

/** A serialised Input of these examples. */
export function encodeExamples({ length, bytes, offsets }: StringColumn): Uint8Array {
  let listBytes = 0;
  for (let i = 0; i < length; i++) {
    const size = offsets[i + 1]! - offsets[i]!;
    listBytes += 1 + varintBytes(size) + size;
  }
  const out = Buffer.allocUnsafe(1 + varintBytes(listBytes) + listBytes);
  out[0] = EXAMPLES;
  let at = writeVarint(out, 1, listBytes);
  for (let i = 0; i < length; i++) at = writeBytes(out, at, EXAMPLES, bytes.subarray(offsets[i], offsets[i + 1]));
  return out;
}

/** Reads the list that an Input holds. Of two kinds of lists the last counts, and lists of one kind are one, as in protobuf. */
class ListReader {
  column = new StringColumnBuilder();
  context: Uint8Array = new Uint8Array();
  readonly #input: WireReader;
  readonly #hold: Hold;
  #list: WireReader;
  #kind = 0;
  #heldCount = 0;

  constructor(input: Uint8Array, hold: Hold) {
    this.#input = new WireReader(input);
    this.#list = new WireReader(input, 0, 0);
    this.#hold = hold;
  }

  /** Reads on, up to the next pause. Returns whether it has read all. */
  read(): boolean {
    const pauseAt = this.#position + SLICE_BYTES;
    while (this.#readList(pauseAt) && this.#position < pauseAt) {
      if (this.#input.position < this.#input.end) this.#next();
      else return this.#counted(true);
    }
    return this.#counted(false);
  }

  /** How far it has read. */
  get #position(): number {
    return this.#list.position < this.#list.end ? this.#list.position : this.#input.position;
  }

  /** Enters the next list, or steps over what is none. */
  #next(): void {
    const input = this.#input;
    const tag = input.tag();
    if (tag !== EXAMPLES && tag !== CONTEXT) return input.skip(tag & 7);
    const length = input.length();
    if (tag !== this.#kind) {
      if (this.column.length > 0) this.column = new StringColumnBuilder();
      this.context = new Uint8Array();
      this.#kind = tag;
    }
    this.#list = new WireReader(input.bytes, input.position, input.position + length);
    input.position += length;
  }

  #readList(pauseAt: number): boolean {
    const list = this.#list;
    const { bytes, end } = list;
    while (list.position < end) {
      if (list.position >= pauseAt) return false;
      const tag = list.tag();
      if (tag !== EXAMPLES && !(tag === CONTEXT && this.#kind === CONTEXT)) {
        list.skip(tag & 7);
        continue;
      }
      const length = list.length();
      const start = list.position;
      list.position += length;
      if (tag === EXAMPLES) this.column.pushRange(bytes, start, start + length);
      else this.context = bytes.subarray(start, start + length);
    }
    return true;
  }

  /** The bytes of the examples are those of the message; where each begins is not. */
  #counted(isDone: boolean): boolean {
    this.#hold((this.column.length - this.#heldCount) * OFFSET_BYTES);
    this.#heldCount = this.column.length;
    return isDone;
  }
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
