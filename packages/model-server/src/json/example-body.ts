import { create, ExampleSchema, type Feature, FeatureSchema, toBinary } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { base64Text, type Cursor, enter, findMember, kindAt, skipValue, toMemberValue, toNext } from "./cursor.js";
import type { JsonDocument } from "./document.js";
import { NumberReader } from "./number.js";
import { formatError } from "./predict-body.js";
import { decodeBase64, stringBytes } from "./string.js";

/**
 * The body of a REST classify or regress request as serialised tf.Examples; TensorFlow Serving's rules and texts. A
 * literal without point and exponent makes an int64 feature, one with either a float feature: 1 and 1.0 differ.
 */
export function* readExampleBody(document: JsonDocument, root: Cursor): Generator<undefined, Tensor<"string">> {
  const contextValue = findMember(document, root, "context");
  const context = contextValue ? readExample(document, { ...contextValue }) : new Uint8Array();
  const list = findMember(document, root, "examples");
  if (!list) throw formatError(document, root, "When method is classify, key 'examples' is expected and was not found");
  if (kindAt(document, list.offset) !== "Array") {
    throw formatError(document, root, "Expecting 'examples' value to be an list/array");
  }
  const count = document.counts[list.container]!;
  if (count === 0) throw formatError(document, root, "'examples' value is an empty array");

  const column = new StringColumnBuilder(count);
  const cursor = { ...list };
  enter(document, cursor);
  for (let i = 0; i < count; i++) {
    const example = readExample(document, cursor);
    column.push(context.length === 0 ? example : Buffer.concat([context, example]));
    toNext(document, cursor);
    if ((i & 1023) === 1023) yield;
  }
  return tensor("string", [count], column.build());
}

/** Reads one example and moves behind it. */
function readExample(document: JsonDocument, cursor: Cursor): Uint8Array {
  const kind = kindAt(document, cursor.offset);
  if (kind !== "Object") throw invalid(`Example must be JSON object but got JSON ${kind}`);
  const feature = Object.create(null) as Record<string, Feature>;
  const count = document.counts[cursor.container]!;
  enter(document, cursor);
  for (let i = 0; i < count; i++) {
    const name = stringBytes(document.bytes, cursor.offset).toString();
    toMemberValue(document, cursor);
    feature[name] = readFeature(document, cursor, name);
    toNext(document, cursor);
  }
  cursor.offset++;
  return toBinary(ExampleSchema, create(ExampleSchema, { features: { feature } }));
}

function readFeature(document: JsonDocument, cursor: Cursor, name: string): Feature {
  const values = new FeatureValues(name);
  if (kindAt(document, cursor.offset) !== "Array") {
    values.add(document, cursor);
    return values.build();
  }
  const count = document.counts[cursor.container]!;
  enter(document, cursor);
  for (let i = 0; i < count; i++) {
    values.add(document, cursor);
    toNext(document, cursor);
  }
  cursor.offset++;
  return values.build();
}

/** The values of one feature, all of one kind. */
class FeatureValues {
  readonly #name: string;
  readonly #reader = new NumberReader();
  #kind: "bytes" | "float" | "int64" | undefined;
  readonly #bytes: Uint8Array[] = [];
  readonly #floats: number[] = [];
  readonly #integers: bigint[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  add(document: JsonDocument, cursor: Cursor): void {
    const kind = kindAt(document, cursor.offset);
    const { bytes } = document;
    if (kind === "Null" || kind === "Array") throw this.#unexpected(kind);
    if (kind === "True" || kind === "False") {
      this.#expect("int64");
      this.#integers.push(kind === "True" ? 1n : 0n);
      skipValue(document, cursor);
    } else if (kind === "Number") this.#addNumber(bytes, cursor);
    else {
      const text = kind === "String" ? stringBytes(bytes, cursor.offset) : base64Text(document, cursor);
      if (!text) throw this.#unexpected(kind);
      this.#expect("bytes");
      const content = kind === "String" ? text : decodeBase64(text);
      if (!content) throw invalid("Unable to base64 decode");
      this.#bytes.push(content);
      skipValue(document, cursor);
    }
  }

  build(): Feature {
    switch (this.#kind) {
      case "bytes":
        return create(FeatureSchema, { kind: { case: "bytesList", value: { value: this.#bytes } } });
      case "float":
        return create(FeatureSchema, { kind: { case: "floatList", value: { value: this.#floats } } });
      case "int64":
        return create(FeatureSchema, { kind: { case: "int64List", value: { value: this.#integers } } });
      default:
        return create(FeatureSchema);
    }
  }

  #addNumber(bytes: Buffer, cursor: Cursor): void {
    const reader = this.#reader;
    if (reader.readInteger(bytes, cursor.offset)) {
      this.#expect("int64");
      if (!reader.isNegative && reader.high >= 0x8000_0000) {
        throw invalid(`Feature: ${this.#name} has uint64_t element. Only int64_t is supported.`);
      }
      const magnitude = (BigInt(reader.high) << 32n) | BigInt(reader.low);
      this.#integers.push(reader.isNegative ? -magnitude : magnitude);
    } else {
      this.#expect("float");
      this.#floats.push(reader.readDouble(bytes, cursor.offset, true));
    }
    cursor.offset = reader.end;
  }

  #expect(kind: "bytes" | "float" | "int64"): void {
    this.#kind ??= kind;
    if (this.#kind !== kind) {
      throw invalid(`Unexpected element type in feature: ${this.#name} expecting type: ${this.#kind}`);
    }
  }

  #unexpected(kind: string): ServingError {
    return invalid(`Feature: ${this.#name} has element with unexpected JSON type: ${kind}`);
  }
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
