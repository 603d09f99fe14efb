import { eachInPieces, type Pieces } from "@shardserve/core";
import type { Inference } from "../../infer/inference.js";
import { isTensor, type KernelTable } from "../../ir/host.js";
import { uniqueName } from "../../ir/unique-name.js";
import { constantOf, type GraphNode } from "../../ir/ir.js";
import { type Program, pruning, rewriting } from "../../ir/program.js";
import { constantNode, NO_STATE } from "./fold.js";

const FLOATS = new Set(["float32", "float64", "float16", "bfloat16"]);

/**
 * x / constant becomes x * (1 / constant), as TensorFlow's own optimiser (Grappler's constant folding) has it before any
 * kernel runs. The last bit differs, and is seen: tf.image.resize_with_pad takes the floor of such a quotient's reciprocal.
 */
export function* useReciprocals(program: Program, inference: Inference, kernels: KernelTable): Pieces<Program> {
  const kernel = kernels.get("Reciprocal");
  if (!kernel) return program;
  const replaced = new Map<string, GraphNode>();
  yield* eachInPieces(program.graph.values(), (node) => {
    const [dividend, divisor] = node.inputs;
    if (!divisor || (node.op !== "RealDiv" && node.op !== "Div")) return;
    const value = constantOf(program.graph.get(divisor.node));
    if (!value || !FLOATS.has(value.dtype) || !inference.info(dividend!)) return;
    const name = uniqueName(
      `${node.name}/reciprocal`,
      (candidate) => program.graph.has(candidate) || replaced.has(candidate),
    );
    const outputs = kernel({
      node: { ...node, op: "Reciprocal", inputs: [divisor] },
      inputs: [value],
      state: NO_STATE,
    });
    if (outputs instanceof Promise || !isTensor(outputs[0]!)) return;
    replaced.set(name, constantNode(name, outputs[0]));
    replaced.set(node.name, {
      ...node,
      op: "Mul",
      attrs: node.attrs.with({}, "Mul"),
      inputs: [dividend!, { node: name, index: 0 }],
    });
  });
  return replaced.size === 0 ? program : yield* pruning(yield* rewriting(program, new Map(), replaced));
}
