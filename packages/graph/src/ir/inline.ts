import { type FunctionDef, type NodeDef, type OpDef as WireOpDef } from "@shardserve/api";
import { eachInPieces, type Pieces, runAtOnce, ServingError } from "@shardserve/core";
import { takingResourcesFromBefore } from "../import/carried-resources.js";
import { checkNodeName, type FunctionLibrary, importAttr, importAttrs } from "../import/import.js";
import { markEffects } from "../import/function-effects.js";
import { type ArgDef, opDef } from "../op-table.js";
import { Attrs, type AttrValue, type FunctionRef } from "./attrs.js";
import type { GraphNode, TensorRef } from "./ir.js";
import { PIECE_STEPS, type Program, pruning } from "./program.js";
import { uniqueName } from "./unique-name.js";

/** A model that inlines to more nodes, or calls that are nested deeper, are refused: recursion, or a bomb. */
const NODES_MAX = 1_000_000;
const DEPTH_MAX = 200;

/** Ops that call the function in attribute `f`. BatchFunction joins callers, which the server does before. */
const CALL_OPS = new Set(["PartitionedCall", "StatefulPartitionedCall", "BatchFunction"]);

/**
 * Replaces every call of a function by the function's body, until none is left: PartitionedCall,
 * StatefulPartitionedCall, BatchFunction and nodes whose op is a function's name.
 *
 * A call node `C` stays as an IdentityN over the body's results, so that its name, its outputs and "^C" keep their
 * meaning; it waits for the body's control results. Body nodes become `C/name`. If the call has control inputs, every
 * body node that keeps state waits for them, through a NoOp.
 *
 * @throws ServingError GRAPH_INVALID for an unknown function, a dangling name, or recursion without end
 */
export function inlineCalls(program: Program, library: FunctionLibrary): Program {
  return runAtOnce(inlining(program, library));
}

/** {@link inlineCalls} in pieces. */
export function* inlining(program: Program, library: FunctionLibrary): Pieces<Program> {
  const graph = new Map(program.graph);
  const queue = [...graph.values()].map((node) => ({ node, depth: 0 }));
  let steps = 0;
  for (let next = queue.pop(); next; next = queue.pop()) {
    if (++steps % PIECE_STEPS === 0) yield;
    const { node, depth } = next;
    const call = callOf(node, library);
    if (!call) continue;
    const body = yield* instantiating(node, call, library, (name) => graph.has(name));
    yield* eachInPieces(body.nodes, (inner) => {
      graph.set(inner.name, inner);
      queue.push({ node: inner, depth: depth + 1 });
    });
    graph.set(node.name, body.result);
    if (graph.size > NODES_MAX || depth > DEPTH_MAX) {
      const what = depth > DEPTH_MAX ? `${DEPTH_MAX} calls deep` : `${NODES_MAX} nodes`;
      throw new ServingError(
        "GRAPH_INVALID",
        `function "${call.func}" inlines to more than ${what}: endless recursion?`,
      );
    }
  }
  yield;
  const marked = { ...program, graph: markEffects(graph, library) };
  const result = yield* pruning(yield* takingResourcesFromBefore(marked, library));
  yield* checkArity(result);
  return result;
}

/**
 * Holds nodes to the definitions of their ops, so that no later pass meets a missing input or reads an output that is not
 * there. Custom ops and the results of calls have none.
 *
 * @throws ServingError GRAPH_INVALID naming the node
 */
function* checkArity({ graph, outputs }: Program): Pieces<void> {
  const outputCounts = new Map<string, number>();
  yield* eachInPieces(graph.values(), (node) => {
    const def = opDef(node.op);
    const isResult = node.op === "IdentityN" && !node.attrs.has("T");
    if (isResult) outputCounts.set(node.name, node.inputs.length);
    if (!def || isResult) return;
    const count = (args: readonly ArgDef[]): number => args.reduce((sum, arg) => sum + argSize(arg, node.attrs), 0);
    outputCounts.set(node.name, count(def.outputs));
    const expected = count(def.inputs);
    if (node.inputs.length !== expected) {
      throw new ServingError(
        "GRAPH_INVALID",
        `node "${node.name}" has ${node.inputs.length} inputs, its op ${node.op} takes ${expected}`,
      );
    }
  });
  const check = (ref: TensorRef): void => {
    const count = outputCounts.get(ref.node);
    if (count !== undefined && ref.index >= count) {
      throw new ServingError("GRAPH_INVALID", `output ${ref.index} of node "${ref.node}" is used, but it has ${count}`);
    }
  };
  outputs.forEach(check);
  yield* eachInPieces(graph.values(), ({ inputs }) => inputs.forEach(check));
}

/** The function that a node calls, with the attributes that fill its placeholders. */
function callOf(node: GraphNode, library: FunctionLibrary): FunctionRef | undefined {
  if (CALL_OPS.has(node.op)) return node.attrs.func("f");
  return library.has(node.op) && !opDef(node.op) ? { func: node.op, attrs: new Map(node.attrs.entries()) } : undefined;
}

interface Body {
  readonly nodes: readonly GraphNode[];
  /** Takes the place of the call. */
  readonly result: GraphNode;
}

/**
 * The body of a function in the place of node `call`.
 *
 * @param taken tells whether the graph has a node of that name already
 */
export function instantiate(
  call: GraphNode,
  ref: FunctionRef,
  library: FunctionLibrary,
  taken: (name: string) => boolean,
): Body {
  return runAtOnce(instantiating(call, ref, library, taken));
}

/** {@link instantiate} in pieces. */
function* instantiating(
  call: GraphNode,
  ref: FunctionRef,
  library: FunctionLibrary,
  taken: (name: string) => boolean,
): Pieces<Body> {
  const def = library.get(ref.func);
  if (!def?.signature) {
    throw new ServingError("GRAPH_INVALID", `node "${call.name}" calls function "${ref.func}", which the model lacks`);
  }
  const callAttrs = withDefaults(ref.attrs, def.signature);
  const names = new Map<string, string>();
  const assigned = new Set<string>();
  const isTaken = (name: string): boolean => assigned.has(name) || taken(name);
  const attrsOf = new Map<string, Attrs>();
  yield* eachInPieces(def.nodeDef, (node) => {
    checkNodeName(node.name);
    const name = uniqueName(`${call.name}/${node.name}`, isTaken);
    assigned.add(name);
    names.set(node.name, name);
    attrsOf.set(node.name, substituted(node, callAttrs));
  });
  const entry = call.controls.length > 0 ? uniqueName(`${call.name}/entry`, isTaken) : undefined;
  const scope = new Scope(call, def, callAttrs, names, attrsOf, library);
  const nodes: GraphNode[] = [];
  yield* eachInPieces(def.nodeDef, (node) => nodes.push(bodyNode(node, scope, attrsOf.get(node.name)!, entry)));
  if (entry) nodes.push({ name: entry, op: "NoOp", inputs: [], controls: call.controls, attrs: new Attrs("NoOp") });
  const outputs = def.signature.outputArg.map((arg) => {
    const value = def.ret[arg.name];
    if (value === undefined) {
      throw new ServingError("GRAPH_INVALID", `function "${ref.func}" has no value for its result "${arg.name}"`);
    }
    return scope.value(value);
  });
  const controls = new Set(Object.values(def.controlRet).map((name) => scope.control(name)));
  if (entry) controls.add(entry);
  const result = {
    name: call.name,
    op: "IdentityN",
    inputs: outputs,
    controls: [...controls],
    attrs: new Attrs("IdentityN"),
  };
  return { nodes, result };
}

function bodyNode(def: NodeDef, scope: Scope, attrs: Attrs, entry: string | undefined): GraphNode {
  const inputs: TensorRef[] = [];
  const controls: string[] = [];
  for (const text of def.input) {
    if (text.startsWith("^")) controls.push(scope.control(text.slice(1)));
    else inputs.push(scope.value(text));
  }
  // Only what keeps state can tell whether it ran before or after the call's predecessors.
  if (entry && (opDef(def.op)?.isStateful ?? true)) controls.push(entry);
  return { name: scope.nameOf(def.name), op: def.op, inputs, controls, attrs };
}

/** Resolves the names inside one function body. */
class Scope {
  readonly #call: GraphNode;
  readonly #def: FunctionDef;
  readonly #names: ReadonlyMap<string, string>;
  readonly #attrs: ReadonlyMap<string, Attrs>;
  readonly #library: FunctionLibrary;
  /** Position of each argument's first value among the call's inputs. */
  readonly #args = new Map<string, number>();

  constructor(
    call: GraphNode,
    def: FunctionDef,
    callAttrs: ReadonlyMap<string, AttrValue>,
    names: ReadonlyMap<string, string>,
    attrs: ReadonlyMap<string, Attrs>,
    library: FunctionLibrary,
  ) {
    this.#call = call;
    this.#def = def;
    this.#names = names;
    this.#attrs = attrs;
    this.#library = library;
    const own = new Attrs(call.op, callAttrs);
    let position = 0;
    for (const arg of def.signature!.inputArg) {
      this.#args.set(arg.name, position);
      position += argSize(arg, own);
    }
  }

  nameOf(name: string): string {
    return this.#names.get(name) ?? this.#fail(name);
  }

  /** "arg", "arg:i", "node:outarg:i" or "node:outarg". */
  value(text: string): TensorRef {
    const [name, second, third] = text.split(":") as [string, string?, string?];
    const position = this.#args.get(name);
    if (position !== undefined) {
      return this.#call.inputs[position + Number(second ?? 0)] ?? this.#fail(text);
    }
    const node = this.nameOf(name);
    if (second === undefined) return { node, index: 0 };
    if (/^\d+$/.test(second)) return { node, index: Number(second) };
    return { node, index: this.#offset(name, second) + Number(third ?? 0) };
  }

  /** A control edge from an argument comes from the node that feeds it. */
  control(name: string): string {
    const position = this.#args.get(name);
    return position === undefined ? this.nameOf(name) : (this.#call.inputs[position]?.node ?? this.#fail(name));
  }

  /** Flat index of an output argument's first value. */
  #offset(name: string, outArg: string): number {
    const attrs = this.#attrs.get(name)!;
    const outputs = opDef(attrs.op)?.outputs ?? this.#library.get(attrs.op)?.signature?.outputArg;
    // A custom op: nothing can run it, so which of its outputs is meant does not matter.
    if (!outputs) return 0;
    let offset = 0;
    for (const arg of outputs) {
      if (arg.name === outArg) return offset;
      offset += argSize(arg, attrs);
    }
    return this.#fail(`${name}:${outArg}`);
  }

  #fail(text: string): never {
    const where = `function "${this.#def.signature!.name}", called by "${this.#call.name}",`;
    throw new ServingError("GRAPH_INVALID", `${where} refers to "${text}", which it does not have`);
  }
}

/** How many values an argument stands for. */
export function argSize(arg: { numberAttr?: string; typeListAttr?: string }, attrs: Attrs): number {
  if (arg.numberAttr) return attrs.int(arg.numberAttr);
  if (!arg.typeListAttr) return 1;
  const list = attrs.get(arg.typeListAttr);
  return Array.isArray(list) ? list.length : 0;
}

function substituted(def: NodeDef, callAttrs: ReadonlyMap<string, AttrValue>): Attrs {
  const attrs = importAttrs(def);
  const filled: Record<string, AttrValue> = {};
  for (const [name, value] of attrs.entries()) {
    const actual = fill(value, callAttrs);
    if (actual !== value) filled[name] = actual;
  }
  return Object.keys(filled).length === 0 ? attrs : attrs.with(filled);
}

function fill(value: AttrValue, callAttrs: ReadonlyMap<string, AttrValue>): AttrValue {
  if (typeof value !== "object" || value === null) return value;
  if ("placeholder" in value) {
    const actual = callAttrs.get(value.placeholder);
    if (actual !== undefined) return actual;
    throw new ServingError("GRAPH_INVALID", `a function is called without its attribute "${value.placeholder}"`);
  }
  if ("func" in value) {
    const attrs = new Map([...value.attrs].map(([name, inner]) => [name, fill(inner, callAttrs)]));
    return [...attrs].every(([name, inner]) => inner === value.attrs.get(name)) ? value : { func: value.func, attrs };
  }
  return value;
}

function withDefaults(attrs: ReadonlyMap<string, AttrValue>, signature: WireOpDef): Map<string, AttrValue> {
  const values = new Map(attrs);
  for (const { name, defaultValue } of signature.attr) {
    const value = defaultValue && !values.has(name) ? importAttr(defaultValue) : undefined;
    if (value !== undefined) values.set(name, value);
  }
  return values;
}
