import type { onnx } from "@shardserve/api";
import { constant, type Names, op, passIf } from "./guard-nodes.js";
import { changedNode, isOp, nodeName } from "./model-graph.js";

/** Ends the name of a node that refuses a tensor of another rank than the operator takes. */
export const RANK_LABEL = "Rank";

/** Which ranks an input has. */
interface Rank {
  readonly least: number;
  /** absent = no most */
  readonly most?: number;
}

const exactly = (rank: number): Rank => ({ least: rank, most: rank });

/** Operators whose kernels read dimensions before they count them, which ends the process, and the ranks of their first inputs. */
const RANKS: ReadonlyMap<string, readonly Rank[]> = new Map([
  ["LSTM", [exactly(3)]],
  ["GRU", [exactly(3)]],
  ["RNN", [exactly(3)]],
  ["ReverseSequence", [{ least: 2 }, exactly(1)]],
  ["RoiAlign", [exactly(4), exactly(2), exactly(1)]],
  ["MaxRoiPool", [exactly(4), exactly(2)]],
  ["Multinomial", [exactly(2)]],
]);
/** The same, guarded only in a model with inputs that declare no rank: ONNX Runtime joins these with their neighbours. */
const OPEN_RANKS: ReadonlyMap<string, readonly Rank[]> = new Map([
  ["Conv", [{ least: 3 }]],
  ["ConvInteger", [{ least: 3 }, { least: 3 }]],
  ["QLinearConv", [{ least: 3 }, { least: 0 }, { least: 0 }, { least: 3 }]],
  ["GridSample", [{ least: 4 }, { least: 4 }]],
  ["DFT", [{ least: 2 }]],
  ["STFT", [{ least: 2 }, { least: 0 }, exactly(1)]],
]);

/** All operators that {@link guardRanks} knows. */
export const RANK_GUARDED: readonly string[] = [...RANKS.keys(), ...OPEN_RANKS.keys(), "Einsum"];

/** What is known of ranks. */
export interface RankFacts {
  /** Of values that cannot come with another. */
  readonly known: ReadonlyMap<string, number>;
  /** Whether the model has an input that declares none. */
  readonly areOpen: boolean;
}

function ranksTaken(node: onnx.NodeProto, areOpen: boolean): readonly Rank[] {
  if (!isOp(node, node.opType)) return [];
  const taken = RANKS.get(node.opType);
  if (taken || !areOpen) return taken ?? [];
  return isOp(node, "Einsum") ? einsumRanks(node) : (OPEN_RANKS.get(node.opType) ?? []);
}

/** "b...i, ij -> b...j": a letter a dimension. */
function einsumRanks({ attribute }: onnx.NodeProto): readonly Rank[] {
  const equation = Buffer.from(attribute.find(({ name }) => name === "equation")?.s ?? []).toString();
  const [inputs = ""] = equation.split("->");
  return inputs.split(",").map((term) => {
    const letters = term.replace(/[^a-z]/gi, "").length;
    return term.includes("...") ? { least: letters } : exactly(letters);
  });
}

/**
 * Keeps tensors of other ranks away from a kernel: they fail the request by {@link RANK_LABEL}.
 *
 * @returns undefined where there is nothing to guard
 */
export function guardRanks(
  node: onnx.NodeProto,
  { known, areOpen }: RankFacts,
  names: Names,
): onnx.NodeProto[] | undefined {
  const taken = ranksTaken(node, areOpen);
  const guards: onnx.NodeProto[] = [];
  const input = node.input.map((x, i) => {
    const rank = taken[i];
    if (!rank || x === "" || isWithin(known.get(x), rank)) return x;
    const [isTaken, kept] = [names.next(), names.next()];
    guards.push(
      ...hasRank(x, rank, isTaken, names),
      passIf(`${nodeName(node)}/${RANK_LABEL}_${i}`, isTaken, x, kept, names),
    );
    return kept;
  });
  return guards.length === 0 ? undefined : [...guards, changedNode(node, { input })];
}

function isWithin(rank: number | undefined, { least, most = Infinity }: Rank): boolean {
  return rank !== undefined && rank >= least && rank <= most;
}

function hasRank(x: string, { least, most }: Rank, isTaken: string, names: Names): onnx.NodeProto[] {
  const [shape, rank, bound] = [names.next(), names.next(), names.next()];
  const isExact = most !== undefined;
  return [
    op("Shape", [x], [shape]),
    op("Size", [shape], [rank]),
    constant(bound, [BigInt(isExact ? least : least - 1)], []),
    op(isExact ? "Equal" : "Greater", [rank, bound], [isTaken]),
  ];
}
