/** Strings decoded and encoded: base64, raw bytes, Unicode, CSV. */
import {
  dataFromBytes,
  type DType,
  DTYPES,
  elementCount,
  isNumeric,
  type NumericData,
  type StringColumn,
  StringColumnBuilder,
  type Tensor,
} from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { allocate, checkOutput } from "../call/limits.js";
import { is64Bit, isFloating } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { mapStrings } from "./string-edit.js";
import { boundsOf, parseFloatText, parseIntegerText } from "./string-numbers.js";

const decoder = new TextDecoder();

function encodeBase64(op: OpCall): Tensor[] {
  const pads = op.attrs.bool("pad");
  return [
    mapStrings(op.tensor(0), (builder, bytes, start, end) => {
      const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("base64url");
      builder.pushText(pads ? text.padEnd(Math.ceil(text.length / 4) * 4, "=") : text);
    }),
  ];
}

function decodeBase64(op: OpCall): Tensor[] {
  return [
    mapStrings(op.tensor(0), (builder, bytes, start, end) => {
      const text = decoder.decode(bytes.subarray(start, end));
      const body = text.replace(/={1,2}$/, "");
      // Web-safe alphabet only; padding, where given, must be whole.
      const isPadded = body.length !== text.length;
      if (!/^[A-Za-z0-9_-]*$/.test(body) || body.length % 4 === 1 || (isPadded && text.length % 4 !== 0)) {
        throw invalid("Invalid character found in base64.");
      }
      builder.push(Buffer.from(body, "base64url"));
    }),
  ];
}

function decodeRaw(op: OpCall): Tensor[] {
  const dtype = op.attrs.dtype("out_type");
  if (!isNumeric(dtype)) throw invalid(`DecodeRaw to ${dtype} is not supported`);
  const input = op.tensor(0);
  const column = op.strings(0);
  const width = DTYPES[dtype].bytes;
  const size = column.length === 0 ? 0 : column.offsets[1]! - column.offsets[0]!;
  for (let i = 0; i < column.length; i++) {
    const length = column.offsets[i + 1]! - column.offsets[i]!;
    check(
      length === size,
      () => `DecodeRaw requires input strings to all be the same size, but element ${i} has size ${size} != ${length}`,
    );
  }
  check(
    size % width === 0,
    () => `Input to DecodeRaw has length ${size} that is not a multiple of ${width}, the size of ${dtype}`,
  );
  checkOutput("uint8", column.bytes.length);
  const bytes = column.bytes.slice(column.offsets[0], column.offsets[column.length]);
  if (dtype === "bool") for (let i = 0; i < bytes.length; i++) bytes[i] = Number(bytes[i] !== 0);
  const isSwapped = op.attrs.has("little_endian") && !op.attrs.bool("little_endian") && width > 1;
  if (isSwapped) {
    for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
  }
  const shape = [...input.shape, column.length === 0 ? 0 : size / width];
  return [withData(dtype, shape, dataFromBytes(dtype, bytes) as NumericData)];
}

function decodePaddedRaw(op: OpCall): Tensor[] {
  const dtype = op.attrs.dtype("out_type");
  if (!isNumeric(dtype)) throw invalid(`DecodePaddedRaw to ${dtype} is not supported`);
  const length = integerOf(op.tensor(1));
  const width = DTYPES[dtype].bytes;
  check(
    length > 0 && length % width === 0,
    () => `fixed_length (${length}) must be a multiple of the size of out_type (${width})`,
  );
  const column = op.strings(0);
  checkOutput("uint8", column.length * length);
  const bytes = new Uint8Array(column.length * length);
  for (let i = 0; i < column.length; i++) bytes.set(column.at(i).subarray(0, length), i * length);
  if (!op.attrs.bool("little_endian") && width > 1) {
    for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
  }
  return [withData(dtype, [...op.tensor(0).shape, length / width], dataFromBytes(dtype, bytes) as NumericData)];
}

/** Splits one CSV record into fields. */
function csvFields(text: string, delimiter: string, quoted: boolean): string[] {
  const fields: string[] = [];
  let at = 0;
  if (text === "") return [""];
  while (at <= text.length) {
    let field = "";
    if (quoted && text[at] === '"') {
      at++;
      for (;;) {
        check(at < text.length, () => "Quoted field has to end with quote followed by delim or end");
        if (text[at] === '"' && text[at + 1] === '"') {
          field += '"';
          at += 2;
        } else if (text[at] === '"') {
          at++;
          break;
        } else {
          field += text[at++];
        }
      }
      check(
        at === text.length || text[at] === delimiter,
        () => "Quoted field has to end with quote followed by delim or end",
      );
    } else {
      while (at < text.length && text[at] !== delimiter) {
        check(
          !(quoted && text[at] === '"') && text[at] !== "\n" && text[at] !== "\r",
          () => "Unquoted fields cannot have quotes/CRLFs inside",
        );
        field += text[at++];
      }
    }
    fields.push(field);
    if (at >= text.length) break;
    at++; // the delimiter
    if (at === text.length) fields.push("");
    if (at === text.length) break;
  }
  return fields;
}

function decodeCsv(op: OpCall): Tensor[] {
  const records = op.tensor(0);
  const types = op.attrs.dtypes("OUT_TYPE");
  const delimiter = op.attrs.text("field_delim");
  check(delimiter.length === 1, () => "field_delim should be only 1 char");
  const missing = op.attrs.text("na_value");
  const selected = op.attrs.ints("select_cols");
  const column = op.strings(0);
  const count = column.length;
  const columns = types.map((dtype) =>
    dtype === "string" ? new StringColumnBuilder(count) : allocate(dtype as "float32", count),
  );
  for (let i = 0; i < count; i++) {
    // Latin-1 keeps bytes as they are through the field splitter.
    const text = Buffer.from(column.at(i)).toString("latin1");
    const all = csvFields(text, delimiter, op.attrs.bool("use_quote_delim"));
    const fields = selected.length > 0 ? selected.map((k) => all[k] ?? "") : all;
    check(
      fields.length === types.length,
      () => `Expect ${types.length} fields but have ${fields.length} in record ${i}`,
    );
    fields.forEach((field, f) => {
      const dtype = types[f]!;
      const fallback = op.tensor(1 + f);
      const isMissing = field === "" || field === missing;
      if (isMissing) {
        check(elementCount(fallback.shape) > 0, () => `Field ${f} is required but missing in record ${i}!`);
        if (columns[f] instanceof StringColumnBuilder) columns[f].push((fallback.data as StringColumn).at(0));
        else (columns[f] as unknown as (number | bigint)[])[i] = (fallback.data as unknown as (number | bigint)[])[0]!;
      } else if (columns[f] instanceof StringColumnBuilder) {
        columns[f].push(Buffer.from(field, "latin1"));
      } else {
        (columns[f] as unknown as (number | bigint)[])[i] = parseField(field, dtype, f, i);
      }
    });
  }
  return types.map((dtype, f) =>
    withData(dtype, records.shape, columns[f] instanceof StringColumnBuilder ? columns[f].build() : columns[f]!),
  );
}

function parseField(field: string, dtype: DType, f: number, record: number): number | bigint {
  const text = field.trim();
  const value = isFloating(dtype) ? parseFloatText(text) : parseIntegerText(text, ...boundsOf(dtype));
  if (value === undefined) {
    const name = dtype === "float64" ? "double" : dtype === "float32" ? "float" : dtype;
    throw invalid(`Field ${f} in record ${record} is not a valid ${name}: ${field}`);
  }
  return is64Bit(dtype) ? value : Number(value);
}

export const STRING_CODE_KERNELS: Readonly<Record<string, Kernel>> = {
  EncodeBase64: encodeBase64,
  DecodeBase64: decodeBase64,
  DecodeRaw: decodeRaw,
  DecodePaddedRaw: decodePaddedRaw,
  DecodeCSV: decodeCsv,
};
