/** Ops of tf.random.Generator: the state of Philox, [counter low, counter high, key], is a variable of int64. */
import { ServingError } from "@shardserve/core";
import { elementCount, lanesOf, type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf } from "../call/shapes.js";
import { Philox } from "./philox.js";
import {
  type Fill,
  fullInt,
  normal,
  RESERVED_PER_SAMPLE,
  shapeInput,
  truncatedNormal,
  uniform,
  uniformInt,
} from "./random.js";

const STATE_LENGTH = 3;
const PHILOX_IDS = new Set([1, 3]);
const THREEFRY = 2;

function checkAlgorithm(id: number): void {
  if (id === THREEFRY) {
    throw new ServingError("UNIMPLEMENTED", "Non-XLA devices don't support the ThreeFry algorithm.");
  }
  check(PHILOX_IDS.has(id), () => `Unsupported algorithm id: ${id}`);
}

function algorithmInput(op: OpCall): number {
  const algorithm = op.tensor(1);
  check(algorithm.shape.length === 0, () => `input 1 (0-based) must have shape [], not ${printShape(algorithm.shape)}`);
  return integerOf(algorithm);
}

/**
 * The state before this run; the next run finds the counter `samples` reservations further.
 *
 * @param at  where the counter begins: in the first form of the state the algorithm stands before it, and is no input
 */
function readAndSkip(op: OpCall, samples: bigint, at: 0 | 1 = 0): BigInt64Array {
  if (at === 0) checkAlgorithm(algorithmInput(op));
  const target = op.handle(0);
  const state = op.variable(target);
  const { dtype, shape } = state;
  check(dtype === "int64", () => `dtype of RNG state variable must be int64, not ${dtype}`);
  check(shape.length === 1, () => `RNG state must have one and only one dimension, not ${shape.length}`);
  const before = state.data as BigInt64Array;
  if (at === 1) {
    check(before.length > 0, () => "Size of tensor must be > 0");
    checkAlgorithm(Number(before[0]!));
  }
  check(
    shape[0]! >= at + STATE_LENGTH,
    () => `For the Philox algorithm, the size of state must be at least ${at + STATE_LENGTH}; got ${shape[0]}`,
  );
  const after = before.slice();
  const skipped = BigInt.asUintN(64, samples * BigInt(RESERVED_PER_SAMPLE));
  const low = BigInt.asUintN(64, before[at]!) + skipped;
  after[at] = BigInt.asIntN(64, low);
  after[at + 1] = BigInt.asIntN(64, before[at + 1]! + (low >> 64n));
  op.state.variables.set(target.key, tensor("int64", shape, after));
  return before;
}

/** The generator of this run, of the variable's state. */
export function reserveOfVariable(op: OpCall, samples: bigint, at: 0 | 1 = 0): Philox {
  const state = lanesOf(readAndSkip(op, samples, at)).subarray(2 * at);
  return new Philox(state.subarray(4, 6), state.subarray(0, 4));
}

function deltaOf(op: OpCall): bigint {
  const delta = op.tensor(2);
  check(delta.shape.length === 0, () => `input 2 (0-based) must have shape [], not ${printShape(delta.shape)}`);
  return (delta.data as BigUint64Array)[0]!;
}

/** Draws a tensor of the shape of input 2, or of input 1 where the state tells the algorithm. */
function drawn(fill: Fill, at: 0 | 1 = 0): Kernel {
  return (op): Tensor[] => {
    const shape = shapeInput(op, 2 - at);
    checkedCount("float32", shape);
    return [fill(reserveOfVariable(op, BigInt(elementCount(shape)), at), shape, op)];
  };
}

export const GENERATOR_KERNELS: Readonly<Record<string, Kernel>> = {
  RngReadAndSkip: (op) => {
    const state = readAndSkip(op, deltaOf(op));
    return [tensor("int64", [state.length], state)];
  },
  RngSkip: (op) => {
    readAndSkip(op, deltaOf(op));
    return [];
  },
  StatefulUniform: drawn(uniform),
  StatefulStandardNormal: drawn(normal, 1),
  StatefulStandardNormalV2: drawn(normal),
  StatefulTruncatedNormal: drawn(truncatedNormal),
  StatefulUniformInt: drawn(uniformInt(3, "dtype")),
  StatefulUniformFullInt: drawn(fullInt),
};
