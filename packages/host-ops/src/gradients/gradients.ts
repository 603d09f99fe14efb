/** Gradients of activations, and losses: graphs that were exported with a training or evaluation signature carry them. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { check, printShape } from "../call/errors.js";
import { numberArray, type NumberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, integersOf, sameShape } from "../call/shapes.js";
import { applyBinary, type BinaryOp } from "../math/binary-op.js";

/** Both operands have one shape. */
function gradient(operation: BinaryOp | ((op: OpCall) => BinaryOp)): Kernel {
  return (op) => {
    const [a, b] = [op.tensor(0), op.tensor(1)];
    check(
      sameShape(a.shape, b.shape),
      () => `Inputs must have the same shape, got ${printShape(a.shape)} and ${printShape(b.shape)}`,
    );
    return [applyBinary(op.node.op, typeof operation === "function" ? operation(op) : operation, a, b)];
  };
}

/** The gradient where `passes` holds of the feature, else 0; integers too. */
function gated(passes: (feature: number | bigint) => boolean): BinaryOp {
  return {
    // A product: of NaN and infinity nothing becomes 0.
    float: (by, x) => by * (passes(x) ? 1 : 0),
    int: (by, x) => (passes(x) ? by : 0),
    big: (by, x) => (passes(x) ? by : 0n),
  };
}

const SELU_SCALE = 1.0507009873554805;
const SELU_SCALE_ALPHA = 1.7580993408473768;

/** Logits and labels [batch, classes], each broadcast to the other. */
function softmaxCrossEntropy(op: OpCall): Tensor[] {
  const { dtype } = op.tensor(0);
  const shape = broadcastShape(op.tensor(0).shape, op.tensor(1).shape);
  check(shape.length === 2, () => "logits and labels must be either 2-dimensional, or broadcasted to be 2-dimensional");
  const [logits, labels] = [0, 1].map((i) => numbersOf(broadcastTo(op.tensor(i), shape))) as [NumberArray, NumberArray];
  const [batch, classes] = shape as [number, number];
  const losses = numberArray(dtype, batch);
  const gradients = numberArray(dtype, elementCount(shape));
  for (let b = 0; b < batch; b++) {
    const start = b * classes;
    const { most, logSum } = logSumOf(logits, start, classes);
    let loss = 0;
    for (let i = start; i < start + classes; i++) {
      const logOdds = logits[i]! - most - logSum;
      loss -= labels[i]! === 0 && !Number.isNaN(logOdds) ? 0 : labels[i]! * logOdds;
      gradients[i] = Math.exp(logOdds) - labels[i]!;
    }
    losses[b] = loss;
  }
  return [numbersTensor(dtype, [batch], losses), numbersTensor(dtype, shape, gradients)];
}

function logSumOf(logits: NumberArray, start: number, classes: number): { most: number; logSum: number } {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + classes; i++) most = Math.max(most, logits[i]!);
  let sum = 0;
  for (let i = start; i < start + classes; i++) sum += Math.exp(logits[i]! - most);
  return { most, logSum: Math.log(sum) };
}

/** Labels are class numbers [batch]. */
function sparseSoftmaxCrossEntropy(op: OpCall): Tensor[] {
  const [input, wanted] = [op.tensor(0), op.tensor(1)];
  const { dtype, shape } = input;
  check(shape.length === 2, () => `logits must be 2-D, but got shape ${printShape(shape)}`);
  check(wanted.shape.length === 1, () => `labels must be 1-D, but got shape ${printShape(wanted.shape)}`);
  const [batch, classes] = shape as [number, number];
  check(
    wanted.shape[0] === batch,
    () =>
      `logits and labels must have the same first dimension, got logits shape ${printShape(shape)} and labels shape ${printShape(wanted.shape)}`,
  );
  check(classes > 0 || batch === 0, () => "Must have at least one class, but got logits shape " + printShape(shape));
  const [logits, labels] = [numbersOf(input), integersOf(wanted)];
  const losses = numberArray(dtype, batch);
  const gradients = numberArray(dtype, elementCount(shape));
  for (let b = 0; b < batch; b++) {
    const label = labels[b]!;
    check(
      label >= 0 && label < classes,
      () => `Received a label value of ${label} which is outside the valid range of [0, ${classes}).`,
    );
    const start = b * classes;
    const { most, logSum } = logSumOf(logits, start, classes);
    losses[b] = logSum - (logits[start + label]! - most);
    for (let c = 0; c < classes; c++) {
      gradients[start + c] = Math.exp(logits[start + c]! - most - logSum) - (c === label ? 1 : 0);
    }
  }
  return [numbersTensor(dtype, [batch], losses), numbersTensor(dtype, shape, gradients)];
}

export const GRADIENT_KERNELS: Readonly<Record<string, Kernel>> = {
  SigmoidGrad: gradient({ float: (y, by, round) => round(by * y) * round(1 - y) }),
  TanhGrad: gradient({ float: (y, by, round) => by * round(1 - round(y * y)) }),
  SqrtGrad: gradient({ float: (y, by, round) => (by === 0 ? 0 : round(0.5 * by) / y) }),
  RsqrtGrad: gradient({ float: (y, by, round) => (by === 0 ? 0 : round(round(-0.5 * by) * y) * round(y * y)) }),
  InvGrad: gradient({ float: (y, by, round) => (by === 0 ? 0 : -by * round(y * y)) }),
  ReciprocalGrad: gradient({ float: (y, by, round) => (by === 0 ? 0 : -by * round(y * y)) }),
  ReluGrad: gradient(gated((x) => x > 0)),
  Relu6Grad: gradient(gated((x) => x > 0 && x < 6)),
  LeakyReluGrad: gradient((op) => {
    const alpha = roundingOf(op.tensor(0).dtype)(op.attrs.float("alpha"));
    return { float: (by, x) => (x > 0 ? by : by * alpha) };
  }),
  EluGrad: gradient({ float: (by, y, round) => (y < 0 ? round(y + 1) * by : by) }),
  SeluGrad: gradient({
    float: (by, y, round) => (y < 0 ? by * round(y + round(SELU_SCALE_ALPHA)) : by * round(SELU_SCALE)),
  }),
  SoftplusGrad: gradient({ float: (by, x, round) => by / round(round(Math.exp(-x)) + 1) }),
  SoftsignGrad: gradient({ float: (by, x, round) => by / round(round(1 + Math.abs(x)) ** 2) }),
  SoftmaxCrossEntropyWithLogits: softmaxCrossEntropy,
  SparseSoftmaxCrossEntropyWithLogits: sparseSoftmaxCrossEntropy,
};
