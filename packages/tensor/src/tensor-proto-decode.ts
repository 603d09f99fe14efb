/**
 * tensorflow.TensorProto -> Tensor, by hand: a request's tensors are most of its bytes, and generated code would turn
 * every number into an array entry first.
 *
 * The meaning of short, long and misplaced values follows Tensor::FromProto of TensorFlow 2.21 (core/framework/
 * tensor.cc); the golden vectors in the tests were made with it.
 */
import { ServingError } from "@shardserve/core";
import { type DType, DTYPES, dtypeFromTf } from "./dtype.js";
import { StringColumn } from "./strings.js";
import {
  bytesOf,
  dataFromBytes,
  type DataOf,
  elementCount,
  lanesOf,
  lanesPerElement,
  newData,
  type NumericData,
  type NumericDType,
  type Tensor,
  tensor,
} from "./tensor.js";
import { FIELD_CONTENT, FIELD_DTYPE, FIELD_SHAPE, FIELD_STRING_VAL, VALUE_FIELDS } from "./tensor-proto-fields.js";
import { WIRE_BYTES, WIRE_FIXED32, WIRE_VARINT, WireReader } from "./wire-reader.js";

const RANK_MAX = 254; // TensorShape::MaxDimensions

export interface DecodeTensorOptions {
  /**
   * Most bytes that a tensor may take beyond what its encoding holds, default 256 MiB: one value, or none, stands for
   * any number of elements, so that ten bytes can ask for terabytes. Everything else allocates at most 8 bytes for each
   * byte of input.
   */
  readonly splatBytesMax?: number;
}

const SPLAT_BYTES_MAX = 256 * 2 ** 20;

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
    const data = content ? stringsFromContent(content, count) : stringsFromValues(bytes, count, limit);
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
  if (dtype === "string") return tensor("string", shape, stringsFromValues(bytes, expected, 0, field));
  const numeric = dtype as NumericDType;
  if (wireType !== WIRE_VARINT && chunks.onlyStart >= 0) {
    const end = chunks.onlyStart + expected * DTYPES[numeric].bytes;
    return tensor(numeric, shape, dataFromBytes(numeric, bytes.subarray(chunks.onlyStart, end)));
  }
  const data = newData(numeric, expected);
  fillValues(bytes, field, wireType, numeric, data, expected);
  return tensor(numeric, shape, data);
}

function countStrings(bytes: Uint8Array, field: number): number {
  let count = 0;
  for (const reader = new WireReader(bytes); reader.position < reader.end; ) {
    const tag = readTag(reader);
    if (tag === ((field << 3) | WIRE_BYTES)) count++;
    reader.skip(tag & 7);
  }
  return count;
}

interface Header {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly contentStart: number;
  readonly contentEnd: number;
}

function readHeader(bytes: Uint8Array): Header {
  const reader = new WireReader(bytes);
  const shape: number[] = [];
  let tfDType = 0;
  let unknownRank = false;
  let contentStart = 0;
  let contentEnd = 0;
  while (reader.position < reader.end) {
    const tag = readTag(reader);
    if (tag === ((FIELD_DTYPE << 3) | WIRE_VARINT)) {
      tfDType = reader.varint();
    } else if (tag === ((FIELD_SHAPE << 3) | WIRE_BYTES)) {
      const end = reader.length() + reader.position;
      unknownRank = readShape(new WireReader(bytes, reader.position, end), shape) || unknownRank;
      reader.position = end;
    } else if (tag === ((FIELD_CONTENT << 3) | WIRE_BYTES)) {
      contentEnd = reader.length() + reader.position;
      contentStart = reader.position;
      reader.position = contentEnd;
    } else {
      reader.skip(tag & 7);
    }
  }
  if (!(tfDType > 0 && tfDType <= 100)) throw new ServingError("INVALID_ARGUMENT", `a tensor of DataType ${tfDType}`);
  return { dtype: dtypeFromTf(tfDType), shape: unknownRank ? [] : shape, contentStart, contentEnd };
}

function readTag(reader: WireReader): number {
  const tag = reader.varint();
  if (tag < 8 || tag > 0xffff_ffff) {
    throw new ServingError("INVALID_ARGUMENT", `an invalid field tag ends at byte ${reader.position}`);
  }
  return tag;
}

/** Appends the dims of a TensorShapeProto; returns its unknown_rank. */
function readShape(reader: WireReader, shape: number[]): boolean {
  let unknownRank = false;
  while (reader.position < reader.end) {
    const tag = readTag(reader);
    if (tag === ((3 << 3) | WIRE_VARINT)) {
      unknownRank = reader.varint() !== 0;
    } else if (tag === ((2 << 3) | WIRE_BYTES)) {
      const end = reader.length() + reader.position;
      const dim = readDim(new WireReader(reader.bytes, reader.position, end));
      if (!(dim <= Number.MAX_SAFE_INTEGER)) {
        throw new ServingError("INVALID_ARGUMENT", `dimension ${shape.length} of a tensor is negative or too large`);
      }
      if (shape.push(dim) > RANK_MAX) {
        throw new ServingError("INVALID_ARGUMENT", `a tensor has more than ${RANK_MAX} dimensions`);
      }
      reader.position = end;
    } else {
      reader.skip(tag & 7);
    }
  }
  return unknownRank;
}

function readDim(reader: WireReader): number {
  let size = 0;
  while (reader.position < reader.end) {
    const tag = readTag(reader);
    if (tag === ((1 << 3) | WIRE_VARINT)) size = reader.varint();
    else reader.skip(tag & 7);
  }
  return size;
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

function checkSplat(byteCount: number, splatBytesMax: number): void {
  if (byteCount > splatBytesMax) {
    throw new ServingError(
      "RESOURCE_EXHAUSTED",
      `a tensor without all its values would take ${byteCount} bytes, the limit is ${splatBytesMax}; send the values`,
    );
  }
}

/** Fills a numeric array from element `present` on with element `present - 1`. */
function repeatLast(data: NumericData, present: number, lanes: number): void {
  const filled = present * lanes;
  if (lanes === 1) {
    const array = data as Float32Array; // all kinds share fill; the value has the array's own type
    array.fill(array[filled - 1]!, filled);
    return;
  }
  for (let i = filled; i < data.length; i++) data[i] = data[i - lanes]!;
}

/** Values of one field over the whole message; `onlyStart` is where they lie when one packed chunk holds them all. */
function countValues(bytes: Uint8Array, field: number, wireType: number): { count: number; onlyStart: number } {
  const reader = new WireReader(bytes);
  let count = 0;
  let chunkCount = 0;
  let start = -1;
  while (reader.position < reader.end) {
    const tag = readTag(reader);
    if (tag >>> 3 === field && (tag & 7) === WIRE_BYTES) {
      const length = reader.length();
      start = reader.position;
      chunkCount++;
      count += packedCount(bytes, start, start + length, wireType);
      reader.position += length;
    } else {
      if (tag === ((field << 3) | wireType)) {
        chunkCount += 2; // an unpacked value: not one packed chunk
        count++;
      }
      reader.skip(tag & 7);
    }
  }
  return { count, onlyStart: chunkCount === 1 ? start : -1 };
}

function packedCount(bytes: Uint8Array, start: number, end: number, wireType: number): number {
  if (wireType !== WIRE_VARINT) {
    const width = wireType === WIRE_FIXED32 ? 4 : 8;
    if ((end - start) % width !== 0) {
      throw new ServingError("INVALID_ARGUMENT", `packed values of ${width} bytes end amid one at byte ${end}`);
    }
    return (end - start) / width;
  }
  let count = 0;
  for (let i = start; i < end; i++) count += bytes[i]! < 0x80 ? 1 : 0;
  if (end > start && bytes[end - 1]! >= 0x80) {
    throw new ServingError("INVALID_ARGUMENT", `packed varints end amid one at byte ${end}`);
  }
  return count;
}

/** Writes the first `limit` values of a field into `data`. */
function fillValues(
  bytes: Uint8Array,
  field: number,
  wireType: number,
  dtype: NumericDType,
  data: NumericData,
  limit: number,
): void {
  const reader = new WireReader(bytes);
  let filled = 0;
  while (reader.position < reader.end && filled < limit) {
    const tag = readTag(reader);
    let end: number;
    if (tag >>> 3 === field && (tag & 7) === WIRE_BYTES) {
      end = reader.length() + reader.position;
    } else if (tag === ((field << 3) | wireType)) {
      const start = reader.position;
      reader.skip(wireType);
      end = reader.position;
      reader.position = start;
    } else {
      reader.skip(tag & 7);
      continue;
    }
    filled = fillChunk(new WireReader(bytes, reader.position, end), wireType, dtype, data, filled, limit);
    reader.position = end;
  }
}

function fillChunk(
  reader: WireReader,
  wireType: number,
  dtype: NumericDType,
  data: NumericData,
  filled: number,
  limit: number,
): number {
  if (wireType !== WIRE_VARINT) {
    const width = wireType === WIRE_FIXED32 ? 4 : 8;
    const end = Math.min(limit, filled + (reader.end - reader.position) / width);
    bytesOf(data).set(reader.bytes.subarray(reader.position, reader.position + (end - filled) * width), filled * width);
    return end;
  }
  if (dtype === "int64" || dtype === "uint64") {
    return fillVarints64(reader, lanesOf(data as BigInt64Array), filled, limit);
  }
  const truth = dtype === "bool";
  const array = data as Int32Array; // narrower arrays keep the low bits, as TensorFlow does
  for (; filled < limit && reader.position < reader.end; filled++) array[filled] = readLow32(reader, truth);
  return filled;
}

/** The low 32 bits of a varint, or whether it is not zero. */
function readLow32(reader: WireReader, truth: boolean): number {
  const bytes = reader.bytes;
  let position = reader.position;
  let byte = bytes[position++]!;
  let value = byte & 0x7f;
  let rest = 0;
  for (let shift = 7; byte >= 0x80; shift += 7) {
    if (shift > 63 || position >= reader.end)
      throw new ServingError("INVALID_ARGUMENT", `a bad varint at byte ${position}`);
    byte = bytes[position++]!;
    if (shift < 32) value |= (byte & 0x7f) << shift;
    rest |= byte & 0x7f;
  }
  reader.position = position;
  return truth ? ((value | rest) === 0 ? 0 : 1) : value;
}

/** Varints into pairs of 32-bit lanes, without a BigInt. */
function fillVarints64(reader: WireReader, lanes: Int32Array, filled: number, limit: number): number {
  const bytes = reader.bytes;
  const end = reader.end;
  let position = reader.position;
  while (filled < limit && position < end) {
    let low = 0;
    let high = 0;
    let shift = 0;
    let byte: number;
    do {
      if (shift > 63 || position >= end) throw new ServingError("INVALID_ARGUMENT", `a bad varint at byte ${position}`);
      byte = bytes[position++]!;
      if (shift < 28) low |= (byte & 0x7f) << shift;
      else if (shift === 28) {
        low |= (byte & 0x7f) << 28;
        high = (byte & 0x7f) >>> 4;
      } else high |= (byte & 0x7f) << (shift - 32);
      shift += 7;
    } while (byte >= 0x80);
    lanes[2 * filled] = low;
    lanes[2 * filled + 1] = high;
    filled++;
  }
  reader.position = position;
  return filled;
}

/** string_val entries as one column; the last one repeats up to `count`. */
function stringsFromValues(
  bytes: Uint8Array,
  count: number,
  splatBytesMax: number,
  field = FIELD_STRING_VAL,
): StringColumn {
  const tagOfValue = (field << 3) | WIRE_BYTES;
  let present = 0;
  let byteLength = 0;
  let lastLength = 0;
  for (const reader = new WireReader(bytes); reader.position < reader.end && present < count; ) {
    const tag = readTag(reader);
    if (tag === tagOfValue) {
      lastLength = reader.length();
      byteLength += lastLength;
      reader.position += lastLength;
      present++;
    } else reader.skip(tag & 7);
  }
  if (present < count) {
    byteLength += lastLength * (count - present);
    checkSplat(byteLength + 4 * count, splatBytesMax);
  }
  const out = new Uint8Array(byteLength);
  const offsets = new Uint32Array(count + 1);
  let written = 0;
  for (const reader = new WireReader(bytes); reader.position < reader.end && written < present; ) {
    const tag = readTag(reader);
    if (tag === tagOfValue) {
      const length = reader.length();
      out.set(bytes.subarray(reader.position, reader.position + length), offsets[written]!);
      reader.position += length;
      offsets[++written] = offsets[written - 1]! + length;
    } else reader.skip(tag & 7);
  }
  for (; written < count; written++) {
    const start = offsets[written]!;
    out.copyWithin(start, start - lastLength, start);
    offsets[written + 1] = start + lastLength;
  }
  return new StringColumn(out, offsets);
}

/** tensor_content of strings: all lengths as varints, then all bytes. The column is a view of `content`. */
function stringsFromContent(content: Uint8Array, count: number): StringColumn {
  if (count > content.length) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `tensor_content of ${content.length} bytes cannot hold ${count} strings`,
    );
  }
  const reader = new WireReader(content);
  const offsets = new Uint32Array(count + 1);
  let total = 0;
  for (let i = 0; i < count; i++) {
    total += reader.varint();
    if (total > content.length) throw new ServingError("INVALID_ARGUMENT", "tensor_content ends amid its strings");
    offsets[i + 1] = total;
  }
  if (reader.position + total !== content.length) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `tensor_content holds ${content.length - reader.position} bytes of strings, their lengths add up to ${total}`,
    );
  }
  return new StringColumn(content.subarray(reader.position), offsets);
}
