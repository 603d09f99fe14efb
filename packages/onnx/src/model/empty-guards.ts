import type { onnx } from "@shardserve/api";
import { branch, constant, type GuardScope, hasElements, int, INT64, ints, op, passIf } from "./guard-nodes.js";
import { changedNode, intAttribute, isOp, nodeName } from "./model-graph.js";

/** Ends the name of a node that refuses a tensor without elements; the name before it is the exporter's. */
export const EMPTY_LABEL = "Empty";
/** From this opset of ONNX's own operators on, Slice takes its bounds as inputs, and TopK its count. */
const BOUNDS_ARE_INPUTS = 10n;

/** Operators whose kernels end the process where their first input has no elements: a division by zero, an exception on a thread of its own. */
const REFUSED = ["LSTM", "GRU", "DFT", "Unique"];

/** All operators that {@link guardEmpty} knows. */
export const EMPTY_GUARDED: readonly string[] = [...REFUSED, "TopK"];

/**
 * Keeps tensors without elements away from a kernel. TopK answers them (with as few elements); the others refuse the request by
 * {@link EMPTY_LABEL}.
 *
 * @returns undefined where there is nothing to guard
 */
export function guardEmpty(node: onnx.NodeProto, scope: GuardScope): onnx.NodeProto[] | undefined {
  const { names } = scope;
  if (isOp(node, "TopK")) return topK(node, scope);
  if (!REFUSED.some((name) => isOp(node, name))) return undefined;
  if (isOp(node, "Unique") && !node.attribute.some(({ name }) => name === "axis")) return undefined;
  const [x = "", ...others] = node.input;
  const [isSome, kept] = [names.next(), names.next()];
  return [
    ...hasElements(x, isSome, names),
    passIf(`${nodeName(node)}/${EMPTY_LABEL}_0`, isSome, x, kept, scope),
    changedNode(node, { input: [kept, ...others] }),
  ];
}

/** The greatest of no elements: the first K, of which there are as few. */
function topK(node: onnx.NodeProto, { opset, names }: GuardScope): onnx.NodeProto[] {
  const [x = "", count = ""] = node.input;
  const axis = intAttribute(node, "axis", -1);
  const slice =
    opset >= BOUNDS_ARE_INPUTS
      ? [
          constant("first", [0n]),
          constant("axis", [BigInt(axis)]),
          op("Slice", [x, "first", count, "axis"], ["values"]),
        ]
      : [
          op(
            "Slice",
            [x],
            ["values"],
            [ints("starts", [0]), ints("ends", [intAttribute(node, "k", 0)]), ints("axes", [axis])],
          ),
        ];
  const none = [...slice, op("Cast", ["values"], ["indices"], [int("to", INT64)])];
  const outputs = ["values", "indices"];
  const most = changedNode(node, { output: outputs });
  const [values = "", indices = ""] = node.output;
  const isSome = names.next();
  return [
    ...hasElements(x, isSome, names),
    branch(nodeName(node), isSome, [values || names.next(), indices || names.next()], names, {
      yes: { nodes: [most], outputs },
      no: { nodes: none, outputs },
    }),
  ];
}
