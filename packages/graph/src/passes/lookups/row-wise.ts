import { elementCount } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import type { GraphNode } from "../../ir/ir.js";
import type { Program } from "../../ir/program.js";
import { numbersAt } from "../matching.js";

/**
 * Ops whose element depends on the elements in the same place of their inputs, which are broadcast to one shape. Not those that fail for
 * some elements (CheckNumerics, FloorDiv of integers): of rows that nobody gathers the failure would go missing.
 */
const ELEMENTWISE = new Set(
  `Abs Cast Elu Erf Exp Identity IsFinite IsInf IsNan LeakyRelu Log Log1p LogicalNot Neg OnesLike Relu Relu6 Round Rsqrt
   Selu Sigmoid Sign Softplus Softsign Sqrt Square Tanh ZerosLike
   Add AddV2 DivNoNan LogicalAnd LogicalOr Maximum Minimum Mul MulNoNan RealDiv SquaredDifference Sub
   Equal NotEqual Greater GreaterEqual Less LessEqual ClipByValue Select SelectV2`.split(/\s+/),
);
/** The bits of a mask. */
const SPECS_MAX = 32;
const REDUCTIONS = new Set(["All", "Any", "Max", "Mean", "Min", "Prod", "Sum"]);

/**
 * Which inputs of a node its first output reads row by row: row i of the output depends on row i of these inputs, the same for every i,
 * and on all of the others. So what the node makes of chosen rows of them is the chosen rows of its output.
 *
 * @param rows  size of the first dimension of the output, at least 2
 * @returns undefined for a node that mixes rows, or of which not enough is known
 */
export function rowInputs(
  node: GraphNode,
  rows: number,
  program: Program,
  inference: Inference,
): readonly number[] | undefined {
  const output = inference.first(node.name)?.shape;
  if (node.controls.length > 0 || output?.[0] !== rows) return undefined;
  if (ELEMENTWISE.has(node.op)) return elementwiseInputs(node, output, inference);
  const shapes = node.inputs.map((ref) => inference.info(ref)?.shape);
  if (node.op === "ConcatV2") {
    const joined = [...shapes.slice(0, -1).keys()];
    const isBehind = isBehindRows(node, joined.length, output.length, program);
    return isBehind && joined.every((at) => shapes[at]?.[0] === rows) ? joined : undefined;
  }
  const [first] = shapes;
  return first?.[0] === rows && keepsRows(node, first, output, program, inference) ? [0] : undefined;
}

/** True when the first dimension of the output is that of input 0, each row made of its own. */
function keepsRows(
  node: GraphNode,
  first: readonly number[],
  output: readonly number[],
  program: Program,
  inference: Inference,
): boolean {
  switch (node.op) {
    case "BiasAdd":
      return node.attrs.text("data_format") !== "NCHW" && first.length > 1;
    case "Softmax":
    case "LogSoftmax":
      return first.length > 1;
    case "Reshape":
      return isKnown(first) && isKnown(output);
    case "ExpandDims":
      return isBehindRows(node, 1, first.length + 1, program);
    case "Squeeze":
      return areBehindRows(node.attrs.ints("squeeze_dims"), first.length);
    case "StridedSlice":
      return slicesBehindRows(node, first.length, inference);
    default:
      return REDUCTIONS.has(node.op) && isBehindRows(node, 1, first.length, program);
  }
}

function elementwiseInputs(node: GraphNode, output: readonly number[], inference: Inference): number[] | undefined {
  const found: number[] = [];
  for (const [i, ref] of node.inputs.entries()) {
    const shape = inference.info(ref)?.shape;
    if (!shape) return undefined;
    // Select's condition may be a vector of rows, which is not broadcast.
    const isOfRows = shape.length === output.length || (node.op === "Select" && i === 0 && shape.length === 1);
    if (isOfRows && shape[0] === output[0]) found.push(i);
    else if (isOfRows && shape[0] !== 1) return undefined;
  }
  return found.length > 0 ? found : undefined;
}

/** True when the constant axes of input `at` leave the first dimension alone. */
function isBehindRows(node: GraphNode, at: number, rank: number, program: Program): boolean {
  const axes = numbersAt(node, at, program);
  return axes !== undefined && areBehindRows(axes, rank);
}

function areBehindRows(axes: readonly number[], rank: number): boolean {
  return axes.length > 0 && axes.every((axis) => (axis < 0 ? axis + rank : axis) > 0);
}

/** True for a slice that takes all rows: x[:, a], x[..., a] and the like. */
function slicesBehindRows({ attrs, inputs }: GraphNode, rank: number, inference: Inference): boolean {
  const isSet = (mask: string): boolean => (attrs.int(mask) & 1) === 1;
  if (isSet("ellipsis_mask")) {
    const specs = inference.info(inputs[1]!)?.shape?.[0];
    if (specs === undefined || specs < 0 || specs > SPECS_MAX) return false;
    const mask = attrs.int("new_axis_mask");
    let added = 0;
    for (let at = 0; at < specs; at++) added += (mask >> at) & 1;
    return specs - 1 - added < rank;
  }
  const strides = inference.value(inputs[3]!)?.values[0];
  const isWhole = isSet("begin_mask") && isSet("end_mask") && strides === 1;
  return isWhole && !isSet("shrink_axis_mask") && !isSet("new_axis_mask");
}

function isKnown(shape: readonly number[]): boolean {
  return !shape.includes(-1) && elementCount(shape) > 0;
}
