import { eachInPieces, type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import { type Graph, type GraphNode, type Program, refKey, type TensorRef } from "./ir.js";

export type { Program } from "./ir.js";

/**
 * Replaces values and drops nodes: every use of a value in `aliases` (by refKey) becomes its alias, followed to the end.
 *
 * @param replaced nodes that take the place of the ones with their names, or are new
 * @returns the same program where there is nothing to do
 */
export function rewrite(
  program: Program,
  aliases: ReadonlyMap<string, TensorRef>,
  replaced: ReadonlyMap<string, GraphNode> = new Map(),
): Program {
  return runAtOnce(rewriting(program, aliases, replaced));
}

/** {@link rewrite} in pieces. */
export function* rewriting(
  program: Program,
  aliases: ReadonlyMap<string, TensorRef>,
  replaced: ReadonlyMap<string, GraphNode> = new Map(),
): Pieces<Program> {
  if (aliases.size === 0 && replaced.size === 0) return program;
  const resolve = (ref: TensorRef): TensorRef => {
    if (aliases.size === 0) return ref;
    let current = ref;
    for (let next = aliases.get(refKey(current)); next; next = aliases.get(refKey(current))) current = next;
    return current;
  };
  const isSettled = (ref: TensorRef): boolean => resolve(ref) === ref;
  const graph = new Map<string, GraphNode>();
  const put = (node: GraphNode, name: string): void => {
    graph.set(name, node.inputs.every(isSettled) ? node : { ...node, inputs: node.inputs.map(resolve) });
  };
  yield* eachInPieces(program.graph, ([name, node]) => {
    if (!replaced.has(name)) put(node, name);
  });
  yield* eachInPieces(replaced, ([name, node]) => put(node, name));
  return { ...program, graph, outputs: program.outputs.map(resolve) };
}

/** Names of the nodes that the outputs and targets need, over data and control edges. */
export function reachable(program: Program): Set<string> {
  return runAtOnce(reaching(program));
}

function* reaching({ graph, outputs, targets }: Program): Pieces<Set<string>> {
  const seen = new Set(targets);
  for (const { node } of outputs) seen.add(node);
  // What is added meanwhile is walked over, too.
  yield* eachInPieces(seen, (name) => {
    const node = nodeOf(graph, name);
    for (const ref of node.inputs) seen.add(ref.node);
    for (const control of node.controls) seen.add(control);
  });
  return seen;
}

/** Keeps what {@link reachable} finds. */
export function prune(program: Program): Program {
  return runAtOnce(pruning(program));
}

/** {@link prune} in pieces. */
export function* pruning(program: Program): Pieces<Program> {
  const live = yield* reaching(program);
  if (live.size === program.graph.size) return program;
  const graph = new Map<string, GraphNode>();
  yield* eachInPieces(live, (name) => graph.set(name, program.graph.get(name)!));
  return { ...program, graph };
}

/** @throws ServingError GRAPH_INVALID naming the missing node */
export function nodeOf(graph: Graph, name: string): GraphNode {
  const node = graph.get(name);
  if (!node) throw new ServingError("GRAPH_INVALID", `the graph refers to node "${name}", which it does not have`);
  return node;
}

/** Edges that a walk follows between two places where it may pause. */
export const PIECE_STEPS = 256;

/**
 * Nodes in an order in which data and control edges point forward; nodes without such a relation keep the order in which
 * a depth-first walk from the outputs meets them, so that equal graphs give equal orders. The back edges of TF1 loops
 * (out of NextIteration) do not order.
 *
 * @throws ServingError GRAPH_INVALID for a cycle
 */
export function topologicalOrder(program: Program): GraphNode[] {
  return runAtOnce(ordering(program));
}

/** {@link topologicalOrder} in pieces. */
export function* ordering(program: Program): Pieces<GraphNode[]> {
  const order: GraphNode[] = [];
  const state = new Map<string, "open" | "done">();
  // The open nodes and, for each, the position of its next predecessor; recursion would overflow on deep graphs.
  const path: GraphNode[] = [];
  const next: number[] = [];
  let steps = 0;
  const enter = (node: GraphNode): void => {
    state.set(node.name, "open");
    path.push(node);
    next.push(0);
  };
  const visit = function* (root: string): Pieces<void> {
    enter(nodeOf(program.graph, root));
    for (let node = path.at(-1); node; node = path.at(-1)) {
      if (++steps % PIECE_STEPS === 0) yield;
      const dataCount = node.inputs.length;
      const index = next[next.length - 1]!++;
      if (index >= dataCount + node.controls.length) {
        state.set(node.name, "done");
        order.push(node);
        path.pop();
        next.pop();
        continue;
      }
      const name = index < dataCount ? node.inputs[index]!.node : node.controls[index - dataCount]!;
      const known = state.get(name);
      if (known === "done") continue;
      const previous = nodeOf(program.graph, name);
      if (known === undefined) enter(previous);
      else if (
        previous.op !== "NextIteration" &&
        !path.some(({ op }, at) => op === "NextIteration" && isOpenAfter(path, at, name))
      )
        throw new ServingError("GRAPH_INVALID", `the graph has a cycle through node "${name}"`);
    }
  };
  for (const ref of program.outputs) if (!state.has(ref.node)) yield* visit(ref.node);
  for (const target of program.targets) if (!state.has(target)) yield* visit(target);
  return order;
}

/** True when `name` was opened no later than the node at `loop`: the cycle that closes at `name` runs through it. */
function isOpenAfter(path: readonly GraphNode[], loop: number, name: string): boolean {
  return path.findIndex((node) => node.name === name) <= loop;
}
