/** Non-maximum suppression: the best boxes that do not overlap too much. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { type OverlapOf, overlapIn, type SuppressionRules, suppress } from "./suppression.js";

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

/** Per image and class, then the best over all classes. */
const combined: Kernel = (op) => {
  const [boxes, scores] = [op.tensor(0), op.tensor(1)];
  check(boxes.shape.length === 4, () => `boxes must be 4-D[${boxes.shape.join(",")}]`);
  check(scores.shape.length === 3, () => `scores must be 3-D[${scores.shape.join(",")}]`);
  const [batch, count, groups] = boxes.shape as [number, number, number];
  const classes = scores.shape[2]!;
  check(groups === 1 || groups === classes, () => "third dimension of boxes must be either 1 or num classes");
  const [perClass, total] = [scalar(op, 2), scalar(op, 3)];
  check(perClass > 0, () => "max_size_per_class must be positive");
  check(total > 0, () => "max_total_size must be > 0");
  const rules: SuppressionRules = {
    countMax: perClass,
    overlapMax: scalar(op, 4),
    scoreMin: scalar(op, 5),
    softness: 0,
  };
  check(rules.overlapMax >= 0 && rules.overlapMax <= 1, () => "iou_threshold must be in [0, 1]");
  const size = op.attrs.bool("pad_per_class") ? Math.min(total, perClass * classes) : total;
  const clips = op.attrs.bool("clip_boxes");
  const [corners, values] = [numbersOf(boxes), numbersOf(scores)];
  const outBoxes = new Float32Array(checkedCount("float32", [batch, size, 4]));
  const [outScores, outClasses] = [new Float32Array(batch * size), new Float32Array(batch * size)];
  const valid = new Int32Array(batch);
  const [classBoxes, classScores] = [new Float32Array(count * 4), new Float32Array(count)];
  let overlapOf: OverlapOf = () => 0;
  for (let b = 0; b < batch; b++) {
    const found: { label: number; box: number; score: number }[] = [];
    for (let label = 0; label < classes; label++) {
      // Boxes that all classes share are set in order once.
      if (label < groups) {
        for (let i = 0; i < count; i++) {
          for (let k = 0; k < 4; k++) classBoxes[i * 4 + k] = corners[((b * count + i) * groups + label) * 4 + k]!;
        }
        overlapOf = overlapIn(classBoxes);
      }
      for (let i = 0; i < count; i++) classScores[i] = values[(b * count + i) * classes + label]!;
      const selected = suppress(overlapOf, classScores, rules);
      for (const box of selected.boxes) found.push({ label, box, score: classScores[box]! });
    }
    found.sort((x, y) => y.score - x.score);
    valid[b] = Math.min(found.length, size);
    for (const [i, { label, box, score }] of found.slice(0, size).entries()) {
      const from = ((b * count + box) * groups + (groups === 1 ? 0 : label)) * 4;
      for (let k = 0; k < 4; k++) {
        const corner = corners[from + k]!;
        outBoxes[(b * size + i) * 4 + k] = clips ? Math.min(Math.max(corner, 0), 1) : corner;
      }
      outScores[b * size + i] = score;
      outClasses[b * size + i] = label;
    }
  }
  const outputs: Tensor[] = [
    tensor("float32", [batch, size, 4], outBoxes),
    tensor("float32", [batch, size], outScores),
    tensor("float32", [batch, size], outClasses),
    tensor("int32", [batch], valid),
  ];
  return outputs;
};

export const DETECTION_KERNELS: Readonly<Record<string, Kernel>> = {
  NonMaxSuppression: plain,
  NonMaxSuppressionV2: plain,
  NonMaxSuppressionV3: plain,
  NonMaxSuppressionV4: padded(),
  NonMaxSuppressionV5: padded(5),
  NonMaxSuppressionWithOverlaps: withOverlaps,
  CombinedNonMaxSuppression: combined,
};
