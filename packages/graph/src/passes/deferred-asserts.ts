import type { Inference } from "../infer/infer.js";
import type { KernelTable } from "../ir/host.js";
import { uniqueName } from "../ir/inline.js";
import type { GraphNode } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import { hostObstacle } from "../plan/host-cost.js";
import { coneOf, dropAsserts, hasEffect, isCheck } from "./effects.js";

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
 */
export function deferAsserts(program: Program, inference: Inference, kernels: KernelTable): DeferredAsserts {
  const nodes = [...program.graph.values()];
  const obstacle = (node: GraphNode): string | undefined => hostObstacle(node, program, inference, kernels);
  const obstacleBefore = (name: string): string | undefined =>
    [...coneOf(program, [name])].map(obstacle).find((reason) => reason !== undefined);
  const costly = new Map(
    nodes.flatMap((node): [GraphNode, string][] => {
      const why = node.op === "Assert" ? obstacleBefore(node.name) : undefined;
      return why === undefined ? [] : [[node, why]];
    }),
  );
  if (costly.size === 0) return { program, dropped: new Map() };
  const isOrdered = nodes.some((node) => hasEffect(node) && !isCheck(node));
  const names = new Set([...costly.keys()].map(({ name }) => name));
  const bare = dropAsserts(program, names);
  const isLate = (node: GraphNode): boolean =>
    !isOrdered &&
    [...coneOf(program, [node.inputs[0]!.node])].every(
      (part) => part.op === "Assert" || bare.graph.has(part.name) || obstacle(part) === undefined,
    );
  const dropped = new Map<string, string>();
  const graph = new Map(program.graph);
  const targets = [...program.targets];
  for (const [node, why] of costly) {
    if (!isLate(node)) {
      dropped.set(node.name, why);
      continue;
    }
    const name = uniqueName(`${node.name}/deferred`, (taken) => graph.has(taken));
    graph.set(name, { ...withoutCostlyData(node, (part) => obstacleBefore(part) === undefined), name });
    targets.push(name);
  }
  return { program: dropAsserts({ ...program, graph, targets }, names), dropped };
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
