import type { onnx } from "@shardserve/api";
import { DOUBLE, type GuardScope, int, INT64, type Names, op, passIf, scalar } from "./guard-nodes.js";
import { changedNode, isOp, nodeName } from "./model-graph.js";

/** Ends the name of a node that refuses a tensor of another rank than the operator takes. */
export const RANK_LABEL = "Rank";

/** Which ranks an input has: at least so many, just one where `most` is the same number, or that of another input. */
type Rank = { readonly least: number; readonly most?: number } | { readonly sameAs: string };

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
export const RANK_GUARDED: readonly string[] = [...RANKS.keys(), ...OPEN_RANKS.keys(), "Attention", "Concat", "Einsum"];

/** What is known of ranks. */
export interface RankFacts {
  /** Of values that cannot come with another. */
  readonly known: ReadonlyMap<string, number>;
  /** Whether a request decides ranks otherwise than by inputs that declare one. */
  readonly areOpen: boolean;
}

function ranksTaken(node: onnx.NodeProto, areOpen: boolean): readonly Rank[] {
  if (!isOp(node, node.opType)) return [];
  if (isOp(node, "Attention")) return attentionRanks(node);
  const taken = RANKS.get(node.opType);
  if (taken || !areOpen) return taken ?? [];
  if (isOp(node, "Einsum")) return einsumRanks(node);
  if (isOp(node, "Concat")) return node.input.map((_, i) => (i === 0 ? { least: 1 } : { sameAs: node.input[0]! }));
  return OPEN_RANKS.get(node.opType) ?? [];
}

/** Queries, keys and values stand in heads; without, their numbers must be told. */
function attentionRanks({ attribute }: onnx.NodeProto): readonly Rank[] {
  const areHeadsTold = ["q_num_heads", "kv_num_heads"].every((head) => attribute.some(({ name }) => name === head));
  const rank: Rank = areHeadsTold ? { least: 3 } : exactly(4);
  return [rank, rank, rank];
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
  scope: GuardScope,
): onnx.NodeProto[] | undefined {
  const taken = ranksTaken(node, areOpen);
  const { names } = scope;
  const guards: onnx.NodeProto[] = [];
  const input = node.input.map((x, i) => {
    const rank = taken[i];
    if (!rank || x === "" || isKnown(x, rank, known)) return x;
    const [isTaken, kept] = [names.next(), names.next()];
    guards.push(
      ...hasRank(x, rank, isTaken, names),
      passIf(`${nodeName(node)}/${RANK_LABEL}_${i}`, isTaken, x, kept, scope),
    );
    return kept;
  });
  return guards.length === 0 ? undefined : [...guards, changedNode(node, { input })];
}

function isKnown(x: string, rank: Rank, known: ReadonlyMap<string, number>): boolean {
  const own = known.get(x);
  if ("sameAs" in rank) return x === rank.sameAs || (own !== undefined && own === known.get(rank.sameAs));
  return own !== undefined && own >= rank.least && own <= (rank.most ?? Infinity);
}

function hasRank(x: string, taken: Rank, isTaken: string, names: Names): onnx.NodeProto[] {
  const [rank, bound] = [names.next(), names.next()];
  const ofInput = rankOf(x, rank, names);
  if ("sameAs" in taken)
    return [...ofInput, ...rankOf(taken.sameAs, bound, names), op("Equal", [rank, bound], [isTaken])];
  const isExact = taken.most !== undefined;
  if (isExact) return [...ofInput, ...scalar(bound, taken.least, INT64, names), op("Equal", [rank, bound], [isTaken])];
  // Before opset 9 only floats are compared by size.
  const wide = names.next();
  return [
    ...ofInput,
    ...scalar(bound, taken.least - 1, DOUBLE, names),
    op("Cast", [rank], [wide], [int("to", DOUBLE)]),
    op("Greater", [wide, bound], [isTaken]),
  ];
}

function rankOf(x: string, rank: string, names: Names): onnx.NodeProto[] {
  const shape = names.next();
  return [op("Shape", [x], [shape]), op("Size", [shape], [rank])];
}
