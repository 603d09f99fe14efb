import { eachInPieces, type Pieces } from "@shardserve/core";
import { elementCount } from "@shardserve/tensor";
import type { Inference } from "../infer/inference.js";
import type { GraphNode } from "../ir/ir.js";
import { isHeavy } from "./host-cost.js";

/** Their outputs follow from the values of integers, whose lowering takes an engine dozens of ops. */
export const COUNTS: ReadonlySet<string> = new Set(["DenseBincount", "Bincount"]);
export const INTEGERS: ReadonlySet<string> = new Set(["int32", "int64", "bool", "int8", "uint8", "int16"]);

/** Elements of one row that the host handles sooner than an engine is told of them. */
export const BOOKKEEPING_ELEMENTS_MAX = 64;

/** True for counts of rows that are as short as other bookkeeping, as far as anything tells their lengths. */
export function countsFew({ op, inputs }: GraphNode, inference: Inference): boolean {
  if (!COUNTS.has(op)) return false;
  const shape = inference.info(inputs[0]!)?.shape ?? [];
  const row = shape.length > 1 ? shape.slice(1) : shape;
  return elementCount(row.filter((dim) => dim >= 0)) <= BOOKKEEPING_ELEMENTS_MAX;
}

/**
 * What the counts are taken of, where that is the host's own values or integer arithmetic on them: ids of words or n-grams, and the
 * greatest of them. The host has counted before an engine is called, and need not hand the ids over.
 *
 * @param isHostOnly  true, false, or undefined for a node that the host cannot run
 * @param isAtHand  constants and variables, and what is fed
 * @returns names of the counts' inputs
 */
export function* countedOnHost(
  inference: Inference,
  isHostOnly: (node: GraphNode) => boolean | undefined,
  isAtHand: (node: GraphNode) => boolean,
): Pieces<string[]> {
  const counted: string[] = [];
  if (!inference.order.some(({ op }) => COUNTS.has(op))) return counted;
  const atHand = new Set<string>();
  const ofHost = new Set<string>();
  yield* eachInPieces(inference.order, (node) => {
    if (isAtHand(node)) {
      atHand.add(node.name);
      return;
    }
    const isOnlyHosts = isHostOnly(node);
    if (isOnlyHosts === undefined) return;
    const sources = node.inputs.map((ref) => ref.node).filter((name) => !atHand.has(name));
    const isMadeOfHosts = sources.length > 0 && sources.every((name) => ofHost.has(name));
    const isInteger = INTEGERS.has(inference.first(node.name)?.dtype ?? "");
    if (isOnlyHosts || (isMadeOfHosts && isInteger && !isHeavy(node))) ofHost.add(node.name);
    if (isMadeOfHosts && countsFew(node, inference)) counted.push(...sources);
  });
  return counted;
}
