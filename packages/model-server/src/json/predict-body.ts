import { ServingError } from "@shardserve/core";
import type { SignatureInfo, TensorSpec } from "@shardserve/servable";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { base64Text, type Cursor, enter, findMembers, kindAt, toNext } from "./cursor.js";
import { describeValue } from "./describe.js";
import { indexJson, type JsonDocument } from "./document.js";
import { ListFiller, shapeOf } from "./list-filler.js";
import { RowReader } from "./row-reader.js";
import { stringBytes } from "./string.js";
import { TensorBuilder } from "./tensor-builder.js";
import { TextSlices } from "./text-slices.js";

/**
 * The body of a REST predict request as tensors: TensorFlow Serving's rules and texts (util/json_tensor.cc), read in
 * place out of the indexed text.
 */
export interface PredictBody {
  /** "instances" is answered row by row, "inputs" column by column. */
  readonly format: "row" | "columnar";
  readonly inputs: ReadonlyMap<string, Tensor>;
}

/** @throws ServingError INVALID_ARGUMENT unless the top value is an object */
export function rootObject(document: JsonDocument): Cursor {
  const root = { offset: document.start, container: 0 };
  if (kindAt(document, root.offset) !== "Object") throw formatError(document, root, "Is not object");
  return root;
}

/** What all bodies of TensorFlow Serving's REST API have. */
export interface OpenBody {
  readonly document: JsonDocument;
  readonly root: Cursor;
  /** "" when it has none. */
  readonly signatureName: string;
}

/**
 * Checks and indexes a body, in slices.
 *
 * @throws ServingError INVALID_ARGUMENT unless it is an object with a "signature_name" that is a string, or none; as {@link indexJson}
 */
export function* openBody(bytes: Buffer, hold: JsonDocument["hold"]): Generator<undefined, OpenBody> {
  const document = yield* indexJson(bytes, hold);
  const root = rootObject(document);
  const [name] = yield* findMembers(document, root, ["signature_name"]);
  if (name && kindAt(document, name.offset) !== "String") {
    throw formatError(document, root, "not formatted correctly. 'signature_name' key must be a string value.");
  }
  return { document, root, signatureName: name ? stringBytes(bytes, name.offset).toString() : "" };
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
  const [instances, inputs] = yield* findMembers(document, root, ["instances", "inputs"]);
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
  const names = specs.map(({ name }) => name);
  const members = yield* findMembers(document, value, names);
  for (const [i, spec] of specs.entries()) {
    const member = members[i];
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
  const filler = new ListFiller(document, value);
  if (!filler.start(shape, builder)) while (!filler.resume()) yield;
  return builder.build(shape);
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
  const reader = new RowReader(document, cursor, signature, count);
  const slices = new TextSlices(cursor.offset);
  for (let instance = 0; instance < count; instance++) {
    if (isElementObject(document, cursor) !== isNamed) {
      throw new ServingError(
        "INVALID_ARGUMENT",
        isNamed
          ? `Expecting object but got list at item ${instance} of input list`
          : `Expecting value/list but got object at item ${instance} of input list`,
      );
    }
    if (isNamed) {
      const { offset, container } = cursor;
      const memberCount = reader.enterObject(instance);
      for (let i = 0; i < memberCount; i++) {
        if (!reader.startMember(i)) while (!reader.resume()) yield;
        toNext(document, cursor);
        if (slices.isOver(cursor.offset)) yield;
      }
      reader.leaveObject({ offset, container }, memberCount);
    } else if (!reader.startValue(instance)) while (!reader.resume()) yield;
    toNext(document, cursor);
    if (slices.isOver(cursor.offset)) yield;
  }
  return reader.build(count);
}

function isElementObject(document: JsonDocument, cursor: Cursor): boolean {
  return document.bytes[cursor.offset] === 0x7b && base64Text(document, cursor) === undefined;
}
