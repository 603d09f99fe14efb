/** Non-maximum suppression of many classes at once, whose ties come out as the steps of TensorFlow's kernel leave them. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check } from "../call/errors.js";
import { popHeap, pushHeap, sortAsGnu } from "../call/gnu-order.js";
import { checkedCount } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { type OverlapOf, overlapIn } from "./suppression.js";

interface Rules {
  readonly countMax: number;
  readonly overlapMax: number;
  readonly scoreMin: number;
}

interface Found {
  readonly label: number;
  readonly box: number;
  readonly score: number;
  /** Its place in TensorFlow's list, which has room for as many of each class as may be found. */
  readonly at: number;
}

function scalar(op: OpCall, at: number): number {
  return numbersOf(op.tensor(at))[0]!;
}

/** Boxes of one class by falling score, each that overlaps no chosen one too much; overlap that is NaN is none. */
function chosen(overlapOf: OverlapOf, scores: Float32Array, { countMax, overlapMax, scoreMin }: Rules): Int32Array {
  const isBefore = (a: number, b: number): boolean => scores[a]! < scores[b]!;
  const waiting = new Int32Array(scores.length);
  let left = 0;
  for (let box = 0; box < scores.length; box++) {
    if (!(scores[box]! > scoreMin)) continue;
    waiting[left++] = box;
    pushHeap(waiting, left, isBefore);
  }
  const boxes = new Int32Array(Math.min(countMax, left));
  let count = 0;
  for (; count < boxes.length && left > 0; left--) {
    popHeap(waiting, left, isBefore);
    const box = waiting[left - 1]!;
    let isFree = true;
    for (let j = count - 1; j >= 0 && isFree; j--) isFree = !(overlapOf(box, boxes[j]!) > overlapMax);
    if (isFree) boxes[count++] = box;
  }
  return boxes.subarray(0, count);
}

/** @param room  length of TensorFlow's list, which it sorts with the places that nothing was found for */
function byScore(found: readonly Found[], room: number): Found[] {
  const sorted = found.toSorted((a, b) => b.score - a.score);
  if (sorted.every(({ score }, i) => i === 0 || score !== sorted[i - 1]!.score)) return sorted;
  const places = Int32Array.from({ length: room }, (_, i) => i);
  const scores = new Float64Array(room).fill(Number.NEGATIVE_INFINITY);
  const byPlace = new Map(found.map((item) => [item.at, item]));
  for (const { at, score } of found) scores[at] = score;
  sortAsGnu(places, (a, b) => scores[b]! < scores[a]!);
  return Array.from(places.subarray(0, found.length), (place) => byPlace.get(place)!);
}

/** Per image and class, then the best over all classes. */
export const combinedSuppression: Kernel = (op) => {
  const [boxes, scores] = [op.tensor(0), op.tensor(1)];
  check(boxes.shape.length === 4, () => `boxes must be 4-D[${boxes.shape.join(",")}]`);
  check(scores.shape.length === 3, () => `scores must be 3-D[${scores.shape.join(",")}]`);
  const [batch, count, groups] = boxes.shape as [number, number, number];
  const classes = scores.shape[2]!;
  check(groups === 1 || groups === classes, () => "third dimension of boxes must be either 1 or num classes");
  const [perClass, total] = [scalar(op, 2), scalar(op, 3)];
  check(perClass > 0, () => "max_size_per_class must be positive");
  check(total > 0, () => "max_total_size must be > 0");
  const rules: Rules = { countMax: Math.min(perClass, count), overlapMax: scalar(op, 4), scoreMin: scalar(op, 5) };
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
    const found: Found[] = [];
    for (let label = 0; label < classes; label++) {
      // Boxes that all classes share are set in order once.
      if (label < groups) {
        for (let i = 0; i < count; i++) {
          for (let k = 0; k < 4; k++) classBoxes[i * 4 + k] = corners[((b * count + i) * groups + label) * 4 + k]!;
        }
        overlapOf = overlapIn(classBoxes);
      }
      for (let i = 0; i < count; i++) classScores[i] = values[(b * count + i) * classes + label]!;
      let at = label * rules.countMax;
      for (const box of chosen(overlapOf, classScores, rules))
        found.push({ label, box, score: classScores[box]!, at: at++ });
    }
    valid[b] = Math.min(found.length, size);
    for (const [i, { label, box, score }] of byScore(found, rules.countMax * classes)
      .slice(0, size)
      .entries()) {
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
