import { ServingError } from "@shardserve/core";
import {
  bytesOf,
  dataFromBytes,
  type DType,
  DTYPES,
  elementCount,
  type NumericData,
  type NumericDType,
  type StringColumn,
  StringColumnBuilder,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/** Element types that the Open Inference Protocol knows, and the field of InferTensorContents that holds each. */
interface Datatype {
  readonly name: string;
  /** Undefined for 16-bit floats, which travel as raw bytes only. */
  readonly contentsField: number | undefined;
}

const DATATYPES: Partial<Record<DType, Datatype>> = {
  bool: { name: "BOOL", contentsField: 1 },
  int8: { name: "INT8", contentsField: 2 },
  int16: { name: "INT16", contentsField: 2 },
  int32: { name: "INT32", contentsField: 2 },
  int64: { name: "INT64", contentsField: 3 },
  uint8: { name: "UINT8", contentsField: 4 },
  uint16: { name: "UINT16", contentsField: 4 },
  uint32: { name: "UINT32", contentsField: 4 },
  uint64: { name: "UINT64", contentsField: 5 },
  float32: { name: "FP32", contentsField: 6 },
  float64: { name: "FP64", contentsField: 7 },
  string: { name: "BYTES", contentsField: 8 },
  float16: { name: "FP16", contentsField: undefined },
  bfloat16: { name: "BF16", contentsField: undefined },
};

export type InferDType = NumericDType | "string";

const DTYPE_OF = new Map(Object.entries(DATATYPES).map(([dtype, { name }]) => [name, dtype as InferDType]));

/** @throws ServingError INVALID_ARGUMENT for a name that is no datatype of the protocol */
export function dtypeOf(datatype: string, input: string): InferDType {
  const dtype = DTYPE_OF.get(datatype);
  if (dtype) return dtype;
  const names = [...DTYPE_OF.keys()].join(", ");
  throw new ServingError("INVALID_ARGUMENT", `input ${input}: datatype "${datatype}" is none of ${names}`);
}

/** @throws ServingError UNIMPLEMENTED for an element type that the protocol does not have */
export function datatypeOf(dtype: DType, output: string): Datatype {
  const datatype = DATATYPES[dtype];
  if (datatype) return datatype;
  throw new ServingError("UNIMPLEMENTED", `output ${output}: the protocol has no datatype for ${dtype}`);
}

/** The datatype that metadata shows; types that the protocol does not have go by TensorFlow's name. */
export function datatypeName(dtype: DType): string {
  return DATATYPES[dtype]?.name ?? `TF_${dtype.toUpperCase()}`;
}

/**
 * A tensor out of raw bytes: little-endian elements, row-major; strings each behind their length, a uint32. Numbers
 * become a view where they are aligned.
 *
 * @throws ServingError INVALID_ARGUMENT unless the bytes are exactly the shape's elements
 */
export function tensorFromRaw(name: string, dtype: InferDType, shape: readonly number[], bytes: Uint8Array): Tensor {
  const count = elementCount(shape);
  if (dtype === "string") return tensor("string", shape, stringsFromRaw(name, count, bytes));
  const needed = count * DTYPES[dtype].bytes;
  if (bytes.length !== needed) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `input ${name}: ${bytes.length} bytes of data, ${datatypeName(dtype)} of shape [${shape.join(",")}] needs ${needed}`,
    );
  }
  // Anything but 0 and 1 is true, as in C; kernels count on 0 and 1.
  if (dtype === "bool" && bytes.some((byte) => byte > 1)) {
    return tensor(
      "bool",
      shape,
      Uint8Array.from(bytes, (byte) => (byte === 0 ? 0 : 1)),
    );
  }
  return tensor(dtype, shape, dataFromBytes(dtype, bytes));
}

function stringsFromRaw(name: string, count: number, bytes: Uint8Array): StringColumn {
  const wrong = (why: string) => new ServingError("INVALID_ARGUMENT", `input ${name}: ${why}`);
  // Each string takes four bytes at least: a shape cannot ask for more memory than its bytes justify.
  if (count > bytes.length / 4) throw wrong(`${bytes.length} bytes of data cannot hold ${count} strings`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const column = new StringColumnBuilder(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) throw wrong(`the data ends at string ${i} of ${count}`);
    const end = at + 4 + view.getUint32(at, true);
    if (end > bytes.length) throw wrong(`string ${i} of ${count} runs over the end of the data`);
    column.pushRange(bytes, at + 4, end);
    at = end;
  }
  if (at !== bytes.length) throw wrong(`${bytes.length - at} bytes of data follow after all ${count} strings`);
  return column.build();
}

/** The raw bytes of a tensor; a view for numbers. */
export function rawOf(value: Tensor): Uint8Array {
  if (value.dtype !== "string") return bytesOf(value.data as NumericData);
  const column = value.data as StringColumn;
  const first = column.offsets[0]!;
  const out = Buffer.allocUnsafe(column.offsets[column.length]! - first + 4 * column.length);
  let at = 0;
  for (let i = 0; i < column.length; i++) {
    const item = column.at(i);
    at = out.writeUInt32LE(item.length, at);
    out.set(item, at);
    at += item.length;
  }
  return out;
}

/** The largest rank that TensorFlow knows. */
const RANK_MAX = 254;

/** @throws ServingError INVALID_ARGUMENT for a shape that no tensor has */
export function checkShape(name: string, shape: readonly number[]): void {
  const isFit = shape.length <= RANK_MAX && shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (isFit && elementCount(shape) <= Number.MAX_SAFE_INTEGER) return;
  throw new ServingError("INVALID_ARGUMENT", `input ${name}: the shape [${shape.join(",")}] is no tensor's`);
}
