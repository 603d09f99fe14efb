import { type DType, type Tensor, zeroedArray } from "@shardserve/tensor";
import { check, invalid, printShape } from "./errors.js";
import { fromIntegers, toDoubles } from "./int64.js";

/**
 * Elements of an integer tensor as numbers: int32 data as is, others converted; int64 rounded beyond 2^53 (such values
 * are out of every range that they are compared with).
 */
export function integersOf(value: Tensor): Int32Array | Float64Array {
  if (value.dtype === "int32") return value.data as Int32Array;
  if (value.dtype === "int64" || value.dtype === "uint64") return toDoubles(value.data as BigInt64Array);
  return Float64Array.from(value.data as unknown as ArrayLike<number>);
}

/** The first element of an integer tensor. */
export function integerOf(value: Tensor): number {
  const first = (value.data as unknown as ArrayLike<number | bigint>)[0];
  if (first === undefined) throw invalid("expected a scalar, got an empty tensor");
  return Number(first);
}

/** Dims given as a vector (or, where TensorFlow takes it, a scalar) tensor. */
export function shapeOf(value: Tensor, name = "shape"): number[] {
  check(
    value.shape.length <= 1,
    () => `${name} must be a vector of {int32,int64}, got shape ${printShape(value.shape)}`,
  );
  const data = value.data as unknown as ArrayLike<number | bigint>;
  const dims: number[] = [];
  for (let i = 0; i < data.length; i++) dims.push(Number(data[i]));
  return dims;
}

/** Integers as int32 or int64 data. */
export function indexData(dtype: DType, values: ArrayLike<number>): Int32Array | BigInt64Array {
  if (dtype === "int64") return fromIntegers(values);
  const out = zeroedArray(Int32Array, values.length);
  for (let i = 0; i < out.length; i++) out[i] = values[i]!;
  return out;
}

/**
 * An axis counted from the front.
 *
 * @throws ServingError INVALID_ARGUMENT when it lies outside [-rank, rank)
 */
export function normalAxis(axis: number, rank: number, message?: (axis: number, rank: number) => string): number {
  if (!(axis >= -rank && axis < rank)) {
    throw invalid(message?.(axis, rank) ?? `Expected axis in range [${-rank}, ${rank}), but got ${axis}`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** Elements of `shape[start .. end)`. */
export function countOf(shape: readonly number[], start: number, end = shape.length): number {
  let count = 1;
  for (let i = start; i < end; i++) count *= shape[i]!;
  return count;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * The shape that both broadcast to, by NumPy's rule.
 *
 * @throws ServingError INVALID_ARGUMENT with TensorFlow's text when there is none
 */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  const out: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = i < rank - a.length ? 1 : a[i - rank + a.length]!;
    const y = i < rank - b.length ? 1 : b[i - rank + b.length]!;
    if (x !== y && x !== 1 && y !== 1) throw invalid(`Incompatible shapes: ${printShape(a)} vs. ${printShape(b)}`);
    out.push(x === 1 ? y : x);
  }
  return out;
}

/** A multi-dimensional index of flat element `i`, printed as TensorFlow does: "[1,0]"; "" for a scalar. */
export function printIndex(shape: readonly number[], i: number): string {
  if (shape.length === 0) return "";
  const index: number[] = [];
  let rest = i;
  for (let d = shape.length - 1; d >= 0; d--) {
    index.unshift(rest % shape[d]!);
    rest = Math.floor(rest / shape[d]!);
  }
  return `[${index.join(",")}]`;
}

/** Exact decimal text of element i of an integer tensor. */
export function printElement(value: Tensor, i: number): string {
  return String((value.data as unknown as ArrayLike<number | bigint>)[i]);
}
