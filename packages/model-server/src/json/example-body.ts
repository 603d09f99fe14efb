import { ServingError } from "@shardserve/core";
import { StringColumnBuilder, type Tensor } from "@shardserve/tensor";
import { OFFSET_BYTES, withContext } from "../predict/example-input.js";
import { base64Text, type Cursor, enter, findMembers, kindAt, skipValue, toMemberValue, toNext } from "./cursor.js";
import type { JsonDocument } from "./document.js";
import { ExampleWriter, type FeatureKind } from "./example-writer.js";
import { NumberReader } from "./number.js";
import { formatError } from "./predict-body.js";
import { decodeBase64, stringBytes } from "./string.js";
import { SLICE_BYTES, TextSlices } from "./text-slices.js";

/**
 * The body of a REST classify or regress request as serialised tf.Examples; TensorFlow Serving's rules and texts. A
 * literal without point and exponent makes an int64 feature, one with either a float feature: 1 and 1.0 differ.
 */
export function* readExampleBody(document: JsonDocument, root: Cursor): Generator<undefined, Tensor<"string">> {
  const [contextValue, list] = yield* findMembers(document, root, ["context", "examples"]);
  const context = new StringColumnBuilder(1);
  if (contextValue) yield* new ExampleReader(document, contextValue.offset).read({ ...contextValue }, context);
  if (!list) throw formatError(document, root, "When method is classify, key 'examples' is expected and was not found");
  if (kindAt(document, list.offset) !== "Array") {
    throw formatError(document, root, "Expecting 'examples' value to be an list/array");
  }
  const count = document.counts[list.container]!;
  if (count === 0) throw formatError(document, root, "'examples' value is an empty array");

  document.hold(count * OFFSET_BYTES);
  const reader = new ExampleReader(document, list.offset);
  const column = new StringColumnBuilder(count);
  const cursor = { ...list };
  enter(document, cursor);
  for (let i = 0; i < count; i++) {
    yield* reader.read(cursor, column);
    toNext(document, cursor);
  }
  const contextBytes = contextValue ? context.build().at(0) : new Uint8Array();
  return yield* withContext(contextBytes, column.build(), document.hold);
}

/** Reads examples, one after the other. */
class ExampleReader {
  readonly #document: JsonDocument;
  readonly #writer: ExampleWriter;
  readonly #numbers = new NumberReader();
  /** Of the feature under way. */
  #kind: FeatureKind | undefined;
  #name: Buffer = Buffer.alloc(0);
  readonly #slices: TextSlices;
  #heldBytes = 0;

  /** @param offset  where the first one begins */
  constructor(document: JsonDocument, offset: number) {
    this.#document = document;
    this.#slices = new TextSlices(offset);
    this.#writer = new ExampleWriter(document.hold);
  }

  /** Appends the example under the cursor and moves behind it. */
  *read(cursor: Cursor, column: StringColumnBuilder): Generator<undefined, void> {
    const document = this.#document;
    const kind = kindAt(document, cursor.offset);
    if (kind !== "Object") throw invalid(`Example must be JSON object but got JSON ${kind}`);
    const count = document.counts[cursor.container]!;
    enter(document, cursor);
    for (let i = 0; i < count; i++) {
      this.#name = stringBytes(document.bytes, cursor.offset);
      this.#kind = undefined;
      toMemberValue(document, cursor);
      const isList = kindAt(document, cursor.offset) === "Array";
      const values = isList ? document.counts[cursor.container]! : 1;
      if (isList) enter(document, cursor);
      for (let j = 0; j < values; j++) {
        this.#add(cursor);
        if (isList) toNext(document, cursor);
        if (this.#slices.isOver(cursor.offset)) yield;
      }
      if (isList) cursor.offset++;
      this.#writer.endFeature(this.#name, this.#kind);
      toNext(document, cursor);
      if (this.#slices.isOver(cursor.offset)) yield; // a list may be empty
    }
    cursor.offset++;
    this.#writer.endExample(column);
    this.#count(column);
    if (this.#slices.isOver(cursor.offset)) yield; // and so may an example
  }

  #count({ byteLength }: StringColumnBuilder): void {
    if (byteLength < this.#heldBytes + SLICE_BYTES) return;
    this.#document.hold(byteLength - this.#heldBytes);
    this.#heldBytes = byteLength;
  }

  #add(cursor: Cursor): void {
    const document = this.#document;
    const kind = kindAt(document, cursor.offset);
    if (kind === "Null" || kind === "Array") throw this.#unexpected(kind);
    if (kind === "True" || kind === "False") {
      this.#expect("int64");
      this.#writer.addInt64(kind === "True" ? 1 : 0, 0, false);
      skipValue(document, cursor);
    } else if (kind === "Number") this.#addNumber(cursor);
    else {
      const text = kind === "String" ? stringBytes(document.bytes, cursor.offset) : base64Text(document, cursor);
      if (!text) throw this.#unexpected(kind);
      this.#expect("bytes");
      const content = kind === "String" ? text : decodeBase64(text);
      if (!content) throw invalid("Unable to base64 decode");
      this.#writer.addBytes(content);
      skipValue(document, cursor);
    }
  }

  #addNumber(cursor: Cursor): void {
    const { bytes } = this.#document;
    const numbers = this.#numbers;
    if (numbers.readInteger(bytes, cursor.offset)) {
      this.#expect("int64");
      if (!numbers.isNegative && numbers.high >= 0x8000_0000) {
        throw invalid(`Feature: ${this.#name.toString()} has uint64_t element. Only int64_t is supported.`);
      }
      this.#writer.addInt64(numbers.low, numbers.high, numbers.isNegative);
    } else {
      this.#expect("float");
      this.#writer.addFloat(numbers.readDouble(bytes, cursor.offset, true));
    }
    cursor.offset = numbers.end;
  }

  #expect(kind: FeatureKind): void {
    this.#kind ??= kind;
    if (this.#kind === kind) return;
    throw invalid(`Unexpected element type in feature: ${this.#name.toString()} expecting type: ${this.#kind}`);
  }

  #unexpected(kind: string): ServingError {
    return invalid(`Feature: ${this.#name.toString()} has element with unexpected JSON type: ${kind}`);
  }
}

function invalid(message: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", message);
}
