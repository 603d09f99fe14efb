import {
  type AttrValue as WireAttr,
  type FunctionDef,
  type GraphDef,
  type NameAttrList,
  type NodeDef,
  type TensorShapeProto,
} from "@shardserve/api";
import { eachInPieces, type Pieces, ServingError } from "@shardserve/core";
import { Attrs, type AttrValue, type FunctionRef, LazyTensor } from "../ir/attrs.js";
import type { Graph, GraphNode, TensorRef } from "../ir/ir.js";

/** Function bodies by name, still in wire form: most of a SavedModel's functions are never called by a signature. */
export type FunctionLibrary = ReadonlyMap<string, FunctionDef>;

/** A GraphDef as this package sees it, with the functions that its nodes may call. */
export interface ImportedGraph {
  readonly graph: Graph;
  readonly library: FunctionLibrary;
}

/**
 * Reads the main graph of a MetaGraph. Function calls are left as they are (see inline.ts).
 *
 * @throws ServingError GRAPH_INVALID when two nodes share a name, or one has no node's name
 */
export function* importGraph(graphDef: GraphDef): Pieces<ImportedGraph> {
  const graph = new Map<string, GraphNode>();
  yield* eachInPieces(graphDef.node, (def) => {
    checkNodeName(def.name);
    if (graph.has(def.name)) {
      throw new ServingError("GRAPH_INVALID", `the graph has two nodes named "${def.name}"`);
    }
    graph.set(def.name, importNode(def));
  });
  const library = new Map<string, FunctionDef>();
  for (const def of graphDef.library?.function ?? []) {
    if (def.signature) library.set(def.signature.name, def);
  }
  return { graph, library };
}

/**
 * A name without ":", which stands in front of the number of an output.
 *
 * @throws ServingError GRAPH_INVALID, as TensorFlow refuses the graph
 */
export function checkNodeName(name: string): void {
  if (name.includes(":")) throw new ServingError("GRAPH_INVALID", `the name of node "${name}" has a ":" in it`);
}

/** "node" = output 0, "node:2", and in tensor names of signatures the same. */
export function parseRef(text: string): TensorRef {
  const colon = text.lastIndexOf(":");
  const index = colon < 0 ? "" : text.slice(colon + 1);
  return /^\d+$/.test(index) ? { node: text.slice(0, colon), index: Number(index) } : { node: text, index: 0 };
}

const IMPORTED = new WeakMap<NodeDef, Attrs>();

/** The attributes of a NodeDef: the same object at every call, because a function is inlined as often as it is called. */
export function importAttrs(def: NodeDef): Attrs {
  let attrs = IMPORTED.get(def);
  if (!attrs) IMPORTED.set(def, (attrs = new Attrs(def.op, importAttrMap(def.attr))));
  return attrs;
}

function importAttrMap(attrs: Readonly<Record<string, WireAttr>>): Map<string, AttrValue> {
  const values = new Map<string, AttrValue>();
  for (const [name, wire] of Object.entries(attrs)) {
    const value = importAttr(wire);
    if (value !== undefined) values.set(name, value);
  }
  return values;
}

/** undefined for an AttrValue without a value. */
export function importAttr(wire: WireAttr): AttrValue | undefined {
  const { value } = wire;
  switch (value.case) {
    case undefined:
      return undefined;
    case "list": {
      const list = value.value;
      if (list.s.length > 0) return list.s;
      if (list.i.length > 0) return list.i;
      if (list.f.length > 0) return list.f;
      if (list.b.length > 0) return list.b;
      if (list.type.length > 0) return list.type;
      if (list.shape.length > 0) return list.shape.map(importShape);
      if (list.tensor.length > 0) return list.tensor.map((bytes) => new LazyTensor(bytes));
      return list.func.map(importFunctionRef);
    }
    case "shape":
      return importShape(value.value);
    case "tensor":
      return new LazyTensor(value.value);
    case "placeholder":
      return { placeholder: value.value };
    case "func":
      return importFunctionRef(value.value);
    default:
      return value.value;
  }
}

/** Dimensions, -1 where unknown; null for unknown rank. */
export function importShape(shape: TensorShapeProto): readonly number[] | null {
  return shape.unknownRank ? null : shape.dim.map((dim) => Number(dim.size));
}

function importFunctionRef(ref: NameAttrList): FunctionRef {
  return { func: ref.name, attrs: importAttrMap(ref.attr) };
}

function importNode(def: NodeDef): GraphNode {
  const inputs: TensorRef[] = [];
  const controls: string[] = [];
  for (const text of def.input) {
    if (text.startsWith("^")) controls.push(text.slice(1));
    else inputs.push(parseRef(text));
  }
  return { name: def.name, op: def.op, inputs, controls, attrs: importAttrs(def) };
}
