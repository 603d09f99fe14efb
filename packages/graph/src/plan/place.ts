import { eachInPieces, type Pieces } from "@shardserve/core";
import { elementCount } from "@shardserve/tensor";
import { contextOf } from "../infer/infer.js";
import type { Inference } from "../infer/inference.js";
import type { KernelTable, DeviceSupport } from "../ir/host.js";
import type { GraphNode, TensorRef, ValueInfo } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import { opDef } from "../op-table.js";
import { hasEffect } from "../passes/control/effects.js";
import { WHY_NOT } from "../stablehlo/expand-modules.js";
import { isHeavy, isLarge } from "./host-cost.js";
import { BOOKKEEPING_ELEMENTS_MAX, countedOnHost, COUNTS, countsFew, INTEGERS } from "./host-counts.js";

/**
 * A plan runs in rounds: host step, lookup step, device step, and again. `round` counts from 0.
 * Const, Variable and fed nodes are nowhere: they are at hand everywhere.
 */
export interface Place {
  readonly where: "host" | "device" | "lookup";
  readonly round: number;
  readonly why: string;
  /** The other side could run it too. */
  readonly isFlexible: boolean;
}

export interface Placement {
  /** By node name; absent for leaves and for what cannot run. */
  readonly places: ReadonlyMap<string, Place>;
  /** Nodes that nothing here can run, with the reason. */
  readonly unsupported: ReadonlyMap<string, string>;
}

/** Where a node can run. */
interface Ability {
  /** true, or why not. */
  readonly host: true | string;
  readonly device: true | string;
}

export function isLeaf(node: GraphNode): boolean {
  return node.op === "Const" || node.op === "Variable" || (node.op === "Placeholder" && node.attrs.has("fed"));
}

export interface PlaceOptions {
  /** The program is part of a loop or branch: small outputs are wanted on the host. */
  readonly isRegion?: boolean;
  /** Nodes that the host has the time for, provided that it has their inputs: see `findShortRows`. */
  readonly shortRows?: ReadonlySet<string>;
}

/**
 * Decides where every node runs, so that the plan has the fewest rounds:
 * - what only one side can run runs there, and matrix arithmetic and rows stay on the device;
 * - what either side can run goes to the host when a host node or the ids of a lookup depend on it and going there
 *   saves a round, else to the device.
 * Then device work and lookups move to the latest round that still serves, so that they share steps.
 */
export function* placing(
  program: Program,
  inference: Inference,
  kernels: KernelTable,
  device: DeviceSupport,
  { isRegion = false, shortRows = new Set() }: PlaceOptions = {},
): Pieces<Placement> {
  const unsupported = new Map<string, string>();
  const abilities = new Map<string, Ability>();
  yield* eachInPieces(inference.order, (node) => {
    if (isLeaf(node)) {
      const why = leafObstacle(node, inference);
      if (why !== undefined) unsupported.set(node.name, why);
      return;
    }
    if (node.op === "Lookup") return;
    const ability = abilityOf(node, program, inference, kernels, device);
    if (ability.host !== true && ability.device !== true) unsupported.set(node.name, whyNot(node, ability));
    else abilities.set(node.name, ability);
  });
  if (unsupported.size > 0) return { places: new Map(), unsupported };
  const wanted = !isRegion
    ? []
    : isOfFewNumbers(inference, abilities)
      ? namesOf(inference)
      : smallOutputs(program, inference);
  const isHostOnly = ({ name }: GraphNode): boolean | undefined => {
    const ability = abilities.get(name);
    return ability?.host === true ? ability.device !== true : undefined;
  };
  const counted = yield* countedOnHost(inference, isHostOnly, isLeaf);
  const places = yield* earliest(
    inference.order,
    abilities,
    hostNeeds(inference.order, abilities, shortRows, [...wanted, ...counted]),
    (node) => {
      if (shortRows.has(node.name)) return "short rows of a small table";
      if (joinsPooledRows(node, program, inference)) return "rows that the host added up, side by side";
      return isBookkeeping(node, inference) ? "a few integers that the host has" : undefined;
    },
  );
  return { places: yield* latest(inference.order, places), unsupported };
}

function leafObstacle(node: GraphNode, inference: Inference): string | undefined {
  return inference.first(node.name) ? undefined : "its dtype is not supported";
}

/** What the compiler makes loops and branches of, where it stands for something else. */
const CONTROL_FLOW = /^(Ref)?(Switch|Merge|Enter|Exit|NextIteration)$|^LoopCond$/;

function whyNot(node: GraphNode, ability: Ability): string {
  if (CONTROL_FLOW.test(node.op)) return "it is no part of a loop or conditional that this compiler knows";
  if (node.attrs.has(WHY_NOT)) return node.attrs.text(WHY_NOT);
  if (!opDef(node.op)) return "it is a custom op, no part of TensorFlow";
  const { host, device } = ability;
  return host === device ? String(host) : `device: ${device}; host: ${host}`;
}

function abilityOf(
  node: GraphNode,
  program: Program,
  inference: Inference,
  kernels: KernelTable,
  device: DeviceSupport,
): Ability {
  const context = contextOf(node, inference, program);
  if (!context || context.outputs.length === 0) {
    const why = node.attrs.unsupportedDtype();
    if (why !== undefined) return { host: why, device: why };
  }
  if (!context) return { host: "its input types are unknown", device: "its input types are unknown" };
  const host = node.op === "NoOp" ? true : kernels.get(node.op) ? kernels.supports(node, context) : "no kernel";
  if (hasEffect(node) || node.op === "NoOp") return { host, device: "it has an effect" };
  const values = [...context.inputs, ...context.outputs];
  const handle = values.find(({ dtype }) => dtype === "resource" || dtype === "variant");
  if (handle) return { host, device: `it works on a ${handle.dtype}` };
  // Strings are the host's: an engine has few string ops, and copies every string twice.
  if (host === true && values.some(({ dtype }) => dtype === "string")) return { host, device: "it works on strings" };
  return { host, device: device.supports(node, context) };
}

/** Elements of one row of a turn's values that the host goes through sooner than an engine is called. */
const TURN_ELEMENTS_MAX = 16;

/**
 * True for a condition or body of which the host must run a part and can run the rest, without arithmetic that devices are for, and
 * whose values are as short as the state of a sampler or filter, as far as anything tells their lengths: a call of the engine in each
 * turn, with values there and back, costs more than its nodes here.
 */
function isOfFewNumbers(inference: Inference, abilities: ReadonlyMap<string, Ability>): boolean {
  const { order } = inference;
  return (
    order.some((node) => !isLeaf(node) && abilities.get(node.name)?.device !== true) &&
    order.every((node) => {
      const infos = inference.nodes.get(node.name)?.infos ?? [];
      if (isLeaf(node)) return node.op !== "Placeholder" || !infos.some(isLarge);
      return abilities.get(node.name)?.host === true && !isHeavy(node) && infos.every(isShort);
    })
  );
}

/** As far as anything tells: of unknown rank are many of a sampler's numbers. */
function isShort(info: ValueInfo): boolean {
  const [, ...row] = info.shape ?? [];
  return elementCount(row.filter((dim) => dim >= 0)) <= TURN_ELEMENTS_MAX && !isLarge(info);
}

function namesOf({ order }: Inference): string[] {
  return order.map(({ name }) => name);
}

/** Conditions and counters. */
function smallOutputs({ outputs }: Program, inference: Inference): string[] {
  return outputs
    .filter((ref) => {
      const info = inference.info(ref);
      return info?.shape?.length === 0 && info.dtype !== "float32" && info.dtype !== "float64";
    })
    .map(({ node }) => node);
}

/** Nodes that a host node, or the ids of a lookup, depend on through nodes that both sides can run. */
function hostNeeds(
  order: readonly GraphNode[],
  abilities: ReadonlyMap<string, Ability>,
  shortRows: ReadonlySet<string>,
  wanted: readonly string[],
): ReadonlySet<string> {
  const needed = new Set<string>(wanted);
  for (const node of [...order].reverse()) {
    const ability = abilities.get(node.name);
    const onHost =
      node.op === "Lookup" ||
      shortRows.has(node.name) ||
      (ability?.host === true && (ability.device !== true || (needed.has(node.name) && !isHeavy(node))));
    if (onHost) for (const ref of node.inputs) needed.add(ref.node);
  }
  return needed;
}

/** True for what moves a few integers a row about, or counts them: the host takes a microsecond for it, an engine as much for the call. */
function isBookkeeping(node: GraphNode, inference: Inference): boolean {
  const isInteger = (ref: TensorRef): boolean => INTEGERS.has(inference.info(ref)?.dtype ?? "");
  const isSmall = (ref: TensorRef): boolean => {
    const shape = inference.info(ref)?.shape;
    if (!shape) return false;
    const [, ...row] = shape;
    return row.every((dim) => dim >= 0) && elementCount(row) <= BOOKKEEPING_ELEMENTS_MAX;
  };
  const [first] = node.inputs;
  if (first === undefined || isHeavy(node) || !isInteger(first)) return false;
  if (COUNTS.has(node.op)) return countsFew(node, inference);
  return [...node.inputs, { node: node.name, index: 0 }].every((ref) => isInteger(ref) && isSmall(ref));
}

/** Elements of one row that the host copies sooner than an engine is fed its pieces one by one. */
const JOINED_ELEMENTS_MAX = 4096;

/** True for the input layer of a model over feature columns: a matrix of pieces that are for the most part `PooledLookup`s. */
function joinsPooledRows(node: GraphNode, { graph }: Program, inference: Inference): boolean {
  if (node.op !== "ConcatV2") return false;
  const pieces = node.inputs.slice(0, -1);
  const pooled = pieces.filter((ref) => graph.get(ref.node)!.op === "PooledLookup").length;
  const shape = inference.first(node.name)?.shape;
  const isNarrow = shape?.length === 2 && shape[1]! >= 0 && shape[1]! <= JOINED_ELEMENTS_MAX;
  return isNarrow && pooled * 2 >= pieces.length;
}

function* earliest(
  order: readonly GraphNode[],
  abilities: ReadonlyMap<string, Ability>,
  needed: ReadonlySet<string>,
  /** Why the host had better keep a node whose inputs it has; undefined for the others. */
  whyHost: (node: GraphNode) => string | undefined,
): Pieces<Map<string, Place>> {
  const places = new Map<string, Place>();
  // Round in which a value is at hand for a step of each kind: a device step sees this round's host and lookup steps.
  const ready = (name: string, by: Place["where"]): number => {
    const source = places.get(name);
    if (!source) return 0;
    const rank = { host: 0, lookup: 1, device: 2 };
    return source.round + (rank[source.where] > rank[by] ? 1 : 0);
  };
  yield* eachInPieces(order, (node) => {
    if (isLeaf(node)) return;
    const before = [...node.inputs.map((ref) => ref.node), ...node.controls];
    const round = (by: Place["where"]): number =>
      before.reduce((latestRound, name) => Math.max(latestRound, ready(name, by)), 0);
    const put = (where: Place["where"], why: string, isFlexible: boolean): void => {
      places.set(node.name, { where, round: round(where), why, isFlexible });
    };
    if (node.op === "Lookup") {
      put("lookup", "rows are fetched by id", false);
      return;
    }
    const { host, device } = abilities.get(node.name)!;
    if (device !== true) put("host", device, false);
    else if (host !== true) put("device", `host: ${host}`, false);
    else if (isHeavy(node)) put("device", "matrix arithmetic or rows", true);
    else if (!needed.has(node.name)) {
      const sources = node.inputs.map((ref) => places.get(ref.node)?.where);
      const isBesideHost =
        sources.includes("host") && sources.every((where) => where === "host" || where === undefined);
      const why = isBesideHost ? whyHost(node) : undefined;
      if (why !== undefined) put("host", why, true);
      else put("device", "only the device needs it", true);
    } else if (round("host") === round("device")) put("host", "host nodes or ids depend on it", true);
    else put("device", "its inputs are on the device", true);
  });
  return places;
}

/** Moves device nodes and lookups to the latest round in which every user still finds them. */
function* latest(order: readonly GraphNode[], places: ReadonlyMap<string, Place>): Pieces<Map<string, Place>> {
  const moved = new Map(places);
  let last = 0;
  for (const { where, round } of places.values()) if (where === "device") last = Math.max(last, round);
  const limits = new Map<string, number>();
  const limit = (name: string, round: number): void => {
    limits.set(name, Math.min(limits.get(name) ?? last, round));
  };
  yield* eachInPieces(order.toReversed(), (node) => {
    const current = moved.get(node.name);
    if (!current) return;
    let { round } = current;
    if (current.where !== "host") {
      round = Math.max(current.round, limits.get(node.name) ?? last);
      moved.set(node.name, { ...current, round });
    }
    for (const name of [...node.inputs.map((ref) => ref.node), ...node.controls]) {
      const source = moved.get(name);
      if (!source || source.where === "host") continue;
      // A host or lookup step runs before this round's device step, a host step before its lookup step too.
      const same = current.where === "device" || (current.where === "lookup" && source.where === "lookup");
      limit(name, same ? round : round - 1);
    }
  });
  return moved;
}
