/** TensorFlow Text's tokenizers at whitespace and at changes of script, over code points and over UTF-8. */
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { checkScalar, checkVector } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integersOf } from "../call/shapes.js";
import { charSize, codePointAt } from "../call/utf8.js";
import { textScriptOf } from "../strings/unicode-script.js";
import { checkSplits, eachRow } from "./row-splits.js";

/** Unicode's White_Space. */
export function isWhitespace(code: number): boolean {
  if (code < 0x80) return code === 0x20 || (code >= 9 && code <= 13);
  if (code >= 0x2000 && code <= 0x200a) return true;
  return WIDER_SPACES.has(code);
}

const WIDER_SPACES: ReadonlySet<number> = new Set([0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000]);

/** Tokens of rows of code points, as the ops of TensorFlow Text hand them out. */
class CodeTokens {
  readonly #codes: number[] = [];
  readonly #innerSplits: number[] = [];
  readonly #starts: number[] = [];
  readonly #limits: number[] = [];
  readonly #outerSplits = [0];

  /** @param at  where the token starts in its row, in code points */
  start(at: number): void {
    this.#starts.push(at);
    this.#innerSplits.push(this.#codes.length);
  }

  push(code: number): void {
    this.#codes.push(code);
  }

  end(at: number): void {
    this.#limits.push(at);
  }

  endRow(): void {
    this.#outerSplits.push(this.#starts.length);
  }

  outputs(op: OpCall): Tensor[] {
    const dtype = op.attrs.dtype("Tsplits");
    const innerSplits = [...this.#innerSplits, this.#codes.length];
    return [
      tensor("int32", [this.#codes.length], Int32Array.from(this.#codes)),
      withData(dtype, [innerSplits.length], indexData(dtype, innerSplits)),
      tensor("int64", [this.#starts.length], fromIntegers(this.#starts)),
      tensor("int64", [this.#limits.length], fromIntegers(this.#limits)),
      withData(dtype, [this.#outerSplits.length], indexData(dtype, this.#outerSplits)),
    ];
  }
}

/** Hands every row of code points to `tokenizeRow`. */
function tokenizeCodes(
  op: OpCall,
  tokenizeRow: (codes: Int32Array, start: number, end: number, tokens: CodeTokens) => void,
): Tensor[] {
  const codes = op.tensor(0).data as Int32Array;
  const splits = integersOf(op.tensor(1));
  checkSplits(splits, "input_splits");
  const tokens = new CodeTokens();
  eachRow(splits, codes.length, "input_splits", (start, end) => {
    tokenizeRow(codes, start, end, tokens);
    tokens.endRow();
  });
  return tokens.outputs(op);
}

function splitAtWhitespace(codes: Int32Array, start: number, end: number, tokens: CodeTokens): void {
  let isInside = false;
  for (let i = start; i < end; i++) {
    const code = codes[i]!;
    if (isWhitespace(code)) {
      if (isInside) tokens.end(i - start);
      isInside = false;
      continue;
    }
    if (!isInside) tokens.start(i - start);
    isInside = true;
    tokens.push(code);
  }
  if (isInside) tokens.end(end - start);
}

/** Whitespace has a script (the common one) and so parts tokens; only where it is kept it stands in them, or is some. */
function splitAtScripts(keepsWhitespace: boolean) {
  return (codes: Int32Array, start: number, end: number, tokens: CodeTokens): void => {
    let script: number | undefined;
    let wasSpace = false;
    let isInside = false;
    let skippedSpaces = 0;
    for (let i = start; i < end; i++) {
      const code = codes[i]!;
      const isSpace = isWhitespace(code);
      const next = textScriptOf(code);
      if (next !== script || (keepsWhitespace && isSpace !== wasSpace)) {
        if (isInside) tokens.end(i - start - skippedSpaces);
        script = next;
        isInside = false;
      }
      if (!isSpace || keepsWhitespace) {
        if (!isInside) tokens.start(i - start);
        isInside = true;
        tokens.push(code);
      }
      if (!keepsWhitespace) skippedSpaces = isSpace ? skippedSpaces + 1 : 0;
      wasSpace = isSpace;
    }
    if (isInside) tokens.end(end - start - skippedSpaces);
  };
}

/** Which code points a tokenizer's config calls whitespace: a bit each, up to the last one that is. */
function spaceBits(config: Uint8Array): (code: number) => boolean {
  return (code) => code >= 0 && ((config[code >> 3] ?? 0) & (1 << (code & 7))) !== 0;
}

function splitUtf8AtWhitespace(op: OpCall): Tensor[] {
  checkVector(op.tensor(0), "input_values");
  checkScalar(op.tensor(1), "input_config");
  const input = op.strings(0);
  const isSpace = spaceBits(op.strings(1).at(0));
  const tokens = new StringColumnBuilder(input.length, input.bytes.length);
  const starts: number[] = [];
  const ends: number[] = [];
  const splits = [0];
  for (let i = 0; i < input.length; i++) {
    const text = input.at(i);
    let start = -1;
    const end = (at: number) => {
      tokens.pushRange(text, start, at);
      starts.push(start);
      ends.push(at);
      start = -1;
    };
    for (let at = 0; at < text.length; ) {
      const size = charSize(text, at, text.length);
      const next = at + Math.abs(size);
      if (size < 0 || !isSpace(codePointAt(text, at, size))) {
        if (start < 0) start = at;
      } else if (start >= 0) {
        // TensorFlow Text ends a token one byte before the whitespace ends, be that longer than a byte.
        end(next - 1);
      }
      at = next;
    }
    if (start >= 0) end(text.length);
    splits.push(starts.length);
    checkOutput("string", starts.length, 2 * input.bytes.length);
  }
  return [
    tensor("string", [starts.length], tokens.build()),
    tensor("int64", [splits.length], fromIntegers(splits)),
    tensor("int32", [starts.length], Int32Array.from(starts)),
    tensor("int32", [ends.length], Int32Array.from(ends)),
  ];
}

export const TEXT_TOKENIZE_KERNELS: Readonly<Record<string, Kernel>> = {
  UnicodeScriptTokenizeWithOffsets: (op) => tokenizeCodes(op, splitAtScripts(op.attrs.bool("keep_whitespace"))),
  WhitespaceTokenizeWithOffsets: (op) => tokenizeCodes(op, splitAtWhitespace),
  "TFText>WhitespaceTokenizeWithOffsetsV2": splitUtf8AtWhitespace,
};
