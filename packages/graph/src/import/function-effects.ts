/** What the functions do that control-flow nodes may run. */
import type { FunctionDef } from "@shardserve/api";
import { Attrs, type AttrValue } from "../ir/attrs.js";
import type { Graph, GraphNode } from "../ir/ir.js";
import { hasEffect, isCheck } from "../passes/control/effects.js";
import { type FunctionLibrary, importAttrs } from "./import.js";

const STATEFUL_CONTROL_FLOW = new Set(["If", "While", "Case"]);

/** Marks If, While and Case nodes whose functions change state, so that they keep their place among effects. */
export function markEffects(graph: Graph, library: FunctionLibrary): Graph {
  const marked = new Map(graph);
  for (const [name, node] of graph) {
    if (!STATEFUL_CONTROL_FLOW.has(node.op) || node.attrs.has("hasEffect") || !branchesWrite(node, library)) continue;
    marked.set(name, { ...node, attrs: node.attrs.with({ hasEffect: true }) });
  }
  return marked;
}

/** True when a function that a control-flow node may run, or one that it calls, has an effect other than Assert. */
export function branchesWrite(node: GraphNode, library: FunctionLibrary): boolean {
  for (const inner of nodesWithin(node, library)) if (hasEffect(inner) && !isCheck(inner)) return true;
  return false;
}

/** The nodes, without their edges, of all functions that a node may run and of those that they call. */
export function* nodesWithin(node: GraphNode, library: FunctionLibrary): Generator<GraphNode, void> {
  const names = new Set<string>();
  const addCalled = (attrs: Attrs): void => {
    for (const [, value] of attrs.entries()) for (const name of functionNames(value)) names.add(name);
  };
  addCalled(node.attrs);
  for (const name of names) {
    const def: FunctionDef | undefined = library.get(name);
    for (const inner of def?.nodeDef ?? []) {
      const attrs = importAttrs(inner);
      yield { name: inner.name, op: inner.op, inputs: [], controls: [], attrs };
      if (library.has(inner.op)) names.add(inner.op);
      addCalled(attrs);
    }
  }
}

function functionNames(value: AttrValue): string[] {
  if (Array.isArray(value)) return (value as readonly AttrValue[]).flatMap(functionNames);
  return typeof value === "object" && value !== null && "func" in value ? [value.func] : [];
}
