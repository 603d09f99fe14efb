/** Membership among the k largest of a row. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integerOf, integersOf } from "../call/shapes.js";

/** True for targets whose prediction is among the k largest of its row; ties count for the target. */
function inTopK(op: OpCall, k: number): Tensor[] {
  const [predictions, targets] = [op.tensor(0), op.tensor(1)];
  check(predictions.shape.length === 2, () => "predictions must be 2-dimensional");
  check(targets.shape.length === 1, () => "targets must be 1-dimensional");
  check(
    predictions.shape[0] === targets.shape[0],
    () => `First dimension of predictions ${predictions.shape[0]} must match length of targets ${targets.shape[0]}`,
  );
  const classes = predictions.shape[1]!;
  const numbers = numbersOf(predictions);
  const ids = integersOf(targets);
  const out = allocate("bool", ids.length);
  for (let row = 0; row < ids.length; row++) {
    const target = ids[row]!;
    const value = target >= 0 && target < classes ? numbers[row * classes + target]! : Number.NaN;
    let higher = 0;
    let isBroken = !Number.isFinite(value);
    for (let c = 0; c < classes && !isBroken; c++) {
      const other = numbers[row * classes + c]!;
      if (!Number.isFinite(other)) isBroken = true;
      else if (other > value) higher++;
    }
    out[row] = !isBroken && higher < k ? 1 : 0;
  }
  return [tensor("bool", [ids.length], out)];
}

export const IN_TOP_K_KERNELS: Readonly<Record<string, Kernel>> = {
  InTopK: (op) => inTopK(op, op.attrs.int("k")),
  InTopKV2: (op) => {
    check(op.tensor(2).shape.length === 0, () => `k must be 0-D, got shape ${printShape(op.tensor(2).shape)}`);
    return inTopK(op, integerOf(op.tensor(2)));
  },
};
