import { ancestryOf } from "../ancestry.js";
import { eachInPieces, type Pieces } from "@shardserve/core";
import { Attrs } from "../../ir/attrs.js";
import { type GraphNode, outputKey, type TensorRef } from "../../ir/ir.js";
import { nodeOf, ordering, type Program, pruning, rewrite } from "../../ir/program.js";
import { type OpDef, opDef } from "../../op-table.js";

/** Ops without outputs that change nothing a request could see: they order, print, or let go of what a run ends with. */
const IGNORED = new Set([
  "NoOp",
  "ControlTrigger",
  "PrintV2",
  "DisableCopyOnRead",
  "TensorArrayClose",
  "TensorArrayCloseV2",
  "TensorArrayCloseV3",
  "StackClose",
  "StackCloseV2",
]);

/** TF1 ops that change what their reference input 0 points to. */
const REF_WRITE = /^(Assign|Scatter|Apply|SparseApply|StridedSliceAssign|CountUpTo)/;

/** Ops that change something and also have outputs. */
const WRITE_WITH_OUTPUT = new Set([
  "ResourceCountUpTo",
  "QueueDequeue",
  "QueueDequeueV2",
  "RngReadAndSkip",
  "StatefulUniform",
  "StatefulStandardNormalV2",
  "StatefulTruncatedNormal",
  "StatefulUniformInt",
  "StatefulUniformFullInt",
]);

/** Reads of what an effect may change; they must keep their place among effects. */
const STATE_READ = new Set([
  "ReadVariableOp",
  "ResourceGather",
  "ResourceGatherNd",
  "VarIsInitializedOp",
  "IsVariableInitialized",
  "LookupTableFind",
  "LookupTableFindV2",
  "LookupTableSize",
  "LookupTableSizeV2",
  "LookupTableExportV2",
]);

/** Ops that exist to fail a request, and change nothing. */
const CHECKS = new Set(["Assert", "CheckNumerics", "CheckNumericsV2"]);

/** True for an op that may fail the request on purpose: it runs though nobody reads what it gives, in whatever order. */
export function isCheck({ op }: { readonly op: string }): boolean {
  return CHECKS.has(op);
}

/** What these do, the functions and regions do that they run: see function-effects.ts and regions.ts. */
const CONTROL_FLOW = new Set(["If", "While", "Case", "Branch", "Loop"]);

/** True when running the node changes state or may fail the request on purpose (see {@link isCheck}). */
export function hasEffect({ op, attrs }: Pick<GraphNode, "op" | "attrs">): boolean {
  if (CONTROL_FLOW.has(op)) return attrs.has("hasEffect") && attrs.bool("hasEffect");
  const def = opDef(op);
  if (!def) return false;
  let answer = ANSWERS.get(def);
  if (answer === undefined) ANSWERS.set(def, (answer = opHasEffect(def)));
  return answer;
}

/** Every pass asks, of every node. */
const ANSWERS = new Map<OpDef, boolean>();

function opHasEffect({ name, inputs, outputs }: OpDef): boolean {
  if (CHECKS.has(name)) return true;
  if (outputs.length === 0) return !IGNORED.has(name) && !/Summary|^Print/.test(name);
  return (inputs[0]?.isRef === true && REF_WRITE.test(name)) || WRITE_WITH_OUTPUT.has(name);
}

/**
 * Rewrites control edges so that they point straight at nodes with effects, or at reads of state where effects are near,
 * and drops the rest: what only computes need not wait for anything. The targets become the effects that they lead to.
 *
 * @returns the same program where all of that is so already
 */
export function* reduceControls(program: Program): Pieces<Program> {
  const order = yield* ordering(program);
  const changesState = order.some((node) => hasEffect(node) && !isCheck(node));
  // The side of a Switch that a branch hangs on: without it, constants of a dead branch would look alive.
  const pivot = ({ op, inputs }: GraphNode): boolean =>
    op === "Identity" && /^(Ref)?Switch$/.test(program.graph.get(inputs[0]!.node)?.op ?? "");
  const anchors = (node: GraphNode): boolean =>
    hasEffect(node) || (changesState && STATE_READ.has(node.op)) || pivot(node);
  // Anchors that a node, or what it is computed from, must wait for.
  const found = new Map<string, readonly string[]>();
  const NONE: readonly string[] = [];
  const before = ({ inputs, controls }: GraphNode): readonly string[] => {
    let first = NONE;
    let union: Set<string> | undefined;
    const add = (name: string): void => {
      const names = found.get(name) ?? NONE;
      if (names.length === 0 || names === first) return;
      if (first.length === 0) first = names;
      else {
        union ??= new Set(first);
        for (const other of names) union.add(other);
      }
    };
    for (const ref of inputs) add(ref.node);
    controls.forEach(add);
    return union ? [...union] : first;
  };
  yield* eachInPieces(order, (node) => {
    found.set(node.name, anchors(node) ? [node.name] : before(node));
  });
  const graph = new Map<string, GraphNode>();
  // Every anchor among a node's ancestors: what its inputs wait for already needs no edge of its own.
  const behind = new Map<string, ReadonlySet<string>>();
  yield* eachInPieces(order, (node) => {
    const direct =
      node.controls.length === 0 ? NONE : [...new Set(node.controls.flatMap((name) => found.get(name) ?? NONE))];
    const inputs = new Set(node.inputs.map((ref) => ref.node));
    const ancestry = ancestryOf([...inputs, ...direct], behind);
    const controls = direct.filter((control) => !inputs.has(control) && !ancestry.isBehindOther(control));
    graph.set(node.name, isSameList(controls, node.controls) ? node : { ...node, controls });
    behind.set(node.name, ancestry.union(anchors(node) ? node.name : undefined));
  });
  yield;
  const targets = [...new Set(program.targets.flatMap((name) => found.get(name) ?? NONE))];
  const isReduced = order.every((node) => graph.get(node.name) === node) && isSameList(targets, program.targets);
  const reduced = isReduced && order.length === program.graph.size ? program : { ...program, graph, targets };
  yield;
  return yield* pruning(splitResults(reduced));
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** IdentityN with control edges: one Identity per value, so that values nobody uses can go. */
function splitResults(program: Program): Program {
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  for (const node of program.graph.values()) {
    if (node.op !== "IdentityN" || node.controls.length === 0) continue;
    for (const [index, input] of node.inputs.entries()) {
      const name = `${node.name}/result_${index}`;
      added.set(name, { name, op: "Identity", inputs: [input], controls: node.controls, attrs: new Attrs("Identity") });
      aliases.set(outputKey(node.name, index), { node: name, index: 0 });
    }
  }
  return added.size === 0 ? program : rewrite(program, aliases, added);
}

/** Removes the named Asserts. What waited for one waits for the effects that it waited for. */
export function* dropAsserts(program: Program, names: ReadonlySet<string>): Pieces<Program> {
  if (names.size === 0) return program;
  const graph = new Map(program.graph);
  for (const name of names) {
    const { inputs, controls } = nodeOf(graph, name);
    const before = [...controls, ...inputs.map(({ node }) => node)];
    graph.set(name, { name, op: "NoOp", inputs: [], controls: before, attrs: new Attrs("NoOp") });
  }
  return yield* reduceControls({ ...program, graph });
}

/** All data and control ancestors of some nodes, themselves included. */
export function coneOf(program: Program, names: readonly string[]): Set<GraphNode> {
  const seen = new Set(names);
  const cone = new Set<GraphNode>();
  for (const current of seen) {
    const node = nodeOf(program.graph, current);
    cone.add(node);
    for (const ref of node.inputs) seen.add(ref.node);
    for (const control of node.controls) seen.add(control);
  }
  return cone;
}
