/** Reading and writing numeric data as JavaScript numbers, whatever the storage. */
import {
  bytesOf,
  dataFromBytes,
  type DataOf,
  type DType,
  isNumeric,
  type NumericData,
  newData,
  type Tensor,
} from "@shardserve/tensor";
import { bfloatToNumber, halfToNumber, numberToBfloat, numberToHalf } from "@shardserve/tensor";
import { withData } from "./elements.js";
import { invalid } from "./errors.js";
import { allSafe, fromIntegers, toDoubles } from "./int64.js";
import { allocate } from "./limits.js";

/** Typed arrays whose elements are JavaScript numbers. */
export type NumberArray = Exclude<NumericData, BigInt64Array | BigUint64Array>;

export function is64Bit(dtype: DType): dtype is "int64" | "uint64" {
  return dtype === "int64" || dtype === "uint64";
}

export function is16BitFloat(dtype: DType): dtype is "float16" | "bfloat16" {
  return dtype === "float16" || dtype === "bfloat16";
}

export function isFloating(dtype: DType): boolean {
  return dtype === "float32" || dtype === "float64" || is16BitFloat(dtype);
}

export function isComplex(dtype: DType): boolean {
  return dtype === "complex64" || dtype === "complex128";
}

/** Elements as numbers: the data itself where it holds numbers; 64-bit integers are rounded beyond 2^53. */
export function numbersOf(value: Tensor): NumberArray {
  const { dtype, data } = value;
  if (!isNumeric(dtype)) throw invalid(`expected numbers, got a ${dtype} tensor`);
  if (is64Bit(dtype)) return toDoubles(data as BigInt64Array);
  if (!is16BitFloat(dtype)) return data as NumberArray;
  const convert = dtype === "float16" ? halfToNumber : bfloatToNumber;
  return Float32Array.from(data as Uint16Array, convert);
}

/** An array to write `count` results of `dtype` into as numbers; {@link packNumbers} turns it into the tensor's data. */
export function numberArray(dtype: DType, count: number): NumberArray {
  if (is16BitFloat(dtype)) return new Float32Array(allocate(dtype, count).length);
  if (is64Bit(dtype)) return new Float64Array(allocate(dtype, count).length);
  return allocate(dtype as "float32", count);
}

/** The data of a `dtype` tensor from an array that {@link numberArray} made. */
export function packNumbers(dtype: DType, numbers: NumberArray): DataOf[DType] {
  if (dtype === "float16") return Uint16Array.from(numbers, numberToHalf) as never;
  if (dtype === "bfloat16") return Uint16Array.from(numbers, numberToBfloat) as never;
  if (is64Bit(dtype)) {
    const data = fromIntegers(numbers);
    return (dtype === "int64" ? data : dataFromBytes("uint64", bytesOf(data))) as never;
  }
  return numbers as never;
}

/** A `dtype` tensor of results in an array that {@link numberArray} made. */
export function numbersTensor(dtype: DType, shape: readonly number[], numbers: NumberArray): Tensor {
  return withData(dtype, shape, packNumbers(dtype, numbers));
}

/** A `dtype` tensor of sums in double precision, each rounded once. */
export function roundedTensor(dtype: DType, shape: readonly number[], sums: Float64Array): Tensor {
  const out = numberArray(dtype, sums.length);
  out.set(sums);
  return numbersTensor(dtype, shape, out);
}

/** Rounds a number to the precision of a floating dtype; other dtypes leave it. */
export function roundingOf(dtype: DType): (value: number) => number {
  switch (dtype) {
    case "float32":
      return Math.fround;
    case "float16":
      return (value) => halfToNumber(numberToHalf(value));
    case "bfloat16":
      return (value) => bfloatToNumber(numberToBfloat(value));
    default:
      return (value) => value;
  }
}

/** The largest finite number of each floating dtype. */
export const FINITE_MAX: Readonly<Record<"float16" | "bfloat16" | "float32" | "float64", number>> = {
  float16: 65504,
  bfloat16: 3.3895313892515355e38,
  float32: 3.4028234663852886e38,
  float64: Number.MAX_VALUE,
};

/** The largest (`sign` 1) or smallest (-1) value of a dtype; infinities for floats, where reductions start. */
export function extremeOf(dtype: DType, sign: 1 | -1): number | bigint {
  if (isFloating(dtype)) return sign * Number.POSITIVE_INFINITY;
  switch (dtype) {
    case "int64":
      return sign > 0 ? 2n ** 63n - 1n : -(2n ** 63n);
    case "uint64":
      return sign > 0 ? 2n ** 64n - 1n : 0n;
    default: {
      const one = newData(dtype as "int32", 1);
      const bits = one.BYTES_PER_ELEMENT * 8;
      const isSigned = !dtype.startsWith("u") && !dtype.startsWith("qu");
      if (sign > 0) return 2 ** (isSigned ? bits - 1 : bits) - 1;
      return isSigned ? -(2 ** (bits - 1)) : 0;
    }
  }
}

/**
 * Elements as exact numbers.
 *
 * @throws ServingError INVALID_ARGUMENT for 64-bit integers beyond 2^53
 */
export function exactNumbersOf(value: Tensor, what: string): NumberArray {
  if (is64Bit(value.dtype) && !allSafe(value.data as BigInt64Array)) {
    throw invalid(`${what} of integers beyond 2^53 is not supported`);
  }
  return numbersOf(value);
}
