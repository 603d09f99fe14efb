/**
 * Regular expressions with RE2's syntax and linear time, by re2js over UTF-8 bytes. Classes of ASCII characters and their
 * complements, by far the most frequent patterns in serving graphs (text vectorisation strips punctuation), run as a table
 * look-up instead.
 */
import { isUtf8 } from "node:buffer";
import { StringColumn, StringColumnBuilder, type Tensor, tensor, zeroedArray } from "@shardserve/tensor";
import { RE2JS } from "re2js";
import { checkScalar, invalid } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { charSize } from "../call/utf8.js";

/** Compiled patterns are kept: a graph holds a handful, and they are the graph's own, not a request's. */
const PATTERNS_MAX = 256;
const compiled = new Map<string, RE2JS>();
const decoder = new TextDecoder();

/**
 * A pattern of RE2, compiled once.
 *
 * @throws ServingError INVALID_ARGUMENT for what RE2 does not take
 */
export function compilePattern(pattern: string): RE2JS {
  let re = compiled.get(pattern);
  if (!re) {
    try {
      re = RE2JS.compile(pattern);
    } catch (error) {
      throw invalid(`Invalid pattern: ${pattern}, error: ${(error as Error).message}`);
    }
    if (compiled.size >= PATTERNS_MAX) compiled.clear();
    compiled.set(pattern, re);
  }
  return re;
}

/** A class such as "[!-/:@]", "\\s" or "[^a-z]", once or repeated ("+"). */
interface ByteClass {
  /** By first byte: how many bytes the character has, 0 where the class does not take it. */
  readonly takes: Uint8Array;
  readonly isRepeated: boolean;
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", f: "\f", v: "\v" };
const PERL: Readonly<Record<string, string>> = {
  s: "\t\n\f\r ",
  d: "0123456789",
  w: "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
};

/** "[[:punct:]]": the first and the last character of each range of a class, one behind the other. */
const POSIX: Readonly<Record<string, string>> = {
  alnum: "09AZaz",
  alpha: "AZaz",
  ascii: "\0\x7f",
  blank: "\t\t  ",
  cntrl: "\0\x1f\x7f\x7f",
  digit: "09",
  graph: "!~",
  lower: "az",
  print: " ~",
  punct: "!/:@[`{~",
  space: "\t\r  ",
  upper: "AZ",
  word: "09AZ__az",
  xdigit: "09AFaf",
};

/**
 * What a complement takes: RE2 spares itself the checks of overlong characters, of surrogates and of what lies above
 * U+10FFFF when a class has all that is not ASCII (google/re2, compile.cc, Add_80_10ffff).
 */
function complement(takes: Uint8Array): Uint8Array {
  const others = new Uint8Array(256).fill(2, 0xc2, 0xe0).fill(3, 0xe0, 0xf0).fill(4, 0xf0, 0xf5);
  for (let byte = 0; byte < 0x80; byte++) others[byte] = 1 - takes[byte]!;
  return others;
}

/** Reads a pattern as a class of ASCII characters, or as all but such a class; undefined when it is anything else. */
export function parseByteClass(pattern: string): ByteClass | undefined {
  const isRepeated = pattern.length > 1 && pattern.endsWith("+") && !pattern.endsWith("\\+");
  let body = isRepeated ? pattern.slice(0, -1) : pattern;
  const takes = new Uint8Array(256);
  const take = (from: number, to: number) => takes.fill(1, from, to + 1);
  const found = (isComplement: boolean): ByteClass => ({ takes: isComplement ? complement(takes) : takes, isRepeated });
  let at = 0;
  /** One character, or the text of a Perl class; undefined for what this parser leaves to RE2. */
  const next = (): { char: number } | { set: string } | undefined => {
    const char = body[at++];
    if (char === undefined || char > "\x7f") return undefined;
    if (char !== "\\") return { char: char.charCodeAt(0) };
    const escaped = body[at++];
    if (escaped === undefined || escaped > "\x7f") return undefined;
    if (PERL[escaped]) return { set: PERL[escaped] };
    if (ESCAPES[escaped]) return { char: ESCAPES[escaped].charCodeAt(0) };
    return /[A-Za-z0-9]/.test(escaped) ? undefined : { char: escaped.charCodeAt(0) };
  };
  if (!body.startsWith("[")) {
    if (/^[.^$*+?()[{|]/.test(body)) return undefined;
    const isComplement = /^\\[SDW]$/.test(body);
    if (isComplement) body = body.toLowerCase();
    const one = next();
    if (!one || at !== body.length) return undefined;
    if ("set" in one) for (const char of one.set) takes[char.charCodeAt(0)] = 1;
    else takes[one.char] = 1;
    return found(isComplement);
  }
  const isComplement = body[1] === "^";
  at = isComplement ? 2 : 1;
  if (body[at] === "]") return undefined;
  while (body[at] !== "]") {
    if (body[at] === "[") {
      const [named, name] = /^\[:([a-z]+):\]/.exec(body.slice(at)) ?? [];
      const ranges = POSIX[name ?? ""];
      if (!ranges) return undefined;
      for (let i = 0; i < ranges.length; i += 2) take(ranges.charCodeAt(i), ranges.charCodeAt(i + 1));
      at += named!.length;
      continue;
    }
    const first = next();
    if (!first) return undefined;
    if ("set" in first) {
      for (const char of first.set) takes[char.charCodeAt(0)] = 1;
    } else if (body[at] === "-" && body[at + 1] !== "]") {
      at++;
      if (body[at] === "[") return undefined;
      const last = next();
      if (!last || "set" in last || last.char < first.char) return undefined;
      take(first.char, last.char);
    } else {
      takes[first.char] = 1;
    }
  }
  return at === body.length - 1 ? found(isComplement) : undefined;
}

const byteClasses = new Map<string, ByteClass | undefined>();

/** {@link parseByteClass}, once for each pattern. */
function byteClassOf(pattern: string): ByteClass | undefined {
  if (!byteClasses.has(pattern)) {
    if (byteClasses.size >= PATTERNS_MAX) byteClasses.clear();
    byteClasses.set(pattern, parseByteClass(pattern));
  }
  return byteClasses.get(pattern);
}

/** A rewrite as RE2 reads it: literal bytes and group numbers ("\\1"), up to where it is malformed. */
interface Rewrite {
  readonly parts: readonly (Uint8Array | number)[];
  readonly isMalformed: boolean;
}

function parseRewrite(rewrite: Uint8Array): Rewrite {
  const parts: (Uint8Array | number)[] = [];
  let isMalformed = false;
  let literal: number[] = [];
  for (let i = 0; i < rewrite.length; i++) {
    if (rewrite[i] !== 0x5c) {
      literal.push(rewrite[i]!);
      continue;
    }
    const escaped = rewrite[++i];
    if (escaped === 0x5c) {
      literal.push(0x5c);
    } else if (escaped !== undefined && escaped >= 0x30 && escaped <= 0x39) {
      parts.push(Uint8Array.from(literal), escaped - 0x30);
      literal = [];
    } else {
      isMalformed = true;
      break;
    }
  }
  parts.push(Uint8Array.from(literal));
  return { parts, isMalformed };
}

function replace(column: StringColumn, pattern: string, rewrite: Uint8Array, isGlobal: boolean): StringColumn {
  const { parts, isMalformed } = parseRewrite(rewrite);
  const byteClass = parts.length === 1 && !isMalformed ? byteClassOf(pattern) : undefined;
  if (byteClass) return replaceClass(column, byteClass, parts[0] as Uint8Array, isGlobal);
  const builder = new StringColumnBuilder(column.length, column.offsets[column.length]! - column.offsets[0]!);
  const re = compilePattern(pattern);
  const groups = parts.reduce<number>((most, part) => (typeof part === "number" ? Math.max(most, part) : most), 0);
  // RE2 leaves the text as it is.
  if (groups > re.groupCount() || (isMalformed && !isGlobal)) return column;
  const looksAround = isAnchored(pattern);
  let scratch = new Uint8Array(256);
  let used = 0;
  const push = (bytes: Uint8Array, start: number, end: number) => {
    const needed = used + end - start;
    if (needed > scratch.length) {
      const grown = new Uint8Array(needed * 2);
      grown.set(scratch.subarray(0, used));
      scratch = grown;
    }
    scratch.set(bytes.subarray(start, end), used);
    used = needed;
  };
  for (let i = 0; i < column.length; i++) {
    const text = column.at(i);
    used = 0;
    const count =
      looksAround || isUtf8(text)
        ? replaceOne(re, text, parts, isGlobal, push)
        : replaceBetweenErrors(re, text, parts, isGlobal, push);
    if (count === 0) builder.push(text);
    else builder.pushRange(scratch, 0, used);
  }
  return builder.build();
}

/** RE2::GlobalReplace and RE2::Replace (google/re2, re2.cc): no empty match right behind a match. */
function replaceOne(
  re: RE2JS,
  text: Uint8Array,
  parts: readonly (Uint8Array | number)[],
  isGlobal: boolean,
  push: (bytes: Uint8Array, start: number, end: number) => void,
): number {
  const matcher = re.matcher(text);
  let at = 0;
  let lastEnd = -1;
  let count = 0;
  while (at <= text.length && matcher.find(at)) {
    const [start, end] = [matcher.start(), matcher.end()];
    push(text, at, start);
    if (start === lastEnd && start === end) {
      // Steps over one whole character.
      let next = Math.min(at + 1, text.length);
      while (next < text.length && (text[next]! & 0xc0) === 0x80) next++;
      if (at < text.length) push(text, at, next);
      at = at < text.length ? next : at + 1;
      continue;
    }
    for (const part of parts) {
      if (typeof part !== "number") push(part, 0, part.length);
      else if (matcher.start(part) >= 0) push(text, matcher.start(part), matcher.end(part));
    }
    at = end;
    lastEnd = end;
    count++;
    if (!isGlobal) break;
  }
  if (count > 0 && at < text.length) push(text, at, text.length);
  return count;
}

/**
 * RE2 matches nothing on malformed bytes, re2js reads them as U+FFFD: so each stretch between them is matched alone.
 * Anchored patterns would see the stretches as whole texts and are left to re2js's reading.
 */
function replaceBetweenErrors(
  re: RE2JS,
  text: Uint8Array,
  parts: readonly (Uint8Array | number)[],
  isGlobal: boolean,
  push: (bytes: Uint8Array, start: number, end: number) => void,
): number {
  let count = 0;
  let from = 0;
  for (let at = 0; at <= text.length; ) {
    const size = at < text.length ? charSize(text, at, text.length) : -1;
    if (size > 0) {
      at += size;
      continue;
    }
    const stretch = text.subarray(from, at);
    const replaced = isGlobal || count === 0 ? replaceOne(re, stretch, parts, isGlobal, push) : 0;
    if (replaced === 0) push(stretch, 0, stretch.length);
    count += replaced;
    if (at < text.length) push(text, at, at + 1);
    from = ++at;
  }
  return count;
}

/** Anchors and word boundaries, outside of escapes and of the start of a class. */
const ANCHOR = /(^|[^[\\])\^|(^|[^\\])\$|\\[bBAz]/;

/** True for a pattern whose matches depend on what stands around them. */
export function isAnchored(pattern: string): boolean {
  return ANCHOR.test(pattern);
}

function replaceClass(
  { bytes, offsets, length }: StringColumn,
  { takes, isRepeated }: ByteClass,
  replacement: Uint8Array,
  isGlobal: boolean,
): StringColumn {
  let out = zeroedArray(Uint8Array, offsets[length]! - offsets[0]!);
  const outOffsets = zeroedArray(Uint32Array, length + 1);
  let used = 0;
  for (let i = 0; i < length; i++) {
    let at = offsets[i]!;
    const end = offsets[i + 1]!;
    const needed = used + (end - at) * Math.max(1, replacement.length);
    if (needed > out.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * out.length));
      grown.set(out.subarray(0, used));
      out = grown;
    }
    let isDone = false;
    while (at < end) {
      let size = isDone ? 0 : takenSize(takes, bytes, at, end);
      if (size === 0) {
        out[used++] = bytes[at++]!;
        continue;
      }
      at += size;
      if (isRepeated) while (at < end && (size = takenSize(takes, bytes, at, end)) > 0) at += size;
      for (let k = 0; k < replacement.length; k++) out[used++] = replacement[k]!;
      isDone = !isGlobal;
    }
    outOffsets[i + 1] = used;
  }
  return new StringColumn(out.subarray(0, used), outOffsets);
}

/** Bytes of the character at `at` if the class takes it, else 0. */
function takenSize(takes: Uint8Array, bytes: Uint8Array, at: number, end: number): number {
  const size = takes[bytes[at]!]!;
  if (size <= 1) return size;
  if (at + size > end) return 0;
  for (let i = 1; i < size; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0;
  return size;
}

function fullMatch(op: OpCall, pattern: string): Tensor[] {
  const column = op.strings(0);
  const re = compilePattern(pattern);
  const out = new Uint8Array(column.length);
  for (let i = 0; i < out.length; i++) {
    // RE2 matches no malformed byte.
    const text = column.at(i);
    out[i] = re.testExact(text) && isUtf8(text) ? 1 : 0;
  }
  return [tensor("bool", op.tensor(0).shape, out)];
}

export const STRING_REGEX_KERNELS: Readonly<Record<string, Kernel>> = {
  StaticRegexReplace: (op) => [
    tensor(
      "string",
      op.tensor(0).shape,
      replace(op.strings(0), op.attrs.text("pattern"), op.attrs.bytes("rewrite"), op.attrs.bool("replace_global")),
    ),
  ],
  RegexReplace: (op) => {
    checkScalar(op.tensor(1), "Pattern");
    checkScalar(op.tensor(2), "Rewrite");
    const pattern = decoder.decode(op.strings(1).at(0));
    return [
      tensor(
        "string",
        op.tensor(0).shape,
        replace(op.strings(0), pattern, op.strings(2).at(0), op.attrs.bool("replace_global")),
      ),
    ];
  },
  StaticRegexFullMatch: (op) => fullMatch(op, op.attrs.text("pattern")),
  RegexFullMatch: (op) => {
    checkScalar(op.tensor(1), "Pattern");
    return fullMatch(op, decoder.decode(op.strings(1).at(0)));
  },
};
