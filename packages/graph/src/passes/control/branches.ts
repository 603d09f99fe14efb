import { elementCount, type StringColumn, scalar, type Tensor, toNumbers } from "@shardserve/tensor";
import type { FunctionLibrary } from "../../import/import.js";
import type { FunctionRef } from "../../ir/attrs.js";
import { inlineCalls, instantiate } from "../../ir/inline.js";
import { constantOf, type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, prune, rewrite, topologicalOrder } from "../../ir/program.js";
import { constantNode } from "../rewrites/fold.js";

const IF_OPS = new Set(["If", "StatelessIf"]);
const CASE_OPS = new Set(["Case", "StatelessCase"]);

/** Resolves every choice whose condition is a constant: If and Case by inlining the branch, Switch and Merge by dead code. */
export function resolveBranches(program: Program, library: FunctionLibrary): Program {
  return resolveSwitches(inlineBranches(program, library));
}

/** If and Case nodes with a constant condition become the body of the branch that it picks. */
function inlineBranches(program: Program, library: FunctionLibrary): Program {
  let graph: Map<string, GraphNode> | undefined;
  for (const node of program.graph.values()) {
    if (!IF_OPS.has(node.op) && !CASE_OPS.has(node.op)) continue;
    const condition = constantOf(program.graph.get(node.inputs[0]!.node));
    const branch = condition && branchOf(node, condition);
    if (!branch) continue;
    const grown = (graph ??= new Map(program.graph));
    const call = { ...node, inputs: node.inputs.slice(1) };
    const body = instantiate(call, branch, library, (name) => grown.has(name));
    for (const inner of body.nodes) grown.set(inner.name, inner);
    grown.set(node.name, body.result);
  }
  return graph ? inlineCalls({ ...program, graph }, library) : program;
}

function branchOf(node: GraphNode, condition: Tensor): FunctionRef | undefined {
  if (IF_OPS.has(node.op)) return node.attrs.func(isTrue(condition) ? "then_branch" : "else_branch");
  const branches = node.attrs.funcs("branches");
  const index = toNumbers(condition)[0]!;
  // An index out of range picks the last branch, as TensorFlow does.
  return branches[index >= 0 && index < branches.length ? index : branches.length - 1];
}

/** TensorFlow's truth: a scalar counts by its value (strings: non-empty), any other tensor by having elements. */
function isTrue(condition: Tensor): boolean {
  if (condition.shape.length > 0) return elementCount(condition.shape) > 0;
  if (condition.dtype === "string") return (condition.data as StringColumn).at(0).length > 0;
  return toNumbers(condition)[0] !== 0;
}

/**
 * Switch with a constant predicate passes its data to one side; what hangs off the other side is dead, and a Merge with
 * one live input is that input.
 */
function resolveSwitches(program: Program): Program {
  if (!hasSwitch(program)) return program;
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  const dead = new Set<string>();
  const deadNodes = new Set<string>();
  for (const node of topologicalOrder(program)) {
    const isMerge = node.op === "Merge" || node.op === "RefMerge";
    const live = node.inputs.filter((ref) => !dead.has(refKey(ref)) && !deadNodes.has(ref.node));
    const waitsForDead = node.controls.some((name) => deadNodes.has(name));
    if (waitsForDead || (isMerge ? live.length === 0 : live.length < node.inputs.length)) {
      deadNodes.add(node.name);
    } else if (isMerge && live.length === 1) {
      const name = `${node.name}/value_index`;
      added.set(name, constantNode(name, scalar("int32", node.inputs.indexOf(live[0]!))));
      aliases.set(outputKey(node.name), live[0]!);
      aliases.set(outputKey(node.name, 1), { node: name, index: 0 });
    } else if (isSwitch(node)) {
      const predicate = constantOf(program.graph.get(node.inputs[1]!.node));
      if (!predicate) continue;
      const side = isTrue(predicate) ? 1 : 0;
      aliases.set(outputKey(node.name, side), node.inputs[0]!);
      dead.add(outputKey(node.name, 1 - side));
    }
  }
  return aliases.size === 0 ? program : prune(rewrite(program, aliases, added));
}

function hasSwitch({ graph }: Program): boolean {
  for (const node of graph.values()) if (isSwitch(node)) return true;
  return false;
}

function isSwitch({ op }: GraphNode): boolean {
  return op === "Switch" || op === "RefSwitch";
}
