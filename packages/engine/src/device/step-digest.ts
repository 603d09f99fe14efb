import { createHash } from "node:crypto";
import type { Pieces } from "@shardserve/core";
import type { LoweredSegment, Weight } from "@shardserve/onnx";

const NO_BYTES = new Uint8Array(0);

/**
 * Digest of all that a step computes. Variables count by what tells their bytes from all others of the checkpoint, not by
 * the bytes; their list stands apart, so that no bytes of a constant pass for one.
 */
export function* digesting(
  { weights, encoding }: Pick<LoweredSegment, "weights" | "encoding">,
  place: Parameters<LoweredSegment["encoding"]>[0],
): Pieces<string> {
  const isVariable = ({ source }: Weight): boolean => source.kind === "variable";
  const variables = weights.filter(isVariable).map(({ name, source, permutation }) => [name, source, permutation]);
  const model = yield* encoding((weight) => (isVariable(weight) ? NO_BYTES : place(weight)), false);
  // JSON holds no byte 0: it says where the list ends.
  return createHash("sha256")
    .update(`${JSON.stringify(variables)}\0`)
    .update(model)
    .digest("base64");
}
