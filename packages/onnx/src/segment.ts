import { type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import { type DeviceStep, type GraphNode, type NodeContext, refKey, type ValueInfo } from "@shardserve/graph";
import { OnnxBuilder } from "./proto/builder.js";
import type { Value, Weight } from "./proto/value.js";
import { type Kernels, KERNELS } from "./proto/kernels.js";
import { loweringNodes, loweringOf, valueOf } from "./lower/lower-nodes.js";
import type { FileRange } from "./proto/model-proto.js";
import { lowerNode } from "./lower/math/narrow-floats.js";
import { Unsupported } from "./proto/unsupported.js";

/** A device step as an ONNX graph whose weights are still to be placed. */
export interface LoweredSegment {
  /** Large constants and variables, in a stable order. */
  readonly weights: readonly Weight[];
  /** Number of ONNX nodes. */
  readonly nodeCount: number;
  /**
   * Serialises the model. Its inputs and outputs stand in the order of the step's.
   *
   * @param place    where a weight's bytes are: a range of a file that the session maps, or the bytes (permuted already)
   * @param isNamed  false leaves out the names of nodes, which only error texts show: segments that compute the same
   *   have the same bytes then
   */
  encode(place: (weight: Weight) => Uint8Array | FileRange, isNamed?: boolean): Uint8Array;
  /** {@link encode} in pieces. */
  encoding(place: (weight: Weight) => Uint8Array | FileRange, isNamed?: boolean): Pieces<Uint8Array>;
}

/**
 * Lowers a device step to one ONNX graph (opset 20, IR 9).
 *
 * @param infos    what is known of every value, by `refKey`
 * @param kernels  those of the device that will run it
 * @throws ServingError OP_UNSUPPORTED when a node has no lowering: placement should not have put it here
 */
export function lowerSegment(...args: Parameters<typeof loweringSegment>): LoweredSegment {
  return runAtOnce(loweringSegment(...args));
}

/** {@link lowerSegment} in pieces. */
export function* loweringSegment(
  step: DeviceStep,
  infos: ReadonlyMap<string, ValueInfo>,
  kernels: Kernels = KERNELS.cpu,
): Pieces<LoweredSegment> {
  const builder = new OnnxBuilder(kernels);
  const values = new Map<string, Value>();
  for (const ref of step.inputs) {
    const info = infos.get(refKey(ref));
    if (!info) throw new ServingError("GRAPH_INVALID", `the dtype of segment input ${refKey(ref)} is unknown`);
    const isDeclared = isImage(info) || (isLine(info) && isExpanded(step, refKey(ref)));
    values.set(refKey(ref), builder.input(info.dtype, isDeclared ? info.shape : undefined));
  }
  yield* loweringNodes(builder, step, values, infos);
  for (const ref of step.outputs) builder.output(valueOf(values, ref));
  return {
    weights: builder.weights,
    nodeCount: builder.nodes.length,
    encode: (place, isNamed) => runAtOnce(builder.building(place, isNamed)),
    encoding: (place, isNamed) => builder.building(place, isNamed),
  };
}

/**
 * Images and volumes are declared with their shapes: ONNX Runtime's blocked pools want the number of channels. Elsewhere a
 * shape only gives it a reason to refuse.
 */
function isImage({ dtype, shape }: ValueInfo): boolean {
  return dtype === "float32" && (shape?.length === 4 || shape?.length === 5);
}

/** What convolutions in one dimension take: they are images, too, once an axis is put in. */
function isLine({ dtype, shape }: ValueInfo): boolean {
  return dtype === "float32" && shape?.length === 3;
}

function isExpanded({ nodes }: DeviceStep, key: string): boolean {
  return nodes.some(({ op, inputs }) => op === "ExpandDims" && refKey(inputs[0]!) === key);
}

/**
 * Whether the engine can run a node, given what is known of its inputs: true, or why not. It lowers the node for trial,
 * so that there is one truth.
 */
export function deviceSupports(node: GraphNode, context: NodeContext): true | string {
  if (node.op === "Const" || node.op === "Variable") return true;
  const lower = loweringOf(node.op);
  if (!lower) return "no lowering to ONNX";
  const builder = new OnnxBuilder();
  try {
    const inputs = context.inputs.map((info, i): Value => {
      const tensor = context.constant(i);
      return tensor && tensor.dtype !== "string" ? builder.constant(tensor) : builder.input(info.dtype, undefined);
    });
    lowerNode(lower, node, context, builder, inputs, () => false);
    return true;
  } catch (error) {
    if (error instanceof Unsupported || error instanceof ServingError) return error.message;
    throw error;
  }
}
