import type { FunctionLibrary } from "../../import/import.js";
import { branchesWrite } from "../../import/function-effects.js";
import { inlineCalls, instantiate } from "../../ir/inline.js";
import { type Graph, type GraphNode, type Program, refKey, type TensorRef } from "../../ir/ir.js";
import { nodeOf } from "../../ir/program.js";
import { behindIdentity } from "../control/regions.js";

/**
 * tf.Assert inside a function is an If over the condition with the Assert, of that very condition, in the false branch.
 * The branch takes the place of the If: checked on every request, the Assert does the same, and the compiler sees it.
 * The If squeezes a condition of unknown rank, and the Assert does not: it then checks what the If took.
 */
export function openAssertGuards(program: Program, library: FunctionLibrary): Program {
  const candidates = [...program.graph.values()].filter(({ op }) => op === "If");
  if (candidates.length === 0) return program;
  const graph = new Map(program.graph);
  const read = readValues(program);
  let changed = false;
  for (const node of candidates) {
    if (read.has(node.name) || branchesWrite(node, library)) continue;
    const body = guardedAsserts(node, program.graph, library);
    if (!body) continue;
    for (const inner of body.nodes) graph.set(inner.name, inner);
    graph.set(node.name, body.result);
    changed = true;
  }
  return changed ? inlineCalls({ ...program, graph }, library) : program;
}

/** The false branch in the place of the If, when every effect in it is an Assert of the If's condition. */
function guardedAsserts(node: GraphNode, graph: Graph, library: FunctionLibrary) {
  const branch = node.attrs.func("else_branch");
  if (!library.get(branch.func)?.nodeDef.some(({ op }) => op === "Assert")) return undefined;
  const call = { ...node, inputs: node.inputs.slice(1) };
  const body = instantiate(call, branch, library, (name) => graph.has(name));
  const around = new Map([...graph, ...body.nodes.map((inner): [string, GraphNode] => [inner.name, inner])]);
  const source = (ref: TensorRef): string => refKey(behindSqueeze(around, ref));
  const taken = node.inputs[0]!;
  const asserts = body.nodes.filter(({ op }) => op === "Assert");
  if (!asserts.every((inner) => source(inner.inputs[0]!) === source(taken))) return undefined;
  const nodes = body.nodes.map((inner) =>
    inner.op === "Assert" ? { ...inner, inputs: [taken, ...inner.inputs.slice(1)] } : inner,
  );
  return { ...body, nodes };
}

/** What a condition was made of: behind Identity, and the Squeeze of all dimensions. */
function behindSqueeze(graph: Graph, ref: TensorRef): TensorRef {
  const at = behindIdentity(graph, ref);
  const node = nodeOf(graph, at.node);
  return node.op === "Squeeze" && node.attrs.ints("squeeze_dims").length === 0
    ? behindIdentity(graph, node.inputs[0]!)
    : at;
}

/** Names of nodes whose values matter: what only an Identity without readers takes does not. */
function readValues({ graph, outputs }: Program): Set<string> {
  const consumers = new Map<string, string[]>();
  for (const node of graph.values()) {
    for (const ref of node.inputs) consumers.set(ref.node, [...(consumers.get(ref.node) ?? []), node.name]);
  }
  const fetched = new Set(outputs.map(({ node }) => node));
  const isRead = (name: string): boolean =>
    fetched.has(name) ||
    (consumers.get(name) ?? []).some((user) => nodeOf(graph, user).op !== "Identity" || isRead(user));
  return new Set([...graph.values()].filter(({ op, name }) => op === "If" && isRead(name)).map(({ name }) => name));
}
