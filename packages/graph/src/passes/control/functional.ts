import { ServingError } from "@shardserve/core";
import type { DType } from "@shardserve/tensor";
import type { FunctionLibrary } from "../../import/import.js";
import type { FunctionRef, Shape } from "../../ir/attrs.js";
import { inlineCalls, instantiate } from "../../ir/inline.js";
import { uniqueName } from "../../ir/unique-name.js";
import { type GraphNode, outputKey, type Program, type Region, type TensorRef } from "../../ir/ir.js";
import { prune, rewrite } from "../../ir/program.js";
import { argument, type MadeLoop, makeBranch, makeLoop, renameControls } from "./regions.js";

const LOOPS = new Set(["While", "StatelessWhile"]);
const BRANCHES = new Set(["If", "StatelessIf", "Case", "StatelessCase"]);

/**
 * Turns If, Case and While into `Branch` and `Loop`, which hold the bodies of their functions as regions. What the body
 * of a loop hands on unchanged is no variable of the loop: its uses after the loop become uses of the input.
 *
 * @throws ServingError GRAPH_INVALID for a function that is not there or does not fit
 */
export function formRegions(program: Program, library: FunctionLibrary): Program {
  const replaced = new Map<string, GraphNode>();
  const aliases = new Map<string, TensorRef>();
  const renamed = new Map<string, string>();
  for (const node of program.graph.values()) {
    if (LOOPS.has(node.op)) {
      const name = uniqueName(`${node.name}/loop`, (taken) => program.graph.has(taken) || replaced.has(taken));
      const { loop, results } = loopOf(node, name, library);
      replaced.set(name, loop);
      renamed.set(node.name, name);
      for (const [i, ref] of results.entries()) aliases.set(outputKey(node.name, i), ref);
    } else if (BRANCHES.has(node.op)) replaced.set(node.name, branchOf(node, library));
  }
  if (replaced.size === 0) return program;
  return prune(renameControls(rewrite(program, aliases, replaced), renamed));
}

function branchOf(node: GraphNode, library: FunctionLibrary): GraphNode {
  const isIf = node.op.endsWith("If");
  const { attrs } = node;
  // Region 0 is what index 0, or false, picks.
  const branches = isIf ? [attrs.func("else_branch"), attrs.func("then_branch")] : attrs.funcs("branches");
  const labels = isIf ? ["else", "then"] : branches.map((_, i) => `branch_${i}`);
  const inputs = attrs.dtypes("Tin");
  const outputs = attrs.dtypes("Tout");
  const regions = branches.map((branch, i) => functionRegion(node, labels[i]!, branch, inputs, library));
  for (const region of regions) expectOutputs(node, region, outputs.length);
  if (regions.length === 0) throw new ServingError("GRAPH_INVALID", `node "${node.name}" (${node.op}) has no branches`);
  return makeBranch(node, regions, isIf, outputs, statedShapes(node, outputs.length));
}

function loopOf(node: GraphNode, name: string, library: FunctionLibrary): MadeLoop {
  const dtypes = node.attrs.dtypes("T");
  const condition = functionRegion(node, "cond", node.attrs.func("cond"), dtypes, library);
  const body = functionRegion(node, "body", node.attrs.func("body"), dtypes, library);
  expectOutputs(node, condition, 1);
  expectOutputs(node, body, dtypes.length);
  return makeLoop({ ...node, name }, condition, body, dtypes, statedShapes(node, dtypes.length));
}

function statedShapes(node: GraphNode, count: number): readonly Shape[] {
  const shapes = node.attrs.has("output_shapes") ? node.attrs.shapes("output_shapes") : [];
  return shapes.length === count ? shapes : Array.from({ length: count }, () => undefined);
}

function expectOutputs(node: GraphNode, region: Region, count: number): void {
  if (region.outputs.length === count) return;
  throw new ServingError(
    "GRAPH_INVALID",
    `a function of node "${node.name}" (${node.op}) has ${region.outputs.length} results, ${count} are needed`,
  );
}

/** A function's body with Placeholders for its arguments. */
function functionRegion(
  node: GraphNode,
  label: string,
  ref: FunctionRef,
  dtypes: readonly DType[],
  library: FunctionLibrary,
): Region {
  const name = `${node.name}/${label}`;
  const args = dtypes.map((dtype, i) => argument(`${name}/arg_${i}`, dtype));
  const inputs = args.map((arg) => ({ node: arg.name, index: 0 }));
  const call: GraphNode = { name, op: node.op, inputs, controls: [], attrs: node.attrs };
  const graph = new Map(args.map((arg) => [arg.name, arg]));
  const body = instantiate(call, ref, library, (taken) => graph.has(taken));
  for (const inner of body.nodes) graph.set(inner.name, inner);
  graph.set(name, body.result);
  const outputs = body.result.inputs.map((_, index) => ({ node: name, index }));
  const program = inlineCalls({ graph, outputs, targets: [name] }, library);
  return { ...program, args: args.map((arg) => arg.name) };
}
