import { eachInPieces, type Pieces } from "@shardserve/core";
import type { GraphNode, TensorRef } from "../../ir/ir.js";
import type { Program } from "../../ir/program.js";

/** Inputs by whose small differences these ops make large ones: near to 0, or in an order, where equal numbers come by their place. */
const MAGNIFIED = new Map<string, number>([
  ...["Log", "Sqrt", "Rsqrt", "Reciprocal", "Inv", "Pow"].map((op) => [op, 0] as const),
  ...["RealDiv", "Div", "DivNoNan", "Xdivy", "Xlogy"].map((op) => [op, 1] as const),
  ...["ArgMax", "ArgMin", "TopK", "TopKV2", "InTopK", "InTopKV2"].map((op) => [op, 0] as const),
  ...["", "V2", "V3", "V4", "V5", "WithOverlaps"].map((form) => [`NonMaxSuppression${form}`, 1] as const),
  ["CombinedNonMaxSuppression", 1],
]);

/** Ops that hand on small differences as small ones. */
const HANDS_ON = new Set(
  (
    "Identity Reshape Squeeze ExpandDims Transpose Cast Maximum Minimum ClipByValue Add AddV2 Sub Neg Mul Sum Mean Max Min " +
    "ConcatV2 Pack Slice StridedSlice GatherV2 Select SelectV2 BroadcastTo Tile"
  ).split(" "),
);

/**
 * Names of the nodes whose results, however near to 0 or to each other, are told apart by a reader: a logarithm, a division by them, or a
 * choice of the largest. An engine's logistic function does not rise everywhere where it nears 1, and reaches it later than TensorFlow's.
 */
export function* magnifiedNodes({ graph }: Program): Pieces<ReadonlySet<string>> {
  const magnified = new Set<string>();
  yield* eachInPieces(graph.values(), (node) => {
    const at = MAGNIFIED.get(node.op);
    if (at !== undefined) add(magnified, node.inputs.slice(at, at + 1));
  });
  // What is added meanwhile is walked over, too.
  yield* eachInPieces(magnified, (name) => {
    const { op, inputs }: GraphNode = graph.get(name)!;
    if (HANDS_ON.has(op)) add(magnified, inputs);
  });
  return magnified;
}

function add(names: Set<string>, refs: readonly TensorRef[]): void {
  for (const { node } of refs) names.add(node);
}
