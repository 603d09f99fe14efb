import { type Pieces, runAtOnce } from "@shardserve/core";
import { toNumbers } from "@shardserve/tensor";
import type { ModelGraph } from "../import/model.js";
import { resolveVariables } from "../import/resolve-variables.js";
import { inferring } from "../infer/infer.js";
import type { Inference } from "../infer/inference.js";
import type { Shape } from "../ir/attrs.js";
import type { KernelTable } from "../ir/host.js";
import { constantOf, type TensorRef } from "../ir/ir.js";
import { type Program } from "../ir/program.js";
import { openAssertGuards } from "./asserts/assert-guards.js";
import { resolveBranches } from "./control/branches.js";
import { dropSides, formBranches, unguardAsserts } from "./control/conditionals.js";
import { decompose } from "./rewrites/compositions.js";
import { compileControls, RegionBudget } from "./control/controls.js";
import { formDatasets } from "./datasets/datasets.js";
import { deferAsserts } from "./asserts/deferred-asserts.js";
import { dilateConvolutions } from "./rewrites/dilations.js";
import { dropAsserts, reduceControls } from "./control/effects.js";
import { fold } from "./rewrites/fold.js";
import { formLoops } from "./control/frames.js";
import { formRegions } from "./control/functional.js";
import { exposeLookups } from "./lookups/lookups.js";
import { formLayerIdioms } from "./rewrites/layer-idioms.js";
import { liftLists } from "./lists/loop-lists.js";
import { mergeEqual } from "./rewrites/merge-equal.js";
import { gatherRowsFirst } from "./lookups/gathered-rows.js";
import { poolRows } from "./lookups/pooled-rows.js";
import { useReciprocals } from "./rewrites/reciprocals.js";
import { internLeaves } from "./control/regions.js";
import { settleReshapes } from "./rewrites/reshapes.js";
import { simplify } from "./rewrites/simplify.js";
import { multiplySpectra } from "./rewrites/spectra.js";
import { dropSparseReshapes } from "./rewrites/sparse-reshapes.js";
import { expandXlaNodes } from "../xla/expand-nodes.js";

/** Passes repeat while they find something; a model that needs more rounds than this is left as it is then. */
const ROUNDS_MAX = 32;

/** A program after every pass that does not depend on where nodes run. */
export interface Compiled {
  readonly program: Program;
  readonly inference: Inference;
  /** Resource key -> checkpoint key, see {@link SignaturePlan.mutableVariables}. */
  readonly mutable: ReadonlyMap<string, string | undefined>;
  /** Asserts that were left out, with the reason. */
  readonly droppedAsserts: ReadonlyMap<string, string>;
  /** The regions of `Branch` and `Loop` nodes, by node name. */
  readonly regions: ReadonlyMap<string, readonly Compiled[]>;
}

/** Resolves variables, folds constants and decides branches until nothing changes. */
export function compile(model: ModelGraph, source: Program, kernels: KernelTable): Compiled {
  return runAtOnce(compiling(model, source, kernels));
}

/** {@link compile} in pieces. */
export function* compiling(
  model: ModelGraph,
  given: Program,
  kernels: KernelTable,
  budget = new RegionBudget(),
): Pieces<Compiled> {
  const source = decompose(given);
  yield;
  let { library } = model;
  const opened = openAssertGuards(source, library);
  yield;
  let program = formLoops(formDatasets(opened, library));
  yield;
  let known: Inference | undefined;
  const mutable = new Map<string, string | undefined>();
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const resolved = yield* resolveVariables(program, model.variables);
    for (const [key, checkpointKey] of resolved.mutable) {
      if (mutable.get(key) === undefined) mutable.set(key, checkpointKey);
    }
    const reduced = yield* reduceControls(resolved.program);
    const { program: clean, inference } = yield* settling(reduced, known);
    known = inference;
    const asserted = yield* dropAsserts(clean, satisfiedAsserts(clean));
    const folded = asserted === clean ? yield* foldAll(clean, inference, kernels) : asserted;
    yield;
    const decided = formLoops(resolveBranches(folded, library));
    program = decided;
    yield;
    if (decided !== clean) continue;
    // When all is known of their operands that can be.
    const expanded = yield* expandXlaNodes(clean, inference, library);
    if (expanded.program === clean) break;
    ({ program, library } = expanded);
  }
  const unguarded = unguardAsserts(program);
  yield;
  const branched = dropSides(formBranches(unguarded, yield* inferring(unguarded, known)));
  yield;
  const interned = internLeaves(formRegions(branched, library));
  yield;
  const formed = liftLists(interned);
  const controls = yield* compileControls(formed, yield* inferring(formed, known), (region) =>
    compiling({ ...model, library }, region, kernels, budget.enter()),
  );
  program = controls.program;
  const before = controls.inference;
  for (const { mutable: inner } of [...controls.regions.values()].flat()) {
    for (const [key, checkpointKey] of inner) if (mutable.get(key) === undefined) mutable.set(key, checkpointKey);
  }
  const checked = yield* deferAsserts(program, before, kernels);
  const light = yield* settling(checked.program, before);
  const shorter = yield* formLayerIdioms(light.program, light.inference);
  const merged = yield* mergeEqual(shorter, yield* inferring(shorter, light.inference));
  const equal = yield* inferring(merged, light.inference);
  const dilated = dilateConvolutions(merged, equal);
  yield;
  const direct = multiplySpectra(dilated, equal);
  yield;
  const gathered = yield* gatherRowsFirst(direct, equal);
  const pooled = poolRows(exposeLookups(gathered, equal), equal);
  yield;
  const { program: exposed, inference } = yield* settling(pooled, equal);
  const regions = new Map([...controls.regions].filter(([name]) => exposed.graph.has(name)));
  return { program: exposed, inference, mutable, droppedAsserts: checked.dropped, regions };
}

/** Simplifies until the inferred types have nothing more to say. */
function* settling(program: Program, previous?: Inference): Pieces<{ program: Program; inference: Inference }> {
  let current = program;
  let inference = previous;
  for (;;) {
    inference = yield* inferring(current, inference);
    const next = yield* simplify(current, inference);
    if (next === current) return { program: current, inference };
    current = next;
  }
}

/** All that follows from what is known already. */
function* foldAll(program: Program, inference: Inference, kernels: KernelTable): Pieces<Program> {
  const folded = yield* fold(program, inference, kernels);
  const settled = yield* settleReshapes(folded, inference);
  return dropSparseReshapes(yield* useReciprocals(settled, inference, kernels), inference);
}

/** Replaces what a program assumes of its fed values. */
export function withInputShapes(program: Program, shapes: ReadonlyMap<string, Shape>): Program {
  if (shapes.size === 0) return program;
  const graph = new Map(program.graph);
  for (const [name, shape] of shapes) {
    const node = graph.get(name);
    if (node) graph.set(name, { ...node, attrs: node.attrs.with({ shape: shape ?? null }) });
  }
  return { ...program, graph };
}

/** Asserts whose condition is known to hold. */
function satisfiedAsserts(program: Program): Set<string> {
  const holds = (ref: TensorRef): boolean => {
    const value = constantOf(program.graph.get(ref.node));
    return value !== undefined && toNumbers(value).every((item) => item !== 0);
  };
  return new Set(
    [...program.graph.values()]
      .filter((node) => node.op === "Assert" && holds(node.inputs[0]!))
      .map(({ name }) => name),
  );
}
