/** Tensor -> tensorflow.TensorProto, by hand; what AsProtoField of TensorFlow 2.21 writes (core/framework/tensor.cc). */
import { ServingError } from "@shardserve/core";
import { DTYPES } from "./dtype.js";
import type { StringColumn } from "./strings.js";
import { bytesOf, lanesOf, type NumericData, type NumericDType, type Tensor } from "./tensor.js";
import { FIELD_CONTENT, FIELD_DTYPE, FIELD_SHAPE, FIELD_STRING_VAL, VALUE_FIELDS } from "./tensor-proto-fields.js";
import { WIRE_BYTES, WIRE_VARINT } from "./wire-reader.js";

const PROTO_BYTES_MAX = 2 ** 31 - 1;

/** Which of TensorFlow's two forms is written. */
export interface EncodeTensorOptions {
  /** Put the raw little-endian bytes into tensor_content instead of the dtype's own xxx_val field. */
  readonly asContent?: boolean;
}

/**
 * Encodes a tensor as TensorFlow's AsProtoField does, or as AsProtoTensorContent.
 *
 * @throws ServingError RESOURCE_EXHAUSTED when the message would exceed protobuf's 2 GiB
 */
export function encodeTensorProto(value: Tensor, options: EncodeTensorOptions = {}): Uint8Array {
  const header = encodeHeader(value);
  if (value.dtype === "string") {
    const column = value.data as StringColumn;
    return options.asContent ? encodeStringContent(header, column) : encodeStringValues(header, column);
  }
  const dtype = value.dtype as NumericDType;
  const data = value.data as NumericData;
  if (data.length === 0) return header;
  if (options.asContent) return append(header, FIELD_CONTENT, bytesOf(data));
  const [field, wireType] = VALUE_FIELDS[dtype];
  if (wireType !== WIRE_VARINT) return append(header, field, bytesOf(data));
  return dtype === "int64" || dtype === "uint64"
    ? encodeVarints64(header, field, lanesOf(data as BigInt64Array))
    : encodeVarints32(header, field, data as Int32Array);
}

/**
 * A message of one repeated field that holds the elements of a tensor; the other direction of decodeRepeatedField.
 *
 * @throws ServingError RESOURCE_EXHAUSTED when the message would exceed protobuf's 2 GiB
 */
export function encodeRepeatedField(value: Tensor, field: number): Uint8Array {
  const header = new Uint8Array();
  if (value.dtype === "string") return encodeStringValues(header, value.data as StringColumn, field);
  const data = value.data as NumericData;
  if (data.length === 0) return header;
  if (VALUE_FIELDS[value.dtype as NumericDType][1] !== WIRE_VARINT) return append(header, field, bytesOf(data));
  return value.dtype === "int64" || value.dtype === "uint64"
    ? encodeVarints64(header, field, lanesOf(data as BigInt64Array))
    : encodeVarints32(header, field, data as Int32Array);
}

function encodeHeader(value: Tensor): Uint8Array {
  let shapeLength = 0;
  for (const dim of value.shape) shapeLength += 2 + (dim === 0 ? 0 : 1 + varintLength(dim));
  const out = new Uint8Array(2 + 1 + varintLength(shapeLength) + shapeLength);
  out[0] = (FIELD_DTYPE << 3) | WIRE_VARINT;
  out[1] = DTYPES[value.dtype].tf; // all numbers are below 128
  out[2] = (FIELD_SHAPE << 3) | WIRE_BYTES;
  let position = writeVarint(out, 3, shapeLength);
  for (const dim of value.shape) {
    out[position++] = (2 << 3) | WIRE_BYTES;
    out[position++] = dim === 0 ? 0 : 1 + varintLength(dim);
    if (dim === 0) continue;
    out[position++] = (1 << 3) | WIRE_VARINT;
    position = writeVarint(out, position, dim);
  }
  return out;
}

/** A message of `header` and one length-delimited field, whose bytes the caller writes from `position` on. */
function begin(header: Uint8Array, field: number, length: number): { out: Uint8Array; position: number } {
  const tag = (field << 3) | WIRE_BYTES;
  const total = header.length + varintLength(tag) + varintLength(length) + length;
  if (total > PROTO_BYTES_MAX) {
    throw new ServingError("RESOURCE_EXHAUSTED", `a tensor of ${total} encoded bytes exceeds protobuf's 2 GiB`);
  }
  const out = new Uint8Array(total);
  out.set(header);
  return { out, position: writeVarint(out, writeVarint(out, header.length, tag), length) };
}

function append(header: Uint8Array, field: number, payload: Uint8Array): Uint8Array {
  const { out, position } = begin(header, field, payload.length);
  out.set(payload, position);
  return out;
}

function encodeVarints32(header: Uint8Array, field: number, data: Int32Array): Uint8Array {
  let length = 0;
  for (let i = 0; i < data.length; i++) length += data[i]! < 0 ? 10 : varintLength32(data[i]!);
  let { out, position } = begin(header, field, length);
  for (let i = 0; i < data.length; i++) {
    let value = data[i]!;
    if (value < 0) {
      position = writeVarint64(out, position, value, -1);
      continue;
    }
    while (value > 127) {
      out[position++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    out[position++] = value;
  }
  return out;
}

function encodeVarints64(header: Uint8Array, field: number, lanes: Int32Array): Uint8Array {
  let length = 0;
  for (let i = 0; i < lanes.length; i += 2) {
    const high = lanes[i + 1]!;
    length += high === 0 ? varintLength32(lanes[i]! >>> 0) : high < 0 ? 10 : varintLength(high * 2 ** 32);
  }
  let { out, position } = begin(header, field, length);
  for (let i = 0; i < lanes.length; i += 2) position = writeVarint64(out, position, lanes[i]!, lanes[i + 1]!);
  return out;
}

function encodeStringValues(header: Uint8Array, column: StringColumn, field = FIELD_STRING_VAL): Uint8Array {
  let total = header.length;
  for (let i = 0; i < column.length; i++) {
    const length = column.offsets[i + 1]! - column.offsets[i]!;
    total += 1 + varintLength(length) + length;
  }
  if (total > PROTO_BYTES_MAX) {
    throw new ServingError("RESOURCE_EXHAUSTED", `a tensor of ${total} encoded bytes exceeds protobuf's 2 GiB`);
  }
  const out = new Uint8Array(total);
  out.set(header);
  let position = header.length;
  for (let i = 0; i < column.length; i++) {
    const value = column.at(i);
    out[position++] = (field << 3) | WIRE_BYTES; // fields below 16 have one byte of tag
    position = writeVarint(out, position, value.length);
    out.set(value, position);
    position += value.length;
  }
  return out;
}

function encodeStringContent(header: Uint8Array, column: StringColumn): Uint8Array {
  if (column.length === 0) return header;
  const first = column.offsets[0]!;
  const last = column.offsets[column.length]!;
  let length = last - first;
  for (let i = 0; i < column.length; i++) length += varintLength(column.offsets[i + 1]! - column.offsets[i]!);
  let { out, position } = begin(header, FIELD_CONTENT, length);
  for (let i = 0; i < column.length; i++) {
    position = writeVarint(out, position, column.offsets[i + 1]! - column.offsets[i]!);
  }
  out.set(column.bytes.subarray(first, last), position);
  return out;
}

function varintLength32(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) length++;
  return length;
}

function writeVarint(out: Uint8Array, position: number, value: number): number {
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) out[position++] = (rest % 128) | 0x80;
  out[position++] = rest;
  return position;
}

function writeVarint64(out: Uint8Array, position: number, low: number, high: number): number {
  while (high !== 0 || low >>> 0 > 127) {
    out[position++] = (low & 0x7f) | 0x80;
    low = (low >>> 7) | (high << 25);
    high >>>= 7;
  }
  out[position++] = low;
  return position;
}
