import type { onnx } from "@shardserve/api";
import { DIVISION_GUARDED, guardDivision } from "./division-guards.js";
import { elementTypes } from "./element-types.js";
import { EMPTY_GUARDED, guardEmpty } from "./empty-guards.js";
import { fedRanks } from "./fed-ranks.js";
import { Names } from "./guard-nodes.js";
import { constantsOf, innerGraphs, type Scope } from "./model-graph.js";
import { guardRanks, RANK_GUARDED, type RankFacts } from "./rank-guards.js";

/** All guarded operators. */
export const GUARDED_OPS: readonly string[] = [...new Set([...EMPTY_GUARDED, ...RANK_GUARDED, ...DIVISION_GUARDED])];

/**
 * Keeps from kernels of ONNX Runtime what ends the process there (docs/decisions/031), in the main graph, in branches, bodies and
 * functions. A request decides those: an empty batch, a divisor, the rank of an input that declares none.
 *
 * @returns whether there was such a kernel
 */
export function guardKernels(model: onnx.ModelProto & { graph: onnx.GraphProto }): boolean {
  const types = elementTypes(model);
  const names = new Names();
  let isChanged = false;

  function guardScope(scope: Scope, outer: Surroundings): void {
    const around = { ...outer, constants: new Map([...outer.constants, ...constantsOf([scope])]) };
    const guards = { opset: around.opset, names };
    const facts = { types: types.get(scope) ?? new Map<string, number>(), constants: around.constants };
    const guarded = scope.node.flatMap((node) => {
      for (const graph of innerGraphs(node)) guardScope(graph, around);
      const divided = guardDivision(node, facts, guards);
      if (divided) return divided;
      const ranked = guardRanks(node, around.ranks, guards) ?? [node];
      const kernel = ranked.pop()!;
      return [...ranked, ...(guardEmpty(kernel, guards) ?? [kernel])];
    });
    if (guarded.length === scope.node.length) return;
    scope.node = guarded;
    isChanged = true;
  }

  const { graph, opsetImport, functions } = model;
  const ranks = fedRanks(graph);
  guardScope(graph, { opset: opsetOf(opsetImport), ranks, constants: new Map() });
  const unknown = { ...ranks, known: new Map<string, number>() };
  for (const fn of functions) guardScope(fn, { opset: opsetOf(fn.opsetImport), ranks: unknown, constants: new Map() });
  return isChanged;
}

/** What nodes of a scope can see of the scopes around it. */
interface Surroundings {
  readonly opset: bigint;
  readonly ranks: RankFacts;
  readonly constants: ReadonlyMap<string, onnx.TensorProto>;
}

function opsetOf(imports: readonly onnx.OperatorSetIdProto[]): bigint {
  return imports.find(({ domain }) => domain === "" || domain === "ai.onnx")?.version ?? 1n;
}
