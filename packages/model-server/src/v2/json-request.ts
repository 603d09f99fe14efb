import { ServingError } from "@shardserve/core";
import { elementCount, isNumeric, newData, type Tensor, tensor } from "@shardserve/tensor";
import { type Cursor, enter, findMember, kindAt, skipValue, toMemberValue, toNext } from "../json/cursor.js";
import { indexJson, type JsonDocument, skipScalar } from "../json/document.js";
import { ListFiller, shapeOf } from "../json/list-filler.js";
import { rootObject } from "../json/predict-body.js";
import { stringBytes } from "../json/string.js";
import { TensorBuilder } from "../json/tensor-builder.js";
import { checkShape, dtypeOf, type InferDType, tensorFromRaw } from "./datatype.js";
import { type Parameters, refuseExtensions } from "./infer.js";

export interface InferBody {
  readonly id: string;
  readonly parameters: Parameters;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly outputs: readonly RequestedOutput[];
}

export interface RequestedOutput {
  readonly name: string;
  /** Whether it shall come as raw bytes; undefined = as the request's binary_data_output says. */
  readonly isBinary: boolean | undefined;
}

/**
 * Reads the body of an infer request, in slices: JSON, and behind it the raw bytes of those inputs that have a
 * binary_data_size (the protocol's binary tensor extension).
 *
 * @param jsonBytes  length of the JSON (Inference-Header-Content-Length); undefined = the whole body
 * @param hold  see {@link indexJson}
 * @throws ServingError INVALID_ARGUMENT; what `hold` throws
 */
export function* readInferBody(
  body: Buffer,
  jsonBytes: number | undefined,
  hold: JsonDocument["hold"],
): Generator<undefined, InferBody> {
  if (jsonBytes !== undefined && !(jsonBytes <= body.length)) {
    throw invalid(`Inference-Header-Content-Length is ${jsonBytes}, the body has ${body.length} bytes`);
  }
  const document = yield* indexJson(body.subarray(0, jsonBytes), hold);
  const root = rootObject(document);
  const binary = new BinaryTail(body.subarray(jsonBytes ?? body.length));
  const inputs = new Map<string, Tensor>();
  for (const each of elementsOf(document, memberOf(document, root, "inputs"), "inputs")) {
    const name = textOf(document, each, "name", "an input");
    if (inputs.has(name)) throw invalid(`input ${name} is given twice`);
    inputs.set(name, yield* readInput(document, each, name, binary));
  }
  binary.checkEnd();
  const outputs = elementsOf(document, memberOf(document, root, "outputs"), "outputs").map((each) => {
    const name = textOf(document, each, "name", "an output");
    const parameters = parametersOf(document, each);
    refuseExtensions(`output ${name}`, parameters);
    return { name, isBinary: flagOf(parameters, "binary_data") };
  });
  const idAt = memberOf(document, root, "id");
  const id = idAt ? textAt(document, idAt, "id") : "";
  return { id, parameters: parametersOf(document, root), inputs, outputs };
}

/** @throws ServingError INVALID_ARGUMENT unless the parameter is true, false or absent */
export function flagOf(parameters: Parameters, name: string): boolean | undefined {
  const value = parameters.get(name);
  if (value === undefined || typeof value === "boolean") return value;
  throw invalid(`parameter ${name}: true or false is needed`);
}

/** The bytes behind the JSON, taken input by input. */
class BinaryTail {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(name: string, length: unknown): Buffer {
    if (typeof length !== "number" || !Number.isSafeInteger(length) || length < 0) {
      throw invalid(`input ${name}: binary_data_size is no size in bytes`);
    }
    const left = this.#bytes.length - this.#at;
    if (length > left) {
      throw invalid(
        `input ${name}: binary_data_size is ${length}, but ${left} bytes are left behind the JSON (Inference-Header-Content-Length)`,
      );
    }
    return this.#bytes.subarray(this.#at, (this.#at += length));
  }

  checkEnd(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw invalid(`${left} bytes behind the JSON belong to no input`);
  }
}

function* readInput(
  document: JsonDocument,
  input: Cursor,
  name: string,
  binary: BinaryTail,
): Generator<undefined, Tensor> {
  const dtype = dtypeOf(textOf(document, input, "datatype", `input ${name}`), name);
  const shape = readShape(document, input, name);
  const parameters = parametersOf(document, input);
  refuseExtensions(`input ${name}`, parameters);
  const data = memberOf(document, input, "data");
  const size = parameters.get("binary_data_size");
  if (size !== undefined) {
    if (data) throw invalid(`input ${name} has both data and binary_data_size`);
    return tensorFromRaw(name, dtype, shape, binary.take(name, size));
  }
  if (!data) throw invalid(`input ${name} has neither data nor binary_data_size`);
  if (dtype === "float16" || dtype === "bfloat16") {
    throw invalid(`input ${name}: 16-bit floats have no JSON form; send binary data`);
  }
  return yield* readData(document, data, name, dtype, shape);
}

/** Elements in row-major order, flat or nested as the shape says. */
function* readData(
  document: JsonDocument,
  data: Cursor,
  name: string,
  dtype: InferDType,
  shape: readonly number[],
): Generator<undefined, Tensor> {
  const written = shapeOf(document, data);
  const isNarrow = isNumeric(dtype) && NARROW.includes(dtype);
  const builder = new TensorBuilder(document, isNarrow ? "int32" : dtype, elementCount(written));
  const filler = new ListFiller(document, { ...data });
  try {
    if (!filler.start(written, builder)) while (!filler.resume()) yield;
  } catch (error) {
    throw invalid(`input ${name}: ${ServingError.from(error).message}`);
  }
  const isFlat = written.length === 1;
  const isSame = written.length === shape.length && written.every((dim, i) => dim === shape[i]);
  if (kindAt(document, data.offset) !== "Array" || builder.count !== elementCount(shape) || !(isFlat || isSame)) {
    throw invalid(`input ${name}: data of shape [${written.join(",")}] where shape says [${shape.join(",")}]`);
  }
  const value = builder.build(shape);
  return isNarrow ? narrowed(value as Tensor<"int32">, name, dtype as NarrowDType) : value;
}

/** Types whose JSON reader would keep the low bits, as TensorFlow Serving does; here what does not fit is refused. */
const NARROW: readonly string[] = ["int8", "int16", "uint8", "uint16"];
type NarrowDType = "int8" | "int16" | "uint8" | "uint16";

function narrowed(value: Tensor<"int32">, name: string, dtype: NarrowDType): Tensor {
  const data = newData(dtype, value.data.length);
  for (let i = 0; i < data.length; i++) {
    data[i] = value.data[i]!;
    if (data[i] !== value.data[i]) throw invalid(`input ${name}: ${value.data[i]} is out of the range of ${dtype}`);
  }
  return tensor(dtype, value.shape, data);
}

function readShape(document: JsonDocument, input: Cursor, name: string): number[] {
  const member = memberOf(document, input, "shape");
  if (!member || kindAt(document, member.offset) !== "Array") throw invalid(`input ${name} has no shape`);
  const dims = listOf(document, member).map((at) => scalarAt(document, at));
  const shape = dims.map((dim) => (typeof dim === "number" ? dim : Number.NaN));
  checkShape(name, shape);
  return shape;
}

function parametersOf(document: JsonDocument, object: Cursor): Parameters {
  const parameters = new Map<string, string | number | boolean>();
  const member = memberOf(document, object, "parameters");
  if (!member || document.counts[member.container] === 0) return parameters;
  if (kindAt(document, member.offset) !== "Object") throw invalid("'parameters' is no object");
  checkCount(document, member, "an object");
  const cursor = { ...member };
  enter(document, cursor);
  do {
    const key = stringBytes(document.bytes, cursor.offset).toString();
    toMemberValue(document, cursor);
    const value = scalarAt(document, cursor);
    if (value !== undefined && !parameters.has(key)) parameters.set(key, value);
    skipValue(document, cursor);
  } while (toNext(document, cursor));
  return parameters;
}

/** A string, number or boolean; undefined for anything else. */
function scalarAt(document: JsonDocument, { offset }: Cursor): string | number | boolean | undefined {
  switch (kindAt(document, offset)) {
    case "String":
      return stringBytes(document.bytes, offset).toString();
    case "Number":
      return Number(document.bytes.toString("latin1", offset, skipScalar(document.bytes, offset)));
    case "True":
      return true;
    case "False":
      return false;
    default:
      return undefined;
  }
}

function textOf(document: JsonDocument, object: Cursor, key: string, what: string): string {
  const member = memberOf(document, object, key);
  if (!member) throw invalid(`${what} has no ${key}`);
  return textAt(document, member, key);
}

function textAt(document: JsonDocument, { offset }: Cursor, key: string): string {
  if (kindAt(document, offset) !== "String") throw invalid(`'${key}' is no string`);
  return stringBytes(document.bytes, offset).toString();
}

/** Cursors on the objects of a list; none when there is no list. */
function elementsOf(document: JsonDocument, list: Cursor | undefined, key: string): Cursor[] {
  if (!list) return [];
  if (kindAt(document, list.offset) !== "Array") throw invalid(`'${key}' is no list`);
  const elements = listOf(document, list);
  for (const { offset } of elements) {
    if (kindAt(document, offset) !== "Object") throw invalid(`an element of '${key}' is no object`);
  }
  return elements;
}

function memberOf(document: JsonDocument, object: Cursor, key: string): Cursor | undefined {
  checkCount(document, object, "an object");
  return findMember(document, object, key);
}

/** Inputs, outputs, dimensions and members are few; a body with more of them is no request, and is not read in slices. */
const ELEMENTS_MAX = 10_000;

/** @returns how many elements or members a list or object has. @throws ServingError INVALID_ARGUMENT when they are too many */
function checkCount(document: JsonDocument, { container }: Cursor, what: string): number {
  const count = document.counts[container]!;
  if (count <= ELEMENTS_MAX) return count;
  throw invalid(`${what} of ${count} elements where at most ${ELEMENTS_MAX} make sense`);
}

function listOf(document: JsonDocument, list: Cursor): Cursor[] {
  const count = checkCount(document, list, "a list");
  const cursor = { ...list };
  enter(document, cursor);
  return Array.from({ length: count }, () => {
    const element = { ...cursor };
    skipValue(document, cursor);
    toNext(document, cursor);
    return element;
  });
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
