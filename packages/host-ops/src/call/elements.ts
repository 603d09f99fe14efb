/**
 * Moving elements without looking at them: the engine under every op that only rearranges data (Slice, Transpose,
 * Gather, Tile, Concat, ...). Numbers are moved as raw units of 1, 2 or 4 bytes, so one loop serves all dtypes and keeps
 * NaN payloads and int64 exact; strings are moved as ranges of their column, variants as references.
 */
import { invariant } from "@shardserve/core";
import {
  type DType,
  DTYPES,
  elementCount,
  isNumeric,
  type NumericData,
  newData,
  lanesPerElement,
  StringColumn,
  tensor,
  type Tensor,
  type TensorData,
  zeroedArray,
} from "@shardserve/tensor";
import { checkOutput } from "./limits.js";

type Units = Uint8Array | Uint16Array | Int32Array;

/** Below this many units a loop is faster than `set(subarray)`. */
const SET_UNITS_MIN = 32;

/** Raw units per element ({@link unitsOf}): 1 for elements of up to 4 bytes, 2 for 8, 4 for 16. */
export function unitsPerElement(dtype: DType): number {
  return Math.max(1, DTYPES[dtype].bytes >> 2);
}

/** Numbers of any dtype as their raw units. */
export function unitsOf(dtype: DType, data: NumericData): Units {
  if (data instanceof Int32Array || data instanceof Uint8Array || data instanceof Uint16Array) return data;
  const buffer = data.buffer as ArrayBuffer;
  const bytes = DTYPES[dtype].bytes;
  if (bytes === 1) return new Uint8Array(buffer, data.byteOffset, data.byteLength);
  if (bytes === 2) return new Uint16Array(buffer, data.byteOffset, data.byteLength >> 1);
  return new Int32Array(buffer, data.byteOffset, data.byteLength >> 2);
}

/**
 * Builds the data of one tensor by appending runs of elements of others of the same dtype.
 * The count of elements must be known beforehand.
 */
export interface Appender {
  /** Appends `count` elements of `source` from element `start` on. */
  append(source: TensorData, start: number, count: number): void;
  /** Appends the elements of `source` at `starts[i] .. starts[i] + run`, for every i. */
  appendRuns(source: TensorData, starts: ArrayLike<number>, run: number): void;
  /** Appends `count` runs of elements of `source`, the first at element `start` and each `step` elements behind the one before. */
  appendStrided(source: TensorData, start: number, step: number, count: number, run: number): void;
  /** @throws InvariantError when fewer or more elements were appended than announced */
  build(): TensorData;
}

/** @throws ServingError RESOURCE_EXHAUSTED when `count` elements are more than an output may hold */
export function appender(dtype: DType, count: number): Appender {
  checkOutput(dtype, count);
  if (dtype === "variant") return new VariantAppender();
  return isNumeric(dtype) ? new NumericAppender(dtype, count) : new StringAppender(count);
}

class NumericAppender implements Appender {
  readonly #dtype: DType;
  readonly #data: NumericData;
  readonly #units: Units;
  readonly #perElement: number;
  #at = 0;
  #source: TensorData | undefined;
  #sourceUnits: Units | undefined;

  constructor(dtype: DType, count: number) {
    invariant(isNumeric(dtype), `an appender of ${dtype}`);
    this.#dtype = dtype;
    this.#data = newData(dtype, count * lanesPerElement(dtype));
    this.#units = unitsOf(dtype, this.#data);
    this.#perElement = unitsPerElement(dtype);
  }

  append(source: TensorData, start: number, count: number): void {
    const from = this.#unitsOfSource(source);
    const unitCount = count * this.#perElement;
    copyUnits(from, start * this.#perElement, this.#units, this.#at, unitCount);
    this.#at += unitCount;
  }

  appendRuns(source: TensorData, starts: ArrayLike<number>, run: number): void {
    const from = this.#unitsOfSource(source);
    const to = this.#units;
    const per = this.#perElement;
    const unitCount = run * per;
    let at = this.#at;
    if (unitCount === 1) {
      for (let i = 0; i < starts.length; i++) to[at++] = from[starts[i]!]!;
    } else if (unitCount === 2 && per === 2) {
      for (let i = 0; i < starts.length; i++) {
        const start = starts[i]! * 2;
        to[at] = from[start]!;
        to[at + 1] = from[start + 1]!;
        at += 2;
      }
    } else {
      for (let i = 0; i < starts.length; i++) {
        copyUnits(from, starts[i]! * per, to, at, unitCount);
        at += unitCount;
      }
    }
    this.#at = at;
  }

  appendStrided(source: TensorData, start: number, step: number, count: number, run: number): void {
    const from = this.#unitsOfSource(source);
    const to = this.#units;
    const unitCount = run * this.#perElement;
    const move = step * this.#perElement;
    let place = start * this.#perElement;
    let at = this.#at;
    if (unitCount === 1) {
      for (let i = 0; i < count; i++, place += move) to[at++] = from[place]!;
    } else if (unitCount === 2) {
      for (let i = 0; i < count; i++, place += move, at += 2) {
        to[at] = from[place]!;
        to[at + 1] = from[place + 1]!;
      }
    } else {
      for (let i = 0; i < count; i++, place += move, at += unitCount) copyUnits(from, place, to, at, unitCount);
    }
    this.#at = at;
  }

  build(): TensorData {
    invariant(this.#at === this.#units.length, `${this.#at} of ${this.#units.length} units appended`);
    return this.#data;
  }

  /** Remembers the last source's view: callers append many runs of one source. */
  #unitsOfSource(source: TensorData): Units {
    if (this.#source !== source) {
      this.#source = source;
      this.#sourceUnits = unitsOf(this.#dtype, source as NumericData);
    }
    return this.#sourceUnits!;
  }
}

/** Copies `count` raw units. */
export function copyUnits(from: Units, start: number, to: Units, at: number, count: number): void {
  if (count >= SET_UNITS_MIN) {
    to.set(from.subarray(start, start + count), at);
  } else {
    for (let i = 0; i < count; i++) to[at + i] = from[start + i]!;
  }
}

class StringAppender implements Appender {
  readonly #offsets: Uint32Array;
  #bytes: Uint8Array = zeroedArray(Uint8Array, 64);
  #byteLength = 0;
  #count = 0;

  constructor(count: number) {
    this.#offsets = zeroedArray(Uint32Array, count + 1);
  }

  append(source: TensorData, start: number, count: number): void {
    const column = source as StringColumn;
    const { offsets } = column;
    const from = offsets[start]!;
    const end = offsets[start + count]!;
    const needed = this.#byteLength + end - from;
    if (needed > this.#bytes.length) this.#grow(needed);
    if (end - from < SET_UNITS_MIN) {
      for (let i = from, at = this.#byteLength; i < end; i++) this.#bytes[at++] = column.bytes[i]!;
    } else {
      this.#bytes.set(column.bytes.subarray(from, end), this.#byteLength);
    }
    const shift = this.#byteLength - from;
    for (let i = 1; i <= count; i++) this.#offsets[this.#count + i] = offsets[start + i]! + shift;
    this.#count += count;
    this.#byteLength = needed;
  }

  appendRuns(source: TensorData, starts: ArrayLike<number>, run: number): void {
    for (let i = 0; i < starts.length; i++) this.append(source, starts[i]!, run);
  }

  appendStrided(source: TensorData, start: number, step: number, count: number, run: number): void {
    for (let i = 0; i < count; i++) this.append(source, start + i * step, run);
  }

  build(): TensorData {
    invariant(
      this.#count === this.#offsets.length - 1,
      `${this.#count} of ${this.#offsets.length - 1} strings appended`,
    );
    return new StringColumn(this.#bytes.subarray(0, this.#byteLength), this.#offsets);
  }

  #grow(needed: number): void {
    checkOutput("string", this.#offsets.length, needed);
    const bytes = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    bytes.set(this.#bytes.subarray(0, this.#byteLength));
    this.#bytes = bytes;
  }
}

class VariantAppender implements Appender {
  readonly #items: object[] = [];

  append(source: TensorData, start: number, count: number): void {
    for (let i = start; i < start + count; i++) this.#items.push((source as readonly object[])[i]!);
  }

  appendRuns(source: TensorData, starts: ArrayLike<number>, run: number): void {
    for (let i = 0; i < starts.length; i++) this.append(source, starts[i]!, run);
  }

  appendStrided(source: TensorData, start: number, step: number, count: number, run: number): void {
    for (let i = 0; i < count; i++) this.append(source, start + i * step, run);
  }

  build(): TensorData {
    return this.#items;
  }
}

/** The tensor of `shape` whose data are the runs `starts[i] .. starts[i] + run` of `source`, in order. */
export function takeRuns(source: Tensor, starts: ArrayLike<number>, run: number, shape: readonly number[]): Tensor {
  const out = appender(source.dtype, starts.length * run);
  out.appendRuns(source.data, starts, run);
  return build(source.dtype, shape, out);
}

/** Finishes an appender as a tensor. */
export function build(dtype: DType, shape: readonly number[], out: Appender): Tensor {
  return withData(dtype, shape, out.build());
}

/** A tensor whose dtype is known at run time only. */
export function withData(dtype: DType, shape: readonly number[], data: TensorData): Tensor {
  return tensor(dtype, shape, data as never);
}

/** The same data under another shape with the same number of elements. */
export function reshaped(source: Tensor, shape: readonly number[]): Tensor {
  return withData(source.dtype, shape, source.data);
}

/** Row-major strides of a shape, in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.slice();
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

/**
 * Copies a strided view of `source` into a dense tensor: element [i0, i1, ...] is source element
 * `offset + i0 * strides[0] + i1 * strides[1] + ...`. Strides may be 0 (repeat) or negative (reverse).
 *
 * @param resultShape  shape of the result when it differs from the view's (same number of elements)
 * @throws ServingError RESOURCE_EXHAUSTED when the view has more elements than an output may hold
 */
export function copyStrided(
  source: Tensor,
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
  resultShape: readonly number[] = shape,
): Tensor {
  const count = elementCount(shape);
  const out = appender(source.dtype, count);
  if (count > 0) {
    const { dims, steps, run } = collapse(shape, strides);
    const inner = dims.pop();
    if (inner === undefined) {
      out.append(source.data, offset, run);
    } else {
      const innerStep = steps.pop()!;
      forEachOffset(dims, steps, offset, (start) => out.appendStrided(source.data, start, innerStep, inner, run));
    }
  }
  return build(source.dtype, resultShape, out);
}

/**
 * Cuts numbers that lie in `outer` rows into columns: part k has the `runs[k]` next elements of every row. The parts share an
 * array, and have the source's own elements where there is one row.
 *
 * @param runs  adds up to a row
 */
export function cutRows(source: Tensor, outer: number, runs: readonly number[]): TensorData[] {
  const lanes = lanesPerElement(source.dtype);
  const data = source.data as Float32Array; // of any numeric dtype
  const all = outer === 1 ? data : (newData(source.dtype as "float32", data.length) as Float32Array);
  if (outer > 1) cutUnits(source, all, outer, runs);
  let at = 0;
  return runs.map((run) => all.subarray(at, (at += outer * run * lanes)));
}

function cutUnits({ dtype, data }: Tensor, all: NumericData, outer: number, runs: readonly number[]): void {
  const from = unitsOf(dtype, data as NumericData);
  const to = unitsOf(dtype, all);
  const width = from.length / outer;
  let start = 0;
  let at = 0;
  for (let k = 0; k < runs.length; k++) {
    const run = runs[k]! * unitsPerElement(dtype);
    for (let row = 0; row < outer; row++, at += run) copyUnits(from, row * width + start, to, at, run);
    start += run;
  }
}

/** Drops dims of 1, joins dims that are contiguous in the source, and splits off the contiguous run at the end. */
function collapse(
  shape: readonly number[],
  strides: readonly number[],
): { dims: number[]; steps: number[]; run: number } {
  const dims: number[] = [];
  const steps: number[] = [];
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 1) continue;
    const last = dims.length - 1;
    if (last >= 0 && steps[last] === strides[i]! * shape[i]!) {
      dims[last] = dims[last]! * shape[i]!;
      steps[last] = strides[i]!;
    } else {
      dims.push(shape[i]!);
      steps.push(strides[i]!);
    }
  }
  if (steps[steps.length - 1] !== 1) return { dims, steps, run: 1 };
  steps.pop();
  return { run: dims.pop()!, dims, steps };
}

/** Calls back with `offset + sum(index[d] * steps[d])` for every index of `dims`, in row-major order. */
export function forEachOffset(
  dims: readonly number[],
  steps: readonly number[],
  offset: number,
  callback: (offset: number) => void,
): void {
  const total = elementCount(dims);
  const index = zeroedArray(Float64Array, dims.length);
  let at = offset;
  for (let n = 0; n < total; n++) {
    callback(at);
    for (let d = dims.length - 1; d >= 0; d--) {
      index[d] = index[d]! + 1;
      at += steps[d]!;
      if (index[d]! < dims[d]!) break;
      at -= steps[d]! * dims[d]!;
      index[d] = 0;
    }
  }
}
