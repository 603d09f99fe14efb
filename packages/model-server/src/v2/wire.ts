import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { fromBinary, InferParameterSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { decodeRepeatedField, encodeRepeatedField, type Tensor } from "@shardserve/tensor";
import { decodeFields } from "../predict/wire.js";
import { checkShape, datatypeOf, dtypeOf, rawOf, tensorFromRaw } from "./datatype.js";
import { type InferResult, type Parameters, refuseExtensions } from "./infer.js";

/** inference.ModelInferRequest and ModelInferResponse by hand, for the reason given in docs/decisions/003. */

export interface InferInput {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  /** A serialised InferTensorContents, or the raw bytes of the elements. */
  readonly contents: Uint8Array | undefined;
  readonly raw: Uint8Array | undefined;
}

export interface InferRequestFields {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly parameters: Parameters;
  readonly inputs: ReadonlyMap<string, InferInput>;
  readonly outputs: readonly string[];
  readonly isRaw: boolean;
}

/** @throws ServingError INVALID_ARGUMENT for bytes that are no such message, or inputs that contradict each other */
export function decodeInferRequest(bytes: Uint8Array): InferRequestFields {
  const parameters = new Map<string, string | number | bigint | boolean>();
  const inputs: Omit<InferInput, "raw">[] = [];
  const outputs: string[] = [];
  const raw: Uint8Array[] = [];
  let modelName = "";
  let modelVersion = "";
  let id = "";
  decodeFields("ModelInferRequest", bytes, (reader, field, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 1) modelName = reader.string();
    else if (field === 2) modelVersion = reader.string();
    else if (field === 3) id = reader.string();
    else if (field === 4) decodeParameter(reader.bytes(), parameters);
    else if (field === 5) inputs.push(decodeInput(reader.bytes()));
    else if (field === 6) outputs.push(decodeOutput(reader.bytes()));
    else if (field === 7) raw.push(reader.bytes());
    else return false;
    return true;
  });
  if (raw.length > 0 && raw.length !== inputs.length) {
    throw invalid(`raw_input_contents has ${raw.length} entries for ${inputs.length} inputs`);
  }
  const byName = new Map<string, InferInput>();
  for (const [i, input] of inputs.entries()) {
    if (byName.has(input.name)) throw invalid(`input ${input.name} is given twice`);
    byName.set(input.name, { ...input, raw: raw[i] });
  }
  return { modelName, modelVersion, id, parameters, inputs: byName, outputs, isRaw: raw.length > 0 };
}

function decodeInput(bytes: Uint8Array): Omit<InferInput, "raw"> {
  const parameters = new Map<string, string | number | bigint | boolean>();
  const shape: number[] = [];
  let name = "";
  let datatype = "";
  let contents: Uint8Array | undefined;
  decodeFields("ModelInferRequest.inputs", bytes, (reader, field, wireType) => {
    if (field === 3 && wireType === WireType.Varint) shape.push(Number(reader.int64()));
    else if (wireType !== WireType.LengthDelimited) return false;
    else if (field === 1) name = reader.string();
    else if (field === 2) datatype = reader.string();
    else if (field === 3)
      for (const end = reader.uint32() + reader.pos; reader.pos < end; ) shape.push(Number(reader.int64()));
    else if (field === 4) decodeParameter(reader.bytes(), parameters);
    else if (field === 5) contents = reader.bytes();
    else return false;
    return true;
  });
  refuseExtensions(`input ${name}`, parameters);
  return { name, datatype, shape, contents };
}

function decodeOutput(bytes: Uint8Array): string {
  const parameters = new Map<string, string | number | bigint | boolean>();
  let name = "";
  decodeFields("ModelInferRequest.outputs", bytes, (reader, field, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 1) name = reader.string();
    else if (field === 2) decodeParameter(reader.bytes(), parameters);
    else return false;
    return true;
  });
  refuseExtensions(`output ${name}`, parameters);
  return name;
}

function decodeParameter(bytes: Uint8Array, parameters: Map<string, string | number | bigint | boolean>): void {
  let key = "";
  let value: Uint8Array = new Uint8Array();
  decodeFields("InferParameter", bytes, (reader, field, wireType) => {
    if (wireType !== WireType.LengthDelimited) return false;
    if (field === 1) key = reader.string();
    else if (field === 2) value = reader.bytes();
    else return false;
    return true;
  });
  try {
    const choice = fromBinary(InferParameterSchema, value).parameterChoice;
    if (choice.case !== undefined) parameters.set(key, choice.value);
  } catch (error) {
    throw new ServingError("INVALID_ARGUMENT", `parameter ${key}: ${(error as Error).message}`, { cause: error });
  }
}

/** @throws ServingError INVALID_ARGUMENT when shape, datatype and data do not fit */
export function inputTensor({ name, datatype, shape, contents, raw }: InferInput): Tensor {
  const dtype = dtypeOf(datatype, name);
  checkShape(name, shape);
  if (raw) {
    if (contents && contents.length > 0) throw invalid(`input ${name} has both contents and raw_input_contents`);
    return tensorFromRaw(name, dtype, shape, raw);
  }
  const { contentsField } = datatypeOf(dtype, name);
  if (contentsField === undefined) throw invalid(`input ${name}: ${datatype} must be sent in raw_input_contents`);
  try {
    return decodeRepeatedField(contents ?? new Uint8Array(), contentsField, dtype, shape);
  } catch (error) {
    throw invalid(`input ${name}: ${ServingError.from(error).message}`);
  }
}

const PROTO_BYTES_MAX = 2 ** 31 - 1;

/**
 * Encodes a ModelInferResponse. Answers have the form of their request: raw bytes for raw bytes, typed fields for typed
 * fields, save that 16-bit floats, which have no such field, make the whole answer raw.
 *
 * @throws ServingError UNIMPLEMENTED for an output without a datatype, RESOURCE_EXHAUSTED beyond protobuf's 2 GiB
 */
export function encodeInferResponse(result: InferResult, id: string, wantsRaw: boolean): Buffer {
  const outputs = [...result.outputs].map(([name, value]) => ({
    name,
    value,
    datatype: datatypeOf(value.dtype, name),
  }));
  const isRaw = wantsRaw || outputs.some(({ datatype }) => datatype.contentsField === undefined);
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(result.by.name);
  writer.tag(2, WireType.LengthDelimited).string(String(result.by.version));
  if (id !== "") writer.tag(3, WireType.LengthDelimited).string(id);
  let bytes = 0;
  for (const { name, value, datatype } of outputs) {
    writer.tag(5, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(name);
    writer.tag(2, WireType.LengthDelimited).string(datatype.name);
    writer.tag(3, WireType.LengthDelimited).fork();
    for (const dim of value.shape) writer.int64(dim);
    writer.join();
    if (!isRaw) {
      const contents = encodeRepeatedField(value, datatype.contentsField!);
      bytes += contents.length;
      writer.tag(5, WireType.LengthDelimited).bytes(contents);
    }
    writer.join();
  }
  if (isRaw) {
    for (const { value } of outputs) {
      const raw = rawOf(value);
      bytes += raw.length;
      writer.tag(6, WireType.LengthDelimited).bytes(raw);
    }
  }
  if (bytes > PROTO_BYTES_MAX) {
    throw new ServingError("RESOURCE_EXHAUSTED", `the answer has ${bytes} bytes; protobuf carries at most 2 GiB`);
  }
  return asBuffer(writer.finish());
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
