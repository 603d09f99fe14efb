import { ServingError } from "@shardserve/core";
import type { Cursor } from "./cursor.js";
import { describeValue } from "./describe.js";
import { type JsonDocument, skipSpace } from "./document.js";
import type { TensorBuilder } from "./tensor-builder.js";
import { SLICE_BYTES } from "./text-slices.js";

/** Sizes of a value and of its first elements, down to the first that is no list. */
export function shapeOf(document: JsonDocument, value: Readonly<Cursor>): number[] {
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

/** Pushes the elements of nested lists, in steps; one filler reads many values, one after the other. */
export class ListFiller {
  readonly #document: JsonDocument;
  readonly #cursor: Cursor;
  #shape: readonly number[] = [];
  #builder!: TensorBuilder;
  #level = 0;

  /** @param cursor  where values begin; moves behind each of them */
  constructor(document: JsonDocument, cursor: Cursor) {
    this.#document = document;
    this.#cursor = cursor;
  }

  /** Begins the value under the cursor, which must have exactly this shape. Returns whether it is read to its end. */
  start(shape: readonly number[], builder: TensorBuilder): boolean {
    this.#shape = shape;
    this.#builder = builder;
    this.#level = 0;
    return this.resume();
  }

  /**
   * Goes on where the last step paused. Returns whether the value is read to its end.
   *
   * @throws ServingError INVALID_ARGUMENT or UNIMPLEMENTED with TensorFlow Serving's texts
   */
  resume(): boolean {
    const { bytes, counts } = this.#document;
    const cursor = this.#cursor;
    const builder = this.#builder;
    const rank = this.#shape.length;
    const pauseAt = cursor.offset + SLICE_BYTES; // elements may be long, and lists empty
    let level = this.#level;
    for (;;) {
      if (bytes[cursor.offset] === 0x5b) {
        checkList(level, this.#shape, counts[cursor.container]!);
        cursor.offset = skipSpace(bytes, cursor.offset + 1);
        cursor.container++;
        level++;
        if (bytes[cursor.offset] !== 0x5d) continue;
      } else {
        if (level !== rank) throw levelError(this.#document, cursor, level, rank);
        builder.push(cursor);
      }
      // Behind an element, or on the bracket of an empty list.
      for (;;) {
        if (level === 0) return true;
        cursor.offset = skipSpace(bytes, cursor.offset);
        const isClosing = bytes[cursor.offset] === 0x5d;
        cursor.offset++;
        if (!isClosing) break;
        level--;
      }
      cursor.offset = skipSpace(bytes, cursor.offset);
      if (cursor.offset >= pauseAt) {
        this.#level = level;
        return false;
      }
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
