import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary, onnx } from "@shardserve/api";
import { exists, ServingError, unreadable } from "@shardserve/core";

/** The file that makes a version directory one of an ONNX model. */
export const ONNX_MODEL_FILE = "model.onnx";
/** The one signature of an ONNX model. */
export const ONNX_SIGNATURE = "serving_default";
/** A protobuf message cannot be larger; bigger models keep their weights in files of their own. */
const MODEL_BYTES_MAX = 2 ** 31 - 1;

/** Whether a version directory holds an ONNX model and no SavedModel. */
export async function hasOnnxModel(dir: string): Promise<boolean> {
  return (await exists(join(dir, ONNX_MODEL_FILE))) && !(await exists(join(dir, "saved_model.pb")));
}

/** Reads `DIR/model.onnx` as it stands. @throws ServingError MODEL_TOO_LARGE; GRAPH_INVALID, PERMISSION_DENIED, UNAVAILABLE where it cannot be read */
export async function readOnnxFile(dir: string, signal?: AbortSignal): Promise<Uint8Array> {
  const path = join(dir, ONNX_MODEL_FILE);
  try {
    checkModelBytes(path, (await stat(path)).size);
    return await readFile(path, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw unreadable(path, cause, "GRAPH_INVALID");
  }
}

/** @throws ServingError MODEL_TOO_LARGE */
export function checkModelBytes(path: string, size: number): void {
  if (size <= MODEL_BYTES_MAX) return;
  throw new ServingError(
    "MODEL_TOO_LARGE",
    `${path} has ${size} bytes; export it with external data: 2 GiB is protobuf's limit`,
  );
}

/**
 * Decodes a ModelProto. Its bytes fields (raw tensor data) are views of `bytes`.
 *
 * @param where  names the model in errors
 * @throws ServingError GRAPH_INVALID
 */
export function decodeOnnxModel(bytes: Uint8Array, where: string): onnx.ModelProto & { graph: onnx.GraphProto } {
  let model: onnx.ModelProto;
  try {
    model = fromBinary(onnx.ModelProtoSchema, bytes);
  } catch (cause) {
    throw new ServingError("GRAPH_INVALID", `${where} is no ONNX model: ${(cause as Error).message}`, { cause });
  }
  const { graph } = model;
  if (!graph) throw new ServingError("GRAPH_INVALID", `${where} is no ONNX model: it has no graph`);
  return Object.assign(model, { graph });
}
