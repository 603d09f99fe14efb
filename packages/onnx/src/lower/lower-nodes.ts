import { eachInPieces, invariant, type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import { type GraphNode, type NodeContext, refKey, type TensorRef, type ValueInfo } from "@shardserve/graph";
import type { Tensor } from "@shardserve/tensor";
import type { OnnxBuilder } from "../proto/builder.js";
import type { Value } from "../proto/value.js";
import { carried } from "./convolution/channels.js";
import { loopLowering } from "./loops/loop.js";
import { lowerNode } from "./math/narrow-floats.js";
import type { Lower } from "./node-lowering.js";
import { Unsupported } from "../proto/unsupported.js";
import { lowerings } from "./table.js";

/** Nodes in topological order, and what of them is read from outside. */
export interface NodeList {
  readonly nodes: readonly GraphNode[];
  readonly outputs: readonly TensorRef[];
}

/** The way of an op to ONNX, if it has one. */
export function loweringOf(op: string): Lower | undefined {
  return op === "Loop" ? loopLowering(lowerNodes) : lowerings.get(op);
}

/**
 * Lowers nodes one after the other.
 *
 * @param values  by `refKey`: the values that the nodes get from outside; theirs are added
 * @param infos   what is known of every value, by `refKey`
 * @throws ServingError OP_UNSUPPORTED when a node has no lowering
 */
export function lowerNodes(...args: Parameters<typeof loweringNodes>): void {
  runAtOnce(loweringNodes(...args));
}

/** {@link lowerNodes} in pieces. */
export function* loweringNodes(
  builder: OnnxBuilder,
  list: NodeList,
  values: Map<string, Value>,
  infos: ReadonlyMap<string, ValueInfo>,
): Pieces<void> {
  const constants = new Map<string, Tensor>();
  const uses = yield* countUses(list);
  yield* eachInPieces(list.nodes, (node) => {
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
  });
}

/** @throws ServingError GRAPH_INVALID for a value that no node has made yet */
export function valueOf(values: ReadonlyMap<string, Value>, ref: TensorRef): Value {
  const value = values.get(refKey(ref));
  if (!value) throw new ServingError("GRAPH_INVALID", `value ${refKey(ref)} is used before it is made`);
  return value;
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
function* countUses({ nodes, outputs }: NodeList): Pieces<Map<string, number>> {
  const uses = new Map<string, number>();
  const add = (ref: TensorRef) => uses.set(refKey(ref), (uses.get(refKey(ref)) ?? 0) + 1);
  yield* eachInPieces(nodes, ({ inputs }) => inputs.forEach(add));
  outputs.forEach(add);
  return uses;
}

function lowerInto(
  builder: OnnxBuilder,
  node: GraphNode,
  values: Map<string, Value>,
  constants: ReadonlyMap<string, Tensor>,
  infos: ReadonlyMap<string, ValueInfo>,
  uses: ReadonlyMap<string, number>,
): void {
  const lower = loweringOf(node.op);
  if (!lower) throw new ServingError("OP_UNSUPPORTED", `${node.op} node "${node.name}" has no lowering to ONNX`);
  const context = contextOf(node, infos, constants);
  const inputs = node.inputs.map((ref) => valueOf(values, ref));
  const isSoleUse = (input: number) => uses.get(refKey(node.inputs[input]!)) === 1;
  try {
    const outputs = lowerCarried(lower, node, context, builder, inputs, isSoleUse);
    for (const [index, value] of outputs.entries()) {
      values.set(refKey({ node: node.name, index }), value);
    }
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error;
    throw new ServingError("OP_UNSUPPORTED", `${node.op} node "${node.name}": ${error.message}`);
  }
}

/** As lowerNode, with channels second where the inputs have them there; see channels.ts. */
function lowerCarried(...[lower, node, context, builder, inputs, isSoleUse]: Parameters<typeof lowerNode>) {
  const moved = carried(builder, node.op, inputs, (i) => context.inputs[i]?.shape);
  if (!moved) return lowerNode(lower, node, context, builder, inputs, isSoleUse);
  const outputs = lowerNode(lower, node, context, builder, moved.inputs, isSoleUse);
  return outputs.map(moved.restored);
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
