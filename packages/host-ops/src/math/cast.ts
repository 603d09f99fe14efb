import {
  bytesOf,
  dataFromBytes,
  type DType,
  DTYPES,
  elementCount,
  isNumeric,
  lanesOf,
  type NumericData,
  type NumericDType,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { storeAt, toDoubles } from "../call/int64.js";
import { allocate } from "../call/limits.js";
import {
  is16BitFloat,
  is64Bit,
  isComplex,
  isFloating,
  type NumberArray,
  numbersOf,
  packNumbers,
} from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { floatsToIntegers } from "./float-to-integer.js";

const TWO_31 = 2 ** 31;
const TWO_32 = 2 ** 32;
const TWO_63 = 2 ** 63;
const TWO_64 = 2 ** 64;

/** TensorFlow's threads take smaller numbers for 0 where they compute. Those of 16 bits it tells by their bits. */
const LEAST_NORMAL: Partial<Record<DType, number>> = {
  float32: 2 ** -126,
  complex64: 2 ** -126,
  float64: 2 ** -1022,
  complex128: 2 ** -1022,
};

/**
 * Converts between numeric dtypes as TensorFlow's CPU kernel does: integers wrap, floats to integers truncate, what does not
 * fit becomes what x86 conversion instructions give, everything but zero is true.
 */
export function cast(value: Tensor, to: DType): Tensor {
  const from = value.dtype;
  if (from === to) return value;
  if (!isNumeric(from) || !isNumeric(to)) throw invalid(`Cast ${from} to ${to} is not supported`);
  if (isComplex(from) || isComplex(to)) return castComplex(value, to);
  if (is64Bit(from)) return withData(to, value.shape, from64(value.data as BigInt64Array, from === "int64", to));
  return withData(to, value.shape, castNumbers(from, numbersOf(value), to));
}

/** @param from  a floating or complex dtype, or one of integers of up to 32 bits */
function castNumbers(from: DType, numbers: NumberArray, to: NumericDType): NumericData {
  const isFloat = isFloating(from) || isComplex(from);
  if (to === "bool") return nonZero(numbers, LEAST_NORMAL[from] ?? 0);
  if (is64Bit(to)) return to64(numbers, isFloat, to);
  if (isFloating(to)) return toFloating(numbers, to);
  const out = allocate(to as "int32", numbers.length);
  if (isFloat) floatsToIntegers(from, numbers, out, to);
  else out.set(numbers as Int32Array);
  return out;
}

/** @param least  smaller magnitudes than this count as 0 */
function nonZero(numbers: NumberArray, least: number): Uint8Array {
  const out = new Uint8Array(numbers.length);
  for (let i = 0; i < out.length; i++) {
    const number = numbers[i]!;
    out[i] = number === 0 || (number < least && number > -least) ? 0 : 1;
  }
  return out;
}

function toFloating(numbers: NumberArray, to: DType): NumericData {
  if (is16BitFloat(to)) return packNumbers(to, numbers) as Uint16Array;
  const out = allocate(to as "float32", numbers.length);
  out.set(numbers as Float32Array);
  return out;
}

function to64(numbers: NumberArray, isFromFloat: boolean, to: "int64" | "uint64"): NumericData {
  const out = allocate(to, numbers.length);
  const lanes = lanesOf(out);
  if (!isFromFloat) {
    for (let i = 0; i < numbers.length; i++) storeAt(lanes, i, numbers[i]!);
    return out;
  }
  for (let i = 0; i < numbers.length; i++) {
    const truncated = Math.trunc(numbers[i]!);
    if (truncated >= -TWO_63 && truncated < TWO_63) storeAt(lanes, i, truncated);
    else if (to === "uint64" && truncated < TWO_64 && truncated > 0) storeAt(lanes, i, truncated - TWO_64);
    else lanes[2 * i + 1] = -TWO_31;
  }
  return out;
}

/** Low or high lanes decide about integers; floats round once from the exact value. */
function from64(data: BigInt64Array, isSigned: boolean, to: NumericDType): NumericData {
  const lanes = lanesOf(data);
  if (to === "bool") {
    const out = new Uint8Array(data.length);
    for (let i = 0; i < out.length; i++) out[i] = (lanes[2 * i]! | lanes[2 * i + 1]!) === 0 ? 0 : 1;
    return out;
  }
  if (is64Bit(to)) return dataFromBytes(to, bytesOf(data)) as NumericData;
  if (!isFloating(to)) {
    const out = allocate(to as "int32", data.length);
    for (let i = 0; i < out.length; i++) out[i] = lanes[2 * i]!;
    return out;
  }
  const doubles = toDoubles(
    isSigned ? data : new BigUint64Array(data.buffer as ArrayBuffer, data.byteOffset, data.length),
  );
  if (to === "float64") {
    return doubles;
  }
  for (let i = 0; i < doubles.length; i++) {
    const high = isSigned ? lanes[2 * i + 1]! : lanes[2 * i + 1]! >>> 0;
    // Beyond 2^53 two roundings could differ from one: make the first one sticky.
    if (Math.abs(high) >= 0x20_0000) doubles[i] = stickyDouble(high, lanes[2 * i]! >>> 0);
  }
  return toFloating(doubles, to);
}

/** high * 2^32 + low with what the lowest 11 bits hold jammed into the bit above: it rounds to float32 as the exact value does. */
function stickyDouble(high: number, low: number): number {
  const isInexact = (low & 0x7ff) !== 0;
  return high * TWO_32 + ((isInexact ? low | 0x800 : low) & ~0x7ff) + ((low & 0x8000_0000) === 0 ? 0 : TWO_32);
}

function castComplex(value: Tensor, to: NumericDType): Tensor {
  const numbers = numbersOf(value);
  if (isComplex(value.dtype)) {
    if (isComplex(to))
      return withData(to, value.shape, toFloating(numbers, to === "complex64" ? "float32" : "float64"));
    const real = new Float64Array(numbers.length / 2);
    for (let i = 0; i < real.length; i++) real[i] = numbers[2 * i]!;
    return withData(to, value.shape, castNumbers(value.dtype, real, to));
  }
  const out = allocate(to as "complex64", numbers.length);
  for (let i = 0; i < numbers.length; i++) out[2 * i] = numbers[i]!;
  return withData(to, value.shape, out);
}

/** Reads the bytes under another dtype; the last dim grows or shrinks with the element size. */
function bitcast(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const to = op.attrs.dtype("type");
  if (!isNumeric(to)) throw invalid(`Bitcast to ${to} is not supported`);
  const [fromBytes, toBytes] = [DTYPES[value.dtype].bytes, DTYPES[to].bytes];
  let shape = value.shape;
  if (fromBytes > toBytes) shape = [...shape, fromBytes / toBytes];
  if (fromBytes < toBytes) {
    const ratio = toBytes / fromBytes;
    if (shape[shape.length - 1] !== ratio) {
      throw invalid(
        `Cannot bitcast from ${value.dtype} to ${to}: the last dimension must be ${ratio}, got ${shape[shape.length - 1] ?? "a scalar"}`,
      );
    }
    shape = shape.slice(0, -1);
  }
  return [withData(to, shape, dataFromBytes(to, bytesOf(value.data as NumericData)) as NumericData)];
}

/** What counts as true for a condition: a number other than 0, a text or a tensor that is not empty. */
function toBool(op: OpCall): Tensor[] {
  const { data, dtype, shape } = op.tensor(0);
  const isOf = (): boolean => {
    if (shape.length > 0) return elementCount(shape) > 0;
    if (data instanceof StringColumn) return data.at(0).length > 0;
    return is64Bit(dtype) ? (data as BigInt64Array)[0] !== 0n : numbersOf(op.tensor(0))[0] !== 0;
  };
  return [tensor("bool", [], Uint8Array.of(isOf() ? 1 : 0))];
}

export const CAST_KERNELS: Readonly<Record<string, Kernel>> = {
  Cast: (op) => [cast(op.tensor(0), op.attrs.dtype("DstT"))],
  Bitcast: bitcast,
  ToBool: toBool,
};
