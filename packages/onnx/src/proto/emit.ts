import { bytesOf, type DType, DTYPES, type NumericData, toNumbers } from "@shardserve/tensor";
import { numbers } from "./numbers.js";
import type { OnnxBuilder } from "./builder.js";
import type { Value } from "./value.js";
import { Unsupported } from "./unsupported.js";

/** Building blocks that several families of lowerings share. All are exact for every dtype that they accept. */

export const INT64_MAX = 2n ** 63n - 1n;
export const INT64_MIN = -(2n ** 63n);

const FLOATS: ReadonlySet<DType> = new Set(["float32", "float64", "float16"]);
const SIGNED: ReadonlySet<DType> = new Set(["int8", "int16", "int32", "int64"]);

export function isFloat(dtype: DType): boolean {
  return FLOATS.has(dtype);
}

export function isSignedInt(dtype: DType): boolean {
  return SIGNED.has(dtype);
}

/** ONNX Cast; nothing when the dtype is right already. Constants are cast here. */
export function cast(b: OnnxBuilder, value: Value, dtype: DType): Value {
  if (value.dtype === dtype) return value;
  if (value.tensor && dtype === "int64" && (value.dtype === "int32" || value.dtype === "int16")) {
    return b.constant(numbers("int64", value.tensor.shape, toNumbers(value.tensor)));
  }
  return b.op("Cast", [value], { to: DTYPES[dtype].onnx }, dtype);
}

/** A shape, axis or index operand: int64, rank 1. */
export function intVector(b: OnnxBuilder, value: Value): Value {
  if (value.tensor) return b.ints([...(value.tensor.data as Iterable<number | bigint>)]);
  return b.op("Reshape", [cast(b, value, "int64"), b.ints([-1])]);
}

/** A rank-0 value out of one of rank 0 or of rank 1 with one element. */
export function asScalar(b: OnnxBuilder, value: Value): Value {
  return b.op("Reshape", [value, b.ints([])]);
}

export function shapeOf(b: OnnxBuilder, value: Value): Value {
  return b.op("Shape", [value], {}, "int64");
}

/** Rank as an int64 vector of one element. */
export function rankOf(b: OnnxBuilder, value: Value): Value {
  return shapeOf(b, shapeOf(b, value));
}

/** `[start, end)` along some axes, steps 1. */
export function slice(
  b: OnnxBuilder,
  value: Value,
  start: Value | readonly number[],
  end: Value | readonly (number | bigint)[],
  axes: readonly number[] = [0],
): Value {
  const vector = (part: Value | readonly (number | bigint)[]) => ("name" in part ? part : b.ints(part));
  return b.op("Slice", [value, vector(start), vector(end), b.ints(axes)]);
}

/** Joins int64 vectors. */
export function concat(b: OnnxBuilder, parts: readonly Value[], axis = 0): Value {
  return parts.length === 1 ? parts[0]! : b.op("Concat", parts, { axis });
}

/** A tensor of `shape` (int64 vector) filled with one value. */
export function filled(b: OnnxBuilder, shape: Value, dtype: DType, value: number | bigint): Value {
  return b.op("ConstantOfShape", [shape], { value: numbers(dtype, [1], [value]) }, dtype);
}

/** Wider dtype in which ONNX Runtime's Where works, by dtype; the way back is exact. */
const WHERE_VIA: Partial<Record<DType, DType>> = {
  int8: "int32",
  int16: "int32",
  uint16: "int32",
  uint32: "int64",
  uint64: "int64",
};

/** Element-wise choice with broadcasting. */
export function where(b: OnnxBuilder, condition: Value, yes: Value, no: Value): Value {
  const { dtype } = yes;
  if (dtype === "bool") {
    const chosen = b.op("And", [condition, yes]);
    return b.op("Or", [chosen, b.op("And", [b.op("Not", [condition]), no])]);
  }
  const via = WHERE_VIA[dtype] ?? dtype;
  const result = b.op("Where", [condition, cast(b, yes, via), cast(b, no, via)], {}, via);
  return cast(b, result, dtype);
}

/**
 * How an op that lacks a kernel for a narrow dtype is computed in a wider one.
 * `ring`: sums and products, exact modulo the width. `order`: comparisons, exact because the values fit.
 */
const WIDER: Record<"ring" | "order", Partial<Record<DType, DType>>> = {
  ring: {
    int8: "int32",
    int16: "int32",
    uint8: "int32",
    uint16: "int32",
    uint32: "int64",
    uint64: "int64",
  },
  order: { int8: "int32", int16: "int32", uint8: "int32", uint16: "int32", uint32: "int64" },
};

/** Runs `compute` in the value's dtype if `kernels` has it, else in a wider one, and casts the result back. */
export function widened(
  b: OnnxBuilder,
  kernels: ReadonlySet<DType>,
  kind: "ring" | "order",
  values: readonly Value[],
  compute: (values: readonly Value[]) => Value,
): Value {
  const { dtype } = values[0]!;
  if (kernels.has(dtype)) return compute(values);
  const via = WIDER[kind][dtype];
  if (!via || !kernels.has(via)) throw new Unsupported(`no engine kernel for ${dtype}`);
  return cast(b, compute(values.map((value) => cast(b, value, via))), dtype);
}

export function dtypes(text: string): ReadonlySet<DType> {
  return new Set(text.split(" ") as DType[]);
}

/**
 * Makes the run fail where `isBad` holds anywhere. The result is an int64 tensor of zeros in the shape of `isBad`: add it
 * to something that the graph needs, or the check is dropped with it. Works by reading past the end of a one-element table.
 */
export function zeroOrFail(b: OnnxBuilder, isBad: Value): Value {
  return b.ops("Gather", [b.ints([0]), cast(b, isBad, "int64")], ["int64"], {}, CHECK_LABEL)[0]!;
}

/** The value as it is, by a Reshape that costs no copy; the run fails where `isBad` (one element) holds. */
export function unchangedUnless(b: OnnxBuilder, value: Value, isBad: Value): Value {
  return b.op("Reshape", [value, b.op("Add", [shapeOf(b, value), zeroOrFail(b, isBad)])], { allowzero: 1 });
}

/** Name of nodes that fail on purpose, for those who read ONNX Runtime's error texts. */
export const CHECK_LABEL = "Check";

/** More elements than any answer needs: a request must not make the process ask for all memory. */
export const ELEMENTS_MAX = 2 ** 28;

/** A shape (int64 vector) that a request may have chosen: negative or enormous ones make the run fail. */
export function boundedShape(b: OnnxBuilder, shape: Value): Value {
  if (shape.tensor && toNumbers(shape.tensor).every((length) => length >= 0)) return shape;
  const count = b.op("ReduceProd", [cast(b, shape, "float64")], { keepdims: 0 });
  const isLarge = less(b, b.scalar("float64", ELEMENTS_MAX), count);
  const isBad = b.op("Or", [isLarge, less(b, shape, b.scalar("int64", 0))]);
  return b.op("Add", [shape, zeroOrFail(b, isBad)]);
}

/** The same for one length, such as a number of segments. @param length  int64 scalar or one-element vector */
export function boundedLength(b: OnnxBuilder, length: Value, max = ELEMENTS_MAX): Value {
  const isBad = b.op("Or", [less(b, b.scalar("int64", max), length), less(b, length, b.scalar("int64", 0))]);
  return b.op("Add", [length, zeroOrFail(b, isBad)]);
}

/**
 * Indices for ONNX Gather ops with TensorFlow's rule that negative ones are errors, where ONNX counts from the end:
 * they are moved out of any range.
 */
export function guardedIndices(b: OnnxBuilder, indices: Value, dtype?: "int64"): Value {
  const wide = dtype === "int64" || (indices.dtype !== "int32" && indices.dtype !== "int64");
  const value = wide ? cast(b, indices, "int64") : indices;
  if (value.tensor && isNonNegative(value.tensor.data as NumericData)) return value;
  const far = b.scalar(value.dtype, value.dtype === "int64" ? INT64_MAX : 2 ** 31 - 1);
  return where(b, b.op("Less", [value, b.scalar(value.dtype, 0)], {}, "bool"), far, value);
}

function isNonNegative(data: NumericData): boolean {
  const bytes = bytesOf(data);
  const width = data.BYTES_PER_ELEMENT;
  for (let at = width - 1; at < bytes.length; at += width) if (bytes[at]! >= 128) return false;
  return true;
}

export function not(b: OnnxBuilder, value: Value): Value {
  return b.op("Not", [value]);
}

export function less(b: OnnxBuilder, left: Value, right: Value): Value {
  return b.op("Less", [left, right], {}, "bool");
}

export function equal(b: OnnxBuilder, left: Value, right: Value): Value {
  return b.op("Equal", [left, right], {}, "bool");
}

export function transpose(b: OnnxBuilder, value: Value, perm: readonly number[]): Value {
  return perm.every((from, to) => from === to) ? value : b.op("Transpose", [value], { perm });
}
