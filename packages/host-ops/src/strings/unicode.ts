/** Unicode strings to code points and between encodings, as ICU has it under TensorFlow's ops. */
import { type StringColumn, StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integersOf } from "../call/shapes.js";
import { charSize, codePointAt } from "../call/utf8.js";

/** The character read last: its code point (-1 = malformed) and how many bytes it took. */
const read = { code: 0, size: 0 };

type Decoder = (bytes: Uint8Array, at: number, end: number) => void;

function utf8(bytes: Uint8Array, at: number, end: number): void {
  const size = charSize(bytes, at, end);
  read.size = Math.abs(size);
  read.code = size < 0 ? -1 : codePointAt(bytes, at, size);
}

function utf16(isLittle: boolean): Decoder {
  const unit = (bytes: Uint8Array, at: number): number =>
    isLittle ? bytes[at]! | (bytes[at + 1]! << 8) : (bytes[at]! << 8) | bytes[at + 1]!;
  return (bytes, at, end) => {
    read.code = -1;
    if (at + 2 > end) {
      read.size = end - at;
      return;
    }
    read.size = 2;
    const first = unit(bytes, at);
    if (first < 0xd800 || first > 0xdfff) {
      read.code = first;
      return;
    }
    if (first > 0xdbff) return;
    // A pair that is cut off is one malformed character.
    if (at + 4 > end) {
      read.size = end - at;
      return;
    }
    const second = unit(bytes, at + 2);
    if (second < 0xdc00 || second > 0xdfff) return;
    read.size = 4;
    read.code = 0x10000 + ((first - 0xd800) << 10) + second - 0xdc00;
  };
}

function utf32(isLittle: boolean): Decoder {
  return (bytes, at, end) => {
    read.code = -1;
    read.size = Math.min(4, end - at);
    if (read.size < 4) return;
    let code = 0;
    for (let i = 0; i < 4; i++) code = code * 256 + bytes[at + (isLittle ? 3 - i : i)]!;
    if (code <= 0x10ffff && (code < 0xd800 || code > 0xdfff)) read.code = code;
  };
}

function oneByte(most: number): Decoder {
  return (bytes, at) => {
    read.size = 1;
    read.code = bytes[at]! <= most ? bytes[at]! : -1;
  };
}

/** By name without case and punctuation, as ICU compares names. */
const DECODERS: ReadonlyMap<string, Decoder> = new Map([
  ["utf8", utf8],
  ["utf16be", utf16(false)],
  ["utf16le", utf16(true)],
  ["utf32be", utf32(false)],
  ["utf32le", utf32(true)],
  ["usascii", oneByte(0x7f)],
  ["ascii", oneByte(0x7f)],
  ["iso88591", oneByte(0xff)],
  ["latin1", oneByte(0xff)],
]);

function plainName(name: string): string {
  return name.toLowerCase().replaceAll(/[-_ ]/g, "");
}

/** True when the kernels read the encoding. */
export function isDecodable(name: string): boolean {
  return DECODERS.has(plainName(name));
}

type Encoder = (codes: readonly number[]) => Uint8Array;

/** The three encodings that TensorFlow writes, by its names. */
const ENCODERS: ReadonlyMap<string, Encoder> = new Map<string, Encoder>([
  ["UTF-8", (codes) => Buffer.from(textOf(codes), "utf8")],
  ["UTF8", (codes) => Buffer.from(textOf(codes), "utf8")],
  ["UTF-16-BE", (codes) => Buffer.from(textOf(codes), "utf16le").swap16()],
  [
    "UTF-32-BE",
    (codes) => {
      const out = new DataView(new ArrayBuffer(codes.length * 4));
      codes.forEach((code, i) => out.setUint32(4 * i, code));
      return new Uint8Array(out.buffer);
    },
  ],
]);

/** True when the kernels write the encoding. */
export function isEncodable(name: string): boolean {
  return ENCODERS.has(name);
}

function textOf(codes: readonly number[]): string {
  let text = "";
  for (const code of codes) text += String.fromCodePoint(code);
  return text;
}

function encoderOf(op: OpCall): Encoder {
  const name = op.attrs.text("output_encoding");
  const encoder = ENCODERS.get(name);
  if (!encoder) throw invalid(`Invalid encoding ${name} - must be one of UTF-8, UTF-16-BE, UTF-32-BE`);
  return encoder;
}

/** What becomes of malformed input. */
interface Errors {
  readonly policy: string;
  readonly replacement: number;
  readonly replacesControls: boolean;
}

function errorsOf(op: OpCall): Errors {
  const { attrs } = op;
  const replacement = attrs.int("replacement_char");
  check(replacement >= 0 && replacement <= 0x10ffff, () => "replacement_char out of unicode codepoint range");
  return {
    policy: attrs.text("errors"),
    replacement,
    replacesControls: attrs.has("replace_control_characters") && attrs.bool("replace_control_characters"),
  };
}

/** Calls back with every code point of string i and its byte offset, after the policy for malformed ones. */
function forEachCode(
  column: StringColumn,
  i: number,
  decode: Decoder,
  errors: Errors,
  callback: (code: number, offset: number) => void,
): void {
  const { bytes, offsets } = column;
  const [start, end] = [offsets[i]!, offsets[i + 1]!];
  for (let at = start; at < end; at += read.size) {
    decode(bytes, at, end);
    const isBad = read.code < 0;
    if (!isBad && !(errors.replacesControls && read.code <= 0x1f)) {
      callback(read.code, at - start);
      continue;
    }
    if (isBad && errors.policy === "strict") throw invalid("Invalid formatting on input string");
    if (errors.policy !== "ignore") callback(errors.replacement, at - start);
  }
}

function decoderOf(op: OpCall): Decoder {
  const name = op.attrs.text("input_encoding");
  const decoder = DECODERS.get(plainName(name));
  if (!decoder) throw invalid(`Could not create converter for input encoding: ${name}`);
  return decoder;
}

function decodeKernel(withOffsets: boolean): Kernel {
  return (op) => {
    const column = op.strings(0);
    const [decode, errors] = [decoderOf(op), errorsOf(op)];
    const codes: number[] = [];
    const starts: number[] = [];
    const splits = [0];
    for (let i = 0; i < column.length; i++) {
      forEachCode(column, i, decode, errors, (code, offset) => {
        codes.push(code);
        starts.push(offset);
      });
      splits.push(codes.length);
    }
    const dtype = op.attrs.dtype("Tsplits");
    return [
      withData(dtype, [splits.length], indexData(dtype, splits)),
      tensor("int32", [codes.length], Int32Array.from(codes)),
      ...(withOffsets ? [tensor("int64", [starts.length], fromIntegers(starts))] : []),
    ];
  };
}

function transcode(op: OpCall): Tensor[] {
  const column = op.strings(0);
  const [decode, encode, errors] = [decoderOf(op), encoderOf(op), errorsOf(op)];
  checkOutput("string", column.length, column.bytes.length * 4);
  const out = new StringColumnBuilder(column.length);
  for (let i = 0; i < column.length; i++) {
    const codes: number[] = [];
    forEachCode(column, i, decode, errors, (code) => codes.push(code));
    out.push(encode(codes));
  }
  return [tensor("string", op.tensor(0).shape, out.build())];
}

function encodeKernel(op: OpCall): Tensor[] {
  const [encode, errors] = [encoderOf(op), errorsOf(op)];
  const values = op.tensor(0).data as Int32Array;
  const splits = integersOf(op.tensor(1));
  check(splits.length > 0, () => "Invalid empty splits");
  const out = new StringColumnBuilder(splits.length);
  for (let i = 0; i + 1 < splits.length; i++) {
    check(
      splits[i + 1]! >= splits[i]! && splits[i + 1]! <= values.length,
      () => "Values in input_splits must be equal or in ascending order.",
    );
    const codes: number[] = [];
    for (let k = splits[i]!; k < splits[i + 1]!; k++) {
      const code = values[k]!;
      const isBad = code < 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff);
      if (!isBad) codes.push(code);
      else if (errors.policy === "replace") codes.push(errors.replacement);
      else if (errors.policy === "strict") {
        throw invalid("Code point is out of range for Unicode, or a noncharacter.");
      }
    }
    out.push(encode(codes));
  }
  return [tensor("string", [splits.length - 1], out.build())];
}

export const UNICODE_KERNELS: Readonly<Record<string, Kernel>> = {
  UnicodeDecode: decodeKernel(false),
  UnicodeDecodeWithOffsets: decodeKernel(true),
  UnicodeEncode: encodeKernel,
  UnicodeTranscode: transcode,
};
