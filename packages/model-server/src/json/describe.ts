import { type Cursor, enter, kindAt, skipValue, toMemberValue, toNext } from "./cursor.js";
import type { JsonDocument } from "./document.js";
import { skipScalar } from "./document.js";
import { stringBytes } from "./string.js";

/** Error texts show at most about this much of a value; what begins within it is printed whole, as TensorFlow Serving does. */
const LIMIT_BYTES = 256;
/** Strings are cut, too: theirs are not, and a message then repeats a whole image. */
const STRING_LIMIT_BYTES = 256;

/** A value as error texts show it: lists on one line, objects with four spaces, cut off when long. */
export function describeValue(document: JsonDocument, value: Readonly<Cursor>): string {
  const out: string[] = [];
  let length = 0;
  const put = (text: string) => {
    if (length >= LIMIT_BYTES) return false;
    out.push(text);
    length += text.length;
    return true;
  };
  writeValue(document, { ...value }, 0, put);
  return out.join("");
}

function writeValue(document: JsonDocument, cursor: Cursor, level: number, put: (text: string) => boolean): boolean {
  const kind = kindAt(document, cursor.offset);
  if (kind === "Object" || kind === "Array") return writeContainer(document, cursor, level, put, kind === "Array");
  const { bytes } = document;
  const text = kind === "String" ? quoted(bytes, cursor.offset) : scalarText(bytes, cursor.offset);
  skipValue(document, cursor);
  return put(text);
}

function writeContainer(
  document: JsonDocument,
  cursor: Cursor,
  level: number,
  put: (text: string) => boolean,
  isList: boolean,
): boolean {
  const count = document.counts[cursor.container]!;
  enter(document, cursor);
  if (!put(isList ? "[" : "{")) return false;
  const indent = `\n${"    ".repeat(level + 1)}`;
  for (let i = 0; i < count; i++) {
    if (i > 0 && !put(isList ? ", " : ",")) return false;
    if (!isList) {
      if (!put(`${indent}${quoted(document.bytes, cursor.offset)}: `)) return false;
      toMemberValue(document, cursor);
    }
    if (!writeValue(document, cursor, level + 1, put)) return false;
    toNext(document, cursor);
  }
  cursor.offset++;
  return put(isList ? "]" : count === 0 ? "}" : `\n${"    ".repeat(level)}}`);
}

function quoted(bytes: Buffer, offset: number): string {
  const content = stringBytes(bytes, offset);
  return JSON.stringify(content.subarray(0, STRING_LIMIT_BYTES).toString());
}

/** Integers and words as they stand, other numbers in their shortest form with a point. */
function scalarText(bytes: Buffer, offset: number): string {
  const text = bytes.toString("latin1", offset, Math.min(skipScalar(bytes, offset), offset + 400));
  if (!/[.eE]/.test(text) || /^[tfn]/.test(text)) return text;
  const shortest = String(Number(text)).replace("e+", "e");
  return /[.e]/.test(shortest) ? shortest : `${shortest}.0`;
}
