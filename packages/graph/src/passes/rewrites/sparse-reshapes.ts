import { originOf } from "../../infer/element-origins.js";
import type { Inference } from "../../infer/inference.js";
import { type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program, prune, rewrite } from "../../ir/program.js";

/** Ops whose outputs that are used as shapes have no negative elements: a request's own sparse tensors may. */
const MAKES_SHAPES = new Set([
  "Shape",
  "ParseExample",
  "ParseExampleV2",
  "SparseReshape",
  "StringSplit",
  "StringSplitV2",
]);

/**
 * Drops a SparseReshape to the shape that its tensor has anyway. Every embedding column of an Estimator has one, to
 * `[prod(shape[:-1]), shape[-1]]`, and nearly every column is of rank 2: it goes, and the arithmetic before it with it.
 */
export function dropSparseReshapes(program: Program, inference: Inference): Program {
  const aliases = new Map<string, TensorRef>();
  for (const node of program.graph.values()) {
    if (node.op !== "SparseReshape" || node.controls.length > 0 || !keepsShape(node, program, inference)) continue;
    aliases.set(outputKey(node.name), node.inputs[0]!).set(outputKey(node.name, 1), node.inputs[1]!);
  }
  return aliases.size === 0 ? program : prune(rewrite(program, aliases));
}

function keepsShape(node: GraphNode, program: Program, inference: Inference): boolean {
  const [indices, shape, wanted] = node.inputs as readonly [TensorRef, TensorRef, TensorRef];
  const dims = [indices, shape, wanted].map((ref) => inference.info(ref)?.shape);
  const rank = dims[1]?.length === 1 ? dims[1][0]! : -1;
  // What the op would refuse stays.
  if (rank < 0 || dims[2]?.length !== 1 || dims[2][0] !== rank) return false;
  if (dims[0]?.length !== 2 || dims[0][1] !== rank || !MAKES_SHAPES.has(nodeOf(program.graph, shape.node).op)) {
    return false;
  }
  const known = [shape, wanted].map((ref) => inference.value(ref)?.values);
  for (let at = 0; at < rank; at++) {
    const [own, next] = [known[0]?.[at], known[1]?.[at]];
    if (own !== undefined && own === next) continue;
    const [from, to] = [shape, wanted].map((ref) => originOf(program, inference, { ref, at }));
    if (refKey(from!.ref) !== refKey(to!.ref) || from!.at !== to!.at) return false;
  }
  return true;
}
