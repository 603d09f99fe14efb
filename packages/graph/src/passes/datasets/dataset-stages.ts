import { type DType, scalar } from "@shardserve/tensor";
import type { FunctionRef } from "../../ir/attrs.js";
import type { Graph, GraphNode, TensorRef } from "../../ir/ir.js";
import { nodeOf } from "../../ir/program.js";
import type { Block, Value } from "./dataset-blocks.js";
import { type Indexed, indexedDataset, SAME_ELEMENTS } from "./indexed-datasets.js";
import { behindIdentity } from "../control/regions.js";

/** A dataset whose elements come one after another: those of an indexed one, through stages that remember or drop some. */
export interface Walk {
  readonly source: Indexed;
  readonly stages: readonly Stage[];
}

/** One way to hand elements on. */
interface Stage {
  readonly kind: "map" | "scan" | "filter" | "takeWhile";
  readonly f: FunctionRef;
  readonly resultDTypes: readonly DType[];
  /** What the stage remembers at first: the state of a scan; whether a takeWhile goes on. Values of the program, as are the others. */
  readonly state: readonly Value[];
  /** Arguments of `f` after the element. */
  readonly others: readonly Value[];
}

const KINDS: Readonly<Record<string, Stage["kind"]>> = {
  MapDataset: "map",
  ParallelMapDataset: "map",
  ParallelMapDatasetV2: "map",
  ScanDataset: "scan",
  FilterDataset: "filter",
  TakeWhileDataset: "takeWhile",
};

/**
 * The dataset that `ref` stands for; undefined where a part of it is of no known kind.
 *
 * @param top the block of the program
 */
export function walkOf(graph: Graph, ref: TensorRef, top: Block): Walk | undefined {
  const source = indexedDataset(graph, ref, top);
  if (source) return { source, stages: [] };
  const node = nodeOf(graph, behindIdentity(graph, ref).node);
  const kind = KINDS[node.op];
  if (!kind && !SAME_ELEMENTS.has(node.op)) return undefined;
  const before = walkOf(graph, node.inputs[0]!, top);
  return kind && before ? { ...before, stages: [...before.stages, stageOf(node, kind, top)] } : before;
}

function stageOf({ inputs, attrs }: GraphNode, kind: Stage["kind"], top: Block): Stage {
  const outputs = attrs.dtypes("output_types");
  const remembered = kind === "scan" ? attrs.dtypes("Tstate") : [];
  const values = [...remembered, ...attrs.dtypes("Targuments")].map((dtype, i) => ({ ref: inputs[1 + i]!, dtype }));
  const others = values.slice(remembered.length);
  if (kind === "map" || kind === "scan") {
    const state = values.slice(0, remembered.length);
    return { kind, f: attrs.func("f"), resultDTypes: [...remembered, ...outputs], state, others };
  }
  const state = kind === "takeWhile" ? [top.constant(scalar("bool", 1))] : [];
  return { kind, f: attrs.func("predicate"), resultDTypes: ["bool"], state, others };
}

/** Positions, in the state of all stages, of the bools that say whether a walk goes on. */
export function alivePositions(stages: readonly Stage[]): number[] {
  const starts = stages.map((_, i) => stages.slice(0, i).flatMap(({ state }) => state).length);
  return starts.filter((_, i) => stages[i]!.kind === "takeWhile");
}

/**
 * Adds to `block` what one element does on its way.
 *
 * @param state that of the stages in their order, then the consumer's
 * @param last  the consumer: its next state, for an element that came through
 * @returns the next state of all
 */
export function handOn(
  [stage, ...later]: readonly Stage[],
  block: Block,
  element: readonly Value[],
  state: readonly Value[],
  last: (block: Block, element: readonly Value[], state: readonly Value[]) => readonly Value[],
): readonly Value[] {
  if (!stage) return last(block, element, state);
  const own = state.slice(0, stage.state.length);
  const rest = state.slice(own.length);
  const others = stage.others.map((other) => block.global(other));
  const made = block.call(stage.f, [...(stage.kind === "scan" ? own : []), ...element, ...others], stage.resultDTypes);
  if (stage.kind === "map" || stage.kind === "scan") {
    return [...made.slice(0, own.length), ...handOn(later, block, made.slice(own.length), rest, last)];
  }
  const passes = made[0]!;
  const next = block.when(passes, rest, (inner, kept) => {
    const same = element.map((value) => inner.outside(value));
    return handOn(later, inner, same, kept, last);
  });
  return stage.kind === "takeWhile" ? [passes, ...next] : next;
}
