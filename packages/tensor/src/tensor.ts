import { invariant, InvariantError, ServingError } from "@shardserve/core";
import { type DType, DTYPES } from "./dtype.js";
import { zeroedArray } from "./small-data.js";
import { StringColumn } from "./strings.js";

/** Typed arrays by dtype; see {@link DTYPES} for the storage of 16-bit floats, bools and complex numbers. */
export interface DataOf {
  float32: Float32Array;
  float64: Float64Array;
  int32: Int32Array;
  uint8: Uint8Array;
  int16: Int16Array;
  int8: Int8Array;
  string: StringColumn;
  complex64: Float32Array;
  int64: BigInt64Array;
  bool: Uint8Array;
  qint8: Int8Array;
  quint8: Uint8Array;
  qint32: Int32Array;
  bfloat16: Uint16Array;
  qint16: Int16Array;
  quint16: Uint16Array;
  uint16: Uint16Array;
  complex128: Float64Array;
  float16: Uint16Array;
  resource: never;
  /** Values of the host that kernels alone look into, such as ragged tensors; they never leave the process. */
  variant: readonly object[];
  uint32: Uint32Array;
  uint64: BigUint64Array;
}

/** The dtypes whose elements are numbers: complex ones are pairs of them, bools 0 or 1, 16-bit floats bit patterns. */
export type NumericDType = Exclude<DType, "string" | "resource" | "variant">;
/** Elements of numbers; see {@link NumericDType}. */
export type NumericData = DataOf[NumericDType];
/** Elements of any dtype. */
export type TensorData = NumericData | StringColumn | DataOf["variant"];

/**
 * A dense tensor, row-major. `data` may alias memory of its maker and must be treated as read-only.
 * Hot paths read int64 data through 32-bit lanes (`lanesOf`), never as BigInt.
 */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: DataOf[D];
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  uint8: Uint8Array,
  int16: Int16Array,
  int8: Int8Array,
  complex64: Float32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
  qint8: Int8Array,
  quint8: Uint8Array,
  qint32: Int32Array,
  bfloat16: Uint16Array,
  qint16: Int16Array,
  quint16: Uint16Array,
  uint16: Uint16Array,
  complex128: Float64Array,
  float16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
} as const satisfies Record<NumericDType, unknown>;

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (let i = 0; i < shape.length; i++) count *= shape[i]!;
  return count;
}

/** Entries of `data` per element: 2 for complex numbers, else 1. */
export function lanesPerElement(dtype: DType): number {
  return dtype === "complex64" || dtype === "complex128" ? 2 : 1;
}

/** @throws InvariantError when data and shape disagree (a bug, never a request's fault) */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: DataOf[D]): Tensor<D> {
  const { length } = data as TensorData;
  // Spelled out: a closure for the text would cost more than the check, for every value of every run.
  if (length !== elementCount(shape) * lanesPerElement(dtype)) {
    throw new InvariantError(`${dtype} tensor of shape [${shape.join(",")}] with ${length} entries`);
  }
  return { dtype, shape, data };
}

/** A numeric array of `length` entries, all zero; it may share its buffer, see {@link zeroedArray}. */
export function newData<D extends NumericDType>(dtype: D, length: number): DataOf[D] {
  return zeroedArray<NumericData>(ARRAYS[dtype], length) as DataOf[D];
}

/** A tensor of zeros. */
export function zeros<D extends NumericDType>(dtype: D, shape: readonly number[]): Tensor<D> {
  return tensor(dtype, shape, newData(dtype, elementCount(shape) * lanesPerElement(dtype)));
}

/**
 * Reads raw little-endian bytes as numeric data: a view where the offset is aligned, else a copy.
 *
 * @throws ServingError INVALID_ARGUMENT when the byte length is no multiple of the element's
 */
export function dataFromBytes<D extends NumericDType>(dtype: D, bytes: Uint8Array): DataOf[D] {
  const ArrayType = ARRAYS[dtype];
  const width = ArrayType.BYTES_PER_ELEMENT;
  if (bytes.byteLength % DTYPES[dtype].bytes !== 0) {
    throw new ServingError("INVALID_ARGUMENT", `${bytes.byteLength} bytes are no whole number of ${dtype} elements`);
  }
  const aligned = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes); // Buffer.slice would not copy
  return new ArrayType(
    aligned.buffer as ArrayBuffer,
    aligned.byteOffset,
    aligned.byteLength / width,
  ) as unknown as DataOf[D];
}

/** The bytes under numeric data, as a view. */
export function bytesOf(data: NumericData): Uint8Array {
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

/** int64 data as pairs of 32-bit lanes, low lane first: element i is `lanes[2i + 1] * 2^32 + (lanes[2i] >>> 0)`. */
export function lanesOf(data: BigInt64Array | BigUint64Array): Int32Array {
  return new Int32Array(data.buffer as ArrayBuffer, data.byteOffset, data.length * 2);
}

/** False for strings, resources and variants. */
export function isNumeric(dtype: DType): dtype is NumericDType {
  return dtype in ARRAYS;
}

/** A tensor of rank 0. 16-bit floats are given as bit patterns. */
export function scalar<D extends NumericDType>(dtype: D, value: number | bigint): Tensor<D> {
  const result = zeros(dtype, []);
  (result.data as unknown as (number | bigint)[])[0] =
    dtype === "int64" || dtype === "uint64" ? BigInt(value) : Number(value);
  return result;
}

/** A tensor of byte strings; texts become UTF-8. */
export function strings(shape: readonly number[], values: readonly (string | Uint8Array)[]): Tensor<"string"> {
  return tensor("string", shape, StringColumn.from(values));
}

/** Elements as JavaScript numbers, for shapes, axes and other small integer tensors; never for bulk data. */
export function toNumbers(value: Tensor): number[] {
  invariant(isNumeric(value.dtype), () => `toNumbers of a ${value.dtype} tensor`);
  return Array.from(value.data as ArrayLike<number | bigint>, Number);
}
