import { scalar, toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { constantOf, type GraphNode, refKey, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program, prune, rewrite } from "../../ir/program.js";
import { NewNodes } from "../new-nodes.js";

/**
 * Makes a weighted sum of rows, `Sum(x * w, axis 1)` with x [n, l, d] and w [n, l, 1], a product of matrices: w as [n, 1, l]
 * times x. That is how Keras pools embeddings under a mask, and x * w, as large as all rows, is not made any more.
 *
 * Mul would stretch a length of 1 and a product of matrices refuses it, so this is only for rows that were gathered by ids
 * of the very shape that the weights have.
 */
export function poolRows(program: Program, inference: Inference): Program {
  const nodes = new NewNodes(program.graph);
  for (const node of program.graph.values()) {
    const found = weightedSum(program, inference, node);
    if (!found) continue;
    const { rows, weights } = found;
    const name = `${node.name}/pooled`;
    const T = "float32";
    const axis = nodes.constant(`${name}/axis`, scalar("int32", 1));
    const line = nodes.op(`${name}/weights`, "ExpandDims", [weights, axis], { T, Tdim: "int32" });
    const product = nodes.op(`${name}/product`, "BatchMatMulV2", [line, rows], { T, adj_x: false, adj_y: false });
    nodes.replaceByOp(node.name, "Squeeze", [product], { T, squeeze_dims: [1] });
  }
  return nodes.isEmpty ? program : prune(rewrite(program, new Map(), nodes.nodes));
}

/** The rows [n, l, d] and the weights [n, l] that a node adds up. */
function weightedSum(
  program: Program,
  inference: Inference,
  node: GraphNode,
): { readonly rows: TensorRef; readonly weights: TensorRef } | undefined {
  if (node.op !== "Sum" || node.controls.length > 0 || node.attrs.bool("keep_dims")) return undefined;
  const axes = constantOf(program.graph.get(node.inputs[1]!.node));
  if (!axes || !["1", "-2"].includes(toNumbers(axes).join())) return undefined;
  const product = nodeOf(program.graph, node.inputs[0]!.node);
  if (product.op !== "Mul" || product.controls.length > 0) return undefined;
  for (const [rows, column] of [product.inputs, product.inputs.toReversed()] as [TensorRef, TensorRef][]) {
    const info = inference.info(rows);
    if (info?.dtype !== "float32" || info.shape?.length !== 3) continue;
    const weights = columnOf(program, inference, column);
    const ids = idsOf(program, rows);
    if (!weights || !ids || inference.info(ids)?.shape?.length !== 2) continue;
    if (refKey(shapedLike(program, inference, weights)) === refKey(shapedLike(program, inference, ids))) {
      return { rows, weights };
    }
  }
  return undefined;
}

/** What `ref` is with a dimension of 1 behind its two. */
function columnOf(program: Program, inference: Inference, ref: TensorRef): TensorRef | undefined {
  const node = nodeOf(program.graph, ref.node);
  if (node.op !== "ExpandDims" || inference.info(node.inputs[0]!)?.shape?.length !== 2) return undefined;
  const axis = constantOf(program.graph.get(node.inputs[1]!.node));
  return axis && [-1, 2].includes(toNumbers(axis)[0]!) ? node.inputs[0] : undefined;
}

/** The ids by which rows were gathered along the first axis. */
function idsOf(program: Program, ref: TensorRef): TensorRef | undefined {
  const node = nodeOf(program.graph, ref.node);
  if (node.op === "Identity") return idsOf(program, node.inputs[0]!);
  if (node.op === "Gather") return node.inputs[1];
  if (node.op !== "GatherV2" || node.attrs.int("batch_dims") !== 0) return undefined;
  const axis = constantOf(program.graph.get(node.inputs[2]!.node));
  return axis && toNumbers(axis)[0] === 0 ? node.inputs[1] : undefined;
}

const UNARY = new Set(["Cast", "Identity", "LogicalNot"]);
const COMPARISONS = new Set(["NotEqual", "Equal", "Greater", "GreaterEqual", "Less", "LessEqual"]);

/** The value at the start of a chain of ops that keep the shape. */
function shapedLike(program: Program, inference: Inference, ref: TensorRef): TensorRef {
  let current = ref;
  for (;;) {
    const node = nodeOf(program.graph, current.node);
    const isScalar = (at: number): boolean => inference.info(node.inputs[at]!)?.shape?.length === 0;
    if (UNARY.has(node.op) || (COMPARISONS.has(node.op) && isScalar(1))) current = node.inputs[0]!;
    else if (COMPARISONS.has(node.op) && isScalar(0)) current = node.inputs[1]!;
    else return current;
  }
}
