import { toNumbers } from "@shardserve/tensor";
import { constantOf, type TensorRef } from "../ir/ir.js";
import type { Program } from "../ir/program.js";
import type { Inference } from "./inference.js";

/** Steps back through a graph from one value. */
const STEPS_MAX = 16;

/**
 * The axis along which an integer tensor counts 0, 1, 2, ...: a range that was given dimensions of one and spread over others.
 * Undefined for other values, and where it is not sure.
 */
export function iotaAxis(ref: TensorRef, program: Program, inference: Inference): number | undefined {
  const rank = inference.info(ref)?.shape?.length;
  if (rank === undefined || rank === 0) return undefined;
  const { graph } = program;
  let [current, axis] = [ref, undefined as number | undefined];
  for (let steps = 0; steps < STEPS_MAX; steps++) {
    const node = graph.get(current.node);
    const shape = inference.info(current)?.shape;
    if (!node || !shape || shape.length === 0) return undefined;
    const long = shape.flatMap((size, i) => (size === 1 ? [] : [i]));
    if (node.op === "Const") return countsAlong(constantOf(node), axis, rank, shape);
    if (node.op === "Range") return shape.length === 1 && startsAtZero(node.inputs, program) ? (axis ?? 0) : undefined;
    const source = inference.info(node.inputs[0] ?? ref)?.shape;
    if (node.op === "Cast") current = node.inputs[0]!;
    else if (node.op === "BroadcastTo" && source?.length === shape.length) current = node.inputs[0]!;
    else if (node.op === "Reshape" && source?.length === 1 && long.length === 1) {
      axis ??= shape.length === rank ? long[0] : undefined;
      if (axis === undefined) return undefined;
      current = node.inputs[0]!;
    } else return undefined;
  }
  return undefined;
}

function startsAtZero(inputs: readonly TensorRef[], { graph }: Program): boolean {
  const [start, , step] = inputs.map((input) => {
    const value = constantOf(graph.get(input.node));
    return value?.data.length === 1 ? toNumbers(value)[0] : undefined;
  });
  return start === 0 && step === 1;
}

/** @param axis  where a reshape put the numbers of a vector */
function countsAlong(
  value: ReturnType<typeof constantOf>,
  axis: number | undefined,
  rank: number,
  shape: readonly number[],
): number | undefined {
  if (!value || !/^u?int/.test(value.dtype)) return undefined;
  const numbers = toNumbers(value);
  const candidates = axis !== undefined ? [0] : shape.map((_, i) => i);
  const found = candidates.find((along) => {
    const inner = shape.slice(along + 1).reduce((a, b) => a * b, 1);
    return numbers.every((number, i) => number === Math.floor(i / inner) % shape[along]!);
  });
  if (found === undefined || numbers.length === 0) return undefined;
  return axis ?? (shape.length === rank ? found : undefined);
}
