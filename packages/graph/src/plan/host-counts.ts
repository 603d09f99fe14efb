import type { Inference } from "../infer/inference.js";
import type { GraphNode } from "../ir/ir.js";
import { isHeavy } from "./host-cost.js";

/** Their outputs follow from the values of integers, whose lowering takes an engine dozens of ops. */
export const COUNTS: ReadonlySet<string> = new Set(["DenseBincount", "Bincount"]);
export const INTEGERS: ReadonlySet<string> = new Set(["int32", "int64", "bool", "int8", "uint8", "int16"]);

/**
 * What the counts are taken of, where that is the host's own values or integer arithmetic on them: ids of words or n-grams, and the
 * greatest of them. The host has counted before an engine is called, and need not hand the ids over.
 *
 * @param isHostOnly  true, false, or undefined for a node that the host cannot run
 * @param isAtHand  constants and variables, and what is fed
 * @returns names of the counts' inputs
 */
export function countedOnHost(
  inference: Inference,
  isHostOnly: (node: GraphNode) => boolean | undefined,
  isAtHand: (node: GraphNode) => boolean,
): string[] {
  const counted: string[] = [];
  const atHand = new Set<string>();
  const ofHost = new Set<string>();
  for (const node of inference.order) {
    if (isAtHand(node)) {
      atHand.add(node.name);
      continue;
    }
    const isOnlyHosts = isHostOnly(node);
    if (isOnlyHosts === undefined) continue;
    const sources = node.inputs.map((ref) => ref.node).filter((name) => !atHand.has(name));
    const isMadeOfHosts = sources.length > 0 && sources.every((name) => ofHost.has(name));
    const isInteger = INTEGERS.has(inference.first(node.name)?.dtype ?? "");
    if (isOnlyHosts || (isMadeOfHosts && isInteger && !isHeavy(node))) ofHost.add(node.name);
    if (isMadeOfHosts && COUNTS.has(node.op)) counted.push(...sources);
  }
  return counted;
}
