import type { ModelGraph } from "../import/model.js";
import { contextOf } from "../infer/infer.js";
import type { Inference } from "../infer/inference.js";
import type { KernelTable } from "../ir/host.js";
import type { GraphNode, Region } from "../ir/ir.js";
import type { Compiled } from "../passes/compile.js";
import { findVariableUses } from "../passes/lookups/lookups.js";
import { isHeavy, isLarge } from "./host-cost.js";
import { isLeaf } from "./place.js";
import type { PlanOptions } from "./plan-signature.js";
import { tableOf } from "./tables.js";

/**
 * The loops of a program that one engine graph can run with all their turns, with their compiled regions inside: every node
 * of condition and body must have a way to the device. Loops of bookkeeping, without arithmetic that devices are for, stay
 * on the host, which takes a turn of them faster than an engine is called.
 */
export function deviceLoops(model: ModelGraph, compiled: Compiled, options: PlanOptions): Map<string, GraphNode> {
  const loops = new Map<string, GraphNode>();
  for (const [name, regions] of compiled.regions) {
    const node = compiled.program.graph.get(name)!;
    if (node.op !== "Loop" || node.controls.length > 0 || !isWorthwhile(regions, options.kernels)) continue;
    const whole = withRegions(node, regions);
    const context = contextOf(whole, compiled.inference, compiled.program);
    if (!context || regions.some((region) => isSharded(model, region, options))) continue;
    if (options.device.supports(whole, context) === true) loops.set(name, whole);
  }
  return loops;
}

/** A control node whose regions, and theirs, are the compiled ones. */
function withRegions(node: GraphNode, regions: readonly Compiled[]): GraphNode {
  return {
    ...node,
    regions: regions.map(({ program, inference, regions: inner }, i): Region => {
      const graph = new Map(program.graph);
      for (const [name, own] of inner) graph.set(name, withRegions(graph.get(name)!, own));
      return { ...program, graph, args: node.regions![i]!.args, infos: inference.infos };
    }),
  };
}

function isWorthwhile(regions: readonly Compiled[], kernels: KernelTable): boolean {
  return regions.some(
    ({ program, inference, regions: inner }) =>
      [...program.graph.values()].some(
        (node) =>
          isHeavy(node) || makesLarge(node, inference) || (!isLeaf(node) && !node.regions && !kernels.get(node.op)),
      ) || [...inner.values()].some((own) => isWorthwhile(own, kernels)),
  );
}

/** True for a node that makes, in each turn, a large tensor of floats, such as the overlaps of a tile of boxes with one another. */
function makesLarge(node: GraphNode, inference: Inference): boolean {
  const info = inference.first(node.name);
  return !isLeaf(node) && info !== undefined && /^b?float/.test(info.dtype) && isLarge(info);
}

/** True when a turn needs rows that are not here. */
function isSharded(model: ModelGraph, { program, inference, regions }: Compiled, options: PlanOptions): boolean {
  const { lookups, whole } = findVariableUses(program, inference);
  const variables = [...lookups.map(({ variable }) => variable), ...whole.keys()];
  return (
    variables.some((name) => {
      const table = tableOf(model, program.graph.get(name)!);
      return typeof table !== "string" && options.cut?.(table) === "always";
    }) || [...regions.values()].flat().some((region) => isSharded(model, region, options))
  );
}
