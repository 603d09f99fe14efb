import { elementCount, DTYPES, toNumbers } from "@shardserve/tensor";
import { openAssertGuards } from "./assert-guards.js";
import type { Shape } from "./attrs.js";
import { resolveBranches } from "./branches.js";
import { dilateConvolutions } from "./dilations.js";
import { dropSides, formBranches, unguardAsserts } from "./conditionals.js";
import { compileControls, RegionBudget } from "./controls.js";
import { type Pieces, runAtOnce } from "./cooperative.js";
import { coneOf, dropAsserts, reduceControls } from "./effects.js";
import { fold } from "./fold.js";
import { formLoops } from "./frames.js";
import { formRegions } from "./functional.js";
import type { KernelTable } from "./host.js";
import { liftLists } from "./loop-lists.js";
import { contextOf, infer, type Inference } from "./infer/infer.js";
import { constantOf, type GraphNode, type TensorRef } from "./ir.js";
import { exposeLookups } from "./lookups.js";
import { mergeEqual } from "./merge-equal.js";
import type { ModelGraph } from "./model.js";
import { poolRows } from "./pooled-rows.js";
import { type Program } from "./program.js";
import { internLeaves } from "./regions.js";
import { settleReshapes } from "./reshapes.js";
import { useReciprocals } from "./reciprocals.js";
import { simplify } from "./simplify.js";
import { dropSparseReshapes } from "./sparse-reshapes.js";
import { resolveVariables } from "./variables.js";

/** Passes repeat while they find something; a model that needs more rounds than this is left as it is then. */
const ROUNDS_MAX = 32;

/** An Assert that needs a variable above this size, in bytes, is not worth its cost. */
const ASSERT_VARIABLE_BYTES_MAX = 64 * 1024;

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
  source: Program,
  kernels: KernelTable,
  budget = new RegionBudget(),
): Pieces<Compiled> {
  let program = formLoops(openAssertGuards(source, model.library));
  let known: Inference | undefined;
  const mutable = new Map<string, string | undefined>();
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const resolved = resolveVariables(program, model.variables);
    for (const [key, checkpointKey] of resolved.mutable) {
      if (mutable.get(key) === undefined) mutable.set(key, checkpointKey);
    }
    yield;
    const { program: clean, inference } = settle(reduceControls(resolved.program, true), known);
    known = inference;
    yield;
    const asserted = dropAsserts(clean, satisfiedAsserts(clean));
    const folded =
      asserted === clean
        ? dropSparseReshapes(
            useReciprocals(settleReshapes(fold(clean, inference, kernels), inference), inference, kernels),
            inference,
          )
        : asserted;
    const decided = formLoops(resolveBranches(folded, model.library));
    program = decided;
    yield;
    if (decided === clean) break;
  }
  const unguarded = unguardAsserts(program);
  const branched = dropSides(formBranches(unguarded, infer(unguarded, known)));
  const formed = liftLists(internLeaves(formRegions(branched, model.library)));
  const controls = yield* compileControls(formed, infer(formed, known), (region) =>
    compiling(model, region, kernels, budget.enter()),
  );
  program = controls.program;
  const before = controls.inference;
  for (const { mutable: inner } of [...controls.regions.values()].flat()) {
    for (const [key, checkpointKey] of inner) if (mutable.get(key) === undefined) mutable.set(key, checkpointKey);
  }
  const droppedAsserts = costlyAsserts(program, before, kernels);
  yield;
  const light = settle(dropAsserts(program, new Set(droppedAsserts.keys())), before);
  const merged = mergeEqual(light.program, light.inference);
  const equal = merged === light.program ? light.inference : infer(merged, light.inference);
  const dilated = dilateConvolutions(merged, equal);
  const { program: exposed, inference } = settle(poolRows(exposeLookups(dilated, equal), equal), equal);
  const regions = new Map([...controls.regions].filter(([name]) => exposed.graph.has(name)));
  return { program: exposed, inference, mutable, droppedAsserts, regions };
}

/** Simplifies until the inferred types have nothing more to say. */
function settle(program: Program, previous?: Inference): { program: Program; inference: Inference } {
  let current = program;
  for (let inference = infer(current, previous); ; inference = infer(current, inference)) {
    const next = simplify(current, inference.infos);
    if (next === current) return { program: current, inference };
    current = next;
  }
}

/** Replaces what a program assumes of its fed values. */
export function withInputShapes(program: Program, shapes: ReadonlyMap<string, Shape>): Program {
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

/**
 * Asserts that cannot be checked on the host from what the host has anyway. They guard against inputs that other checks
 * refuse (ids out of range), so they are left out rather than bought with a detour over the device.
 */
function costlyAsserts(program: Program, inference: Inference, kernels: KernelTable): Map<string, string> {
  const costly = new Map<string, string>();
  for (const node of program.graph.values()) {
    if (node.op !== "Assert") continue;
    const why = coneOf(program, node.name)
      .map((part) => hostObstacle(part, program, inference, kernels))
      .find((reason) => reason !== undefined);
    if (why !== undefined) costly.set(node.name, why);
  }
  return costly;
}

/** Why a node cannot be computed on the host before any device step; undefined when it can. */
export function hostObstacle(
  node: GraphNode,
  program: Program,
  inference: Inference,
  kernels: KernelTable,
): string | undefined {
  switch (node.op) {
    case "Const":
    case "Placeholder":
      return undefined;
    case "Variable": {
      const bytes = elementCount(node.attrs.shape("shape")!) * Math.max(DTYPES[node.attrs.dtype("dtype")].bytes, 16);
      return bytes <= ASSERT_VARIABLE_BYTES_MAX ? undefined : `it reads "${node.name}" whole`;
    }
    default: {
      if (isHeavy(node)) return `${node.op} "${node.name}" belongs on the device`;
      const context = contextOf(node, inference, program);
      if (!kernels.get(node.op) || !context) return `the host has no kernel for ${node.op}`;
      const support = kernels.supports(node, context);
      return support === true ? undefined : support;
    }
  }
}

const HEAVY = new Set(
  `MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 _FusedMatMul Einsum Conv2D Conv3D _FusedConv2D DepthwiseConv2dNative
   Conv2DBackpropInput Conv3DBackpropInputV2 FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 MaxPool AvgPool MaxPool3D
   AvgPool3D Softmax LogSoftmax ResizeBilinear ResizeBicubic ResizeNearestNeighbor SparseTensorDenseMatMul TopKV2 GatherRows
   LRN CropAndResize`
    .trim()
    .split(/\s+/),
);

/** Ops whose arithmetic is what devices are for, or whose rows are; the same op on integers is bookkeeping. */
export function isHeavy(node: GraphNode): boolean {
  return HEAVY.has(node.op) && !(node.attrs.has("T") && /^u?int/.test(node.attrs.dtype("T")));
}
