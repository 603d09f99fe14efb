/** The ops of lists, TensorList and TensorArray, as passes look at them. */
import { type DType, toNumbers } from "@shardserve/tensor";
import { constantOf, type Graph, type GraphNode, type TensorRef } from "../../ir/ir.js";
import { nodeOf } from "../../ir/program.js";
import { behindIdentity } from "../control/regions.js";

export const READS = new Set(["TensorListGetItem", "TensorArrayReadV3"]);
export const LENGTHS = new Set(["TensorListLength", "TensorArraySizeV3"]);
export const SETS = new Set(["TensorListSetItem", "TensorArrayWriteV3"]);
export const STACKS = new Set(["TensorListStack", "TensorArrayGatherV3"]);

/** Which input of a list op is the list: of a TensorArray it is the flow. */
export function listInput({ op, inputs }: GraphNode): TensorRef {
  return op.startsWith("TensorArray") ? inputs.at(-1)! : inputs[0]!;
}

/** What the elements are that a list op reads or sets. */
export function elementDType({ op, attrs }: GraphNode): DType {
  if (op === "TensorArrayWriteV3") return attrs.dtype("T");
  return attrs.dtype(op.startsWith("TensorArray") ? "dtype" : "element_dtype");
}

/** The value of a constant integer scalar. */
export function valueOf(graph: Graph, ref: TensorRef): number | undefined {
  const value = constantOf(nodeOf(graph, behindIdentity(graph, ref).node));
  return value?.dtype === "int32" && value.shape.length === 0 ? toNumbers(value)[0] : undefined;
}

/** The tensor whose rows are the elements of a list. */
export function rowsOf(graph: Graph, ref: TensorRef): TensorRef | undefined {
  const { op, inputs } = nodeOf(graph, behindIdentity(graph, ref).node);
  if (op === "TensorListFromTensor") return inputs[0];
  if (op !== "TensorArrayScatterV3") return undefined;
  const indices = nodeOf(graph, behindIdentity(graph, inputs[1]!).node);
  const isAll =
    indices.op === "Range" && valueOf(graph, indices.inputs[0]!) === 0 && valueOf(graph, indices.inputs[2]!) === 1;
  return isAll ? inputs[2] : undefined;
}

/** The number of elements of a list that nothing is in yet. */
export function lengthOf(graph: Graph, ref: TensorRef): TensorRef | undefined {
  const source = behindIdentity(graph, ref);
  const { op, inputs, attrs } = nodeOf(graph, source.node);
  if (op === "TensorListReserve") return inputs[1];
  return op === "TensorArrayV3" && source.index === 1 && !attrs.bool("dynamic_size") ? inputs[0] : undefined;
}
