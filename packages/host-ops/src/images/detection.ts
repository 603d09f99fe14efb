/** Non-maximum suppression: the best boxes that do not overlap too much. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { combinedSuppression } from "./combined-suppression.js";
import { overlapIn, type SuppressionRules, suppress } from "./suppression.js";

type Numbers = ArrayLike<number>;

function scalar(op: OpCall, at: number): number {
  return numbersOf(op.tensor(at))[0]!;
}

function boxesAndScores(op: OpCall): { boxes: Numbers; scores: Numbers } {
  const [boxes, scores] = [op.tensor(0), op.tensor(1)];
  check(boxes.shape.length === 2, () => `boxes must be 2-D[${boxes.shape.join(",")}]`);
  check(boxes.shape[1] === 4, () => "boxes must have 4 columns");
  check(scores.shape.length === 1 && scores.shape[0] === boxes.shape[0], () => "scores has incompatible shape");
  return { boxes: numbersOf(boxes), scores: numbersOf(scores) };
}

function rulesOf(op: OpCall, softAt?: number): SuppressionRules {
  const countMax = Math.max(scalar(op, 2), 0);
  const overlapMax = op.inputCount > 3 ? scalar(op, 3) : op.attrs.float("iou_threshold");
  check(overlapMax >= 0 && overlapMax <= 1, () => "iou_threshold must be in [0, 1]");
  const scoreMin = op.inputCount > 4 ? scalar(op, 4) : Number.NEGATIVE_INFINITY;
  const softness = softAt === undefined ? 0 : scalar(op, softAt);
  check(softness >= 0, () => `soft_nms_sigma must be non-negative, got ${softness}`);
  return { countMax, overlapMax, scoreMin, softness };
}

const plain: Kernel = (op) => {
  const { boxes, scores } = boxesAndScores(op);
  return [numbersOfBoxes(suppress(overlapIn(boxes), scores, rulesOf(op)))];
};

function numbersOfBoxes({ boxes }: { boxes: Int32Array }): Tensor {
  return tensor("int32", [boxes.length], boxes);
}

/** By a matrix that says of every two boxes how much they overlap. */
const withOverlaps: Kernel = (op) => {
  const [overlaps, scores] = [op.tensor(0), op.tensor(1)];
  const [count, others] = overlaps.shape;
  check(overlaps.shape.length === 2, () => "overlaps must be 2-D");
  check(count === others, () => "overlaps must be square");
  check(scores.shape.length === 1, () => "scores must be 1-D");
  check(scores.shape[0] === count, () => "scores has incompatible shape");
  const values = numbersOf(overlaps);
  const rules = {
    countMax: Math.max(scalar(op, 2), 0),
    overlapMax: scalar(op, 3),
    scoreMin: scalar(op, 4),
    softness: 0,
  };
  return [numbersOfBoxes(suppress((i, j) => values[i * count! + j]!, numbersOf(scores), rules))];
};

/** V4 and V5: filled up with zeros where asked. */
function padded(softAt?: number): Kernel {
  return (op) => {
    const { boxes, scores } = boxesAndScores(op);
    const rules = rulesOf(op, softAt);
    const selected = suppress(overlapIn(boxes), scores, rules);
    const valid = selected.boxes.length;
    const count = op.attrs.bool("pad_to_max_output_size") ? rules.countMax : valid;
    const indices = new Int32Array(checkedCount("int32", [count]));
    indices.set(selected.boxes);
    const found: Tensor[] = [tensor("int32", [count], indices)];
    if (softAt !== undefined) {
      const kept = new Float32Array(count);
      for (let i = 0; i < valid; i++) kept[i] = selected.scores[indices[i]!]!;
      found.push(tensor("float32", [count], kept));
    }
    return [...found, tensor("int32", [], Int32Array.of(valid))];
  };
}

export const DETECTION_KERNELS: Readonly<Record<string, Kernel>> = {
  NonMaxSuppression: plain,
  NonMaxSuppressionV2: plain,
  NonMaxSuppressionV3: plain,
  NonMaxSuppressionV4: padded(),
  NonMaxSuppressionV5: padded(5),
  NonMaxSuppressionWithOverlaps: withOverlaps,
  CombinedNonMaxSuppression: combinedSuppression,
};
