import { invariant } from "@shardserve/core";
import { bytesOf, dtypeInfo, elementCount, type NumericData } from "@shardserve/tensor";
import type { Weight } from "../../proto/value.js";

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

/** Elements along the source's last dimension that are moved together: what is read is then used before it leaves the core's cache. */
const TILE = 32;

/** Elements along the result's last dimension that are moved together at most: a tile is no more than a turn. */
const RUN = ELEMENTS_A_TURN / TILE;

/**
 * Moves tiles: `TILE` elements along the source's last dimension (the columns) by `RUN` along the result's last one (the run), for each index of
 * the other dimensions in the result's order. Reads are neighbours along the one, writes along the other.
 */
class PermutedCopy {
  readonly bytes: Uint8Array;
  readonly #source: Words;
  readonly #result: Words;
  readonly #elementWords: number;
  readonly #columns: Axis;
  readonly #run: Axis;
  /** The other dimensions, in the result's order. */
  readonly #others: readonly Axis[];
  readonly #position: number[];
  /** First column and place along the run of the tile, and where the other dimensions have come to in the source and the result. */
  #column = 0;
  #place = 0;
  #from = 0;
  #to = 0;

  constructor(bytes: Uint8Array, elementBytes: number, shape: readonly number[], permutation: readonly number[]) {
    const wordBytes = elementBytes % 4 === 0 ? 4 : elementBytes % 2 === 0 ? 2 : 1;
    this.bytes = new Uint8Array(bytes.length);
    this.#source = wordsOf(bytes.byteOffset % wordBytes === 0 ? bytes : bytes.slice(), wordBytes);
    this.#result = wordsOf(this.bytes, wordBytes);
    this.#elementWords = elementBytes / wordBytes;
    const strides = (lengths: readonly number[]) => lengths.map((_, axis) => elementCount(lengths.slice(axis + 1)));
    const [fromSteps, toSteps] = [strides(shape), strides(permutation.map((axis) => shape[axis]!))];
    const axes = permutation.map(
      (axis, i): Axis => ({ length: shape[axis]!, from: fromSteps[axis]!, to: toSteps[i]! }),
    );
    const columns = permutation.indexOf(shape.length - 1);
    const isRun = columns === axes.length - 1; // the same dimension is the last of both
    this.#columns = axes[columns] ?? ONE;
    this.#run = isRun ? ONE : axes.at(-1)!;
    this.#others = axes.filter((axis) => axis !== this.#columns && axis !== this.#run);
    this.#position = this.#others.map(() => 0);
    if (elementCount(shape) === 0) this.#column = this.#columns.length;
  }

  get isDone(): boolean {
    return this.#column >= this.#columns.length;
  }

  advance(): void {
    const perTile = Math.min(TILE, this.#columns.length) * Math.min(RUN, this.#run.length);
    for (let moved = 0; moved < ELEMENTS_A_TURN && !this.isDone; moved += perTile) {
      this.#moveTile();
      this.#next();
    }
  }

  #moveTile(): void {
    const [source, result, words] = [this.#source, this.#result, this.#elementWords];
    const [columns, run] = [this.#columns, this.#run];
    const [fromStep, toStep] = [columns.from * words, columns.to * words];
    const end = Math.min(this.#column + TILE, columns.length);
    const last = Math.min(this.#place + RUN, run.length);
    for (let i = this.#place; i < last; i++) {
      let from = (this.#from + i * run.from + this.#column * columns.from) * words;
      let to = (this.#to + i * run.to + this.#column * columns.to) * words;
      for (let column = this.#column; column < end; column++) {
        if (words === 1) result[to] = source[from]!;
        else for (let k = 0; k < words; k++) result[to + k] = source[from + k]!;
        from += fromStep;
        to += toStep;
      }
    }
  }

  #next(): void {
    this.#place += RUN;
    if (this.#place < this.#run.length) return;
    this.#place = 0;
    for (let axis = this.#others.length - 1; axis >= 0; axis--) {
      const { length, from, to } = this.#others[axis]!;
      this.#from += from;
      this.#to += to;
      if (++this.#position[axis]! < length) return;
      this.#from -= from * length;
      this.#to -= to * length;
      this.#position[axis] = 0;
    }
    this.#column += TILE;
  }
}

/** A dimension: its length, and the elements from one index to the next in the source and in the result. */
interface Axis {
  readonly length: number;
  readonly from: number;
  readonly to: number;
}

const ONE: Axis = { length: 1, from: 0, to: 0 };

function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array, wordBytes: 1 | 2 | 4): Words {
  if (wordBytes === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  if (wordBytes === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return new Uint8Array(buffer, byteOffset, byteLength);
}
