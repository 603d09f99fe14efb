import { eachInPieces, type Pieces } from "@shardserve/core";
import { toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import {
  constantOf,
  type Graph,
  type GraphNode,
  outputKey,
  refKey,
  type TensorRef,
  type ValueInfo,
} from "../../ir/ir.js";
import { type Program, pruning, rewriting } from "../../ir/program.js";

/** Ops that hand input 0 on. CheckNumerics stays: it fails on purpose. */
const PASS_THROUGH = new Set([
  "Identity",
  "IdentityN",
  "RefIdentity",
  "StopGradient",
  "PreventGradient",
  "GuaranteeConst",
  "Snapshot",
  "PlaceholderWithDefault",
  "Print",
  "DebugIdentity",
  "DebugIdentityV2",
  "DebugIdentityV3",
  "Copy",
  "CopyHost",
  "DeepCopy",
]);

/**
 * Removes nodes that change nothing: Identity and its kin, casts to the same dtype, EnsureShape that holds anyway; and
 * bounds that leave one value only. Nodes with control edges stay, because they tie an effect to what is computed after it.
 *
 * @param inference of the program
 */
export function* simplify(program: Program, inference: Inference): Pieces<Program> {
  const aliases = new Map<string, TensorRef>();
  yield* eachInPieces(program.graph.values(), (node) => {
    if (node.controls.length > 0) return;
    const bound = boundOf(node, program.graph, inference);
    if (bound) aliases.set(outputKey(node.name), bound);
    const narrow = beforeExpanded(node, program.graph, inference);
    if (narrow) aliases.set(outputKey(node.name), narrow);
    if (!isNoOp(node, program.graph, inference)) return;
    const count = node.op === "IdentityN" ? node.inputs.length : 1;
    for (let i = 0; i < count; i++) aliases.set(outputKey(node.name, i), node.inputs[i]!);
  });
  // A node that others only wait for stays in the graph, but has nothing left to replace.
  if (aliases.size === 0 || !usesAny(program, aliases)) return program;
  return yield* pruning(yield* rewriting(program, aliases));
}

/** x, of expand_dims(x, axis) that is squeezed or reshaped to what x was: JAX's slices of one row, and rows of results. */
function beforeExpanded(node: GraphNode, graph: Graph, inference: Inference): TensorRef | undefined {
  if (node.op !== "Squeeze" && node.op !== "Reshape") return undefined;
  const expanded = graph.get(node.inputs[0]!.node)!;
  if (expanded.op !== "ExpandDims" || expanded.controls.length > 0) return undefined;
  const [x, axis] = expanded.inputs as [TensorRef, TensorRef];
  if (node.op === "Reshape") return keepsShape(node, graph, inference.info(x)) ? x : undefined;
  const dropped = node.attrs.has("squeeze_dims") ? node.attrs.ints("squeeze_dims") : [];
  const added = constantOf(graph.get(axis.node));
  return dropped.length === 1 && added && toNumbers(added)[0] === dropped[0] ? x : undefined;
}

function usesAny({ graph, outputs }: Program, aliases: ReadonlyMap<string, TensorRef>): boolean {
  const isAliased = (ref: TensorRef): boolean => aliases.has(refKey(ref));
  if (outputs.some(isAliased)) return true;
  for (const { inputs } of graph.values()) if (inputs.some(isAliased)) return true;
  return false;
}

function isNoOp(node: GraphNode, graph: Graph, inference: Inference): boolean {
  if (PASS_THROUGH.has(node.op)) return node.inputs.length > 0;
  const input = (): ValueInfo | undefined => inference.info(node.inputs[0]!);
  switch (node.op) {
    case "Cast":
    case "Bitcast": {
      const dtype = input()?.dtype;
      return dtype !== undefined && dtype === inference.first(node.name)?.dtype;
    }
    case "EnsureShape": {
      const wanted = node.attrs.shape("shape");
      if (!wanted) return true;
      const shape = input()?.shape;
      return shape?.length === wanted.length && wanted.every((dim, i) => dim === -1 || dim === shape[i]);
    }
    case "Reshape":
      return keepsShape(node, graph, input());
    default:
      return false;
  }
}

/** True for a Reshape to the shape that its input is known to have. */
function keepsShape({ inputs }: GraphNode, graph: Graph, input: ValueInfo | undefined): boolean {
  const wanted = constantOf(graph.get(inputs[1]!.node));
  const shape = input?.shape;
  if (!wanted || !shape || wanted.shape.length !== 1 || wanted.data.length !== shape.length) return false;
  const dims = toNumbers(wanted);
  const open = dims.filter((dim) => dim === -1).length;
  // A -1 is what the others leave: the dimension itself, unless one of them is 0.
  if (open > 1 || (open === 1 && dims.includes(0))) return false;
  return dims.every((dim, i) => dim === -1 || dim === shape[i]);
}

/**
 * n, of min(n, max(n, x)): what tf.math.bincount makes of the largest id where it is told both the least and the largest size, as it
 * is for every row split of tf.strings.split and every multi-hot layer. Integers only: a float x may be NaN.
 */
function boundOf(node: GraphNode, graph: Graph, inference: Inference): TensorRef | undefined {
  if (node.op !== "Minimum") return undefined;
  for (const [high, inner] of inBothOrders(node)) {
    const maximum = graph.get(inner.node);
    if (maximum?.op !== "Maximum") continue;
    for (const [low] of inBothOrders(maximum)) {
      if (isAtMost(high, low, graph) && hasSameInfo(high, { node: node.name, index: 0 }, inference)) return high;
    }
  }
  return undefined;
}

function inBothOrders({ inputs }: GraphNode): (readonly [TensorRef, TensorRef])[] {
  const [a, b] = inputs as [TensorRef, TensorRef];
  return [
    [a, b],
    [b, a],
  ];
}

/** True when integers of `a` are known not to be above those of `b`. */
function isAtMost(a: TensorRef, b: TensorRef, graph: Graph): boolean {
  if (refKey(a) === refKey(b)) return true;
  const [x, y] = [constantOf(graph.get(a.node)), constantOf(graph.get(b.node))];
  if (x?.dtype !== "int32" || y?.dtype !== "int32" || x.data.length !== 1 || y.data.length !== 1) return false;
  return (x.data as Int32Array)[0]! <= (y.data as Int32Array)[0]!;
}

/** True when both are integers of one dtype and one known shape. */
function hasSameInfo(a: TensorRef, b: TensorRef, inference: Inference): boolean {
  const [x, y] = [inference.info(a), inference.info(b)];
  if (!x?.shape || !y?.shape || x.dtype !== y.dtype || !/^u?int/.test(x.dtype)) return false;
  return x.shape.length === y.shape.length && x.shape.every((dim, i) => dim >= 0 && dim === y.shape![i]);
}
