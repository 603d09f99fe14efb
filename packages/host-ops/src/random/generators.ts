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

function checkAlgorithm(op: OpCall): void {
  const algorithm = op.tensor(1);
  check(algorithm.shape.length === 0, () => `input 1 (0-based) must have shape [], not ${printShape(algorithm.shape)}`);
  const id = integerOf(algorithm);
  if (id === THREEFRY) {
    throw new ServingError("UNIMPLEMENTED", "Non-XLA devices don't support the ThreeFry algorithm.");
  }
  check(PHILOX_IDS.has(id), () => `Unsupported algorithm id: ${id}`);
}

/** The state before this run; the next run finds the counter `samples` reservations further. */
function readAndSkip(op: OpCall, samples: bigint): BigInt64Array {
  checkAlgorithm(op);
  const target = op.handle(0);
  const state = op.variable(target);
  const { dtype, shape } = state;
  check(dtype === "int64", () => `dtype of RNG state variable must be int64, not ${dtype}`);
  check(shape.length === 1, () => `RNG state must have one and only one dimension, not ${shape.length}`);
  check(
    shape[0]! >= STATE_LENGTH,
    () => `For the Philox algorithm, the size of state must be at least ${STATE_LENGTH}; got ${shape[0]}`,
  );
  const before = state.data as BigInt64Array;
  const after = before.slice();
  const skipped = BigInt.asUintN(64, samples * BigInt(RESERVED_PER_SAMPLE));
  const low = BigInt.asUintN(64, before[0]!) + skipped;
  after[0] = BigInt.asIntN(64, low);
  after[1] = BigInt.asIntN(64, before[1]! + (low >> 64n));
  op.state.variables.set(target.key, tensor("int64", shape, after));
  return before;
}

function deltaOf(op: OpCall): bigint {
  const delta = op.tensor(2);
  check(delta.shape.length === 0, () => `input 2 (0-based) must have shape [], not ${printShape(delta.shape)}`);
  return (delta.data as BigUint64Array)[0]!;
}

/** Draws a tensor of the shape of input 2. */
function drawn(fill: Fill): Kernel {
  return (op): Tensor[] => {
    const shape = shapeInput(op, 2);
    checkedCount("float32", shape);
    const state = lanesOf(readAndSkip(op, BigInt(elementCount(shape))));
    return [fill(new Philox(state.subarray(4, 6), state.subarray(0, 4)), shape, op)];
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
  StatefulStandardNormalV2: drawn(normal),
  StatefulTruncatedNormal: drawn(truncatedNormal),
  StatefulUniformInt: drawn(uniformInt(3, "dtype")),
  StatefulUniformFullInt: drawn(fullInt),
};
