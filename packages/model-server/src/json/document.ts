import { ServingError } from "@shardserve/core";
import { newData } from "@shardserve/tensor";

/**
 * A checked JSON text and an index of its containers, so that values can be read and skipped in place: no object is made
 * per number, and int64 and NaN survive. Containers are numbered in the order in which they open.
 *
 * A *cursor* is a pair: the byte offset of a value, and the number of the next container that opens at or after it.
 */
export interface JsonDocument {
  readonly bytes: Buffer;
  /** Offset of the top value. */
  readonly start: number;
  /** Elements of an array, members of an object. */
  readonly counts: Int32Array;
  /** Byte offset after a container's closing bracket. */
  readonly ends: Int32Array;
  /** Number of the next container after it has closed. */
  readonly nexts: Int32Array;
  /** Counts memory that is taken beyond the text: brackets and short values take many times their bytes. */
  readonly hold: (bytes: number) => void;
}

/** A deeper text is refused: the deepest tensor that TensorFlow knows has 254 dimensions. */
const JSON_DEPTH_MAX = 512;

/** Bytes looked at between two pauses; a slice takes a few milliseconds. */
const SLICE_BYTES = 512 * 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** What the scanner expects next. */
const VALUE = 0;
const FIRST_ELEMENT = 1;
const AFTER_VALUE = 2;
const FIRST_KEY = 3;
const KEY = 4;
const AFTER_KEY = 5;

/**
 * Checks one JSON text and indexes it, in slices. Accepts what TensorFlow Serving's parser accepts (RapidJSON,
 * iterative, NaN and Inf allowed): the tokens NaN, Inf, Infinity with an optional minus are numbers, and whatever
 * follows the top value is ignored. Error texts and offsets are RapidJSON's.
 *
 * @param hold  counts bytes of the index, and then of what is made of the text; throws when they are too many
 * @throws ServingError INVALID_ARGUMENT "JSON Parse error: ... at offset: N"; what `hold` throws
 */
export function* indexJson(bytes: Buffer, hold: JsonDocument["hold"]): Generator<undefined, JsonDocument> {
  if (bytes.length === 0) throw new ServingError("INVALID_ARGUMENT", "JSON Parse error: The document is empty");
  const hasMark = bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const start = skipSpace(bytes, hasMark ? 3 : 0);
  if (start >= bytes.length) throw parseError("The document is empty.", start);

  let index = new ContainerIndex(Math.max(16, bytes.length >>> 6));
  const nesting = idleNestings.pop() ?? new Nesting();
  const { open, isList } = nesting;
  let depth = 0;
  let offset = start;
  let state = VALUE;
  let pauseAt = offset + SLICE_BYTES;

  for (;;) {
    if (offset >= pauseAt) {
      yield;
      pauseAt = offset + SLICE_BYTES;
    }
    offset = skipSpace(bytes, offset);
    const byte = offset < bytes.length ? bytes[offset]! : -1;

    if (state === AFTER_VALUE) {
      const container = open[depth - 1]!;
      index.counts[container]!++;
      if (byte === COMMA) {
        state = isList[depth - 1] ? VALUE : KEY;
        offset++;
        continue;
      }
      const closing = isList[depth - 1] ? CLOSE_LIST : CLOSE_OBJECT;
      if (byte !== closing) {
        const what = isList[depth - 1] ? "Missing a comma or ] after an array element." : MISS_MEMBER_END;
        throw parseError(what, offset);
      }
      index.close(container, ++offset);
      if (--depth === 0) break;
      continue;
    }

    if (state === FIRST_KEY || state === KEY) {
      if (byte === CLOSE_OBJECT && state === FIRST_KEY) {
        index.close(open[depth - 1]!, ++offset);
        if (--depth === 0) break;
        state = AFTER_VALUE;
        continue;
      }
      if (byte !== QUOTE) throw parseError("Missing a name for object member.", offset);
      offset = checkString(bytes, offset);
      state = AFTER_KEY;
      continue;
    }

    if (state === AFTER_KEY) {
      if (byte !== COLON) throw parseError("Missing a colon after a name of object member.", offset);
      offset++;
      state = VALUE;
      continue;
    }

    // A value, or the end of an empty list.
    if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      if (depth >= JSON_DEPTH_MAX) throw parseError(`Nesting is deeper than ${JSON_DEPTH_MAX} levels.`, offset);
      if (index.size === index.capacity) {
        const capacity = grownCapacity(index.capacity, bytes.length - offset);
        hold((capacity - index.capacity) * CONTAINER_BYTES);
        index = index.grown(capacity);
      }
      open[depth] = index.open();
      isList[depth] = byte === OPEN_LIST ? 1 : 0;
      depth++;
      offset++;
      state = byte === OPEN_LIST ? FIRST_ELEMENT : FIRST_KEY;
      continue;
    }
    if (byte === CLOSE_LIST && state === FIRST_ELEMENT) {
      index.close(open[depth - 1]!, ++offset);
      if (--depth === 0) break;
      state = AFTER_VALUE;
      continue;
    }
    if (byte === QUOTE) offset = checkString(bytes, offset);
    else if (byte === 0x74) offset = checkWord(bytes, offset, "true");
    else if (byte === 0x66) offset = checkWord(bytes, offset, "false");
    else if (byte === 0x6e) offset = checkWord(bytes, offset, "null");
    else offset = checkNumber(bytes, offset);
    if (depth === 0) break;
    state = AFTER_VALUE;
  }
  idleNestings.push(nesting);
  return { bytes, start, counts: index.counts, ends: index.ends, nexts: index.nexts, hold };
}

const MISS_MEMBER_END = "Missing a comma or } after an object member.";

/** The containers that are open at one place of a text: their numbers, and 1 for lists. */
class Nesting {
  readonly open = new Int32Array(JSON_DEPTH_MAX);
  readonly isList = new Uint8Array(JSON_DEPTH_MAX);
}

/** Of texts that were read to their end: to make and to clear one takes longer than to read a small text. */
const idleNestings: Nesting[] = [];

/** Of a container in the index: three integers. */
const CONTAINER_BYTES = 12;

/** What a full list of values or containers is enlarged to: twice as many, and no more than the rest of the text can hold, two bytes each. */
export function grownCapacity(capacity: number, bytesLeft: number): number {
  return capacity + Math.min(capacity, (bytesLeft >>> 1) + 1);
}

class ContainerIndex {
  readonly counts: Int32Array;
  readonly ends: Int32Array;
  readonly nexts: Int32Array;
  size = 0;

  constructor(capacity: number) {
    this.counts = newData("int32", capacity);
    this.ends = newData("int32", capacity);
    this.nexts = newData("int32", capacity);
  }

  get capacity(): number {
    return this.counts.length;
  }

  open(): number {
    return this.size++;
  }

  close(container: number, end: number): void {
    this.ends[container] = end;
    this.nexts[container] = this.size;
  }

  grown(capacity: number): ContainerIndex {
    const larger = new ContainerIndex(capacity);
    larger.counts.set(this.counts);
    larger.ends.set(this.ends);
    larger.nexts.set(this.nexts);
    larger.size = this.size;
    return larger;
  }
}

/** First offset at or after `offset` that is no white space. */
export function skipSpace(bytes: Uint8Array, offset: number): number {
  for (; offset < bytes.length; offset++) {
    const byte = bytes[offset]!;
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
  }
  return offset;
}

/** The offset after the string that starts at `offset`; for checked text. */
export function skipString(bytes: Uint8Array, offset: number): number {
  for (offset++; bytes[offset] !== QUOTE; offset++) if (bytes[offset] === BACKSLASH) offset++;
  return offset + 1;
}

/** The offset after the number or word that starts at `offset`; for checked text. */
export function skipScalar(bytes: Uint8Array, offset: number): number {
  for (; offset < bytes.length; offset++) {
    const byte = bytes[offset]!;
    if (byte === COMMA || byte === CLOSE_LIST || byte === CLOSE_OBJECT || byte <= 0x20) break;
  }
  return offset;
}

function checkString(bytes: Uint8Array, start: number): number {
  for (let offset = start + 1; offset < bytes.length; offset++) {
    const byte = bytes[offset]!;
    if (byte === QUOTE) return offset + 1;
    if (byte === BACKSLASH) offset = checkEscape(bytes, offset);
    else if (byte < 0x20) {
      throw parseError(byte === 0 ? MISS_QUOTE : "Invalid encoding in string.", byte === 0 ? start : offset);
    }
  }
  throw parseError(MISS_QUOTE, start);
}

const MISS_QUOTE = "Missing a closing quotation mark in string.";
const BAD_SURROGATE = "The surrogate pair in string is invalid.";

/** @returns the offset of the escape's last byte */
function checkEscape(bytes: Uint8Array, offset: number): number {
  const kind = bytes[offset + 1];
  if (kind !== 0x75) {
    if (kind !== undefined && SIMPLE_ESCAPES.includes(kind)) return offset + 1;
    throw parseError("Invalid escape character in string.", offset);
  }
  const unit = hex4(bytes, offset);
  if (unit < 0xd800 || unit > 0xdfff) return offset + 5;
  if (unit > 0xdbff || bytes[offset + 6] !== BACKSLASH || bytes[offset + 7] !== 0x75) {
    throw parseError(BAD_SURROGATE, offset);
  }
  const low = hex4(bytes, offset + 6);
  if (low < 0xdc00 || low > 0xdfff) throw parseError(BAD_SURROGATE, offset);
  return offset + 11;
}

/** The bytes that may follow a backslash: " \ / b f n r t. */
const SIMPLE_ESCAPES: readonly number[] = [0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74];

function hex4(bytes: Uint8Array, offset: number): number {
  let unit = 0;
  for (let i = offset + 2; i < offset + 6; i++) {
    const digit = hexDigit(bytes[i] ?? 0);
    if (digit < 0) throw parseError("Incorrect hex digit after \\u escape in string.", offset);
    unit = unit * 16 + digit;
  }
  return unit;
}

/** 0..15, or -1 for a byte that is no hexadecimal digit. */
export function hexDigit(byte: number): number {
  if (byte >= ZERO && byte <= NINE) return byte - ZERO;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function checkWord(bytes: Uint8Array, offset: number, word: string): number {
  for (let i = 1; i < word.length; i++) {
    if (bytes[offset + i] !== word.charCodeAt(i)) throw parseError("Invalid value.", offset + i);
  }
  return offset + word.length;
}

function checkNumber(bytes: Buffer, start: number): number {
  let offset = bytes[start] === MINUS ? start + 1 : start;
  const first = bytes[offset] ?? 0;
  if (first === 0x4e || first === 0x49) return checkNanOrInf(bytes, offset);
  if (first < ZERO || first > NINE) throw parseError("Invalid value.", offset);
  if (first === ZERO) offset++;
  else offset = skipDigits(bytes, offset);
  const integerEnd = offset;
  if (bytes[offset] === POINT) {
    const fraction = ++offset;
    offset = skipDigits(bytes, offset);
    if (offset === fraction) throw parseError("Miss fraction part in number.", offset);
  }
  let hasExponent = false;
  if ((bytes[offset] ?? 0) === 0x65 || bytes[offset] === 0x45) {
    hasExponent = true;
    offset++;
    if (bytes[offset] === 0x2b || bytes[offset] === MINUS) offset++;
    const digits = offset;
    offset = skipDigits(bytes, offset);
    if (offset === digits) throw parseError("Miss exponent in number.", offset);
  }
  if (hasExponent || integerEnd - start > 308) {
    if (!Number.isFinite(Number(bytes.toString("latin1", start, offset)))) {
      throw parseError("Number too big to be stored in double.", start);
    }
  }
  return offset;
}

function skipDigits(bytes: Uint8Array, offset: number): number {
  while (offset < bytes.length && bytes[offset]! >= ZERO && bytes[offset]! <= NINE) offset++;
  return offset;
}

function checkNanOrInf(bytes: Buffer, offset: number): number {
  for (const token of ["NaN", "Infinity", "Inf"]) {
    if (bytes.toString("latin1", offset, Math.min(offset + token.length, bytes.length)) === token)
      return offset + token.length;
  }
  throw parseError("Invalid value.", offset);
}

function parseError(text: string, offset: number): ServingError {
  return new ServingError("INVALID_ARGUMENT", `JSON Parse error: ${text} at offset: ${offset}`);
}
