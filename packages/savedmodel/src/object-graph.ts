import {
  fromBinary,
  type MetaGraphDef,
  type SavedObject,
  type TrackableObjectGraph,
  TrackableObjectGraphSchema,
} from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import type { StringColumn } from "@shardserve/tensor";
import type { BundleReader } from "./bundle/bundle-reader.js";

const OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH";

/**
 * Checkpoint keys of the variables in `object_graph_def`, by object id. The model's object graph and the checkpoint's
 * are walked side by side from their roots along equal child names; their ids need not agree. Empty for exports of
 * TensorFlow 1, which have neither.
 *
 * @throws ServingError CHECKPOINT_INVALID when the checkpoint's object graph cannot be read
 */
export async function objectKeys(
  metaGraph: MetaGraphDef,
  reader: BundleReader,
  options: { signal?: AbortSignal } = {},
): Promise<ReadonlyMap<number, string>> {
  const keys = new Map<number, string>();
  const objects = metaGraph.objectGraphDef?.nodes ?? [];
  if (objects.length === 0 || !reader.entries.has(OBJECT_GRAPH_KEY)) return keys;
  const trackables = (await readObjectGraph(reader, options)).nodes;
  const twins = new Map<number, number>([[0, 0]]);
  for (const [object, trackable] of twins) {
    // twins grows while it is walked: a breadth-first search
    const children = new Map(trackables[trackable]?.children.map((child) => [child.localName, child.nodeId]));
    const value = trackables[trackable]?.attributes.find((attribute) => attribute.name === "VARIABLE_VALUE");
    if (value) keys.set(object, value.checkpointKey);
    for (const child of objects[object]?.children ?? []) {
      const twin = children.get(child.localName);
      if (twin !== undefined && !twins.has(child.nodeId)) twins.set(child.nodeId, twin);
    }
  }
  return keys;
}

async function readObjectGraph(reader: BundleReader, options: { signal?: AbortSignal }): Promise<TrackableObjectGraph> {
  const value = await reader.read(OBJECT_GRAPH_KEY, options);
  try {
    return fromBinary(TrackableObjectGraphSchema, (value.data as StringColumn).at(0));
  } catch (cause) {
    throw new ServingError("CHECKPOINT_INVALID", `${reader.prefix}: tensor ${OBJECT_GRAPH_KEY} is no object graph`, {
      cause,
    });
  }
}

/**
 * Objects behind the nodes that the main graph passes to concrete functions, by node name: the captures of a function
 * are the last inputs of its call, in the order of `bound_inputs`.
 */
export function capturedObjects(metaGraph: MetaGraphDef): ReadonlyMap<string, number> {
  const captured = new Map<string, number>();
  const functions = metaGraph.objectGraphDef?.concreteFunctions ?? {};
  for (const node of metaGraph.graphDef?.node ?? []) {
    const called = node.attr["f"]?.value;
    const boundInputs = called?.case === "func" ? functions[called.value.name]?.boundInputs : undefined;
    if (!boundInputs) continue;
    const inputs = node.input.filter((input) => !input.startsWith("^")).slice(-boundInputs.length || Infinity);
    inputs.forEach((input, i) => captured.set(input.replace(/:\d+$/, ""), boundInputs[i]!));
  }
  return captured;
}

/** Ids of the variables in `object_graph_def` by name; a name need not be unique. */
export function variablesByName(metaGraph: MetaGraphDef): ReadonlyMap<string, readonly number[]> {
  const ids = new Map<string, number[]>();
  metaGraph.objectGraphDef?.nodes.forEach((object: SavedObject, id) => {
    if (object.kind.case !== "variable") return;
    const name = object.kind.value.name;
    ids.set(name, [...(ids.get(name) ?? []), id]);
  });
  return ids;
}
