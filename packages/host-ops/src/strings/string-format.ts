/** StringFormat: tensors printed into a template, as tf.print and assertion messages show them. */
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { is64Bit, isFloating, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { printElement, countOf } from "../call/shapes.js";
import { formatMagnitude } from "./printf.js";

/** Bytes as a text with a character each, so that whatever is printed keeps its bytes. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/** Shortest of 6 or 9 (17) significant digits that reads back as the same number: tensorflow::strings::StrCat. */
function printFloat(value: number, isDouble: boolean): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  for (const precision of isDouble ? [15, 17] : [6, 9]) {
    const text = formatMagnitude(Math.abs(value), { kind: "g", precision });
    const back = isDouble ? Number(text) : Math.fround(Number(text));
    if (back === Math.abs(value)) return sign + text;
  }
  return sign + String(Math.abs(value));
}

function elementPrinter(value: Tensor): (i: number) => string {
  const { dtype } = value;
  if (value.data instanceof StringColumn) {
    const column = value.data;
    return (i) => `"${escape(column.at(i))}"`;
  }
  if (is64Bit(dtype)) return (i) => printElement(value, i);
  const numbers = numbersOf(value);
  if (isFloating(dtype)) return (i) => printFloat(numbers[i]!, dtype === "float64");
  return (i) => String(numbers[i]);
}

/** absl::Utf8SafeCEscape */
function escape(bytes: Uint8Array): string {
  let out = "";
  for (const char of latin1(bytes)) {
    const named = { "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "'": "\\'", "\\": "\\\\" }[char];
    out += named ?? (char < " " || char === "\x7f" ? `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}` : char);
  }
  return out;
}

/** Tensor::SummarizeValue(summarize, print_v2 = true): the first and last `wanted` entries of every dim. */
export function summarize(value: Tensor, wanted: number): string {
  const print = elementPrinter(value);
  if (value.shape.length === 0) return print(0);
  const isEmpty = countOf(value.shape, 0) === 0;
  if (isEmpty && value.dtype === "bool") return "";
  // TensorFlow shows at most as many entries as there are elements.
  const edge = isEmpty ? 0 : wanted;
  const dim = (d: number, start: number): string => {
    const size = value.shape[d]!;
    const isLast = d === value.shape.length - 1;
    const stride = countOf(value.shape, d + 1);
    const shown = edge < 0 || size <= 2 * edge ? size : edge;
    const parts: string[] = [];
    for (let i = 0; i < shown; i++) parts.push(isLast ? print(start + i) : dim(d + 1, start + i * stride));
    if (shown < size) {
      parts.push("...");
      for (let i = size - shown; i < size; i++) parts.push(isLast ? print(start + i) : dim(d + 1, start + i * stride));
    }
    const space = isLast ? " " : "\n".repeat(value.shape.length - d - 1) + " ".repeat(d + 1);
    return `[${size > 0 && shown === 0 ? space : ""}${parts.join(space)}]`;
  };
  return dim(0, 0);
}

function stringFormat(op: OpCall): Tensor[] {
  const template = latin1(op.attrs.bytes("template"));
  const placeholder = latin1(op.attrs.bytes("placeholder"));
  const edge = op.attrs.int("summarize");
  const pieces = template.split(placeholder);
  check(
    pieces.length - 1 === op.inputCount,
    () => `num placeholders in template and num inputs must match: ${pieces.length - 1} vs. ${op.inputCount}`,
  );
  const text = pieces.map((piece, i) => piece + (i < op.inputCount ? summarize(op.tensor(i), edge) : "")).join("");
  return [tensor("string", [], StringColumn.from([Buffer.from(text, "latin1")]))];
}

/** The first form of Tensor::SummarizeValue: at most `limit` elements in all, with "..." for the rest. */
function summarizeFlat(value: Tensor, limit: number): string {
  const count = countOf(value.shape, 0);
  const print = value.dtype === "string" ? plainPrinter(value) : elementPrinter(value);
  const most = limit < 0 ? count : Math.min(limit, count);
  let at = 0;
  const dim = (d: number): string => {
    if (at >= most) return "";
    let text = "";
    for (let i = 0; i < value.shape[d]!; i++) {
      if (d < value.shape.length - 1) {
        if (at < most) text += `[${dim(d + 1)}]`;
      } else if (at >= most) {
        return text + (d > 0 ? "..." : "");
      } else {
        text += (i > 0 ? " " : "") + print(at++);
      }
    }
    return text;
  };
  return (value.shape.length === 0 ? print(0) : dim(0)) + (count > most ? "..." : "");
}

function plainPrinter(value: Tensor): (i: number) => string {
  const column = value.data as StringColumn;
  return (i) => escape(column.at(i));
}

function assertKernel(op: OpCall): [] {
  const condition = op.tensor(0);
  check(condition.shape.length === 0, () => "In[0] should be a scalar: " + printShape(condition.shape));
  if (condition.data[0 as never]) return [];
  const limit = op.attrs.int("summarize");
  throw invalid(
    `assertion failed: ${op
      .tensors(1)
      .map((value) => `[${summarizeFlat(value, limit)}]`)
      .join(" ")}`,
  );
}

export const STRING_FORMAT_KERNELS: Readonly<Record<string, Kernel>> = {
  StringFormat: stringFormat,
  Assert: assertKernel,
  Fact: () => [tensor("string", [], StringColumn.from([Buffer.from("0! == 1")]))],
};
