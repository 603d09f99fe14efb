/**
 * tensorflow.TensorProto -> Tensor, by hand: a request's tensors are most of its bytes, and generated code would turn
 * every number into an array entry first.
 *
 * The meaning of short, long and misplaced values follows Tensor::FromProto of TensorFlow 2.21 (core/framework/
 * tensor.cc); the golden vectors in the tests were made with it.
 */
import { ServingError } from "@shardserve/core";
import { DTYPES } from "./dtype.js";
import { countValues, fillValues } from "./repeated-values.js";
import { checkSplat, repeatLast, SPLAT_BYTES_MAX } from "./splat.js";
import {
  dataFromBytes,
  type DataOf,
  elementCount,
  lanesPerElement,
  newData,
  type NumericDType,
  type Tensor,
  tensor,
} from "./tensor.js";
import { FIELD_STRING_VAL, VALUE_FIELDS } from "./tensor-proto-fields.js";
import { readHeader } from "./tensor-proto-header.js";
import { countStrings, stringsFromContent, stringsFromValues } from "./tensor-proto-strings.js";
import { WIRE_BYTES, WIRE_VARINT } from "./wire-reader.js";

/** What a TensorProto from outside may cost. */
export interface DecodeTensorOptions {
  /**
   * Most bytes that a tensor may take beyond what its encoding holds, default 256 MiB: one value, or none, stands for
   * any number of elements, so that ten bytes can ask for terabytes. Everything else allocates at most 8 bytes for each
   * byte of input.
   */
  readonly splatBytesMax?: number;
}

/**
 * Decodes a serialised TensorProto. `tensor_content` and packed floats become views of `bytes` where they are aligned.
 *
 * Fewer values than elements: the last one repeats, none means zeros; more are ignored; values in another dtype's field
 * are ignored. A missing shape or an unknown rank means a scalar. `tensor_content` wins over values.
 *
 * @throws ServingError INVALID_ARGUMENT for malformed bytes, a negative or absurd shape, or content of another length
 * than the shape needs; UNIMPLEMENTED for resources, variants and 8-bit floats; RESOURCE_EXHAUSTED beyond splatBytesMax
 */
export function decodeTensorProto(bytes: Uint8Array, options: DecodeTensorOptions = {}): Tensor {
  const { dtype, shape, contentStart, contentEnd } = readHeader(bytes);
  const count = elementCount(shape);
  if (!(count <= Number.MAX_SAFE_INTEGER)) {
    throw new ServingError("INVALID_ARGUMENT", `a tensor of shape [${shape.join(",")}] has too many elements`);
  }
  const limit = options.splatBytesMax ?? SPLAT_BYTES_MAX;
  const content = contentEnd > contentStart ? bytes.subarray(contentStart, contentEnd) : undefined;
  if (dtype === "string") {
    const data = content
      ? stringsFromContent(content, count)
      : stringsFromValues(bytes, FIELD_STRING_VAL, count, limit);
    return tensor("string", shape, data);
  }
  if (dtype === "resource" || dtype === "variant") {
    throw new ServingError("UNIMPLEMENTED", `a tensor of dtype ${dtype} cannot be decoded`);
  }
  const data = content ? dataFromContent(dtype, shape, count, content) : dataFromValues(bytes, dtype, count, limit);
  return tensor<NumericDType>(dtype, shape, data);
}

/**
 * The elements of one repeated field of any message as a tensor: other protocols keep theirs in such fields, too. Packed
 * floats become a view of `bytes` where they are aligned.
 *
 * @param field  its number; its type is that of the dtype's xxx_val field in TensorProto, bytes for strings
 * @throws ServingError INVALID_ARGUMENT for malformed bytes, and when the field has not exactly the shape's elements
 */
export function decodeRepeatedField<D extends NumericDType | "string">(
  bytes: Uint8Array,
  field: number,
  dtype: D,
  shape: readonly number[],
): Tensor {
  const wireType = dtype === "string" ? WIRE_BYTES : VALUE_FIELDS[dtype as NumericDType][1];
  const expected = elementCount(shape);
  const chunks =
    dtype === "string" ? { count: countStrings(bytes, field), onlyStart: -1 } : countValues(bytes, field, wireType);
  if (chunks.count !== expected) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `${chunks.count} elements for a tensor of shape [${shape.join(",")}], which needs ${expected}`,
    );
  }
  if (dtype === "string") return tensor("string", shape, stringsFromValues(bytes, field, expected, 0));
  const numeric = dtype as NumericDType;
  if (wireType !== WIRE_VARINT && chunks.onlyStart >= 0) {
    const end = chunks.onlyStart + expected * DTYPES[numeric].bytes;
    return tensor(numeric, shape, dataFromBytes(numeric, bytes.subarray(chunks.onlyStart, end)));
  }
  const data = newData(numeric, expected);
  fillValues(bytes, field, wireType, numeric, data, expected);
  return tensor(numeric, shape, data);
}

function dataFromContent<D extends NumericDType>(
  dtype: D,
  shape: readonly number[],
  count: number,
  content: Uint8Array,
): DataOf[D] {
  if (content.length !== count * DTYPES[dtype].bytes) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `tensor_content holds ${content.length} bytes, a ${dtype} tensor of shape [${shape.join(",")}] needs ${count * DTYPES[dtype].bytes}`,
    );
  }
  if (dtype === "bool" && content.some((byte) => byte > 1)) {
    return Uint8Array.from(content, (byte) => (byte === 0 ? 0 : 1)) as DataOf[D];
  }
  return dataFromBytes(dtype, content);
}

function dataFromValues<D extends NumericDType>(
  bytes: Uint8Array,
  dtype: D,
  count: number,
  splatBytesMax: number,
): DataOf[D] {
  const [field, wireType] = VALUE_FIELDS[dtype];
  const lanes = lanesPerElement(dtype);
  const chunks = countValues(bytes, field, wireType);
  const present = Math.min(count, Math.floor(chunks.count / lanes));
  if (present < count) checkSplat(count * DTYPES[dtype].bytes, splatBytesMax);
  else if (wireType !== WIRE_VARINT && chunks.onlyStart >= 0) {
    return dataFromBytes(dtype, bytes.subarray(chunks.onlyStart, chunks.onlyStart + count * DTYPES[dtype].bytes));
  }
  const data = newData(dtype, count * lanes);
  fillValues(bytes, field, wireType, dtype, data, present * lanes);
  if (present > 0 && present < count) repeatLast(data, present, lanes);
  return data;
}
