import { invariant } from "@shardserve/core";
import { bytesOf, dtypeInfo, elementCount, type NumericData } from "@shardserve/tensor";
import type { Weight } from "../proto/value.js";

/** Half a millisecond of work. */
const ELEMENTS_A_TURN = 64 * 1024;

/**
 * Transposes row-major elements: dimension i of the result is dimension `permutation[i]` of the source.
 *
 * @param bytes         elements of `elementBytes` bytes each
 * @param shape         of the source
 * @returns a copy
 */
export function permuteBytes(
  bytes: Uint8Array,
  elementBytes: number,
  shape: readonly number[],
  permutation: readonly number[],
): Uint8Array {
  const copy = new PermutedCopy(bytes, elementBytes, shape, permutation);
  while (!copy.isDone) copy.advance();
  return copy.bytes;
}

/** As {@link permuteBytes}, with a pause after each half millisecond of work: convolutions' weights take tens of them. */
export async function permuteBytesInTurns(
  bytes: Uint8Array,
  elementBytes: number,
  shape: readonly number[],
  permutation: readonly number[],
  pause: () => Promise<void>,
): Promise<Uint8Array> {
  const copy = new PermutedCopy(bytes, elementBytes, shape, permutation);
  for (copy.advance(); !copy.isDone; copy.advance()) await pause();
  return copy.bytes;
}

/** Where a model's weights are all constants of the graph: the bytes of one, permuted. */
export function constantBytes({ name, dtype, source, sourceShape, permutation }: Weight): Uint8Array {
  invariant(source.kind === "tensor", () => `weight ${name} is no constant`);
  const bytes = bytesOf(source.tensor.data as NumericData);
  return permutation ? permuteBytes(bytes, dtypeInfo(dtype).bytes, sourceShape, permutation) : bytes;
}

type Words = Uint8Array | Uint16Array | Uint32Array;

class PermutedCopy {
  readonly bytes: Uint8Array;
  readonly #source: Words;
  readonly #result: Words;
  readonly #elementWords: number;
  readonly #count: number;
  /** Of the result's dimensions: their lengths, and the elements of the source from one index to the next. */
  readonly #lengths: readonly number[];
  readonly #steps: readonly number[];
  readonly #position: number[];
  /** Next element of the source, and of the result. */
  #from = 0;
  #to = 0;

  constructor(bytes: Uint8Array, elementBytes: number, shape: readonly number[], permutation: readonly number[]) {
    const wordBytes = elementBytes % 4 === 0 ? 4 : elementBytes % 2 === 0 ? 2 : 1;
    this.bytes = new Uint8Array(bytes.length);
    this.#source = wordsOf(bytes.byteOffset % wordBytes === 0 ? bytes : bytes.slice(), wordBytes);
    this.#result = wordsOf(this.bytes, wordBytes);
    this.#elementWords = elementBytes / wordBytes;
    this.#count = elementCount(shape);
    const strides = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
    this.#lengths = permutation.map((axis) => shape[axis]!);
    this.#steps = permutation.map((axis) => strides[axis]!);
    this.#position = permutation.map(() => 0);
  }

  get isDone(): boolean {
    return this.#to === this.#count;
  }

  advance(): void {
    const [lengths, steps, position] = [this.#lengths, this.#steps, this.#position];
    const [source, result, elementWords] = [this.#source, this.#result, this.#elementWords];
    const end = Math.min(this.#to + ELEMENTS_A_TURN, this.#count);
    let from = this.#from;
    for (let to = this.#to; to < end; to++) {
      if (elementWords === 1) result[to] = source[from]!;
      else for (let k = 0; k < elementWords; k++) result[to * elementWords + k] = source[from * elementWords + k]!;
      for (let axis = lengths.length - 1; axis >= 0; axis--) {
        from += steps[axis]!;
        if (++position[axis]! < lengths[axis]!) break;
        from -= steps[axis]! * lengths[axis]!;
        position[axis] = 0;
      }
    }
    this.#from = from;
    this.#to = end;
  }
}

function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array, wordBytes: 1 | 2 | 4): Words {
  if (wordBytes === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  if (wordBytes === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return new Uint8Array(buffer, byteOffset, byteLength);
}
