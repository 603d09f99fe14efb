import { open } from "node:fs/promises";
import { join } from "node:path";
import { ServingError } from "@shardserve/core";
import type { WireField } from "@shardserve/tensor";
import { FieldCursor } from "../proto/field-cursor.js";
import { WireWriter } from "../proto/wire.js";
import { checkModelBytes, ONNX_MODEL_FILE } from "./model-file.js";

/** Smaller tensors stay in the model: shapes, axes and scales, which ONNX Runtime reads while it loads. */
const IN_PLACE_BYTES_MIN = 4096;

// Fields of ModelProto, GraphProto, TensorProto and StringStringEntryProto.
const GRAPH = 7;
const INITIALIZER = 5;
const RAW_DATA = 9;
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;
const KEY = 1;
const VALUE = 2;
const EXTERNAL = 1;

/**
 * Reads `DIR/model.onnx` without the data of its large initialisers: they become external data, which lies in that very file and
 * which ONNX Runtime maps. So weights go neither through our memory nor past the event loop, and processes share them.
 *
 * @throws ServingError MODEL_TOO_LARGE; GRAPH_INVALID where the file is no message; the signal's reason
 */
export async function readWithWeightsInPlace(dir: string, signal?: AbortSignal): Promise<Uint8Array> {
  const path = join(dir, ONNX_MODEL_FILE);
  await using file = await open(path);
  const { size } = await file.stat();
  checkModelBytes(path, size);
  const cursor = new FieldCursor(file, size);
  const model = new WireWriter();
  try {
    for await (const field of cursor.fields(0)) {
      if (isMessage(field, GRAPH)) model.bytes(GRAPH, await graphOf(field, cursor, signal));
      else model.raw(await cursor.bytes(field.start, field.end));
    }
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw new ServingError("GRAPH_INVALID", `${path} is no ONNX model: ${(cause as Error).message}`, { cause });
  }
  return model.finish();
}

async function graphOf(graph: WireField, cursor: FieldCursor, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const out = new WireWriter();
  for await (const field of cursor.fields(graph.valueStart, graph.end)) {
    signal?.throwIfAborted();
    if (isMessage(field, INITIALIZER)) out.bytes(INITIALIZER, await tensorOf(field, cursor));
    else out.raw(await cursor.bytes(field.start, field.end));
  }
  return out.finish();
}

async function tensorOf(tensor: WireField, cursor: FieldCursor): Promise<Uint8Array> {
  const fields: WireField[] = [];
  for await (const field of cursor.fields(tensor.valueStart, tensor.end)) fields.push(field);
  const data = fields.findLast((field) => isMessage(field, RAW_DATA));
  const isLarge = data !== undefined && data.end - data.valueStart >= IN_PLACE_BYTES_MIN;
  if (!isLarge || (await isElsewhere(fields, cursor))) return cursor.bytes(tensor.valueStart, tensor.end);
  const out = new WireWriter();
  for (const field of fields) if (field.number !== RAW_DATA) out.raw(await cursor.bytes(field.start, field.end));
  const place = { location: ONNX_MODEL_FILE, offset: data.valueStart, length: data.end - data.valueStart };
  for (const [key, value] of Object.entries(place)) {
    out.message(EXTERNAL_DATA, (entry) => {
      entry.text(KEY, key);
      entry.text(VALUE, String(value));
    });
  }
  out.int(DATA_LOCATION, EXTERNAL);
  return out.finish();
}

async function isElsewhere(fields: readonly WireField[], cursor: FieldCursor): Promise<boolean> {
  const told = fields.findLast(({ number }) => number === DATA_LOCATION);
  return told !== undefined && (await cursor.bytes(told.valueStart, told.end))[0] !== 0;
}

function isMessage({ number, isDelimited }: WireField, wanted: number): boolean {
  return isDelimited && number === wanted;
}
