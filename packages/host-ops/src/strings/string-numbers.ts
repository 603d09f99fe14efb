/** Numbers to strings and back. */
import { type DType, elementCount, lanesOf, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { isSafeAt, signedAt, storeAt } from "../call/int64.js";
import { allocate } from "../call/limits.js";
import { is64Bit, isComplex, isFloating, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { formatMagnitude, type NumberFormat, padField } from "./printf.js";
import { isSpace } from "./string-edit.js";

interface AsStringFormat extends NumberFormat {
  readonly width: number;
  readonly fill: string;
}

function formatOf(op: OpCall, dtype: DType): AsStringFormat {
  const fill = op.attrs.text("fill");
  const isScientific = op.attrs.bool("scientific");
  const isShortest = op.attrs.bool("shortest");
  const precision = op.attrs.int("precision");
  if (!isFloating(dtype) && !isComplex(dtype)) {
    check(!isScientific && !isShortest, () => `scientific and shortest format not supported for datatype ${dtype}`);
    check(precision < 0, () => `precision not supported for datatype ${dtype}`);
  }
  check(fill.length <= 1, () => `Fill string must be one or fewer characters`);
  check(!(isScientific && isShortest), () => "Cannot select both scientific and shortest notation");
  check(fill === "" || " +-0#".includes(fill), () => `Fill argument not supported: "${fill}"`);
  return { kind: isShortest ? "g" : isScientific ? "e" : "f", precision, width: op.attrs.int("width"), fill };
}

function signOf(isNegative: boolean, fill: string): string {
  return isNegative ? "-" : fill === "+" || fill === " " ? fill : "";
}

function printFloat(value: number, format: AsStringFormat): string {
  const isNegative = value < 0 || Object.is(value, -0);
  const sign = signOf(isNegative, format.fill);
  if (!Number.isFinite(value)) {
    return padField(sign, Number.isNaN(value) ? "nan" : "inf", format.width, format.fill, false);
  }
  return padField(sign, formatMagnitude(Math.abs(value), format), format.width, format.fill, true);
}

function printInteger(value: number | bigint, format: AsStringFormat): string {
  const text = String(value);
  const isNegative = text.startsWith("-");
  return padField(signOf(isNegative, format.fill), isNegative ? text.slice(1) : text, format.width, format.fill, true);
}

function asString(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const { dtype } = value;
  const format = formatOf(op, dtype);
  if (dtype === "string") return [value];
  const print = printerOf(value, format);
  const count = elementCount(value.shape);
  const texts: string[] = [];
  const offsets = new Uint32Array(count + 1);
  for (let i = 0; i < count; i++) {
    const text = print(i);
    texts.push(text);
    offsets[i + 1] = offsets[i]! + text.length;
  }
  // All texts are ASCII, so that one encoding of them all has the lengths above.
  return [tensor("string", value.shape, new StringColumn(Buffer.from(texts.join(""), "latin1"), offsets))];
}

function printerOf(value: Tensor, format: AsStringFormat): (i: number) => string {
  const { dtype } = value;
  const isPlain = format.width < 0 && format.fill === "";
  if (is64Bit(dtype)) {
    const data = value.data as BigInt64Array;
    const lanes = lanesOf(data);
    const isSigned = dtype === "int64";
    return (i) => {
      const exact = isSigned && isSafeAt(lanes, i) ? signedAt(lanes, i) : data[i]!;
      return isPlain ? String(exact) : printInteger(exact, format);
    };
  }
  const numbers = numbersOf(value);
  if (dtype === "bool") return (i) => (numbers[i] ? "true" : "false");
  if (isComplex(dtype))
    return (i) => `(${printFloat(numbers[2 * i]!, format)},${printFloat(numbers[2 * i + 1]!, format)})`;
  if (isFloating(dtype)) return (i) => printFloat(numbers[i]!, format);
  return (i) => (isPlain ? String(numbers[i]) : printInteger(numbers[i]!, format));
}

const decoder = new TextDecoder();

/** The text of a field without white space around it. */
function trimmed(bytes: Uint8Array, start: number, end: number): string {
  let [from, to] = [start, end];
  while (from < to && isSpace(bytes[from]!)) from++;
  while (to > from && isSpace(bytes[to - 1]!)) to--;
  return decoder.decode(bytes.subarray(from, to));
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const SPECIAL = /^([+-]?)(inf|infinity|nan)$/i;
const HEX = /^([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?\d+))?$/i;

/** A float as C's strtod reads a whole field; undefined when it is none. */
export function parseFloatText(text: string): number | undefined {
  if (DECIMAL.test(text)) return Number(text);
  const special = SPECIAL.exec(text);
  if (special) {
    const magnitude = special[2]!.toLowerCase() === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
    return special[1] === "-" ? -magnitude : magnitude;
  }
  const hex = HEX.exec(text);
  if (!hex || (hex[2] === "" && hex[3] === "")) return undefined;
  const mantissa = Number.parseInt(`${hex[2]}${hex[3]}`, 16);
  const value = mantissa * 2 ** (Number(hex[4] ?? 0) - 4 * hex[3]!.length);
  return hex[1] === "-" ? -value : value;
}

/** A decimal integer within [min, max]; undefined when it is none. */
export function parseIntegerText(text: string, min: bigint, max: bigint): bigint | undefined {
  if (!/^[+-]?\d+$/.test(text)) return undefined;
  const value = BigInt(text.startsWith("+") ? text.slice(1) : text);
  return value >= min && value <= max ? value : undefined;
}

/** The bounds of an integer dtype that text is parsed into. */
export function boundsOf(dtype: DType): [bigint, bigint] {
  switch (dtype) {
    case "int32":
      return [-(2n ** 31n), 2n ** 31n - 1n];
    case "uint32":
      return [0n, 2n ** 32n - 1n];
    case "uint64":
      return [0n, 2n ** 64n - 1n];
    default:
      return [-(2n ** 63n), 2n ** 63n - 1n];
  }
}

/** Integers of so many digits are exact, and so is the one rounding of a division by a power of ten that is exact. */
const PLAIN_DIGITS_MAX = 15;
const POWERS_OF_TEN = Float64Array.from({ length: PLAIN_DIGITS_MAX + 1 }, (_, k) => 10 ** k);

/** The value of digits with or without a sign and, where `isFloat`, a point; NaN for all else, which may be a number as well. */
function plainNumber(bytes: Uint8Array, start: number, end: number, isFloat: boolean): number {
  const isNegative = bytes[start] === 0x2d && end > start;
  let at = isNegative ? start + 1 : start;
  let [value, digits, decimals] = [0, 0, 0];
  let hasPoint = false;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (byte >= 0x30 && byte <= 0x39) {
      value = value * 10 + byte - 0x30;
      digits++;
      if (hasPoint) decimals++;
    } else if (byte === 0x2e && isFloat && !hasPoint) hasPoint = true;
    else return Number.NaN;
  }
  if (digits === 0 || digits > PLAIN_DIGITS_MAX) return Number.NaN;
  const magnitude = value / POWERS_OF_TEN[decimals]!;
  return isNegative ? -magnitude : magnitude;
}

function stringToNumber(op: OpCall): Tensor[] {
  const dtype = op.attrs.dtype("out_type");
  const input = op.tensor(0);
  const { bytes, offsets, length } = op.strings(0);
  const out = allocate(dtype as "float32", length);
  const isFloat = isFloating(dtype);
  const [min, max] = boundsOf(dtype);
  const [least, most] = [Number(min), Number(max)];
  const lanes = is64Bit(dtype) ? lanesOf(out as unknown as BigInt64Array) : undefined;
  for (let i = 0; i < length; i++) {
    const plain = plainNumber(bytes, offsets[i]!, offsets[i + 1]!, isFloat);
    if (isFloat ? !Number.isNaN(plain) : plain >= least && plain <= most) {
      if (lanes) storeAt(lanes, i, plain);
      else out[i] = plain;
      continue;
    }
    const text = trimmed(bytes, offsets[i]!, offsets[i + 1]!);
    const value = isFloat ? parseFloatText(text) : parseIntegerText(text, min, max);
    if (value === undefined) {
      const given = decoder.decode(bytes.subarray(offsets[i]!, offsets[i + 1]!));
      throw invalid(`StringToNumberOp could not correctly convert string: ${given}`);
    }
    (out as unknown as (number | bigint)[])[i] = is64Bit(dtype) ? value : Number(value);
  }
  return [withData(dtype, input.shape, out)];
}

export const STRING_NUMBER_KERNELS: Readonly<Record<string, Kernel>> = {
  AsString: asString,
  StringToNumber: stringToNumber,
};
