import { type DType, scalar } from "@shardserve/tensor";
import { infer } from "../../infer/infer.js";
import type { Inference } from "../../infer/inference.js";
import { uniqueName } from "../../ir/unique-name.js";
import {
  type Graph,
  type GraphNode,
  type Program,
  outputKey,
  refKey,
  type Region,
  type TensorRef,
} from "../../ir/ir.js";
import { nodeOf, prune, rewrite, topologicalOrder } from "../../ir/program.js";
import { constantNode } from "../rewrites/fold.js";
import { argument, behindIdentity, makeBranch, pruneRegion, renameControls } from "./regions.js";

const SWITCH = new Set(["Switch", "RefSwitch"]);
const MERGE = new Set(["Merge", "RefMerge"]);

/**
 * Lets an Assert that stands on the false side of the very condition that it checks (what tf.Assert makes, so that its
 * message is computed only for a failure) check it on every request: the same, without the Switch.
 */
export function unguardAsserts(program: Program): Program {
  const { graph } = program;
  const replaced = new Map<string, GraphNode>();
  for (const node of graph.values()) {
    const guard = node.op === "Assert" ? nodeOf(graph, node.inputs[0]!.node) : undefined;
    if (!guard || !SWITCH.has(guard.op) || node.inputs[0]!.index !== 0) continue;
    const predicate = refKey(behindIdentity(graph, guard.inputs[1]!));
    if (refKey(behindIdentity(graph, guard.inputs[0]!)) !== predicate) continue;
    const isOurs = (ref: TensorRef): boolean => {
      const source = nodeOf(graph, ref.node);
      return SWITCH.has(source.op) && ref.index === 0 && refKey(behindIdentity(graph, source.inputs[1]!)) === predicate;
    };
    const free = (controls: readonly string[]): string[] =>
      controls.filter((name) => {
        const control = nodeOf(graph, name);
        return control.op !== "Identity" || !isOurs(control.inputs[0]!);
      });
    const inputs = node.inputs.map((ref, i): TensorRef => {
      if (isOurs(ref)) return nodeOf(graph, ref.node).inputs[0]!;
      // Parts of the message wait for the false side too; others may share them.
      const part = nodeOf(graph, ref.node);
      if (part.op !== "Const" || part.controls.length === 0) return ref;
      const name = uniqueName(`${node.name}/message_${i}`, (taken) => graph.has(taken));
      replaced.set(name, { ...part, name, controls: free(part.controls) });
      return { node: name, index: 0 };
    });
    replaced.set(node.name, { ...node, inputs, controls: free(node.controls) });
  }
  return replaced.size === 0 ? program : prune(rewrite(program, new Map(), replaced));
}

/** Drops the edges that tied nodes to one side of a condition, once no Merge asks for sides any more. */
export function dropSides(program: Program): Program {
  const { graph } = program;
  const isSide = (name: string): boolean => {
    const { op, inputs } = nodeOf(graph, name);
    return op === "Identity" && SWITCH.has(nodeOf(graph, inputs[0]!.node).op);
  };
  if (![...graph.values()].some(({ op }) => SWITCH.has(op)) || [...graph.values()].some(({ op }) => MERGE.has(op)))
    return program;
  const freed = new Map<string, GraphNode>();
  for (const [name, node] of graph) {
    const controls = node.controls.filter((control) => !isSide(control));
    freed.set(name, controls.length === node.controls.length ? node : { ...node, controls });
  }
  return prune({ ...program, graph: freed, targets: program.targets.filter((name) => !isSide(name)) });
}

/** On which sides of which conditions a value lives: "predicate ref" -> 0 or 1. */
type Sides = ReadonlyMap<string, 0 | 1>;
const EVERYWHERE: Sides = new Map();

/**
 * Turns TF1 conditionals (Switch ... Merge outside of loops) into `Branch` nodes, inner ones first. A Merge whose inputs
 * live on the two sides of one condition becomes a choice between what computes them.
 */
export function formBranches(program: Program, inference: Inference): Program {
  let current = program;
  let known = inference;
  for (;;) {
    const next = formFirst(current, known);
    if (next === current) return current;
    current = next;
    known = infer(current, known);
  }
}

function formFirst(program: Program, inference: Inference): Program {
  if (![...program.graph.values()].some(({ op }) => MERGE.has(op))) return program;
  const sides = new Map<string, Sides>();
  for (const node of topologicalOrder(program)) {
    const before = [
      ...node.inputs.map((ref) => sidesOf(ref, program.graph, sides)),
      ...node.controls.map((name) => sides.get(name) ?? EVERYWHERE),
    ];
    if (!MERGE.has(node.op)) {
      sides.set(node.name, union(before));
      continue;
    }
    const predicate = node.inputs.length === 2 ? predicateOf(before[0]!, before[1]!) : undefined;
    if (predicate)
      return formBranch(program, node, predicate, before[0]!.get(predicate) === 1 ? 0 : 1, sides, inference);
  }
  return program;
}

/** What a value's use adds: one side of a Switch. */
function sidesOf(ref: TensorRef, graph: Graph, sides: ReadonlyMap<string, Sides>): Sides {
  const node = nodeOf(graph, ref.node);
  const own = sides.get(ref.node) ?? EVERYWHERE;
  if (!SWITCH.has(node.op)) return own;
  return new Map([...own, [refKey(behindIdentity(graph, node.inputs[1]!)), ref.index === 1 ? 1 : 0]]);
}

function union(parts: readonly Sides[]): Sides {
  const filled = parts.filter((part) => part.size > 0);
  return filled.length <= 1 ? (filled[0] ?? EVERYWHERE) : new Map(filled.flatMap((part) => [...part]));
}

/** The condition on whose two sides two values live. */
function predicateOf(a: Sides, b: Sides): string | undefined {
  return [...a].find(([key, side]) => b.has(key) && b.get(key) !== side)?.[0];
}

/** The conditional that ends at a Merge. */
interface Conditional {
  readonly graph: Graph;
  readonly merge: GraphNode;
  /** Of the value that its Switches look at. */
  readonly predicateKey: string;
  readonly sides: ReadonlyMap<string, Sides>;
}

/** What one side of a conditional computes. */
interface Slice {
  /** The Merge's input. */
  readonly output: TensorRef;
  /** What belongs to this side alone. */
  readonly nodes: ReadonlyMap<string, GraphNode>;
  /** Values from outside, by their key, as the region's arguments. */
  readonly aliases: ReadonlyMap<string, TensorRef>;
  /** What the Switches on its way look at; undefined = there is none on this side. */
  readonly predicate: TensorRef | undefined;
}

/**
 * Follows a Merge's input to the conditional's own Switches.
 *
 * @param argName  the region's name for a value from outside
 */
function sliceOf(
  { graph, merge, predicateKey, sides }: Conditional,
  position: number,
  argName: (ref: TensorRef) => string,
): Slice {
  const output = merge.inputs[position]!;
  const nodes = new Map<string, GraphNode>();
  const aliases = new Map<string, TensorRef>();
  let predicate: TensorRef | undefined;
  const stack = [output];
  for (let ref = stack.pop(); ref; ref = stack.pop()) {
    const node = nodeOf(graph, ref.node);
    const choice = SWITCH.has(node.op) ? behindIdentity(graph, node.inputs[1]!) : undefined;
    if (choice && refKey(choice) === predicateKey) {
      predicate = choice;
      aliases.set(refKey(ref), { node: argName(node.inputs[0]!), index: 0 });
      continue;
    }
    if (!sidesOf(ref, graph, sides).has(predicateKey)) {
      aliases.set(refKey(ref), { node: argName(ref), index: 0 });
      continue;
    }
    if (nodes.has(node.name)) continue;
    const controls = node.controls.filter((name) => {
      const control = nodeOf(graph, name);
      if (!sides.get(name)?.has(predicateKey) || SWITCH.has(control.op)) return false;
      stack.push({ node: name, index: 0 });
      return true;
    });
    nodes.set(node.name, { ...node, controls });
    stack.push(...node.inputs);
  }
  return { output, nodes, aliases, predicate };
}

/** A slice as a region whose outputs are its value and the position of the Merge's input that it came by. */
function regionOf({ output, nodes, aliases }: Slice, args: readonly GraphNode[], index: GraphNode): Region {
  const inner = new Map([...nodes, ...args.map((arg): [string, GraphNode] => [arg.name, arg])]);
  // Asserts and writes hang on by control edges, from the output's cone.
  const region = rewrite({ graph: inner, outputs: [output], targets: [] }, aliases);
  const graph = new Map([...region.graph, [index.name, index]]);
  const outputs = [...region.outputs, { node: index.name, index: 0 }];
  return pruneRegion({ ...region, graph, outputs, args: args.map((arg) => arg.name) });
}

/** @param onTrue  position of the Merge's input that lives where the condition holds */
function formBranch(
  program: Program,
  merge: GraphNode,
  predicateKey: string,
  onTrue: number,
  sides: ReadonlyMap<string, Sides>,
  inference: Inference,
): Program {
  const { graph } = program;
  const dtypeOf = (ref: TensorRef): DType => inference.info(ref)?.dtype ?? "float32";
  const captured: TensorRef[] = [];
  const capture = (ref: TensorRef): number => {
    const known = captured.findIndex((other) => refKey(other) === refKey(ref));
    return known >= 0 ? known : captured.push(ref) - 1;
  };
  const nameIn = (side: number, what: string) => `${merge.name}/branch_${side}/${what}`;
  const conditional = { graph, merge, predicateKey, sides };
  const positions = [1 - onTrue, onTrue];
  const slices = positions.map((position, side) =>
    sliceOf(conditional, position, (ref) => nameIn(side, `arg_${capture(ref)}`)),
  );
  const regions = slices.map((slice, side) => {
    const args = captured.map((ref, i) => argument(nameIn(side, `arg_${i}`), dtypeOf(ref)));
    return regionOf(slice, args, constantNode(nameIn(side, "value_index"), scalar("int32", positions[side]!)));
  });
  const predicate = slices[0]!.predicate ?? slices[1]!.predicate;
  const name = uniqueName(`${merge.name}/branch`, (taken) => graph.has(taken));
  const branch = makeBranch(
    { name, inputs: [predicate!, ...captured], controls: [] },
    regions,
    true,
    [dtypeOf({ node: merge.name, index: 0 }), "int32"],
    [inference.first(merge.name)?.shape, []],
  );
  const aliases = new Map([0, 1].map((index) => [outputKey(merge.name, index), { node: name, index }] as const));
  const result = rewrite(program, aliases, new Map([[name, branch]]));
  return prune(renameControls(result, new Map([[merge.name, name]])));
}
