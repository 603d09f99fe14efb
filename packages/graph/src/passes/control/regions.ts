import type { DType } from "@shardserve/tensor";
import { Attrs, type Shape } from "../../ir/attrs.js";
import { type Graph, type GraphNode, outputKey, type Program, type Region, type TensorRef } from "../../ir/ir.js";
import { nodeOf, prune, rewrite } from "../../ir/program.js";
import { opDef } from "../../op-table.js";
import { hasEffect, isCheck } from "./effects.js";

/** Lets what waited for one node wait for another. */
export function renameControls(program: Program, renamed: ReadonlyMap<string, string>): Program {
  if (renamed.size === 0) return program;
  const rename = (name: string): string => renamed.get(name) ?? name;
  const graph = new Map<string, GraphNode>();
  for (const [name, node] of program.graph) {
    const waits = node.controls.some((control) => renamed.has(control));
    graph.set(name, waits ? { ...node, controls: [...new Set(node.controls.map(rename))] } : node);
  }
  return { ...program, graph, targets: program.targets.map(rename) };
}

/** @param node gives name, inputs (the condition or index first) and controls */
export function makeBranch(
  node: Pick<GraphNode, "name" | "inputs" | "controls">,
  regions: readonly Region[],
  isIf: boolean,
  dtypes: readonly DType[],
  shapes: readonly Shape[],
): GraphNode {
  const { name, inputs, controls } = node;
  const common = { dtypes, shapes: shapes.map((shape) => shape ?? null), hasEffect: regions.some(regionHasEffect) };
  return { name, op: "Branch", inputs, controls, regions, attrs: new Attrs("Branch", { ...common, isIf }) };
}

export interface MadeLoop {
  readonly loop: GraphNode;
  /** What every variable is after the loop. */
  readonly results: readonly TensorRef[];
}

/**
 * A `Loop` of which every input is a variable so far; those that the body never changes are found out.
 *
 * @param node gives name, inputs and controls
 */
export function makeLoop(
  node: Pick<GraphNode, "name" | "inputs" | "controls">,
  condition: Region,
  body: Region,
  dtypes: readonly DType[],
  shapes: readonly Shape[],
): MadeLoop {
  const all = dtypes.map((_, i) => i);
  const isConstant = (i: number): boolean => {
    const source = behindIdentity(body.graph, body.outputs[i]!);
    return source.node === body.args[i] && source.index === 0;
  };
  const carried = all.filter((i) => !isConstant(i));
  const order = [...carried, ...all.filter(isConstant)];
  const reordered = (region: Region, outputs: readonly TensorRef[]): Region =>
    pruneRegion({ ...region, outputs, args: order.map((i) => region.args[i]!) });
  const regions = [
    reordered(condition, condition.outputs),
    reordered(
      body,
      carried.map((i) => body.outputs[i]!),
    ),
  ];
  const attrs = new Attrs("Loop", {
    carried: carried.length,
    dtypes: carried.map((i) => dtypes[i]!),
    shapes: carried.map((i) => shapes[i] ?? null),
    hasEffect: regions.some(regionHasEffect),
  });
  const { name, controls } = node;
  const inputs = order.map((i) => node.inputs[i]!);
  return {
    loop: { name, op: "Loop", inputs, controls, regions, attrs },
    results: all.map((i) => (isConstant(i) ? node.inputs[i]! : { node: name, index: carried.indexOf(i) })),
  };
}

export function behindIdentity(graph: Graph, ref: TensorRef): TensorRef {
  let current = ref;
  for (let steps = 0; steps <= graph.size; steps++) {
    const { op, inputs } = nodeOf(graph, current.node);
    if (op !== "Identity" && op !== "IdentityN") break;
    current = inputs[op === "IdentityN" ? current.index : 0]!;
  }
  return current;
}

export function pruneRegion(region: Region): Region {
  return { ...prune(region), args: region.args };
}

function regionHasEffect({ graph }: Region): boolean {
  return [...graph.values()].some((node) => hasEffect(node) && !isCheck(node));
}

export function argument(name: string, dtype: DType): GraphNode {
  return {
    name,
    op: "Placeholder",
    inputs: [],
    controls: [],
    attrs: new Attrs("Placeholder", { dtype, shape: null, fed: true }),
  };
}

/**
 * Gives regions their own copy of what is the same for every request: constants, frozen variables, names of tables. The
 * compiler sees into it there, and it need not be carried. Inputs that no region uses are dropped.
 */
export function internLeaves(program: Program): Program {
  const replaced = new Map<string, GraphNode>();
  for (const node of program.graph.values()) {
    if (node.regions) replaced.set(node.name, withLeaves(node, program.graph));
  }
  return replaced.size === 0 ? program : prune(rewrite(program, new Map(), replaced));
}

function withLeaves(node: GraphNode, graph: Graph): GraphNode {
  // Positions of inputs that are handed to regions as they are.
  const first = node.op === "Loop" ? node.attrs.int("carried") : 1;
  const offset = node.op === "Loop" ? 0 : 1;
  const regions = node.regions!.map((region) => {
    const aliases = new Map<string, TensorRef>();
    const added = new Map<string, GraphNode>();
    for (let i = first; i < node.inputs.length; i++) {
      const leaf = leafOf(graph, node.inputs[i]!);
      if (!leaf || (region.graph.has(leaf.name) && !added.has(leaf.name))) continue;
      aliases.set(outputKey(region.args[i - offset]!), { node: leaf.name, index: 0 });
      added.set(leaf.name, leaf);
    }
    if (added.size === 0) return region;
    return pruneRegion({ ...rewrite(region, aliases, added), args: region.args });
  });
  const kept = node.inputs
    .map((_, i) => i)
    .filter((i) => i < first || regions.some((region) => region.graph.has(region.args[i - offset]!)));
  return {
    ...node,
    inputs: kept.map((i) => node.inputs[i]!),
    regions: regions.map((region) => ({
      ...region,
      args: kept.filter((i) => i >= offset).map((i) => region.args[i - offset]!),
    })),
  };
}

function leafOf(graph: Graph, ref: TensorRef): GraphNode | undefined {
  const source = behindIdentity(graph, ref);
  const node = nodeOf(graph, source.node);
  if (source.index !== 0 || node.inputs.length > 0) return undefined;
  const isHandle = opDef(node.op)?.outputs[0]?.dtype === "resource" && !node.op.startsWith("TensorArray");
  if (node.op !== "Const" && node.op !== "Variable" && !isHandle) return undefined;
  return node.controls.length === 0 ? node : { ...node, controls: [] };
}
