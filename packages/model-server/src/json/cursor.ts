import { type JsonDocument, skipScalar, skipSpace, skipString } from "./document.js";
import { isStringAt, stringBytes } from "./string.js";

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

/** Members that are stepped over between two pauses. */
const SLICE_MEMBERS = 16 * 1024;

/** The first member of an object with each of these keys, as cursors on their values; in slices, for others may be millions. */
export function* findMembers(
  document: JsonDocument,
  object: Readonly<Cursor>,
  keys: readonly string[],
): Generator<undefined, readonly (Cursor | undefined)[]> {
  const { bytes, counts } = document;
  const found = keys.map((): Cursor | undefined => undefined);
  const count = counts[object.container]!;
  const cursor = { offset: object.offset, container: object.container };
  enter(document, cursor);
  for (let i = 0, missing = keys.length; i < count && missing > 0; i++) {
    const key = keys.findIndex((each, k) => !found[k] && isStringAt(bytes, cursor.offset, each));
    toMemberValue(document, cursor);
    if (key >= 0) {
      found[key] = { ...cursor };
      missing--;
    }
    skipValue(document, cursor);
    toNext(document, cursor);
    if ((i + 1) % SLICE_MEMBERS === 0) yield;
  }
  return found;
}

/** The first member of an object with this key, as a cursor on its value. */
export function findMember(document: JsonDocument, object: Readonly<Cursor>, key: string): Cursor | undefined {
  if (document.counts[object.container] === 0) return undefined;
  const cursor = { offset: object.offset, container: object.container };
  enter(document, cursor);
  do {
    const isFound = isStringAt(document.bytes, cursor.offset, key);
    toMemberValue(document, cursor);
    if (isFound) return cursor;
    skipValue(document, cursor);
  } while (toNext(document, cursor));
  return undefined;
}

/** The text of `{"b64": "..."}`, an object of that one member; undefined for any other value. */
export function base64Text(document: JsonDocument, value: Readonly<Cursor>): Buffer | undefined {
  const { bytes } = document;
  if (bytes[value.offset] !== 0x7b || document.counts[value.container] !== 1) return undefined;
  const key = skipSpace(bytes, value.offset + 1);
  // Most one-member objects are named inputs: told apart by the first letter, unless that is escaped.
  if (bytes[key + 1] !== 0x62 && bytes[key + 1] !== 0x5c) return undefined;
  const member = findMember(document, value, "b64");
  if (!member || bytes[member.offset] !== 0x22) return undefined;
  return stringBytes(bytes, member.offset);
}
