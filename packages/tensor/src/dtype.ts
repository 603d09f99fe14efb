import { ServingError } from "@shardserve/core";

/** How one element type is named and stored. */
export interface DTypeInfo {
  readonly name: DType;
  /** tensorflow.DataType number. */
  readonly tf: number;
  /** onnx.TensorProto.DataType number, 0 where ONNX has no such type. */
  readonly onnx: number;
  /** Bytes of one element; 0 for strings, resources and variants. */
  readonly bytes: number;
}

/**
 * Element types by their short TensorFlow names. Float16 and bfloat16 are stored as raw 16-bit patterns, bool as one
 * byte of 0 or 1, complex numbers as pairs, quantised types as their plain integers.
 */
export const DTYPES = {
  float32: { name: "float32", tf: 1, onnx: 1, bytes: 4 },
  float64: { name: "float64", tf: 2, onnx: 11, bytes: 8 },
  int32: { name: "int32", tf: 3, onnx: 6, bytes: 4 },
  uint8: { name: "uint8", tf: 4, onnx: 2, bytes: 1 },
  int16: { name: "int16", tf: 5, onnx: 5, bytes: 2 },
  int8: { name: "int8", tf: 6, onnx: 3, bytes: 1 },
  string: { name: "string", tf: 7, onnx: 8, bytes: 0 },
  complex64: { name: "complex64", tf: 8, onnx: 14, bytes: 8 },
  int64: { name: "int64", tf: 9, onnx: 7, bytes: 8 },
  bool: { name: "bool", tf: 10, onnx: 9, bytes: 1 },
  qint8: { name: "qint8", tf: 11, onnx: 3, bytes: 1 },
  quint8: { name: "quint8", tf: 12, onnx: 2, bytes: 1 },
  qint32: { name: "qint32", tf: 13, onnx: 6, bytes: 4 },
  bfloat16: { name: "bfloat16", tf: 14, onnx: 16, bytes: 2 },
  qint16: { name: "qint16", tf: 15, onnx: 5, bytes: 2 },
  quint16: { name: "quint16", tf: 16, onnx: 4, bytes: 2 },
  uint16: { name: "uint16", tf: 17, onnx: 4, bytes: 2 },
  complex128: { name: "complex128", tf: 18, onnx: 15, bytes: 16 },
  float16: { name: "float16", tf: 19, onnx: 10, bytes: 2 },
  resource: { name: "resource", tf: 20, onnx: 0, bytes: 0 },
  variant: { name: "variant", tf: 21, onnx: 0, bytes: 0 },
  uint32: { name: "uint32", tf: 22, onnx: 12, bytes: 4 },
  uint64: { name: "uint64", tf: 23, onnx: 13, bytes: 8 },
} as const satisfies Record<string, { name: string; tf: number; onnx: number; bytes: number }>;

/** The element types that are known here, by TensorFlow's names in Python. */
export type DType = keyof typeof DTYPES;

const BY_TF = new Map<number, DType>(Object.values(DTYPES).map((info) => [info.tf, info.name]));

/** Numbers of a dtype in TensorFlow and ONNX, and its element's bytes. */
export function dtypeInfo(dtype: DType): DTypeInfo {
  return DTYPES[dtype];
}

/** TensorFlow's dtypes that nothing here computes with, as it prints them. */
const OTHER_TF_NAMES: Readonly<Record<number, string>> = {
  24: "float8_e5m2",
  25: "float8_e4m3fn",
  26: "float8_e4m3fnuz",
  27: "float8_e4m3b11fnuz",
  28: "float8_e5m2fnuz",
  29: "int4",
  30: "uint4",
  31: "int2",
  32: "uint2",
};

/**
 * The dtype of a tensorflow.DataType number; reference types (100 + n) count as their base.
 *
 * @throws ServingError UNIMPLEMENTED for a number that names no supported type
 */
export function dtypeFromTf(tf: number): DType {
  const dtype = BY_TF.get(tf > 100 ? tf - 100 : tf);
  if (!dtype) {
    const name = OTHER_TF_NAMES[tf];
    throw new ServingError("UNIMPLEMENTED", `DataType ${tf}${name ? ` (${name})` : ""} is not supported`);
  }
  return dtype;
}

/** "float32" -> "DT_FLOAT", as TensorFlow prints it. */
export function tfDTypeName(dtype: DType): string {
  return `DT_${TF_NAMES[dtype] ?? dtype.toUpperCase()}`;
}

/** "float32" -> "float", as TensorFlow's C++ error texts print it. */
export function tfDTypeString(dtype: DType): string {
  return (TF_NAMES[dtype] ?? dtype).toLowerCase();
}

const TF_NAMES: Partial<Record<DType, string>> = { float32: "FLOAT", float64: "DOUBLE", float16: "HALF" };
