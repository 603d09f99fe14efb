import type { Pieces } from "@shardserve/core";
import { nodesWithin } from "../import/function-effects.js";
import type { FunctionLibrary } from "../import/import.js";
import type { ModelGraph, Signature } from "../import/model.js";
import type { AttrValue } from "../ir/attrs.js";
import { type GraphNode, type Program } from "../ir/ir.js";
import { topologicalOrder } from "../ir/program.js";
import { opDef } from "../op-table.js";
import { isCheck } from "../passes/control/effects.js";

/** Stateful themselves, because of what their functions may do. */
const RUNS_FUNCTIONS = new Set(["While", "If", "Case", "StatefulPartitionedCall"]);

/**
 * For every readable signature, the first one that takes the same inputs and computes the same outputs of them: often itself.
 *
 * Exporters write one computation under several names. An Estimator lists the same tensors twice; Keras 3 traces `serve` once
 * more as `serving_default`, whose nodes are others, but calls the same functions with the same variables. TensorFlow compiles
 * a signature when it is first asked for and never pays for the twin; who compiles ahead need compile only one.
 */
export function* firstOfEqual(model: ModelGraph): Pieces<Map<string, string>> {
  const firsts = new Map<string, Candidate[]>();
  const found = new Map<string, string>();
  for (const [name, signature] of model.signatures) {
    const key = interfaceKey(signature);
    const candidates = firsts.get(key) ?? [];
    const candidate = new Candidate(signature, model.programs.get(name)!);
    let first: Candidate | undefined;
    for (const other of candidates) {
      yield;
      if (other.equals(candidate, model.library)) {
        first = other;
        break;
      }
    }
    found.set(name, first?.signature.name ?? name);
    if (!first) firsts.set(key, [...candidates, candidate]);
  }
  return found;
}

/** What requests and answers look like. */
function interfaceKey({ inputs, outputs }: Signature): string {
  return JSON.stringify([inputs, outputs].map((side) => side.map((tensor) => ({ ...tensor, ref: undefined }))));
}

class Candidate {
  readonly signature: Signature;
  readonly #program: Program;
  #order: readonly GraphNode[] | undefined;

  constructor(signature: Signature, program: Program) {
    this.signature = signature;
    this.#program = program;
  }

  /** The walk from the outputs, which meets corresponding nodes of equal graphs at equal positions. */
  get #nodes(): readonly GraphNode[] {
    this.#order ??= topologicalOrder(this.#program);
    return this.#order;
  }

  /** True when the two graphs differ in the names of their nodes only, and in none that state is kept under. */
  equals(other: Candidate, library: FunctionLibrary): boolean {
    if (this.#nodes.length !== other.#nodes.length) return false;
    const twins = new Map(this.#nodes.map(({ name }, i) => [name, other.#nodes[i]!.name]));
    const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
      a.length === b.length && a.every((name, i) => twins.get(name) === b[i]);
    const sameRefs = (a: Program["outputs"], b: Program["outputs"]): boolean =>
      a.length === b.length && a.every((ref, i) => twins.get(ref.node) === b[i]!.node && ref.index === b[i]!.index);
    // A fed value that nothing uses is no part of either program.
    const sameFeeds = this.signature.inputs.every(({ ref }, i) => {
      const twin = other.signature.inputs[i]!.ref;
      return other.#program.graph.has(twin.node) ? sameRefs([ref], [twin]) : !twins.has(ref.node);
    });
    return (
      sameFeeds &&
      sameRefs(this.#program.outputs, other.#program.outputs) &&
      sameNames(this.#program.targets, other.#program.targets) &&
      this.#nodes.every((node, i) => {
        const twin = other.#nodes[i]!;
        return (
          node === twin ||
          (node.op === twin.op &&
            sameRefs(node.inputs, twin.inputs) &&
            sameNames(node.controls, twin.controls) &&
            sameAttrs(node, twin) &&
            (node.name === twin.name || !keepsState(node, library)))
        );
      })
    );
  }
}

function sameAttrs({ attrs: a }: GraphNode, { attrs: b }: GraphNode): boolean {
  if (a === b) return true;
  const [own, others] = [new Map(a.entries()), new Map(b.entries())];
  return own.size === others.size && [...own].every(([name, value]) => sameValue(value, others.get(name)));
}

/** Tensors and functions are the same where they were imported from the same place; no content is compared. */
function sameValue(a: AttrValue, b: AttrValue | undefined): boolean {
  if (a === b) return true;
  if (!Array.isArray(a) || !Array.isArray(b)) return false;
  const [items, others] = [a as readonly AttrValue[], b as readonly AttrValue[]];
  return items.length === others.length && items.every((item, i) => sameValue(item, others[i]));
}

/** True when the node, or one inside it, may remember something under its own name: a generator of random numbers, a table. */
function keepsState(node: GraphNode, library: FunctionLibrary): boolean {
  if (!RUNS_FUNCTIONS.has(node.op)) return isStateOfItsOwn(node.op);
  for (const { op } of nodesWithin(node, library)) {
    if (!RUNS_FUNCTIONS.has(op) && !library.has(op) && isStateOfItsOwn(op)) return true;
  }
  return false;
}

/** What takes a resource or a reference changes that one's state; checks only fail. */
function isStateOfItsOwn(op: string): boolean {
  const def = opDef(op);
  if (!def) return true;
  const isAnothers = def.inputs.some((arg) => arg.dtype === "resource" || arg.isRef);
  return def.isStateful && !isAnothers && !isCheck({ op });
}
