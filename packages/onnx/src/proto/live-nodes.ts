import { eachInPieces, type Pieces } from "@shardserve/core";
import type { OnnxNode, OnnxValue } from "./model-proto.js";

/** Nodes that an output depends on: a form of a value that nobody reads in the end is not computed. */
export function* liveNodes(nodes: readonly OnnxNode[], outputs: readonly OnnxValue[]): Pieces<OnnxNode[]> {
  const read = new Set(outputs.map(({ name }) => name));
  const live: OnnxNode[] = [];
  yield* eachInPieces(nodes.toReversed(), (node) => {
    if (!node.outputs.some((name) => read.has(name))) return;
    live.push(node);
    readBy(node, read);
  });
  return live.reverse();
}

/** Adds what a node reads, and the nodes of the graphs inside it, which see outer values. */
function readBy(node: OnnxNode, read: Set<string>): void {
  for (const name of node.inputs) read.add(name);
  for (const attr of Object.values(node.attrs)) {
    if (typeof attr !== "object" || !("branch" in attr)) continue;
    for (const inner of attr.branch.nodes) readBy(inner, read);
    for (const { name } of attr.branch.outputs) read.add(name);
  }
}
