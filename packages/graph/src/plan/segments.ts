import { eachInPieces, type Pieces } from "@shardserve/core";
import type { Inference } from "../infer/inference.js";
import { type GraphNode, refKey, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import { isHeavy } from "./host-cost.js";
import type { Place } from "./place.js";
import type { PlannedLookup, Step } from "./plan.js";

interface Draft {
  readonly kind: "host" | "device" | "lookup";
  readonly nodes: GraphNode[];
}

/**
 * Joins placed nodes to steps: one host, lookup and device step a round, as far as they have nodes; neighbouring host
 * steps are one. Then works out what crosses from step to step.
 *
 * @param prefix   start of the step ids
 * @param isRegion the program is part of a loop or branch: the host holds what it is given
 */
export function* makeSteps(
  program: Program,
  inference: Inference,
  places: ReadonlyMap<string, Place>,
  prefix: string,
  isRegion = false,
): Pieces<Step[]> {
  const drafts = mergeHostSteps(absorbSmallDevice(drafted(inference.order, places), inference, places, isRegion));
  addGivenLeaves(drafts, program);
  yield;
  const crossing = yield* crossings(drafts, program);
  const counts = { host: 0, device: 0, lookup: 0 };
  const steps: Step[] = [];
  for (const [i, { kind, nodes: placed }] of drafts.entries()) {
    if (kind === "lookup") {
      steps.push({ kind, lookups: placed.map(plannedLookup) });
      continue;
    }
    const { inputs, outputs } = crossing[i]!;
    const nodes = yield* withLeaves(placed, program);
    yield;
    const variables = new Map<string, string>();
    for (const { name, op, attrs } of nodes) if (op === "Variable") variables.set(name, attrs.text("checkpointKey"));
    const id = `${prefix}/${kind}${counts[kind]++}`;
    steps.push({ kind, id, nodes, inputs: [...inputs.values()], outputs: [...outputs.values()], variables });
    yield;
  }
  return steps;
}

/** What comes into a step and goes out of it, by `refKey`. */
interface Crossing {
  readonly inputs: Map<string, TensorRef>;
  readonly outputs: Map<string, TensorRef>;
}

/** By draft. Host and device steps have their own copies of constants and variables; lookups and the caller have not. */
function* crossings(drafts: readonly Draft[], { graph, outputs }: Program): Pieces<Crossing[]> {
  const makers = new Map<string, number>();
  for (const [i, { nodes }] of drafts.entries()) yield* eachInPieces(nodes, ({ name }) => makers.set(name, i));
  const all = drafts.map((): Crossing => ({ inputs: new Map(), outputs: new Map() }));
  for (const [i, { kind, nodes }] of drafts.entries()) {
    yield* eachInPieces(nodes, (node) => {
      for (const ref of node.inputs) {
        const maker = makers.get(ref.node);
        const { op } = graph.get(ref.node)!;
        if (maker === i || (kind !== "lookup" && (op === "Const" || op === "Variable"))) continue;
        all[i]!.inputs.set(refKey(ref), ref);
        if (maker !== undefined) all[maker]!.outputs.set(refKey(ref), ref);
      }
    });
  }
  for (const ref of outputs) {
    const maker = makers.get(ref.node);
    if (maker !== undefined) all[maker]!.outputs.set(refKey(ref), ref);
  }
  return all;
}

/**
 * Constants and variables that are outputs, or the ids of a lookup, come out of the first host step: every other node
 * that reads them is in a step that has its own copy.
 */
function addGivenLeaves(drafts: Draft[], program: Program): void {
  const lookups = drafts.filter(({ kind }) => kind === "lookup").flatMap(({ nodes }) => nodes);
  const given = [...program.outputs, ...lookups.map((node) => node.inputs[0]!)]
    .map((ref) => program.graph.get(ref.node)!)
    .filter((node) => node.op === "Const" || node.op === "Variable");
  if (given.length === 0) return;
  if (drafts[0]?.kind !== "host") drafts.unshift({ kind: "host", nodes: [] });
  drafts[0]!.nodes.unshift(...new Set(given));
}

function drafted(order: readonly GraphNode[], places: ReadonlyMap<string, Place>): Draft[] {
  const rounds = new Map<number, Record<Place["where"], GraphNode[]>>();
  for (const node of order) {
    const at = places.get(node.name);
    if (!at) continue;
    let round = rounds.get(at.round);
    if (!round) rounds.set(at.round, (round = { host: [], lookup: [], device: [] }));
    round[at.where].push(node);
  }
  return [...rounds]
    .sort(([a], [b]) => a - b)
    .flatMap(([, round]) => [
      { kind: "host" as const, nodes: readsFirst(round.host) },
      { kind: "lookup" as const, nodes: round.lookup },
      { kind: "device" as const, nodes: round.device },
    ])
    .filter(({ nodes }) => nodes.length > 0);
}

/**
 * A read of a variable that waits for nothing comes before the request's writes: TensorFlow starts with what is ready, so
 * that a metric's value is the one before this request's update.
 */
function readsFirst(nodes: readonly GraphNode[]): GraphNode[] {
  const handles = new Map(
    nodes.filter(({ op, controls }) => op === "VarHandleOp" && controls.length === 0).map((node) => [node.name, node]),
  );
  const early = new Set<GraphNode>();
  for (const node of nodes) {
    const handle = node.op === "ReadVariableOp" ? handles.get(node.inputs[0]!.node) : undefined;
    if (handle && node.controls.length === 0) early.add(handle).add(node);
  }
  return [...early, ...nodes.filter((node) => !early.has(node))];
}

/**
 * A device step that does nothing but move integers and bools about, and stands beside a host step or is all of a branch or
 * a turn, is not worth an engine call: its nodes join the host, provided that the host can run them.
 */
function absorbSmallDevice(
  drafts: readonly Draft[],
  inference: Inference,
  places: ReadonlyMap<string, Place>,
  isRegion: boolean,
): Draft[] {
  return drafts.map((draft, i) => {
    const hasHostBeside =
      drafts[i - 1]?.kind === "host" || drafts[i + 1]?.kind === "host" || (isRegion && drafts.length === 1);
    return draft.kind === "device" &&
      hasHostBeside &&
      draft.nodes.every((node) => places.get(node.name)!.isFlexible && isSmall(node, inference))
      ? { kind: "host", nodes: draft.nodes }
      : draft;
  });
}

const SMALL_DTYPES = new Set(["int32", "int64", "bool", "string", "int8", "uint8", "int16"]);

function isSmall(node: GraphNode, inference: Inference): boolean {
  const values = [...node.inputs, { node: node.name, index: 0 }];
  return !isHeavy(node) && values.every((ref) => SMALL_DTYPES.has(inference.info(ref)?.dtype ?? ""));
}

function mergeHostSteps(drafts: readonly Draft[]): Draft[] {
  const merged: Draft[] = [];
  for (const draft of drafts) {
    const previous = merged.at(-1);
    if (draft.kind === "host" && previous?.kind === "host") previous.nodes.push(...draft.nodes);
    else merged.push({ kind: draft.kind, nodes: [...draft.nodes] });
  }
  return merged;
}

/** Const and Variable nodes first, each step its own. */
function* withLeaves(nodes: readonly GraphNode[], program: Program): Pieces<GraphNode[]> {
  const leaves = new Set<GraphNode>();
  yield* eachInPieces(nodes, ({ inputs }) => {
    for (const ref of inputs) {
      const source = program.graph.get(ref.node)!;
      if (source.op === "Const" || source.op === "Variable") leaves.add(source);
    }
  });
  return [...leaves, ...nodes.filter((node) => !leaves.has(node))];
}

function plannedLookup(node: GraphNode): PlannedLookup {
  return {
    node: node.name,
    checkpointKey: node.attrs.text("checkpointKey"),
    ids: node.inputs[0]!,
    rowOffset: node.attrs.int("rowOffset"),
    rowCount: node.attrs.int("rowCount"),
    rows: { node: node.name, index: 0 },
    slots: { node: node.name, index: 1 },
  };
}
