import { fromBinary, TrackableObjectGraphSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { StringColumn } from "@shardserve/tensor";
import type { BundleReader } from "./bundle/bundle-reader.js";

const OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH";

/**
 * Checkpoint keys by the variables' full names (the shared_name of their VarHandleOp), from the object graph that
 * TensorFlow 2 puts into a checkpoint. Empty for checkpoints without one. Names that occur twice are left out.
 *
 * @throws ServingError CHECKPOINT_INVALID when the object graph cannot be read
 */
export async function fullNames(reader: BundleReader, options: { signal?: AbortSignal } = {}): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  if (!reader.entries.has(OBJECT_GRAPH_KEY)) return names;
  const value = await reader.read(OBJECT_GRAPH_KEY, options);
  const ambiguous = new Set<string>();
  try {
    const graph = fromBinary(TrackableObjectGraphSchema, (value.data as StringColumn).at(0));
    for (const { attributes } of graph.nodes) {
      for (const { fullName, checkpointKey } of attributes) {
        if (fullName === "") continue;
        if (names.has(fullName) && names.get(fullName) !== checkpointKey) ambiguous.add(fullName);
        names.set(fullName, checkpointKey);
      }
    }
  } catch (cause) {
    throw new ServingError("CHECKPOINT_INVALID", `${reader.prefix}: tensor ${OBJECT_GRAPH_KEY} is no object graph`, { cause });
  }
  for (const name of ambiguous) names.delete(name);
  return names;
}
