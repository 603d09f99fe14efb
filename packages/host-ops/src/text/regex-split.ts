/** TensorFlow Text's splitting of strings at the matches of a pattern, of which some are kept as tokens. */
import { isUtf8 } from "node:buffer";
import { ServingError } from "@shardserve/core";
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import type { RE2JS } from "re2js";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { charSize } from "../call/utf8.js";
import { compilePattern, isAnchored } from "../strings/string-regex.js";
import { CharBranches } from "./char-branches.js";

const decoder = new TextDecoder();

/** A match: all of it, and its first group, which is the delimiter. Bytes of the text. */
interface Found {
  start: number;
  end: number;
  delimiterStart: number;
  delimiterEnd: number;
}

/** Finds the next match from a byte on, as if the text began there. */
type Finder = (from: number) => Found | undefined;

function patternOf(op: OpCall, i: number): string {
  const { shape } = op.tensor(i);
  check(shape.length === 0, () => `Pattern must be scalar, but received ${printShape(shape)}`);
  return decoder.decode(op.strings(i).at(0));
}

function regexSplit(op: OpCall): Tensor[] {
  const pattern = patternOf(op, 1);
  const delimiter = compilePattern(pattern);
  const keepPattern = patternOf(op, 2);
  const keep = compilePattern(keepPattern);
  // Without a group RE2 has nothing to hand out, and finds nothing.
  const splits = delimiter.groupCount() > 0;
  const isKept = keepPattern === "" ? () => false : keeper(keep, keepPattern);
  const branches = pattern.startsWith("(") ? CharBranches.of(pattern) : undefined;
  const finder = (text: Uint8Array): Finder => {
    if (!splits) return () => undefined;
    if (branches) return ofBranches(branches, text);
    return isAnchored(pattern) ? anchored(delimiter, text) : floating(delimiter, text);
  };
  const input = op.strings(0);
  const tokens = new StringColumnBuilder(input.length, input.bytes.length);
  const begins: number[] = [];
  const ends: number[] = [];
  const rowSplits = [0];
  for (let i = 0; i < input.length; i++) {
    const text = untilZero(input.at(i));
    const find = finder(text);
    const emit = (start: number, end: number) => {
      tokens.pushRange(text, start, end);
      begins.push(start);
      ends.push(end);
    };
    let from = 0;
    for (let found = find(from); found; found = find(from)) {
      const { delimiterStart, delimiterEnd, end } = found;
      check(end > from, () => "the delimiter pattern matches the empty text: TensorFlow Text would never end");
      if (delimiterStart > from) emit(from, delimiterStart);
      if (isKept(text, delimiterStart, delimiterEnd)) emit(delimiterStart, delimiterEnd);
      from = end;
    }
    if (from < text.length) emit(from, text.length);
    rowSplits.push(begins.length);
    checkOutput("string", begins.length, input.bytes.length);
  }
  return [
    tensor("string", [begins.length], tokens.build()),
    tensor("int64", [begins.length], fromIntegers(begins)),
    tensor("int64", [ends.length], fromIntegers(ends)),
    tensor("int64", [rowSplits.length], fromIntegers(rowSplits)),
  ];
}

/** The kernel reads its input as C strings. */
function untilZero(bytes: Uint8Array): Uint8Array {
  const zero = bytes.indexOf(0);
  return zero < 0 ? bytes : bytes.subarray(0, zero);
}

/** Whether a delimiter is a token. */
function keeper(pattern: RE2JS, text: string): (bytes: Uint8Array, start: number, end: number) => boolean {
  const branches = CharBranches.of(text);
  return (bytes, start, end) => {
    const size = start < end ? charSize(bytes, start, end) : 0;
    // Most delimiters are one character.
    if (branches && size === end - start) return branches.branchAt(bytes, start, size) >= 0;
    const delimiter = bytes.subarray(start, end);
    // RE2 matches no malformed byte.
    return pattern.testExact(delimiter) && isUtf8(delimiter);
  };
}

/** The pattern is a group as a whole, so the delimiter is the match. */
function ofBranches(branches: CharBranches, text: Uint8Array): Finder {
  const found: Found = { start: 0, end: 0, delimiterStart: 0, delimiterEnd: 0 };
  return (from) => {
    for (let at = from; at < text.length; ) {
      const size = charSize(text, at, text.length);
      const branch = branches.branchAt(text, at, size);
      if (branch >= 0) {
        found.start = found.delimiterStart = at;
        found.end = found.delimiterEnd = branches.endOf(branch, text, at, size);
        return found;
      }
      at += Math.abs(size);
    }
    return undefined;
  };
}

/** Of a pattern that does not ask what stands before it: the well-formed stretches of the text are searched in turn. */
function floating(pattern: RE2JS, text: Uint8Array): Finder {
  const stretches = isUtf8(text) ? [0, text.length] : stretchesOf(text);
  let stretch = 0;
  let matcher = pattern.matcher(text.subarray(stretches[0], stretches[1]));
  return (from) => {
    while (true) {
      const [start, end] = [stretches[stretch]!, stretches[stretch + 1]!];
      if (from <= end && matcher.find(Math.max(from - start, 0))) return foundOf(matcher, start);
      stretch += 2;
      if (stretch >= stretches.length) return undefined;
      matcher = pattern.matcher(text.subarray(stretches[stretch], stretches[stretch + 1]));
    }
  };
}

/**
 * Each search sees the rest of the text as a whole one. What re2js finds without a malformed byte, which it reads as U+FFFD,
 * RE2 finds, too.
 */
function anchored(pattern: RE2JS, text: Uint8Array): Finder {
  return (from) => {
    const matcher = pattern.matcher(text.subarray(from));
    if (!matcher.find()) return undefined;
    const found = foundOf(matcher, from);
    if (isUtf8(text.subarray(found.start, found.end))) return found;
    throw new ServingError(
      "UNIMPLEMENTED",
      `delimiters with anchors or word boundaries are not supported on malformed UTF-8, which is at byte ${found.start} or behind`,
    );
  };
}

function foundOf(matcher: ReturnType<RE2JS["matcher"]>, base: number): Found {
  const [start, end] = [matcher.start() + base, matcher.end() + base];
  const takesPart = matcher.start(1) >= 0;
  check(takesPart, () => "a match of the delimiter pattern leaves its first group out, which must be the delimiter");
  return { start, end, delimiterStart: matcher.start(1) + base, delimiterEnd: matcher.end(1) + base };
}

/** Starts and ends of the stretches without malformed bytes. */
function stretchesOf(text: Uint8Array): number[] {
  const out = [0];
  for (let at = 0; at < text.length; ) {
    const size = charSize(text, at, text.length);
    if (size < 0) out.push(at, at - size);
    at += Math.abs(size);
  }
  out.push(text.length);
  return out;
}

export const REGEX_SPLIT_KERNELS: Readonly<Record<string, Kernel>> = { RegexSplitWithOffsets: regexSplit };
