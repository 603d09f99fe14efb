/** Variables and tables that a loop hands on beside what it computes. */
import type { FunctionDef } from "@shardserve/api";
import { Attrs } from "../ir/attrs.js";
import { uniqueName } from "../ir/unique-name.js";
import { type GraphNode, outputKey, type Program, type TensorRef } from "../ir/ir.js";
import { type Pieces } from "@shardserve/core";
import { rewriting } from "../ir/program.js";
import { hasEffect } from "../passes/effects.js";
import type { FunctionLibrary } from "./import.js";

const LOOPS = new Set(["While", "StatelessWhile"]);

/**
 * Lets the users of a resource that a loop's body hands on unchanged take it from before the loop, where the variable
 * can be seen. Gradients of loops ask for the shape of a variable in this way.
 */
export function* takingResourcesFromBefore(program: Program, library: FunctionLibrary): Pieces<Program> {
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  for (const node of program.graph.values()) {
    if (!LOOPS.has(node.op)) continue;
    const body = library.get(node.attrs.func("body").func);
    for (const [i, dtype] of node.attrs.dtypes("T").entries()) {
      const input = node.inputs[i];
      if (dtype !== "resource" || !input || !body || !handsOn(body, i)) continue;
      const name = uniqueName(`${node.name}/before_${i}`, (taken) => program.graph.has(taken) || added.has(taken));
      // A read behind a loop that writes comes after it.
      const controls = hasEffect(node) ? [node.name] : [];
      // A node and no mere alias, so that a graph that bites its tail has no end to look for.
      added.set(name, { name, op: "Identity", inputs: [input], controls, attrs: new Attrs("Identity", { T: dtype }) });
      aliases.set(outputKey(node.name, i), { node: name, index: 0 });
    }
  }
  return yield* rewriting(program, aliases, added);
}

/** True when result `index` of a loop's body is its argument `index`. */
function handsOn({ signature, ret, nodeDef }: FunctionDef, index: number): boolean {
  const result = signature?.outputArg[index];
  let value = result && ret[result.name];
  for (let steps = 0; value !== undefined && steps <= nodeDef.length; steps++) {
    if (value === signature?.inputArg[index]?.name) return true;
    const [name] = value.split(":");
    const node = nodeDef.find((def) => def.name === name);
    value = node?.op === "Identity" ? node.input[0] : undefined;
  }
  return false;
}
