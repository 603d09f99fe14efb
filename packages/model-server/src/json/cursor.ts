import { type JsonDocument, skipScalar, skipSpace, skipString } from "./document.js";
import { isStringAt, stringBytes } from "./string.js";
import { WorkSlices } from "./text-slices.js";

/** A place in a document; see {@link JsonDocument}. Mutable: one cursor walks many values. */
export interface Cursor {
  offset: number;
  /** Number of the next container that opens at or after `offset`. */
  container: number;
}

export type JsonKind = "Null" | "False" | "True" | "Object" | "Array" | "String" | "Number";

/** Kind of the value at `offset`, by RapidJSON's names. */
export function kindAt(document: JsonDocument, offset: number): JsonKind {
  switch (document.bytes[offset]) {
    case 0x6e:
      return "Null";
    case 0x66:
      return "False";
    case 0x74:
      return "True";
    case 0x7b:
      return "Object";
    case 0x5b:
      return "Array";
    case 0x22:
      return "String";
    default:
      return "Number";
  }
}

/** Moves behind the value that the cursor stands on. */
export function skipValue(document: JsonDocument, cursor: Cursor): void {
  const { bytes, ends, nexts } = document;
  const byte = bytes[cursor.offset]!;
  if (byte === 0x5b || byte === 0x7b) {
    const { container } = cursor;
    cursor.offset = ends[container]!;
    cursor.container = nexts[container]!;
  } else if (byte === 0x22) cursor.offset = skipString(bytes, cursor.offset);
  else cursor.offset = skipScalar(bytes, cursor.offset);
}

/** From a container's opening bracket to its first value or key, or to the closing bracket when it is empty. */
export function enter(document: JsonDocument, cursor: Cursor): void {
  cursor.offset = skipSpace(document.bytes, cursor.offset + 1);
  cursor.container++;
}

/** From a key's closing quote (or before) to the value that follows the colon. */
export function toMemberValue(document: JsonDocument, cursor: Cursor): void {
  const afterKey = skipSpace(document.bytes, skipString(document.bytes, cursor.offset));
  cursor.offset = skipSpace(document.bytes, afterKey + 1);
}

/** From behind a value over the comma to the next one; false when the container closes instead (the cursor is on its bracket). */
export function toNext(document: JsonDocument, cursor: Cursor): boolean {
  cursor.offset = skipSpace(document.bytes, cursor.offset);
  if (document.bytes[cursor.offset] !== 0x2c) return false;
  cursor.offset = skipSpace(document.bytes, cursor.offset + 1);
  return true;
}

/** To compare a key takes about as long as to step over this many bytes. */
const COMPARE_BYTES = 16;

/**
 * The first member of an object with each of these keys, as cursors on their values; in slices, for others may be millions,
 * or long. A list or object counts with all its bytes, though it is stepped over at once: mostly it is read next.
 *
 * @param slices  shared by the walks over objects that may be many
 */
export function* findMembers(
  document: JsonDocument,
  object: Readonly<Cursor>,
  keys: readonly string[],
  slices = new WorkSlices(),
): Generator<undefined, readonly (Cursor | undefined)[]> {
  const { bytes, counts } = document;
  const found = keys.map((): Cursor | undefined => undefined);
  const count = counts[object.container]!;
  const cursor = { offset: object.offset, container: object.container };
  enter(document, cursor);
  for (let i = 0, missing = keys.length; i < count && missing > 0; i++) {
    const { offset } = cursor;
    const key = keys.findIndex((each, k) => !found[k] && isStringAt(bytes, offset, each));
    toMemberValue(document, cursor);
    if (key >= 0) {
      found[key] = { ...cursor };
      missing--;
    }
    skipValue(document, cursor);
    toNext(document, cursor);
    const compared = key >= 0 ? key + 1 : keys.length;
    if (slices.isOver(cursor.offset - offset + compared * COMPARE_BYTES)) yield;
  }
  return found;
}

/** The text of `{"b64": "..."}`, an object of that one member; undefined for any other value. */
export function base64Text(document: JsonDocument, value: Readonly<Cursor>): Buffer | undefined {
  const { bytes } = document;
  if (bytes[value.offset] !== 0x7b || document.counts[value.container] !== 1) return undefined;
  const member = { ...value };
  enter(document, member);
  if (!isStringAt(bytes, member.offset, "b64")) return undefined;
  toMemberValue(document, member);
  if (bytes[member.offset] !== 0x22) return undefined;
  return stringBytes(bytes, member.offset);
}
