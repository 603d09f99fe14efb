import { WIRE_BYTES, type WireReader } from "./wire-reader.js";

/** Where a field of a protobuf message lies, in bytes from where its reader counts. */
export interface WireField {
  readonly number: number;
  /** Whether its value has a length: text, bytes, a message, packed numbers. */
  readonly isDelimited: boolean;
  /** Where its tag begins. */
  readonly start: number;
  /** Behind the tag: where the length begins, if it has one. */
  readonly lengthStart: number;
  /** Where its value begins: behind the length, if it has one. */
  readonly valueStart: number;
  readonly end: number;
}

/**
 * The fields from the reader's place to its end; the reader stands behind the one that was yielded last.
 *
 * @throws ServingError INVALID_ARGUMENT where the bytes end early or break the encoding
 */
export function* wireFields(reader: WireReader): Generator<WireField, void> {
  while (reader.position < reader.end) {
    const start = reader.position;
    const tag = reader.tag();
    const lengthStart = reader.position;
    const isDelimited = (tag & 7) === WIRE_BYTES;
    if (isDelimited) reader.length();
    const valueStart = reader.position;
    reader.position = lengthStart;
    reader.skip(tag & 7);
    yield { number: tag >>> 3, isDelimited, start, lengthStart, valueStart, end: reader.position };
  }
}
