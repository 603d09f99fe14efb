/** The greedy choice of non-maximum suppression: by falling score, each box that overlaps no chosen one too much. */
const { fround } = Math;

/** How much two boxes, by their numbers, overlap. */
export type OverlapOf = (i: number, j: number) => number;

export interface SuppressionRules {
  readonly countMax: number;
  readonly overlapMax: number;
  readonly scoreMin: number;
  /** Above 0, overlap lowers a score instead of ending it. */
  readonly softness: number;
}

export interface Selection {
  /** Numbers of the chosen boxes, in order of choice. */
  readonly boxes: Int32Array;
  /** Score of every box, chosen or not, lowered where softness did so. */
  readonly scores: Float32Array;
}

/** Intersection over union of two of some boxes [y1, x1, y2, x2], corners in any order. */
export function overlapIn(boxes: ArrayLike<number>): OverlapOf {
  const count = boxes.length / 4;
  // Each box meets many others: its corners are put in order and its area is taken once.
  const [tops, lefts] = [new Float32Array(count), new Float32Array(count)];
  const [bottoms, rights] = [new Float32Array(count), new Float32Array(count)];
  const areas = new Float32Array(count);
  for (let i = 0, at = 0; i < count; i++, at += 4) {
    const y = boxes[at]!;
    const x = boxes[at + 1]!;
    const otherY = boxes[at + 2]!;
    const otherX = boxes[at + 3]!;
    // A second corner that is NaN is passed over: such a box has no area.
    tops[i] = otherY < y ? otherY : y;
    bottoms[i] = y < otherY ? otherY : y;
    lefts[i] = otherX < x ? otherX : x;
    rights[i] = x < otherX ? otherX : x;
    areas[i] = fround(bottoms[i]! - tops[i]!) * fround(rights[i]! - lefts[i]!);
  }
  return (i, j) => {
    const area = areas[i]!;
    const otherArea = areas[j]!;
    if (area <= 0 || otherArea <= 0) return 0;
    const top = tops[i]! > tops[j]! ? tops[i]! : tops[j]!;
    const bottom = bottoms[i]! < bottoms[j]! ? bottoms[i]! : bottoms[j]!;
    const left = lefts[i]! > lefts[j]! ? lefts[i]! : lefts[j]!;
    const right = rights[i]! < rights[j]! ? rights[i]! : rights[j]!;
    // A first corner that is NaN makes the area NaN, and so the answer, whatever is taken for the corner here.
    const height = bottom > top ? fround(bottom - top) : 0;
    const width = right > left ? fround(right - left) : 0;
    const shared = fround(height * width);
    return fround(shared / fround(fround(area + otherArea) - shared));
  };
}

/** Lets the box at one place of a heap, best score at the top and lower number first, sink to its own place. */
function sink(heap: Int32Array, size: number, scores: Float32Array, from: number): void {
  const box = heap[from]!;
  const score = scores[box]!;
  let at = from;
  for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
    let best = heap[child]!;
    let bestScore = scores[best]!;
    if (child + 1 < size) {
      const other = heap[child + 1]!;
      const otherScore = scores[other]!;
      if (otherScore > bestScore || (otherScore === bestScore && other < best)) {
        child++;
        best = other;
        bestScore = otherScore;
      }
    }
    if (score > bestScore || (score === bestScore && box < best)) break;
    heap[at] = best;
    at = child;
  }
  heap[at] = box;
}

export function suppress(
  overlapOf: OverlapOf,
  given: ArrayLike<number>,
  { countMax, overlapMax, scoreMin, softness }: SuppressionRules,
): Selection {
  const scores = new Float32Array(given);
  // A heap: most calls choose few of many boxes, so the rest need no order.
  const waiting = new Int32Array(scores.length);
  let left = 0;
  for (let box = 0; box < scores.length; box++) if (scores[box]! > scoreMin) waiting[left++] = box;
  for (let at = (left >> 1) - 1; at >= 0; at--) sink(waiting, left, scores, at);

  const boxes = new Int32Array(Math.min(countMax, left));
  let count = 0;
  /** How many of the chosen boxes each box has met. */
  const met = new Int32Array(scores.length);
  const decay = fround(-0.5 / softness);
  /** What overlap with the boxes chosen since then leaves of a score: nothing where it is NaN, -Infinity where it ends it. */
  const hardened = (box: number): number => {
    let rest = scores[box]!;
    for (let j = count - 1; j >= met[box]!; j--) {
      const similarity = overlapOf(box, boxes[j]!);
      if (similarity <= overlapMax) continue;
      if (similarity > overlapMax) return Number.NEGATIVE_INFINITY;
      rest *= 0;
      if (rest <= scoreMin) break;
    }
    return rest;
  };
  const softened = (box: number): number => {
    let rest = scores[box]!;
    for (let j = count - 1; j >= met[box]!; j--) {
      const similarity = overlapOf(box, boxes[j]!);
      rest = fround(rest * fround(Math.exp(fround(fround(decay * similarity) * similarity))));
      if (rest <= scoreMin) break;
    }
    return rest;
  };
  const lowered = softness > 0 ? softened : hardened;
  while (count < boxes.length && left > 0) {
    const box = waiting[0]!;
    const score = scores[box]!;
    const rest = lowered(box);
    met[box] = count;
    if (rest !== score && rest > scoreMin) {
      scores[box] = rest;
      sink(waiting, left, scores, 0);
      continue;
    }
    if (rest === score) boxes[count++] = box;
    waiting[0] = waiting[--left]!;
    sink(waiting, left, scores, 0);
  }
  return { boxes: boxes.slice(0, count), scores };
}
