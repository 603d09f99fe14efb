/** Variables and tables that a loop hands on beside what it computes. */
import type { FunctionDef } from "@shardserve/api";
import { Attrs } from "../ir/attrs.js";
import { uniqueName } from "../ir/unique-name.js";
import { type GraphNode, outputKey, type Program, type TensorRef } from "../ir/ir.js";
import { eachInPieces, type Pieces } from "@shardserve/core";
import { rewriting } from "../ir/program.js";
import { hasEffect } from "../passes/control/effects.js";
import type { FunctionLibrary } from "./import.js";

/** Steps along a chain between two places where others may run. */
const PATH_PIECE = 1024;
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
    if (!body) continue;
    const handedOn = yield* argumentsHandedOn(body);
    yield* eachInPieces(node.attrs.dtypes("T").entries(), ([i, dtype]) => {
      const input = node.inputs[i];
      if (dtype !== "resource" || !input || !handedOn.has(i)) return;
      const name = uniqueName(`${node.name}/before_${i}`, (taken) => program.graph.has(taken) || added.has(taken));
      // A read behind a loop that writes comes after it.
      const controls = hasEffect(node) ? [node.name] : [];
      // A node and no mere alias, so that a graph that bites its tail has no end to look for.
      added.set(name, { name, op: "Identity", inputs: [input], controls, attrs: new Attrs("Identity", { T: dtype }) });
      aliases.set(outputKey(node.name, i), { node: name, index: 0 });
    });
  }
  return yield* rewriting(program, aliases, added);
}

/** The numbers of those arguments of a loop's body that are its results of the same numbers. */
function* argumentsHandedOn({ signature, ret, nodeDef }: FunctionDef): Pieces<ReadonlySet<number>> {
  /** Where each Identity has its value from. */
  const sources = new Map<string, string>();
  yield* eachInPieces(nodeDef, ({ op, name, input }) => {
    if (op === "Identity" && input[0] !== undefined) sources.set(name, input[0]);
  });
  const handedOn = new Set<number>();
  for (const [i, { name }] of (signature?.outputArg ?? []).entries()) {
    const path: string[] = [];
    let end = ret[name];
    for (let from = end; from !== undefined; ) {
      end = from;
      const node = from.split(":")[0]!;
      from = sources.get(node);
      // A graph may bite its tail.
      sources.delete(node);
      path.push(node);
      if (path.length % PATH_PIECE === 0) yield;
    }
    // Another result that comes the same way has the same end.
    if (end !== undefined) for (const node of path.slice(0, -1)) sources.set(node, end);
    if (end !== undefined && end === signature?.inputArg[i]?.name) handedOn.add(i);
  }
  return handedOn;
}
