import { ServingError } from "@shardserve/core";
import { elementCount, isNumeric, newData, type Tensor, tensor } from "@shardserve/tensor";
import { type Cursor, enter, findMembers, kindAt, skipValue, toMemberValue, toNext } from "../json/cursor.js";
import { indexJson, type JsonDocument, skipScalar } from "../json/document.js";
import { ListFiller, shapeOf } from "../json/list-filler.js";
import { rootObject } from "../json/predict-body.js";
import { stringBytes } from "../json/string.js";
import { TensorBuilder } from "../json/tensor-builder.js";
import { WorkSlices } from "../json/text-slices.js";
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
  const reader = new ObjectReader(document);
  const root = yield* reader.members(rootObject(document), ["id", "parameters", "inputs", "outputs"]);
  const binary = new BinaryTail(body.subarray(jsonBytes ?? body.length));
  const inputs = new Map<string, Tensor>();
  for (const each of yield* reader.objects(root.inputs, "inputs")) {
    const input = yield* reader.members(each, ["name", "datatype", "shape", "parameters", "data"]);
    const name = textOf(document, input.name, "name", "an input");
    if (inputs.has(name)) throw invalid(`input ${name} is given twice`);
    inputs.set(name, yield* readInput(reader, input, name, binary));
  }
  binary.checkEnd();
  const outputs: RequestedOutput[] = [];
  for (const each of yield* reader.objects(root.outputs, "outputs")) {
    const output = yield* reader.members(each, ["name", "parameters"]);
    const name = textOf(document, output.name, "name", "an output");
    const parameters = yield* reader.parameters(output.parameters);
    refuseExtensions(`output ${name}`, parameters);
    outputs.push({ name, isBinary: flagOf(parameters, "binary_data") });
  }
  const id = root.id ? textAt(document, root.id, "id") : "";
  return { id, parameters: yield* reader.parameters(root.parameters), inputs, outputs };
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
  reader: ObjectReader,
  input: Members<"datatype" | "shape" | "parameters" | "data">,
  name: string,
  binary: BinaryTail,
): Generator<undefined, Tensor> {
  const { document } = reader;
  const dtype = dtypeOf(textOf(document, input.datatype, "datatype", `input ${name}`), name);
  if (!input.shape || kindAt(document, input.shape.offset) !== "Array") throw invalid(`input ${name} has no shape`);
  const shape = yield* reader.list(input.shape, (at) => numberAt(document, at));
  checkShape(name, shape);
  const parameters = yield* reader.parameters(input.parameters);
  refuseExtensions(`input ${name}`, parameters);
  const { data } = input;
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

/** NaN for anything else than a number. */
function numberAt(document: JsonDocument, at: Cursor): number {
  const value = scalarAt(document, at);
  return typeof value === "number" ? value : Number.NaN;
}

function textOf(document: JsonDocument, member: Cursor | undefined, key: string, what: string): string {
  if (!member) throw invalid(`${what} has no ${key}`);
  return textAt(document, member, key);
}

function textAt(document: JsonDocument, { offset }: Cursor, key: string): string {
  if (kindAt(document, offset) !== "String") throw invalid(`'${key}' is no string`);
  return stringBytes(document.bytes, offset).toString();
}

/** Cursors on the values of an object's members. */
type Members<Key extends string> = Readonly<Record<Key, Cursor | undefined>>;

/** Inputs, outputs, dimensions and members are few; a body with more of them is no request. */
const ELEMENTS_MAX = 10_000;

/** Reads what stands around the data: few objects and lists, but what they hold beside may be long. One count of slices for all. */
class ObjectReader {
  readonly document: JsonDocument;
  readonly #slices = new WorkSlices();

  constructor(document: JsonDocument) {
    this.document = document;
  }

  /** The first member with each of these keys. */
  *members<Key extends string>(object: Cursor, keys: readonly Key[]): Generator<undefined, Members<Key>> {
    this.#checkCount(object, "an object");
    const found = yield* findMembers(this.document, object, keys, this.#slices);
    const members = {} as Record<Key, Cursor | undefined>;
    for (let i = 0; i < keys.length; i++) members[keys[i]!] = found[i];
    return members;
  }

  /** Cursors on the objects of a list; none when there is no list. */
  *objects(list: Cursor | undefined, key: string): Generator<undefined, readonly Cursor[]> {
    if (!list) return [];
    if (kindAt(this.document, list.offset) !== "Array") throw invalid(`'${key}' is no list`);
    return yield* this.list(list, (at) => {
      if (kindAt(this.document, at.offset) !== "Object") throw invalid(`an element of '${key}' is no object`);
      return { ...at };
    });
  }

  *list<T>(list: Cursor, read: (at: Cursor) => T): Generator<undefined, T[]> {
    const count = this.#checkCount(list, "a list");
    const cursor = { ...list };
    enter(this.document, cursor);
    const elements: T[] = [];
    for (let i = 0; i < count; i++) {
      const { offset } = cursor;
      elements.push(read(cursor));
      skipValue(this.document, cursor);
      toNext(this.document, cursor);
      if (this.#slices.isOver(cursor.offset - offset)) yield;
    }
    return elements;
  }

  *parameters(member: Cursor | undefined): Generator<undefined, Parameters> {
    const { document } = this;
    const parameters = new Map<string, string | number | boolean>();
    if (!member) return parameters;
    if (kindAt(document, member.offset) !== "Object") throw invalid("'parameters' is no object");
    const count = this.#checkCount(member, "an object");
    const cursor = { ...member };
    enter(document, cursor);
    for (let i = 0; i < count; i++) {
      const { offset } = cursor;
      const key = stringBytes(document.bytes, offset).toString();
      toMemberValue(document, cursor);
      const value = scalarAt(document, cursor);
      if (value !== undefined && !parameters.has(key)) parameters.set(key, value);
      skipValue(document, cursor);
      toNext(document, cursor);
      if (this.#slices.isOver(cursor.offset - offset)) yield;
    }
    return parameters;
  }

  /** @returns how many elements or members a list or object has. @throws ServingError INVALID_ARGUMENT when they are too many */
  #checkCount({ container }: Cursor, what: string): number {
    const count = this.document.counts[container]!;
    if (count <= ELEMENTS_MAX) return count;
    throw invalid(`${what} of ${count} elements where at most ${ELEMENTS_MAX} make sense`);
  }
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
