import type { onnx } from "@shardserve/api";
import { innerGraphs, isOp } from "./model-graph.js";
import type { RankFacts } from "./rank-guards.js";

/** Operators whose results are as long as one of their inputs. */
const KEEP_LENGTH = [
  "Abs",
  "Add",
  "Cast",
  "Concat",
  "Div",
  "Identity",
  "Max",
  "Min",
  "Mul",
  "Neg",
  "Slice",
  "Sub",
  "Where",
];
/** Operators whose results have a rank that the length of a vector decides, and which input that is. */
const DECIDE_RANK: ReadonlyMap<string, number> = new Map([
  ["ConstantOfShape", 0],
  ...["Expand", "Reshape", "Squeeze", "Unsqueeze"].map((op) => [op, 1] as const),
  ...["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"].map(
    (kind) => [`Reduce${kind}`, 1] as const,
  ),
]);

/** Ranks that ONNX Runtime checks before a run. What nodes compute has the rank that it has, whatever an exporter says of it. */
export function fedRanks(graph: onnx.GraphProto): RankFacts {
  const known = new Map<string, number>();
  /** Vectors as long as a request has them. */
  const lengths = new Set<string>();
  let areOpen = false;
  for (const { name, type } of graph.input) {
    if (type?.value.case !== "tensorType") continue;
    const { shape } = type.value.value;
    if (!shape) areOpen = true;
    else known.set(name, shape.dim.length);
    if (shape?.dim.length === 1 && shape.dim[0]!.value.case !== "dimValue") lengths.add(name);
  }
  return { known, areOpen: areOpen || (lengths.size > 0 && decideRank(graph, lengths)) };
}

/** Whether one of those vectors decides the rank of something. */
function decideRank({ node: nodes }: onnx.GraphProto, lengths: Set<string>): boolean {
  return nodes.some((node) => {
    if (!isOp(node, node.opType)) return false;
    const decisive = DECIDE_RANK.get(node.opType);
    if (decisive !== undefined && lengths.has(node.input[decisive] ?? "")) return true;
    if (KEEP_LENGTH.includes(node.opType) && node.input.some((name) => lengths.has(name)))
      for (const name of node.output) lengths.add(name);
    return innerGraphs(node).some((inner) => decideRank(inner, lengths));
  });
}
