import { ServingError } from "@shardserve/core";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { base64Text, type Cursor, enter, findMember, kindAt, toMemberValue, toNext } from "./cursor.js";
import { describeValue } from "./describe.js";
import { type JsonDocument, skipSpace } from "./document.js";
import { stringBytes } from "./string.js";
import { TensorBuilder } from "./tensor-builder.js";

/**
 * The body of a REST predict request as tensors: TensorFlow Serving's rules and texts (util/json_tensor.cc), read in
 * place out of the indexed text.
 */
export interface PredictBody {
  /** "instances" is answered row by row, "inputs" column by column. */
  readonly format: "row" | "columnar";
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** Elements between two pauses. */
const SLICE_ELEMENTS = 64 * 1024;

/** @throws ServingError INVALID_ARGUMENT unless the top value is an object */
export function rootObject(document: JsonDocument): Cursor {
  const root = { offset: document.start, container: 0 };
  if (kindAt(document, root.offset) !== "Object") throw formatError(document, root, "Is not object");
  return root;
}

/** The "signature_name" of a body, "" when it has none. */
export function signatureNameOf(document: JsonDocument, root: Cursor): string {
  const member = findMember(document, root, "signature_name");
  if (!member) return "";
  if (kindAt(document, member.offset) !== "String") {
    throw formatError(document, root, "not formatted correctly. 'signature_name' key must be a string value.");
  }
  return stringBytes(document.bytes, member.offset).toString();
}

export function formatError(document: JsonDocument, value: Readonly<Cursor>, text: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", `JSON Value: ${describeValue(document, value)} ${text}`);
}

/**
 * Reads the tensors of a predict body, in slices.
 *
 * @throws ServingError INVALID_ARGUMENT or UNIMPLEMENTED with TensorFlow Serving's texts
 */
export function* readPredictBody(
  document: JsonDocument,
  root: Cursor,
  signature: SignatureInfo,
): Generator<undefined, PredictBody> {
  if (signature.inputs.size === 0) {
    throw new ServingError("INVALID_ARGUMENT", `Failed to get input map for signature: ${signature.name}`);
  }
  const instances = findMember(document, root, "instances");
  const inputs = findMember(document, root, "inputs");
  if (instances && inputs) {
    const text = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ";
    throw formatError(document, root, text);
  }
  if (instances) return { format: "row", inputs: yield* readRows(document, root, instances, signature) };
  if (inputs) return { format: "columnar", inputs: yield* readColumns(document, inputs, signature) };
  throw new ServingError("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key");
}

function* readColumns(
  document: JsonDocument,
  value: Cursor,
  signature: SignatureInfo,
): Generator<undefined, ReadonlyMap<string, Tensor>> {
  const specs = [...signature.inputs.values()];
  const tensors = new Map<string, Tensor>();
  if (kindAt(document, value.offset) !== "Object" || base64Text(document, value)) {
    if (specs.length > 1) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map",
      );
    }
    tensors.set(specs[0]!.name, yield* readColumn(document, value, specs[0]!));
    return tensors;
  }
  for (const spec of specs) {
    const member = findMember(document, value, spec.name);
    if (!member) {
      throw new ServingError("INVALID_ARGUMENT", `Missing named input: ${spec.name} in 'inputs' object.`);
    }
    tensors.set(spec.name, yield* readColumn(document, member, spec));
  }
  return tensors;
}

function* readColumn(document: JsonDocument, value: Cursor, spec: TensorSpec): Generator<undefined, Tensor> {
  const shape = shapeOf(document, value);
  const builder = new TensorBuilder(document, spec.dtype, elementCount(shape));
  yield* fill(document, value, shape, builder);
  return builder.build(shape);
}

/** One input of a row-format body: its elements so far and the shape of one instance. */
class Column {
  readonly name: string;
  readonly key: Buffer;
  readonly builder: TensorBuilder;
  shape: readonly number[] = [];
  /** Number of the last instance that has set this input; -1 = none yet. */
  lastInstance = -1;

  constructor(document: JsonDocument, spec: TensorSpec, instanceCount: number) {
    this.name = spec.name;
    this.key = Buffer.from(spec.name);
    this.builder = new TensorBuilder(document, spec.dtype, instanceCount);
  }
}

function* readRows(
  document: JsonDocument,
  root: Cursor,
  list: Cursor,
  signature: SignatureInfo,
): Generator<undefined, ReadonlyMap<string, Tensor>> {
  if (kindAt(document, list.offset) !== "Array") {
    throw formatError(document, root, "Expecting 'instances' to be an list/array");
  }
  const count = document.counts[list.container]!;
  if (count === 0) throw formatError(document, root, "No values in 'instances' array");

  const cursor = { ...list };
  enter(document, cursor);
  if (kindAt(document, cursor.offset) !== "Object" && signature.inputs.size > 1) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map",
    );
  }
  const isNamed = isElementObject(document, cursor);
  const columns = [...signature.inputs.values()].map((spec) => new Column(document, spec, count));
  let pauseAt = cursor.offset + SLICE_ELEMENTS * 8;
  for (let instance = 0; instance < count; instance++) {
    if (cursor.offset >= pauseAt) {
      yield;
      pauseAt = cursor.offset + SLICE_ELEMENTS * 8;
    }
    if (isElementObject(document, cursor) !== isNamed) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        isNamed
          ? `Expecting object but got list at item ${instance} of input list`
          : `Expecting value/list but got object at item ${instance} of input list`,
      );
    }
    if (isNamed) yield* readNamedInstance(document, cursor, columns, instance);
    else yield* readInstance(document, cursor, columns[0]!, instance, "");
    toNext(document, cursor);
  }
  const tensors = new Map<string, Tensor>();
  for (const column of columns) {
    if (column.lastInstance >= 0) tensors.set(column.name, column.builder.build([count, ...column.shape]));
  }
  return tensors;
}

function isElementObject(document: JsonDocument, cursor: Cursor): boolean {
  return document.bytes[cursor.offset] === 0x7b && base64Text(document, cursor) === undefined;
}

function* readNamedInstance(
  document: JsonDocument,
  cursor: Cursor,
  columns: readonly Column[],
  instance: number,
): Generator<undefined, void> {
  const start = { ...cursor };
  const count = document.counts[cursor.container]!;
  enter(document, cursor);
  for (let i = 0; i < count; i++) {
    const column = columnOf(document, cursor.offset, columns, i);
    if (!column) {
      const name = stringBytes(document.bytes, cursor.offset).toString();
      throw instanceError(instance, name, "INVALID_ARGUMENT", `JSON object: does not have named input: ${name}`);
    }
    if (column.lastInstance === instance) {
      throw instanceError(instance, column.name, "INVALID_ARGUMENT", "the key occurs twice in the object");
    }
    toMemberValue(document, cursor);
    yield* readInstance(document, cursor, column, instance, column.name);
    toNext(document, cursor);
  }
  cursor.offset++; // the closing bracket
  if (count === columns.length) return;
  const names = columns.map((column) => column.name).sort();
  throw new ServingError(
    "INVALID_ARGUMENT",
    `Failed to process element: ${instance} of 'instances' list. JSON object: ${describeValue(document, start)}` +
      ` keys must be equal to: ${names.join(",")}`,
  );
}

/** Instances mostly name their inputs in one order, so the i-th key is compared with the i-th input first. */
function columnOf(document: JsonDocument, offset: number, columns: readonly Column[], i: number): Column | undefined {
  const { bytes } = document;
  const likely = columns[i];
  if (likely && isKey(bytes, offset, likely.key)) return likely;
  const key = stringBytes(bytes, offset);
  return columns.find((column) => column.key.equals(key));
}

/** Whether the string at `offset` is `key` letter by letter; false, too, when it spells the key with escapes. */
function isKey(bytes: Buffer, offset: number, key: Buffer): boolean {
  const end = offset + 1 + key.length;
  return bytes[end] === 0x22 && bytes.compare(key, 0, key.length, offset + 1, end) === 0 && !key.includes(0x5c);
}

function* readInstance(
  document: JsonDocument,
  cursor: Cursor,
  column: Column,
  instance: number,
  key: string,
): Generator<undefined, void> {
  const { builder } = column;
  const before = builder.count;
  const isFirst = column.lastInstance < 0;
  column.lastInstance = instance;
  try {
    const byte = document.bytes[cursor.offset]!;
    // The common case, one scalar per instance, needs no shape.
    const shape = byte === 0x5b ? shapeOf(document, cursor) : SCALAR;
    if (byte === 0x5b) yield* fill(document, cursor, shape, builder);
    else builder.push(cursor);
    if (isFirst) column.shape = shape;
    else checkSameShape(column.shape, shape, builder.count - before);
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    throw instanceError(instance, key, error.status, error.message);
  }
}

const SCALAR: readonly number[] = [];

function checkSameShape(expected: readonly number[], shape: readonly number[], count: number): void {
  let expectedCount = 1;
  let isSame = expected.length === shape.length;
  for (let i = 0; i < expected.length; i++) {
    expectedCount *= expected[i]!;
    isSame &&= expected[i] === shape[i];
  }
  if (count !== expectedCount) {
    throw new ServingError("INVALID_ARGUMENT", `Expecting tensor size: ${expectedCount} but got: ${count}`);
  }
  if (!isSame) {
    throw new ServingError("INVALID_ARGUMENT", `Expecting shape [${expected.join(",")}] but got: [${shape.join(",")}]`);
  }
}

function instanceError(instance: number, key: string, status: string, message: string): ServingError {
  const where = key === "" ? `${instance}` : `${instance} key: ${key}`;
  return new ServingError(
    "INVALID_ARGUMENT",
    `Failed to process element: ${where} of 'instances' list. Error: ${status}: ${message}`,
  );
}

/** Sizes of a value and of its first elements, down to the first that is no list. */
function shapeOf(document: JsonDocument, value: Readonly<Cursor>): number[] {
  const { bytes, counts } = document;
  const shape: number[] = [];
  let { offset, container } = value;
  while (bytes[offset] === 0x5b) {
    const count = counts[container++]!;
    shape.push(count);
    if (count === 0) break;
    offset = skipSpace(bytes, offset + 1);
  }
  return shape;
}

/** Pushes the elements of nested lists of exactly this shape and moves behind them. */
function* fill(
  document: JsonDocument,
  cursor: Cursor,
  shape: readonly number[],
  builder: TensorBuilder,
): Generator<undefined, void> {
  const { bytes, counts } = document;
  const rank = shape.length;
  let level = 0;
  let pauseAt = builder.count + SLICE_ELEMENTS;
  for (;;) {
    if (bytes[cursor.offset] === 0x5b) {
      checkList(level, shape, counts[cursor.container]!);
      cursor.offset = skipSpace(bytes, cursor.offset + 1);
      cursor.container++;
      level++;
      if (bytes[cursor.offset] !== 0x5d) continue;
    } else {
      if (level !== rank) throw levelError(document, cursor, level, rank);
      builder.push(cursor);
    }
    // Behind an element, or on the bracket of an empty list.
    for (;;) {
      if (level === 0) return;
      cursor.offset = skipSpace(bytes, cursor.offset);
      const isClosing = bytes[cursor.offset] === 0x5d;
      cursor.offset++;
      if (!isClosing) break;
      level--;
    }
    cursor.offset = skipSpace(bytes, cursor.offset);
    if (builder.count >= pauseAt) {
      yield;
      pauseAt = builder.count + SLICE_ELEMENTS;
    }
  }
}

function checkList(level: number, shape: readonly number[], count: number): void {
  if (level >= shape.length) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `Encountered list at unexpected level: ${level} expected < ${shape.length}`,
    );
  }
  if (count !== shape[level]) {
    throw new ServingError(
      "INVALID_ARGUMENT",
      `Encountered list at unexpected size: ${count} at level: ${level} expected size: ${shape[level]}`,
    );
  }
}

function levelError(document: JsonDocument, cursor: Cursor, level: number, rank: number): ServingError {
  const value = describeValue(document, cursor);
  return new ServingError(
    "INVALID_ARGUMENT",
    `JSON Value: ${value} found at incorrect level: ${level + 1} in the JSON DOM. Expected at level: ${rank}`,
  );
}
