import { isUtf8 } from "node:buffer";
import { ServingError } from "@shardserve/core";
import type { StringColumn, Tensor } from "@shardserve/tensor";
import { elementWriter, SLICE_ELEMENTS } from "../json/predict-response.js";
import { JsonWriter } from "../json/writer.js";
import { concatInSlices } from "../slices.js";
import { datatypeOf, rawOf } from "./datatype.js";
import type { InferResult } from "./infer.js";

export interface InferResponseBody {
  readonly body: Buffer;
  /** Length of the JSON when raw bytes follow it (Inference-Header-Content-Length). */
  readonly jsonBytes: number | undefined;
}

/**
 * Writes the answer of an infer request, in slices: JSON with the elements flat and row-major, and behind it the raw
 * bytes of the outputs that are wanted so.
 *
 * @throws ServingError UNIMPLEMENTED for an output without a datatype, INVALID_ARGUMENT for one that JSON cannot carry
 */
export function* inferToJson(
  result: InferResult,
  id: string,
  isBinary: (output: string) => boolean,
): Generator<undefined, InferResponseBody> {
  const writer = new JsonWriter();
  const tail: Uint8Array[] = [];
  const text = (value: string) => writer.string(Buffer.from(value));
  writer.ascii('{"model_name":');
  text(result.by.name);
  writer.ascii(`,"model_version":"${result.by.version}"`);
  if (id !== "") {
    writer.ascii(',"id":');
    text(id);
  }
  writer.ascii(',"outputs":[');
  let isFirst = true;
  for (const [name, value] of result.outputs) {
    writer.ascii(isFirst ? '{"name":' : ',{"name":');
    isFirst = false;
    text(name);
    writer.ascii(`,"datatype":"${datatypeOf(value.dtype, name).name}","shape":[${value.shape.join(",")}]`);
    if (isBinary(name)) {
      const raw = rawOf(value);
      tail.push(raw);
      writer.ascii(`,"parameters":{"binary_data_size":${raw.length}}}`);
    } else {
      writer.ascii(',"data":[');
      yield* writeElements(writer, name, value);
      writer.ascii("]}");
    }
  }
  writer.ascii("]}");
  const json = writer.parts();
  const body = yield* concatInSlices([...json, ...tail]);
  if (tail.length === 0) return { body, jsonBytes: undefined };
  return { body, jsonBytes: json.reduce((bytes, part) => bytes + part.length, 0) };
}

function* writeElements(writer: JsonWriter, name: string, value: Tensor): Generator<undefined, void> {
  if (value.dtype === "float16" || value.dtype === "bfloat16") throw notJson(name, "16-bit floats have no JSON form");
  const column = value.dtype === "string" ? (value.data as StringColumn) : undefined;
  // Strings go out as they are: the alias that makes TensorFlow Serving write base64 means nothing here.
  const write = column ? (to: JsonWriter, i: number) => to.string(column.at(i)) : numberWriter(name, value);
  const count = column ? column.length : (value.data as Float32Array).length;
  for (let i = 0; i < count; i++) {
    if (i > 0) writer.ascii(",");
    if (column && !isUtf8(column.at(i))) throw notJson(name, `string ${i} is no UTF-8`);
    write(writer, i);
    if (i % SLICE_ELEMENTS === SLICE_ELEMENTS - 1) yield;
  }
}

/** As TensorFlow Serving prints numbers, and uint16, which it refuses. */
function numberWriter(name: string, value: Tensor): (writer: JsonWriter, i: number) => void {
  if (value.dtype !== "uint16") return elementWriter(name, value);
  const data = value.data as Uint16Array;
  return (writer, i) => writer.ascii(String(data[i]!));
}

function notJson(name: string, why: string): ServingError {
  return new ServingError("INVALID_ARGUMENT", `output ${name}: ${why}; ask for binary data (binary_data_output)`);
}
