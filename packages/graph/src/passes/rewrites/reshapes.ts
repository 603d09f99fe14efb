import { eachInPieces, type Pieces } from "@shardserve/core";
import { shapeTensor } from "../../ir/shape-tensor.js";
import type { Inference } from "../../infer/inference.js";
import { uniqueName } from "../../ir/unique-name.js";
import { type GraphNode } from "../../ir/ir.js";
import { type Program, pruning, rewriting } from "../../ir/program.js";
import { constantNode } from "./fold.js";

/**
 * Gives Reshape a constant shape where all dimensions but one are known and positive: the open one becomes -1, which the
 * element count fills in. It spares the arithmetic that computes it, `reshape(x, [prod(shape(x)[:2]), 512])` in every Keras
 * Dense on sequences, and the trip to the host that integer products may cost.
 */
export function* settleReshapes(program: Program, inference: Inference): Pieces<Program> {
  const replaced = new Map<string, GraphNode>();
  yield* eachInPieces(program.graph.values(), (node) => {
    if (node.op !== "Reshape" || program.graph.get(node.inputs[1]!.node)?.op === "Const") return;
    const value = inference.value(node.inputs[1]!);
    if (value?.shape.length !== 1) return;
    const open = value.values.filter((dim) => dim === undefined || dim === -1).length;
    if (open !== 1 || value.values.some((dim) => dim !== undefined && dim < 1 && dim !== -1)) return;
    const name = uniqueName(
      `${node.name}/settled`,
      (candidate) => program.graph.has(candidate) || replaced.has(candidate),
    );
    const dtype = inference.info(node.inputs[1]!)!.dtype;
    replaced.set(
      name,
      constantNode(
        name,
        shapeTensor(
          value.values.map((dim) => dim ?? -1),
          dtype,
        ),
      ),
    );
    replaced.set(node.name, { ...node, inputs: [node.inputs[0]!, { node: name, index: 0 }] });
  });
  return replaced.size === 0 ? program : yield* pruning(yield* rewriting(program, new Map(), replaced));
}
