import { invariant, ServingError } from "@shardserve/core";
import {
  type DeviceStep,
  type GraphNode,
  type NodeContext,
  refKey,
  type TensorRef,
  type ValueInfo,
} from "@shardserve/graph";
import type { Tensor } from "@shardserve/tensor";
import { OnnxBuilder, type Value, type Weight } from "./builder.js";
import type { FileRange } from "./model-proto.js";
import { NodeLowering, Unsupported } from "./node-lowering.js";
import { lowerings } from "./table.js";

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
}

/**
 * Lowers a device step to one ONNX graph (opset 20, IR 9).
 *
 * @param infos  what is known of every value, by `refKey`
 * @throws ServingError OP_UNSUPPORTED when a node has no lowering: placement should not have put it here
 */
export function lowerSegment(step: DeviceStep, infos: ReadonlyMap<string, ValueInfo>): LoweredSegment {
  const builder = new OnnxBuilder();
  const values = new Map<string, Value>();
  const constants = new Map<string, Tensor>();
  const uses = countUses(step);
  for (const ref of step.inputs) {
    const info = infos.get(refKey(ref));
    if (!info) throw new ServingError("GRAPH_INVALID", `the dtype of segment input ${refKey(ref)} is unknown`);
    values.set(refKey(ref), builder.input(info.dtype, undefined));
  }
  for (const node of step.nodes) {
    builder.scope = node.name;
    if (node.op === "Const") {
      const value = node.attrs.tensor("value");
      constants.set(refKey({ node: node.name, index: 0 }), value);
      values.set(refKey({ node: node.name, index: 0 }), builder.constant(value));
    } else if (node.op === "Variable") {
      values.set(refKey({ node: node.name, index: 0 }), variable(builder, node));
    } else {
      lowerInto(builder, node, values, constants, infos, uses);
    }
  }
  for (const ref of step.outputs) builder.output(valueOf(values, ref));
  return {
    weights: builder.weights,
    nodeCount: builder.nodes.length,
    encode: (place, isNamed) => builder.build(place, isNamed),
  };
}

/**
 * Whether the engine can run a node, given what is known of its inputs: true, or why not. It lowers the node for trial,
 * so that there is one truth.
 */
export function deviceSupports(node: GraphNode, context: NodeContext): true | string {
  if (node.op === "Const" || node.op === "Variable") return true;
  const lower = lowerings.get(node.op);
  if (!lower) return "no lowering to ONNX";
  const builder = new OnnxBuilder();
  try {
    const inputs = context.inputs.map((info, i): Value => {
      const tensor = context.constant(i);
      return tensor && tensor.dtype !== "string" ? builder.constant(tensor) : builder.input(info.dtype, undefined);
    });
    lower(new NodeLowering(node, context, builder, inputs, () => false));
    return true;
  } catch (error) {
    if (error instanceof Unsupported || error instanceof ServingError) return error.message;
    throw error;
  }
}

function variable(builder: OnnxBuilder, node: GraphNode): Value {
  const shape = node.attrs.shape("shape");
  invariant(shape, `variable ${node.name} has no shape`);
  const isPart = node.attrs.has("sliceStart");
  return builder.variable(node.attrs.dtype("dtype"), shape, {
    kind: "variable",
    checkpointKey: node.attrs.text("checkpointKey"),
    ...(isPart && { slice: { start: node.attrs.ints("sliceStart"), length: node.attrs.ints("sliceLength") } }),
  });
}

/** How often each value is read; being an output counts. */
function countUses(step: DeviceStep): Map<string, number> {
  const uses = new Map<string, number>();
  const add = (ref: TensorRef) => uses.set(refKey(ref), (uses.get(refKey(ref)) ?? 0) + 1);
  for (const node of step.nodes) for (const input of node.inputs) add(input);
  for (const output of step.outputs) add(output);
  return uses;
}

function valueOf(values: ReadonlyMap<string, Value>, ref: TensorRef): Value {
  const value = values.get(refKey(ref));
  if (!value) throw new ServingError("GRAPH_INVALID", `value ${refKey(ref)} is used before it is made`);
  return value;
}

function lowerInto(
  builder: OnnxBuilder,
  node: GraphNode,
  values: Map<string, Value>,
  constants: ReadonlyMap<string, Tensor>,
  infos: ReadonlyMap<string, ValueInfo>,
  uses: ReadonlyMap<string, number>,
): void {
  const lower = lowerings.get(node.op);
  if (!lower) throw new ServingError("OP_UNSUPPORTED", `${node.op} node "${node.name}" has no lowering to ONNX`);
  const context = contextOf(node, infos, constants);
  const inputs = node.inputs.map((ref) => valueOf(values, ref));
  const isSoleUse = (input: number) => uses.get(refKey(node.inputs[input]!)) === 1;
  try {
    const outputs = lower(new NodeLowering(node, context, builder, inputs, isSoleUse));
    for (const [index, value] of ("name" in outputs ? [outputs] : outputs).entries()) {
      values.set(refKey({ node: node.name, index }), value);
    }
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error;
    throw new ServingError("OP_UNSUPPORTED", `${node.op} node "${node.name}": ${error.message}`);
  }
}

function contextOf(
  node: GraphNode,
  infos: ReadonlyMap<string, ValueInfo>,
  constants: ReadonlyMap<string, Tensor>,
): NodeContext {
  const inputs = node.inputs.map((ref) => {
    const info = infos.get(refKey(ref));
    if (!info) throw new ServingError("GRAPH_INVALID", `the dtype of ${refKey(ref)} is unknown`);
    return info;
  });
  const outputs: ValueInfo[] = [];
  for (let index = 0; ; index++) {
    const info = infos.get(refKey({ node: node.name, index }));
    if (!info) break;
    outputs.push(info);
  }
  return { inputs, outputs, constant: (index) => constants.get(refKey(node.inputs[index]!)) };
}
