import type { VariableBinding } from "@shardserve/savedmodel";
import type { DType } from "@shardserve/tensor";
import type { Graph, GraphNode, TensorRef } from "../ir/ir.js";
import { nodeOf, type Program } from "../ir/program.js";
import { opDef } from "../op-table.js";
import { hasEffect } from "../passes/control/effects.js";
import type { FunctionLibrary } from "./import.js";
import { branchesWrite } from "./function-effects.js";

/** What a checkpoint says of one tensor. */
export interface CheckpointTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** The variables of a MetaGraph and what is known of them. */
export interface VariableTable {
  /** By name of the variable's node. */
  readonly bindings: ReadonlyMap<string, VariableBinding>;
  readonly entries: ReadonlyMap<string, CheckpointTensor>;
  /** Nodes of variables that a serving signature or the init op writes. */
  readonly written: ReadonlySet<string>;
}

export const REF_VARIABLES = new Set(["VariableV2", "Variable"]);

export const PASS_THROUGH = new Set([
  "Identity",
  "IdentityN",
  "RefIdentity",
  "Enter",
  "RefEnter",
  "Switch",
  "RefSwitch",
  "Snapshot",
]);

export const READS = new Set([
  "ReadVariableOp",
  "ResourceGather",
  "ResourceGatherNd",
  "VariableShape",
  "VarIsInitializedOp",
  "DisableCopyOnRead",
]);

/** They hand the variable on to a function body, which is looked at when it is inlined. */
const CONTROL_FLOW = new Set(["If", "While", "Case", "StatelessIf", "StatelessWhile", "StatelessCase"]);

export function isVariableNode(node: GraphNode): boolean {
  return node.op === "VarHandleOp" || REF_VARIABLES.has(node.op);
}

/** The node that a resource or reference value comes from, over Identity and its kin. */
function sourceOf(graph: Graph, ref: TensorRef): GraphNode | undefined {
  let node = nodeOf(graph, ref.node);
  let { index } = ref;
  for (let steps = 0; PASS_THROUGH.has(node.op) && steps <= graph.size; steps++) {
    const input: TensorRef | undefined = node.inputs[node.op === "IdentityN" ? index : 0];
    if (!input) return undefined;
    node = nodeOf(graph, input.node);
    index = input.index;
  }
  // An assignment hands its reference on.
  const isRef = opDef(node.op)?.outputs[0]?.isRef === true;
  return isRef && node.inputs[0] && !isVariableNode(node) ? sourceOf(graph, node.inputs[0]) : node;
}

/** The variable node that a resource or reference value comes from. */
export function variableOf(graph: Graph, ref: TensorRef): GraphNode | undefined {
  const node = sourceOf(graph, ref);
  return node && isVariableNode(node) ? node : undefined;
}

/** Name of the node whose resource (variable, table) a value is; undefined for plain values. */
export function resourceOf(graph: Graph, ref: TensorRef): string | undefined {
  const node = sourceOf(graph, ref);
  const output = node && opDef(node.op)?.outputs[0];
  return node && (isVariableNode(node) || output?.dtype === "resource" || output?.isRef) ? node.name : undefined;
}

/** Names of the variable nodes that the program may write. */
export function writtenVariables(program: Program, library: FunctionLibrary): Set<string> {
  const written = new Set<string>();
  for (const node of program.graph.values()) {
    if (PASS_THROUGH.has(node.op)) continue;
    const isWrite = CONTROL_FLOW.has(node.op)
      ? branchesWrite(node, library)
      : hasEffect(node) || (takesResource(node) && !READS.has(node.op));
    if (!isWrite) continue;
    for (const ref of node.inputs) {
      const variable = variableOf(program.graph, ref);
      // An effect may also take the plain value of a reference variable, which is a read.
      if (variable && (variable.op === "VarHandleOp" || opDef(node.op)?.inputs[node.inputs.indexOf(ref)]?.isRef)) {
        written.add(variable.name);
      }
    }
  }
  return written;
}

function takesResource(node: GraphNode): boolean {
  return opDef(node.op)?.inputs.some((arg) => arg.dtype === "resource") ?? false;
}
