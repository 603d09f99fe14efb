/**
 * TensorFlow Text's normalisation of UTF-8 strings, by the Unicode tables of the JavaScript engine. Malformed bytes stay as
 * they are and part the text, as in ICU under TensorFlow Text.
 */
import { isAscii, isUtf8 } from "node:buffer";
import { StringColumnBuilder, type Tensor, tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { charSize } from "../call/utf8.js";
import { foldCase } from "./case-folding.js";
import { type NormalForm, normalForm } from "./normal-form.js";

const FORMS: ReadonlySet<string> = new Set(["NFC", "NFD", "NFKC", "NFKD"]);

/** Maps every stretch of well-formed text in every string. */
function mapText(op: OpCall, change: (text: string) => string): Tensor[] {
  const column = op.strings(0);
  const out = new StringColumnBuilder(column.length, column.bytes.length);
  let outBytes = 0;
  for (let i = 0; i < column.length; i++) {
    const changed = changeBytes(column.at(i), change);
    outBytes += changed.length;
    checkOutput("string", column.length, outBytes);
    out.push(changed);
  }
  return [tensor("string", op.tensor(0).shape, out.build())];
}

function changeBytes(bytes: Uint8Array, change: (text: string) => string): Uint8Array {
  if (isUtf8(bytes)) return Buffer.from(change(textOf(bytes)), "utf8");
  const parts: Uint8Array[] = [];
  let from = 0;
  for (let at = 0; at < bytes.length; ) {
    const size = charSize(bytes, at, bytes.length);
    if (size < 0) {
      parts.push(Buffer.from(change(textOf(bytes.subarray(from, at))), "utf8"), bytes.subarray(at, at - size));
      from = at - size;
    }
    at += Math.abs(size);
  }
  parts.push(Buffer.from(change(textOf(bytes.subarray(from))), "utf8"));
  return Buffer.concat(parts);
}

/** Unlike a TextDecoder it keeps a byte order mark. */
function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("utf8");
}

function normalize(op: OpCall): Tensor[] {
  const form = op.attrs.text("normalization_form").toUpperCase();
  check(FORMS.has(form), () => `Unknown normalization form requrested: ${form}`);
  // No form changes ASCII.
  if (isAscii(op.strings(0).bytes)) return [op.tensor(0)];
  return mapText(op, (text) => normalForm(text, form as NormalForm));
}

export const TEXT_NORMALIZE_KERNELS: Readonly<Record<string, Kernel>> = {
  CaseFoldUTF8: (op) => mapText(op, foldCase),
  NormalizeUTF8: normalize,
};
