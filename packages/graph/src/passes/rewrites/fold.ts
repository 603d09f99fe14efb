import { eachInPieces, type Pieces } from "@shardserve/core";
import { elementCount, DTYPES, type StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { contextOf } from "../../infer/infer.js";
import type { Inference } from "../../infer/inference.js";
import { knownValues, type PartialValue } from "../../infer/shapes.js";
import { Attrs } from "../../ir/attrs.js";
import { type HostState, type HostValue, isTensor, type KernelTable } from "../../ir/host.js";
import { constantOf, type GraphNode, type NodeContext, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, pruning, rewriting } from "../../ir/program.js";
import { opDef } from "../../op-table.js";
import { hasEffect } from "../control/effects.js";

/** A folded value may take this much memory, in bytes. */
const FOLD_BYTES_MAX = 16 * 2 ** 20;

/** Folding has no servable yet: what asks for state is not folded. */
export const NO_STATE: HostState = {
  resources: new Map(),
  variables: new Map(),
  readFile: () => Promise.reject(new Error("constant folding reads no files")),
};

/**
 * Computes everything that follows from constants and known shapes: with the host's kernels, and, without any kernel,
 * what shape arithmetic knows already. Nodes that keep state, have effects, wait for effects, or give more than
 * {@link FOLD_BYTES_MAX} stay; so do nodes whose kernel fails, which fail when the request runs, as in TensorFlow.
 */
export function* fold(program: Program, inference: Inference, kernels: KernelTable): Pieces<Program> {
  const constants = new Map<string, Tensor>();
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  const conditional = conditionalNodes(inference.order);
  yield* eachInPieces(inference.order, (node) => {
    if (conditional.has(node.name)) return;
    if (node.op === "Const") {
      const value = constantOf(node);
      if (value) constants.set(outputKey(node.name), value);
      return;
    }
    const results = known(node, inference) ?? evaluate(node, inference, program, kernels, constants) ?? [];
    // A node that is a constant altogether keeps its name.
    const isWhole = results.length === 1;
    for (const [index, value] of results.entries()) {
      if (!value) continue;
      const key = outputKey(node.name, index);
      const name = isWhole ? node.name : `${node.name}/constant_${index}`;
      constants.set(key, value);
      added.set(name, constantNode(name, value));
      if (!isWhole) aliases.set(key, { node: name, index: 0 });
    }
  });
  return added.size === 0 ? program : yield* pruning(yield* rewriting(program, aliases, added));
}

/**
 * What hangs on one side of a TF1 conditional. As a constant it would be on no side, and its Merge could not tell when it
 * is meant; it is folded in the branch that it becomes part of.
 */
function conditionalNodes(order: readonly GraphNode[]): ReadonlySet<string> {
  const conditional = new Set<string>();
  for (const node of order) {
    const depends =
      node.inputs.some((ref) => conditional.has(ref.node)) || node.controls.some((name) => conditional.has(name));
    if (depends || node.op === "Switch" || node.op === "RefSwitch") conditional.add(node.name);
  }
  return conditional;
}

export function constantNode(name: string, value: Tensor): GraphNode {
  return { name, op: "Const", inputs: [], controls: [], attrs: new Attrs("Const", { value, dtype: value.dtype }) };
}

function isPure(node: GraphNode): boolean {
  return node.controls.length === 0 && opDef(node.op)?.isStateful === false && !hasEffect(node);
}

/** Outputs that shape arithmetic knows wholly. */
function known(node: GraphNode, inference: Inference): (Tensor | undefined)[] | undefined {
  const outputs = isPure(node) ? inference.nodes.get(node.name) : undefined;
  if (!outputs?.values[0]) return undefined;
  const results = outputs.infos.map(({ dtype }, i) => {
    const value = outputs.values[i];
    return value && tensorOfValue(value, dtype);
  });
  return results.includes(undefined) ? undefined : results;
}

function tensorOfValue(value: PartialValue, dtype: string): Tensor | undefined {
  const values = knownValues(value);
  if (!values) return undefined;
  return dtype === "int64"
    ? tensor("int64", value.shape, BigInt64Array.from(values, BigInt))
    : tensor("int32", value.shape, Int32Array.from(values));
}

function evaluate(
  node: GraphNode,
  inference: Inference,
  program: Program,
  kernels: KernelTable,
  constants: ReadonlyMap<string, Tensor>,
): readonly Tensor[] | undefined {
  if (!isPure(node) || node.inputs.length === 0) return undefined;
  const inputs = node.inputs.map((ref) => constants.get(refKey(ref)));
  if (inputs.includes(undefined)) return undefined;
  const kernel = kernels.get(node.op);
  const context = contextOf(node, inference, program);
  if (!kernel || !context || !isSmall(context)) return undefined;
  const full: NodeContext = { ...context, constant: (i) => inputs[i] };
  if (kernels.supports(node, full) !== true) return undefined;
  let outputs: readonly HostValue[] | Promise<readonly HostValue[]>;
  try {
    outputs = kernel({ node, inputs: inputs as Tensor[], state: NO_STATE });
  } catch {
    return undefined;
  }
  if (outputs instanceof Promise) {
    outputs.catch(() => undefined);
    return undefined;
  }
  return outputs.every((value) => isTensor(value) && value.dtype !== "variant" && byteSize(value) <= FOLD_BYTES_MAX)
    ? (outputs as Tensor[])
    : undefined;
}

/** False when a known output shape passes the cap, so that nothing huge is made to be thrown away. */
function isSmall(context: NodeContext): boolean {
  return context.outputs.every(({ dtype, shape }) => {
    if (!shape || shape.includes(-1)) return true;
    return elementCount(shape) * Math.max(DTYPES[dtype].bytes, 1) <= FOLD_BYTES_MAX;
  });
}

function byteSize(value: Tensor): number {
  return value.dtype === "string"
    ? (value.data as StringColumn).bytes.byteLength + (value.data as StringColumn).offsets.byteLength
    : elementCount(value.shape) * DTYPES[value.dtype].bytes;
}
