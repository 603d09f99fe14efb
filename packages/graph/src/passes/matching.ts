import { toNumbers } from "@shardserve/tensor";
import { constantOf, type GraphNode, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";

/** What passes ask of the nodes of a chain that is to become one node. */

/** The node of a value when it is of that op and waits for nothing. */
export function bare({ node, index }: TensorRef, op: string, { graph }: Program): GraphNode | undefined {
  const found = graph.get(node);
  return found?.op === op && index === 0 && found.controls.length === 0 ? found : undefined;
}

/** Input `at` as numbers, when it is a constant. */
export function numbersAt(node: GraphNode, at: number, { graph }: Program): number[] | undefined {
  const value = constantOf(graph.get(node.inputs[at]!.node));
  return value && toNumbers(value);
}
