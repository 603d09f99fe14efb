import { setImmediate } from "node:timers/promises";
import { onnx, toBinary } from "@shardserve/api";
import { GUARDED_OPS, guardKernels } from "./kernel-guards.js";
import { decodeWithListsAside } from "./lists-aside.js";
import { SOUND_OPS, soundNodes } from "./sound-nodes.js";
import { openZipMaps } from "./zip-maps.js";

/** Bytes looked through in one turn of the event loop. */
const SLICE_BYTES = 2 ** 20;
/** Field op_type of a NodeProto. */
const OP_TYPE_TAG = (4 << 3) | 2;

/**
 * Changes a model, as it was exported, to what is served: tensors in the place of maps ({@link openZipMaps}), and no kernel that the
 * file ({@link soundNodes}) or a request ({@link guardKernels}) can end the process with.
 *
 * @returns whether there was something to change
 * @throws ServingError GRAPH_INVALID
 */
export function toServedForm(model: onnx.ModelProto & { graph: onnx.GraphProto }): boolean {
  const hadZipMaps = openZipMaps(model);
  const wasUnsound = soundNodes(model);
  return guardKernels(model) || wasUnsound || hadZipMaps;
}

/** {@link toServedForm} of a file; the file itself where there is nothing to do, most often without decoding it. */
export async function servedFile(bytes: Uint8Array, where: string): Promise<Uint8Array> {
  if (!(await mentions(bytes, ["ZipMap", ...SOUND_OPS, ...GUARDED_OPS]))) return bytes;
  const model = await decodeWithListsAside(bytes, where);
  return toServedForm(model) ? toBinary(onnx.ModelProtoSchema, model) : bytes;
}

/**
 * Whether an encoded model repeats something as often as values say, so that the sizes of its inputs do not tell how long a run takes.
 * Graphs inside nodes and functions count.
 */
export function hasLoops(bytes: Uint8Array): Promise<boolean> {
  return mentions(bytes, ["Loop", "Scan"]);
}

/** Whether an encoded model may have nodes of these ops, at any depth. Tensors can hold the same bytes by chance. */
async function mentions(bytes: Uint8Array, ops: readonly string[]): Promise<boolean> {
  const texts = ops.map((op) => Buffer.from([OP_TYPE_TAG, op.length, ...Buffer.from(op)]));
  const overlap = Math.max(...texts.map(({ length }) => length)) - 1;
  for (let start = 0; start < bytes.length; start += SLICE_BYTES) {
    if (start > 0) await setImmediate();
    const length = Math.min(SLICE_BYTES + overlap, bytes.length - start);
    const slice = Buffer.from(bytes.buffer, bytes.byteOffset + start, length);
    if (texts.some((text) => slice.includes(text))) return true;
  }
  return false;
}
