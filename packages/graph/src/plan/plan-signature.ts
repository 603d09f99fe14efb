import { eachInPieces, type Pause, type Pieces, runAtOnce, runInTurns, ServingError } from "@shardserve/core";
import {
  INIT_SIGNATURE,
  initProgram,
  type ModelGraph,
  observableInit,
  type Signature,
  type SignatureTensor,
} from "../import/model.js";
import { contextOf, inferring } from "../infer/infer.js";
import type { Inference } from "../infer/inference.js";
import type { Shape } from "../ir/attrs.js";
import { type DeviceSupport, type KernelTable, resourceKey } from "../ir/host.js";
import { type GraphNode, type TensorRef } from "../ir/ir.js";
import { type Program, rewriting } from "../ir/program.js";
import { type Compiled, compiling, withInputShapes } from "../passes/compile.js";
import { fuseColumns } from "../passes/lookups/columns.js";
import { coneOf } from "../passes/control/effects.js";
import { cutLookups, findVariableUses, type FoundLookup } from "../passes/lookups/lookups.js";
import { deviceLoops } from "./device-loops.js";
import { hostObstacle } from "./host-cost.js";
import { isLeaf, type Placement, placing } from "./place.js";
import type { ControlPlan, NodePlacement, PlannedTable, SignaturePlan, UnsupportedNode } from "./plan.js";
import { makeSteps } from "./segments.js";
import { findShortRows } from "./short-rows.js";
import { tableOf } from "./tables.js";

/**
 * Whether the lookups of a table leave the graph. `always`: its rows are not here. `cheap`: where the ids can be computed
 * before any device step, so that cutting costs no extra round; other gathers stay on the device. `never`: all stay.
 */
export type CutPolicy = "always" | "cheap" | "never";

/** For the plan of a signature: who can run which node, where it is cut, for which shapes. */
export interface PlanOptions {
  readonly kernels: KernelTable;
  readonly device: DeviceSupport;
  /** Default: `cheap` for every table. */
  readonly cut?: (table: PlannedTable) => CutPolicy;
  /** Shapes to plan for, by input alias, instead of the signature's own. */
  readonly inputShapes?: ReadonlyMap<string, Shape>;
}

/**
 * Compiles one signature to steps.
 *
 * TensorFlow does not hold requests to the shapes of a signature, but ranks decide how ops are lowered. So the plan
 * takes the signature's shapes (or `inputShapes`) as given and states them (`PlanInput.assumedShape`); the engine checks
 * requests against them and plans again where a request differs.
 *
 * @throws ServingError NOT_FOUND for an unknown signature, UNIMPLEMENTED or GRAPH_INVALID for one that cannot be read
 */
export function planSignature(model: ModelGraph, name: string, options: PlanOptions): SignaturePlan {
  return runAtOnce(planning(model, name, options));
}

/** {@link planSignature} for servers: other work gets its turn while a large graph compiles. */
export function planSignatureInTurns(
  model: ModelGraph,
  name: string,
  options: PlanOptions & { readonly signal?: AbortSignal; readonly pause?: Pause | undefined },
): Promise<SignaturePlan> {
  return runInTurns(planning(model, name, options), options.signal, options.pause);
}

function* planning(model: ModelGraph, name: string, options: PlanOptions): Pieces<SignaturePlan> {
  const reason = model.broken.get(name);
  if (reason !== undefined) throw new ServingError("UNIMPLEMENTED", reason);
  const signature = model.signatures.get(name);
  if (!signature) throw new ServingError("NOT_FOUND", `the model has no signature "${name}"`);
  const shapes = new Map<string, Shape>();
  for (const { alias, ref } of signature.inputs) {
    if (options.inputShapes?.has(alias)) shapes.set(ref.node, options.inputShapes.get(alias));
  }
  const source = withInputShapes(model.programs.get(name)!, shapes);
  const compiled = yield* compiling(model, source, options.kernels);
  return yield* planningProgram(model, signature, source, compiled, options);
}

/** For the plan that runs once after loading: tables are filled, variables set. */
export interface InitPlanOptions {
  readonly kernels: KernelTable;
  /** Absolute path of each asset by the name of the tensor that takes it. */
  readonly assets: ReadonlyMap<string, string>;
}

/** The plan that fills tables and assigns what the init op assigns, all on the host; undefined without an init op. */
export function planInitInTurns(
  model: ModelGraph,
  options: InitPlanOptions & { readonly signal?: AbortSignal; readonly pause?: Pause | undefined },
): Promise<SignaturePlan | undefined> {
  return runInTurns(planningInit(model, options), options.signal, options.pause);
}

function* planningInit(model: ModelGraph, options: InitPlanOptions): Pieces<SignaturePlan | undefined> {
  if (model.initOp === undefined) return undefined;
  const whole = yield* initProgram(model.graph, model.library, model.initOp, options.assets);
  yield;
  const source = yield* observableInit(whole, model.programs);
  yield;
  const signature: Signature = { name: INIT_SIGNATURE, method: "", inputs: [], outputs: [] };
  const device: DeviceSupport = { supports: () => "initialisation runs on the host" };
  const compiled = yield* compiling(model, source, options.kernels);
  const planOptions: PlanOptions = { kernels: options.kernels, device, cut: () => "never" };
  return yield* planningProgram(model, signature, source, compiled, planOptions);
}

function* planningProgram(
  model: ModelGraph,
  signature: Signature,
  source: Program,
  compiled: Compiled,
  options: PlanOptions,
  isRegion = false,
): Pieces<SignaturePlan> {
  yield;
  const onDevice = deviceLoops(model, compiled, options);
  const controls = yield* planningControls(model, signature, compiled, options, onDevice);
  const { chosen, tables, conflicts, shortRows } = yield* chooseLookups(model, compiled, options);
  yield;
  const cut = cutLookups(yield* rewriting(compiled.program, new Map(), onDevice), chosen);
  const whole = yield* inferring(cut, compiled.inference);
  yield;
  const { program, inference } = yield* fuseColumns(cut, whole, options.kernels, shortRows);
  yield;
  const kernels = withControls(options.kernels, onDevice);
  const placement = yield* placing(program, inference, kernels, options.device, { isRegion, shortRows });
  const handles = (isRegion ? [] : program.outputs).flatMap((ref): [string, string][] => {
    const dtype = inference.info(ref)?.dtype;
    return dtype === "resource" || dtype === "variant" ? [[ref.node, `a response cannot hold a ${dtype}`]] : [];
  });
  const inside = [...controls.values()].flatMap(({ regions }) => regions.flatMap((region) => region.unsupported));
  const own: UnsupportedNode[] = [...conflicts, ...handles, ...placement.unsupported].map(([node, why]) => ({
    op: program.graph.get(node)?.op ?? "",
    node,
    signature: signature.name,
    why,
  }));
  const unsupported = [...own, ...inside.map((node) => ({ ...node, signature: signature.name }))];
  const steps =
    unsupported.length > 0 ? [] : yield* makeSteps(program, inference, placement.places, signature.name, isRegion);
  return {
    signature: signature.name,
    method: signature.method,
    inputs: signature.inputs.map((input) => {
      // A fed value that nothing uses is no part of the program.
      const attrs = source.graph.get(input.ref.node)?.attrs;
      const graphDType = attrs?.dtype("dtype") ?? input.dtype;
      return { ...input, graphDType, assumedShape: attrs ? attrs.shape("shape") : undefined };
    }),
    outputs: signature.outputs.map((output, i) => {
      const ref = program.outputs[i]!;
      return { ...output, ref, dtype: inference.info(ref)?.dtype ?? output.dtype };
    }),
    steps,
    lookups: steps.flatMap((step) => (step.kind === "lookup" ? step.lookups : [])),
    tables,
    unsupported,
    controls,
    placements: yield* placementsOf(inference, placement, compiled),
    graph: program.graph,
    infos: inference.infos,
    mutableVariables: new Map([
      ...mutableOf(program, compiled),
      ...[...controls.values()].flatMap(({ regions }) => regions.flatMap((region) => [...region.mutableVariables])),
    ]),
  };
}

/** Plans of the regions of all control nodes that the host runs. */
function* planningControls(
  model: ModelGraph,
  { name, method }: Signature,
  compiled: Compiled,
  options: PlanOptions,
  onDevice: ReadonlyMap<string, GraphNode>,
): Pieces<Map<string, ControlPlan>> {
  const controls = new Map<string, ControlPlan>();
  // In a loop a device gather beats a lookup step a turn; what is sharded has no choice.
  const cut = (table: PlannedTable): CutPolicy => (options.cut?.(table) === "always" ? "always" : "never");
  for (const [node, regions] of compiled.regions) {
    if (onDevice.has(node)) continue;
    const control = compiled.program.graph.get(node)!;
    const plans: SignaturePlan[] = [];
    for (const [i, region] of regions.entries()) {
      const tensor = (ref: TensorRef, at: number): SignatureTensor => {
        const info = region.inference.info(ref);
        return { alias: String(at), ref, dtype: info?.dtype ?? "float32", shape: info?.shape };
      };
      const inputs = control.regions![i]!.args.map((arg, at) => tensor({ node: arg, index: 0 }, at));
      const outputs = region.program.outputs.map(tensor);
      const signature: Signature = { name: `${name}/${node}/${i}`, method, inputs, outputs };
      plans.push(yield* planningProgram(model, signature, region.program, region, { ...options, cut }, true));
    }
    controls.set(node, { node: control, regions: plans });
  }
  return controls;
}

/** The engine runs control nodes on the host; what of their regions cannot run is told by the regions' plans. */
function withControls(kernels: KernelTable, onDevice: ReadonlyMap<string, GraphNode>): KernelTable {
  const isControl = (op: string): boolean => op === "Loop" || op === "Branch";
  const kernel = (): never => {
    throw new Error("control nodes are the engine's");
  };
  return {
    get: (op) => (isControl(op) ? kernel : kernels.get(op)),
    supports: (node, context) => {
      if (onDevice.has(node.name)) return "it is part of an engine graph with all its turns";
      return isControl(node.op) ? true : kernels.supports(node, context);
    },
  };
}

interface Chosen {
  readonly chosen: readonly FoundLookup[];
  readonly tables: readonly PlannedTable[];
  /** Node that needs a sharded table whole -> why that cannot be. */
  readonly conflicts: readonly (readonly [string, string])[];
  /** Nodes of lookups that the host does by itself. */
  readonly shortRows: ReadonlySet<string>;
}

function* chooseLookups(model: ModelGraph, compiled: Compiled, options: PlanOptions): Pieces<Chosen> {
  const { program, inference } = compiled;
  const uses = findVariableUses(program, inference);
  yield;
  const tables = new Map<string, PlannedTable>();
  const conflicts: [string, string][] = [];
  const policyOf = (variable: GraphNode): CutPolicy => {
    const table = tableOf(model, variable);
    return typeof table === "string" ? "never" : (options.cut?.(table) ?? "cheap");
  };
  for (const [variable, why] of uses.whole) {
    const node = program.graph.get(variable)!;
    if (policyOf(node) === "always") conflicts.push([variable, `its table is sharded, but ${why}`]);
  }
  const policies = new Map(uses.lookups.map((lookup) => [lookup, policyOf(program.graph.get(lookup.variable)!)]));
  const cheap = uses.lookups.filter((lookup) => policies.get(lookup) === "cheap");
  const onHost = yield* throughout(
    inference,
    cheap,
    (node) => hostObstacle(node, program, inference, options.kernels) === undefined,
  );
  const free = new Set(cheap.filter(({ ids }) => onHost.has(ids.node)));
  const onDevice = yield* throughout(inference, [...free], (node) => {
    const context = isLeaf(node) ? undefined : contextOf(node, inference, program);
    return context === undefined || options.device.supports(node, context) === true;
  });
  const needsHost = (lookup: FoundLookup): boolean => free.has(lookup) && !onDevice.has(lookup.ids.node);
  const short = yield* findShortRows(program, uses.lookups, needsHost);
  const chosen = uses.lookups.filter((lookup) => {
    if (short.lookups.has(lookup)) return false;
    const isCut = policies.get(lookup) === "always" || free.has(lookup);
    const table = tableOf(model, program.graph.get(lookup.variable)!);
    if (isCut && typeof table !== "string") tables.set(table.checkpointKey, table);
    return isCut;
  });
  return { chosen, tables: [...tables.values()], conflicts, shortRows: short.nodes };
}

/** Of the nodes that the ids of some lookups follow from: those that pass a test, and so does all that they follow from. */
function* throughout(
  { program, order }: Inference,
  lookups: readonly FoundLookup[],
  test: (node: GraphNode) => boolean,
): Pieces<ReadonlySet<string>> {
  const cone = coneOf(
    program,
    lookups.map(({ ids }) => ids.node),
  );
  const passed = new Set<string>();
  yield* eachInPieces(order, (node) => {
    const isBehind =
      node.inputs.every((ref) => passed.has(ref.node)) && node.controls.every((name) => passed.has(name));
    if (isBehind && cone.has(node) && test(node)) passed.add(node.name);
  });
  return passed;
}

function* placementsOf(inference: Inference, placement: Placement, compiled: Compiled): Pieces<NodePlacement[]> {
  const placements: NodePlacement[] = [];
  yield* eachInPieces(inference.order, ({ name, op }) => {
    const at = placement.places.get(name);
    const why = placement.unsupported.get(name);
    if (why !== undefined) placements.push({ node: name, op, where: "nowhere", why });
    else if (at) placements.push({ node: name, op, where: at.where, why: at.why });
  });
  for (const [node, why] of compiled.droppedAsserts) placements.push({ node, op: "Assert", where: "dropped", why });
  return placements;
}

/** Host-state variables of what is left of the program. */
function mutableOf(program: Program, compiled: Compiled): Map<string, string | undefined> {
  const used = new Map<string, string | undefined>();
  for (const node of program.graph.values()) {
    if (node.op !== "VarHandleOp") continue;
    const key = resourceKey(node);
    used.set(key, compiled.mutable.get(key));
  }
  return used;
}
