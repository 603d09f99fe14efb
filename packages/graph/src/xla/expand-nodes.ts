import { eachInPieces, type Pieces, ServingError } from "@shardserve/core";
import type { FunctionDef } from "@shardserve/api";
import type { FunctionLibrary } from "../import/import.js";
import type { Inference } from "../infer/inference.js";
import { Attrs } from "../ir/attrs.js";
import { inlineCalls } from "../ir/inline.js";
import { uniqueName } from "../ir/unique-name.js";
import type { GraphNode } from "../ir/ir.js";
import { type Program, rewrite } from "../ir/program.js";
import { WHY_NOT } from "../stablehlo/expand-modules.js";
import { translateModule } from "../stablehlo/translate-module.js";
import { descriptionOf } from "./descriptions.js";
import { NodeView } from "./node-modules.js";

interface ExpandedNodes {
  readonly program: Program;
  /** With the functions of the loops that nodes became. */
  readonly library: FunctionLibrary;
}

/**
 * Puts ops of TensorFlow in the place of those that stand for ops of XLA, which JAX's models of before 2023 are made of: each node is
 * one or a few ops of StableHLO, and is translated as these are (docs/decisions/064). What cannot be translated says why, and fails the
 * signatures that need it.
 */
export function* expandXlaNodes(
  program: Program,
  inference: Inference,
  library: FunctionLibrary,
): Pieces<ExpandedNodes> {
  const replaced = new Map<string, GraphNode>();
  const refused = new Map<string, GraphNode>();
  const made = new Map<string, FunctionDef>();
  const found: { readonly node: GraphNode; readonly describe: NonNullable<ReturnType<typeof descriptionOf>> }[] = [];
  yield* eachInPieces(program.graph.values(), (node) => {
    const describe = descriptionOf(node.op);
    if (describe && !node.attrs.has(WHY_NOT)) found.push({ node, describe });
  });
  for (const { node, describe } of found) {
    const name = uniqueName(`xla/${node.name}`, (taken) => library.has(taken) || made.has(taken));
    try {
      const view = new NodeView(node, program, inference, library);
      const outputs = describe(view);
      if (!outputs) continue;
      const { module, inputs, definitions } = view.module(outputs);
      const options = { name, platformIndex: undefined, hostFunctions: [], definitions };
      for (const def of yield* translateModule(module, options)) made.set(def.signature!.name, def);
      const attrs = new Attrs("PartitionedCall", { f: { func: name, attrs: new Map() } });
      replaced.set(node.name, { name: node.name, op: "PartitionedCall", inputs, controls: node.controls, attrs });
    } catch (error) {
      if (!(error instanceof ServingError)) throw error;
      refused.set(node.name, { ...node, attrs: node.attrs.with({ [WHY_NOT]: error.message }) });
    }
  }
  // More may be known of the others once these are expanded.
  if (replaced.size === 0) return { program: rewrite(program, new Map(), refused), library };
  const grown = new Map(library);
  for (const [name, def] of made) grown.set(name, def);
  return { program: inlineCalls(rewrite(program, new Map(), replaced), grown), library: grown };
}
