import { ServingError } from "@shardserve/core";
import type { DType } from "@shardserve/tensor";
import { uniqueName } from "../../ir/unique-name.js";
import { type Graph, type GraphNode, type Program, refKey, type Region, type TensorRef } from "../../ir/ir.js";
import { nodeOf, prune, rewrite } from "../../ir/program.js";
import { argument, makeLoop, pruneRegion, renameControls } from "./regions.js";

const ENTER = new Set(["Enter", "RefEnter"]);
const EXIT = new Set(["Exit", "RefExit"]);
const MERGE = new Set(["Merge", "RefMerge"]);
const SWITCH = new Set(["Switch", "RefSwitch"]);
const NEXT = new Set(["NextIteration", "RefNextIteration"]);

/** A variable of a TF1 loop: Enter -> Merge -> Switch -> body -> NextIteration -> Merge, and Exit after the last turn. */
interface LoopVariable {
  readonly enter: GraphNode;
  readonly merge: GraphNode;
  readonly switch: GraphNode | undefined;
  readonly next: GraphNode;
}

/**
 * Turns TF1 loops (Enter, Merge, Switch, NextIteration, Exit of one frame) into `Loop` nodes, inner loops first.
 *
 * @throws ServingError UNIMPLEMENTED for a frame that is not the loop that tf.while_loop makes
 */
export function formLoops(program: Program): Program {
  let current = program;
  for (;;) {
    const frames = new Set<string>();
    for (const node of current.graph.values()) if (ENTER.has(node.op)) frames.add(node.attrs.text("frame_name"));
    if (frames.size === 0) return current;
    const inner = [...frames].map((frame) => new Frame(current.graph, frame)).find((frame) => frame.isInnermost());
    if (!inner) throw new ServingError("UNIMPLEMENTED", `the loops ${[...frames].join(", ")} are nested in a circle`);
    current = inner.replaceIn(current);
  }
}

class Frame {
  readonly #graph: Graph;
  readonly #name: string;
  readonly #enters: readonly GraphNode[];
  readonly #variables: readonly LoopVariable[];
  readonly #condition: TensorRef | undefined;

  constructor(graph: Graph, name: string) {
    this.#graph = graph;
    this.#name = name;
    const nodes = [...graph.values()];
    this.#enters = nodes.filter((node) => ENTER.has(node.op) && node.attrs.text("frame_name") === name);
    const entered = new Set(this.#enters.map((node) => node.name));
    const merges = nodes.filter((node) => MERGE.has(node.op) && node.inputs.some((ref) => entered.has(ref.node)));
    const switches = new Map<string, GraphNode>();
    const isLoopMerge = new Set(merges.map((node) => node.name));
    for (const node of nodes) {
      const [data, predicate] = node.inputs;
      if (!SWITCH.has(node.op) || !isLoopMerge.has(data!.node)) continue;
      if (nodeOf(graph, predicate!.node).op === "LoopCond") switches.set(data!.node, node);
    }
    this.#variables = merges.flatMap((merge): LoopVariable[] => {
      const sources = merge.inputs.map((ref) => nodeOf(graph, ref.node));
      const enter = sources.find((node) => entered.has(node.name));
      const next = sources.find((node) => NEXT.has(node.op));
      return enter && next ? [{ enter, merge, next, switch: switches.get(merge.name) }] : [];
    });
    const predicate = [...switches.values()][0]?.inputs[1];
    this.#condition = predicate && nodeOf(graph, predicate.node).inputs[0];
  }

  /** True when no loop lies inside this one. */
  isInnermost(): boolean {
    return ![...this.#inside()].some((name) => EXIT.has(nodeOf(this.#graph, name).op));
  }

  /** Names of all nodes that one turn may run, back to what enters the frame. */
  #inside(): Set<string> {
    const roots = [
      ...this.#variables.map(({ next }) => next.inputs[0]!),
      ...(this.#condition ? [this.#condition] : []),
    ];
    const stops = new Set([...this.#variables.map(({ merge }) => merge.name), ...this.#enters.map(({ name }) => name)]);
    const seen = new Set<string>();
    const stack = roots.map((ref) => ref.node);
    for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
      if (seen.has(name) || stops.has(name)) continue;
      seen.add(name);
      const node = nodeOf(this.#graph, name);
      stack.push(...node.inputs.map((ref) => ref.node), ...node.controls);
    }
    return seen;
  }

  replaceIn(program: Program): Program {
    if (!this.#condition) {
      throw new ServingError(
        "UNIMPLEMENTED",
        `the loop "${this.#name}" has no condition that this compiler understands`,
      );
    }
    const merged = new Set(this.#variables.map(({ enter }) => enter.name));
    const constants = this.#enters.filter((node) => !merged.has(node.name));
    const entered = [...this.#variables.map(({ enter }) => enter), ...constants];
    const dtypes = entered.map((node) => node.attrs.dtype("T"));
    const name = uniqueName(`${this.#name}/loop`, (taken) => program.graph.has(taken));
    const condition = this.#region(`${name}/cond`, [this.#condition], dtypes, constants);
    const values = this.#variables.map(({ next }) => next.inputs[0]!);
    const unchanged = constants.map((node) => ({ node: node.name, index: 0 }));
    const body = this.#region(`${name}/body`, [...values, ...unchanged], dtypes, constants);
    const controls = [...new Set(entered.flatMap((node) => node.controls))];
    const { loop, results } = makeLoop(
      { name, inputs: entered.map((node) => node.inputs[0]!), controls },
      condition,
      body,
      dtypes,
      entered.map(() => undefined),
    );
    const aliases = new Map<string, TensorRef>();
    const renamed = new Map<string, string>();
    const exits = [...program.graph.values()].filter((node) => EXIT.has(node.op));
    for (const [i, { switch: source }] of this.#variables.entries()) {
      for (const exit of exits) {
        if (!source || exit.inputs[0]!.node !== source.name) continue;
        aliases.set(refKey({ node: exit.name, index: 0 }), results[i]!);
        renamed.set(exit.name, name);
      }
    }
    const result = renameControls(rewrite(program, aliases, new Map([[name, loop]])), renamed);
    return withoutFrame(prune(result), this.#name);
  }

  /** One turn's computation of `outputs`, from Placeholders for everything that enters the frame. */
  #region(
    label: string,
    outputs: readonly TensorRef[],
    dtypes: readonly DType[],
    constants: readonly GraphNode[],
  ): Region {
    const args = dtypes.map((dtype, i) => argument(`${label}/arg_${i}`, dtype));
    const aliases = new Map<string, TensorRef>();
    const renamed = new Map<string, string>();
    const stand = (node: GraphNode | undefined, index: number, arg: number): void => {
      if (!node) return;
      aliases.set(refKey({ node: node.name, index }), { node: args[arg]!.name, index: 0 });
      renamed.set(node.name, args[arg]!.name);
    };
    for (const [i, variable] of this.#variables.entries()) {
      stand(variable.merge, 0, i);
      stand(variable.switch, 1, i);
      stand(variable.enter, 0, i);
    }
    for (const [i, node] of constants.entries()) stand(node, 0, this.#variables.length + i);
    const inside = this.#inside();
    const graph = new Map<string, GraphNode>();
    for (const name of inside) {
      const node = nodeOf(this.#graph, name);
      if (SWITCH.has(node.op) && this.#variables.some((variable) => variable.switch === node)) continue;
      // The condition's result ties nodes without inputs to the turn; inside a region everything is of the turn.
      graph.set(name, { ...node, controls: node.controls.filter((control) => this.#orders(control, inside)) });
    }
    for (const arg of args) graph.set(arg.name, arg);
    const region = renameControls(rewrite({ graph, outputs, targets: [] }, aliases), renamed);
    return pruneRegion({ ...region, args: args.map((arg) => arg.name) });
  }

  #orders(control: string, inside: ReadonlySet<string>): boolean {
    if (!inside.has(control)) return false;
    const { op } = nodeOf(this.#graph, control);
    return op !== "LoopCond" && !SWITCH.has(op);
  }
}

/** Checks that nothing of a frame is left that would run outside of it. */
function withoutFrame(program: Program, frame: string): Program {
  for (const node of program.graph.values()) {
    if (ENTER.has(node.op) && node.attrs.text("frame_name") === frame) {
      throw new ServingError("UNIMPLEMENTED", `a value of the loop "${frame}" is used outside of it`);
    }
  }
  return program;
}
