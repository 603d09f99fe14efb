import { ScalarType, type DescEnum } from "@shardserve/api";
import { describe, type TextScanner } from "./text-scanner.js";

/** Reads single values of protobuf's text format. */

type ScalarValue = number | bigint | boolean | string | Uint8Array;

const INTEGER_RANGES: Partial<Record<ScalarType, readonly [bigint, bigint]>> = {
  [ScalarType.INT32]: [-(2n ** 31n), 2n ** 31n - 1n],
  [ScalarType.SINT32]: [-(2n ** 31n), 2n ** 31n - 1n],
  [ScalarType.SFIXED32]: [-(2n ** 31n), 2n ** 31n - 1n],
  [ScalarType.UINT32]: [0n, 2n ** 32n - 1n],
  [ScalarType.FIXED32]: [0n, 2n ** 32n - 1n],
  [ScalarType.INT64]: [-(2n ** 63n), 2n ** 63n - 1n],
  [ScalarType.SINT64]: [-(2n ** 63n), 2n ** 63n - 1n],
  [ScalarType.SFIXED64]: [-(2n ** 63n), 2n ** 63n - 1n],
  [ScalarType.UINT64]: [0n, 2n ** 64n - 1n],
  [ScalarType.FIXED64]: [0n, 2n ** 64n - 1n],
};

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws ServingError CONFIG_INVALID at the value */
export function readScalar(scanner: TextScanner, type: ScalarType): ScalarValue {
  switch (type) {
    case ScalarType.BOOL:
      return readBool(scanner);
    case ScalarType.BYTES:
      return readBytes(scanner);
    case ScalarType.STRING: {
      const { at } = scanner.peek;
      const bytes = readBytes(scanner);
      try {
        return UTF8.decode(bytes);
      } catch {
        throw scanner.error("the string is not valid UTF-8", at);
      }
    }
    case ScalarType.FLOAT:
      return Math.fround(readFloat(scanner));
    case ScalarType.DOUBLE:
      return readFloat(scanner);
    default: {
      const [min, max] = INTEGER_RANGES[type]!;
      const value = readInteger(scanner, min, max);
      return max > 2n ** 32n ? value : Number(value);
    }
  }
}

/** A value's name or its number. */
export function readEnum(scanner: TextScanner, desc: DescEnum): number {
  const { kind, text, at } = scanner.peek;
  if (kind !== "name") return Number(readInteger(scanner, -(2n ** 31n), 2n ** 31n - 1n));
  const value = desc.values.find((candidate) => candidate.name === text);
  if (!value) {
    const names = desc.values.map((candidate) => candidate.name).join(", ");
    throw scanner.error(`${desc.typeName} has no value "${text}"; it has ${names}`, at);
  }
  scanner.next();
  return value.number;
}

function readInteger(scanner: TextScanner, min: bigint, max: bigint): bigint {
  const { at } = scanner.peek;
  const isNegative = scanner.accept("-");
  const { kind, text } = scanner.peek;
  if (kind !== "number" || !/^(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)$/.test(text)) {
    throw scanner.error(`expected an integer, found ${describe(scanner.peek)}`);
  }
  scanner.next();
  const magnitude = BigInt(/^0[0-7]+$/.test(text) ? `0o${text}` : text);
  const value = isNegative ? -magnitude : magnitude;
  if (value < min || value > max) throw scanner.error(`${value} lies outside ${min} to ${max}`, at);
  return value;
}

function readFloat(scanner: TextScanner): number {
  const isNegative = scanner.accept("-");
  const { kind, text } = scanner.peek;
  let value: number | undefined;
  if (kind === "number" && !/^0[xX]/.test(text)) value = Number(text.replace(/[fF]$/, ""));
  if (kind === "name" && /^inf(inity)?f?$/i.test(text)) value = Number.POSITIVE_INFINITY;
  if (kind === "name" && /^nanf?$/i.test(text)) value = Number.NaN;
  if (value === undefined) throw scanner.error(`expected a number, found ${describe(scanner.peek)}`);
  scanner.next();
  return isNegative ? -value : value;
}

function readBool(scanner: TextScanner): boolean {
  const { kind, text } = scanner.peek;
  if (kind === "number") return readInteger(scanner, 0n, 1n) === 1n;
  const isTrue = kind === "name" && ["true", "True", "t"].includes(text);
  if (!isTrue && !(kind === "name" && ["false", "False", "f"].includes(text))) {
    throw scanner.error(`expected true or false, found ${describe(scanner.peek)}`);
  }
  scanner.next();
  return isTrue;
}

/** One or more strings side by side. */
function readBytes(scanner: TextScanner): Uint8Array {
  if (scanner.peek.kind !== "string") {
    throw scanner.error(`expected a string, found ${describe(scanner.peek)}`);
  }
  const parts: Uint8Array[] = [];
  while (scanner.peek.kind === "string") {
    const { text, at } = scanner.next();
    parts.push(...unescaped(scanner, text, at));
  }
  return Buffer.concat(parts);
}

const ESCAPE = /\\(?:([abfnrtv\\?'"])|([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|())/g;
const SIMPLE = new Map(Object.entries({ a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 }));

/** Escapes stand for bytes, so that a string can hold any; \u and \U stand for characters. */
function* unescaped(scanner: TextScanner, text: string, at: number): Generator<Uint8Array> {
  let end = 0;
  for (const match of text.matchAll(ESCAPE)) {
    const [whole, simple, octal, hex, short, long] = match;
    if (match.index > end) yield Buffer.from(text.slice(end, match.index));
    end = match.index + whole.length;
    if (simple !== undefined) yield Uint8Array.of(SIMPLE.get(simple) ?? simple.charCodeAt(0));
    else if (octal !== undefined || hex !== undefined) {
      const byte = octal !== undefined ? Number.parseInt(octal, 8) : Number.parseInt(hex!, 16);
      if (byte > 255) throw scanner.error(`the escape ${whole} is no byte`, at + 1 + match.index);
      yield Uint8Array.of(byte);
    } else if (short !== undefined || long !== undefined) {
      const point = Number.parseInt(short ?? long!, 16);
      if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        throw scanner.error(`the escape ${whole} is no character`, at + 1 + match.index);
      }
      yield Buffer.from(String.fromCodePoint(point));
    } else {
      throw scanner.error(`unknown escape \\${text[match.index + 1]}`, at + 1 + match.index);
    }
  }
  if (end < text.length) yield Buffer.from(text.slice(end));
}
