import type { Pieces } from "@shardserve/core";
import type { Inference } from "../../infer/inference.js";
import type { KernelTable } from "../../ir/host.js";
import { uniqueName } from "../../ir/unique-name.js";
import type { GraphNode } from "../../ir/ir.js";
import type { Program } from "../../ir/program.js";
import { hostObstacle } from "../../plan/host-cost.js";
import { coneOf, dropAsserts, hasEffect, isCheck } from "../control/effects.js";

export interface DeferredAsserts {
  readonly program: Program;
  /** Asserts that were left out, with the reason. */
  readonly dropped: ReadonlyMap<string, string>;
}

/**
 * Asserts that the host cannot check from what it has before the device runs: nothing waits for them any more, and they
 * are checked at the end, of what the device computes anyway. What only such an Assert would need beyond that, and the
 * host cannot compute of it, is not bought with a detour over the device: then the Assert is left out. So it is among
 * effects, which must not come before it.
 *
 * @param inference  of `program`
 */
export function* deferAsserts(program: Program, inference: Inference, kernels: KernelTable): Pieces<DeferredAsserts> {
  const asserts = inference.order.filter(({ op }) => op === "Assert");
  if (asserts.length === 0) return { program, dropped: new Map() };
  const cone = coneOf(
    program,
    asserts.map(({ name }) => name),
  );
  // Asserts of a large model share most of what is before them, so each node is asked once, not once for each of them.
  const parts = inference.order.filter((node) => cone.has(node));
  const obstacles = new Map<string, string>();
  for (const part of parts) {
    const obstacle = hostObstacle(part, program, inference, kernels);
    if (obstacle !== undefined) obstacles.set(part.name, obstacle);
  }
  const before = new Map<string, string>();
  for (const part of parts) {
    const why = [part.name, ...predecessors(part)]
      .map((name) => obstacles.get(name) ?? before.get(name))
      .find((text) => text !== undefined);
    if (why !== undefined) before.set(part.name, why);
  }
  const costly = asserts.filter(({ name }) => before.has(name));
  if (costly.length === 0) return { program, dropped: new Map() };
  const isOrdered = inference.order.some((node) => hasEffect(node) && !isCheck(node));
  const names = new Set(costly.map(({ name }) => name));
  const bare = yield* dropAsserts(program, names);
  /** What would be computed for an Assert alone, by a detour over the device. */
  const dear = new Set<string>();
  for (const part of parts) {
    const isDear = part.op !== "Assert" && !bare.graph.has(part.name) && obstacles.has(part.name);
    if (isDear || predecessors(part).some((name) => dear.has(name))) dear.add(part.name);
  }
  const dropped = new Map<string, string>();
  const graph = new Map(program.graph);
  const targets = [...program.targets];
  for (const node of costly) {
    if (isOrdered || dear.has(node.inputs[0]!.node)) {
      dropped.set(node.name, before.get(node.name)!);
      continue;
    }
    const name = uniqueName(`${node.name}/deferred`, (taken) => graph.has(taken));
    graph.set(name, { ...withoutCostlyData(node, (part) => !before.has(part)), name });
    targets.push(name);
  }
  return { program: yield* dropAsserts({ ...program, graph, targets }, names), dropped };
}

function predecessors({ inputs, controls }: GraphNode): string[] {
  return [...inputs.map(({ node }) => node), ...controls];
}

/** The Assert with those parts of its message that the host has before the device runs. */
function withoutCostlyData(node: GraphNode, isCheap: (name: string) => boolean): GraphNode {
  const [condition, ...data] = node.inputs;
  const dtypes = node.attrs.dtypes("T");
  const kept = data.flatMap((ref, i) => (isCheap(ref.node) ? [{ ref, dtype: dtypes[i]! }] : []));
  return {
    ...node,
    inputs: [condition!, ...kept.map(({ ref }) => ref)],
    controls: [],
    attrs: node.attrs.with({ T: kept.map(({ dtype }) => dtype) }),
  };
}
