import { setImmediate as nextTurn } from "node:timers/promises";
import { type CancelSignal, ServingError } from "@shardserve/core";
import { type DType, newData, StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { is64Bit, isFloating } from "../call/numeric.js";
import { boundsOf, parseFloatText, parseIntegerText } from "../strings/string-numbers.js";

/** Which part of a line a key or value is: a column from 0 on, the whole line, or the line's number. */
const WHOLE_LINE = -2;
const LINE_NUMBER = -1;

export interface VocabularyFormat {
  readonly keyIndex: number;
  readonly valueIndex: number;
  readonly keyDtype: DType;
  readonly valueDtype: DType;
  /** Number of lines to read; -1 = all. */
  readonly lineCount: number;
  readonly delimiter: string;
  /** Added to line numbers. */
  readonly offset: number;
}

/** Lines read between two turns of the event loop: a few milliseconds. */
const LINES_PER_TURN = 20_000;
const NEWLINE = 10;
const RETURN = 13;
const decoder = new TextDecoder();

/**
 * Reads a vocabulary file as TensorFlow's text file initializer does (tensorflow/core/kernels/lookup_util.cc).
 *
 * @throws ServingError INVALID_ARGUMENT for lines that do not fit the format, OUT_OF_RANGE for a file without lines
 */
export async function readVocabulary(
  path: string,
  bytes: Uint8Array,
  format: VocabularyFormat,
  signal?: CancelSignal,
): Promise<{ keys: Tensor; values: Tensor }> {
  const keys = columnOf(format.keyDtype, format.keyIndex, "Key", format.offset);
  const values = columnOf(format.valueDtype, format.valueIndex, "Value", format.offset);
  const splits = Math.max(format.keyIndex, format.valueIndex) >= 0;
  const delimiter = format.delimiter.charCodeAt(0);
  let line = 0;
  let at = 0;
  while (at < bytes.length && line !== format.lineCount) {
    const found = bytes.indexOf(NEWLINE, at);
    const end = found < 0 ? bytes.length : found;
    const text = withoutReturns(bytes.subarray(at, end));
    at = end + 1;
    check(text.length > 0, () => `Invalid content in ${path}: empty line found at position ${at}.`);
    const fields = splits ? split(text, delimiter) : undefined;
    if (fields) {
      const needed = Math.max(format.keyIndex, format.valueIndex);
      check(
        needed < fields.length,
        () =>
          `Invalid number of columns in ${path} line ${line} (${decoder.decode(text)}) : expected ${needed} got ${fields.length}`,
      );
    }
    keys.add(text, fields, line);
    values.add(text, fields, line);
    line++;
    if (line % LINES_PER_TURN !== 0) continue;
    await nextTurn();
    signal?.throwIfAborted();
  }
  if (format.lineCount >= 0 && line < format.lineCount) {
    throw invalid(`Invalid vocab_size in ${path}: expected ${format.lineCount} but got ${line}`);
  }
  if (line === 0) throw new ServingError("OUT_OF_RANGE", `the vocabulary file ${path} has no lines`);
  return { keys: keys.build(), values: values.build() };
}

/** TensorFlow's line reader drops every carriage return. */
function withoutReturns(line: Uint8Array): Uint8Array {
  return line.includes(RETURN) ? line.filter((byte) => byte !== RETURN) : line;
}

function split(line: Uint8Array, delimiter: number): Uint8Array[] {
  const fields: Uint8Array[] = [];
  let from = 0;
  for (let at = 0; at <= line.length; at++) {
    if (at < line.length && line[at] !== delimiter) continue;
    fields.push(line.subarray(from, at));
    from = at + 1;
  }
  return fields;
}

interface Column {
  add(line: Uint8Array, fields: readonly Uint8Array[] | undefined, lineNumber: number): void;
  build(): Tensor;
}

function columnOf(dtype: DType, index: number, name: string, offset: number): Column {
  if (index === LINE_NUMBER) {
    check(
      dtype === "int64",
      () => `${name} index for line number requires ${name.toLowerCase()} dtype of int64, got ${dtype}`,
    );
    const numbers: number[] = [];
    return {
      add: (_line, _fields, lineNumber) => numbers.push(lineNumber + offset),
      build: () => tensor("int64", [numbers.length], fromIntegers(numbers)),
    };
  }
  const pick = (line: Uint8Array, fields: readonly Uint8Array[] | undefined) =>
    index === WHOLE_LINE ? line : fields![index]!;
  if (dtype === "string") {
    const texts = new StringColumnBuilder(1024);
    return {
      add: (line, fields) => texts.push(pick(line, fields)),
      build: () => tensor("string", [texts.length], texts.build()),
    };
  }
  check(
    index !== WHOLE_LINE || dtype === "int64",
    () => `${name} index for whole line requires string or integer, got ${dtype}`,
  );
  const [min, max] = boundsOf(dtype);
  const values: (number | bigint)[] = [];
  return {
    add: (line, fields) => {
      const text = decoder.decode(pick(line, fields)).trim();
      const value = isFloating(dtype) ? parseFloatText(text) : parseIntegerText(text, min, max);
      if (value === undefined) {
        throw new ServingError(
          "INVALID_ARGUMENT",
          `Field ${text} in line ${values.length} is not a valid ${dtype === "float32" ? "float" : dtype}.`,
        );
      }
      values.push(is64Bit(dtype) ? value : Number(value));
    },
    build: () => {
      const data = newData(dtype as "int32", values.length);
      values.forEach((value, i) => {
        (data as unknown as (number | bigint)[])[i] = value;
      });
      return withData(dtype, [values.length], data);
    },
  };
}
