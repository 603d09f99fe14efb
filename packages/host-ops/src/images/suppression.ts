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

/** Of a box that somebody asked about: its corners in order, and its area. */
const [TOP, LEFT, BOTTOM, RIGHT, AREA, FIELDS] = [0, 1, 2, 3, 4, 5];

/** From `low` to `high`; 0 where they stand in no order. */
function length(low: number, high: number): number {
  const difference = fround(high - low);
  return difference < 0 ? 0 : difference;
}

/** Intersection over union of two of some boxes [y1, x1, y2, x2], corners in any order. The boxes must stay as they are meanwhile. */
export function overlapIn(boxes: ArrayLike<number>): OverlapOf {
  const count = boxes.length / 4;
  // A box that is met meets many others; most boxes of a detector have too low a score to be met at all.
  const known = new Float32Array(count * FIELDS);
  const isKnown = new Uint8Array(count);
  const know = (i: number): void => {
    isKnown[i] = 1;
    const [y, x, otherY, otherX] = [boxes[i * 4]!, boxes[i * 4 + 1]!, boxes[i * 4 + 2]!, boxes[i * 4 + 3]!];
    const at = i * FIELDS;
    // A second corner that is NaN is passed over: such a box has no area.
    known[at + TOP] = otherY < y ? otherY : y;
    known[at + BOTTOM] = y < otherY ? otherY : y;
    known[at + LEFT] = otherX < x ? otherX : x;
    known[at + RIGHT] = x < otherX ? otherX : x;
    known[at + AREA] = fround(known[at + BOTTOM]! - known[at + TOP]!) * fround(known[at + RIGHT]! - known[at + LEFT]!);
  };
  return (i, j) => {
    if (isKnown[i] === 0) know(i);
    if (isKnown[j] === 0) know(j);
    const [p, q] = [i * FIELDS, j * FIELDS];
    const area = known[p + AREA]!;
    const otherArea = known[q + AREA]!;
    if (area <= 0 || otherArea <= 0) return 0;
    const top = known[p + TOP]! > known[q + TOP]! ? known[p + TOP]! : known[q + TOP]!;
    const bottom = known[p + BOTTOM]! < known[q + BOTTOM]! ? known[p + BOTTOM]! : known[q + BOTTOM]!;
    // A first corner that is NaN makes the area NaN, and so the answer, whatever is taken for the corner here.
    const both = fround(area + otherArea);
    // An infinite area may come of an infinite side, which no shared side of 0 makes 0.
    const isBounded = both < Number.POSITIVE_INFINITY;
    if (isBounded && bottom <= top) return 0;
    const left = known[p + LEFT]! > known[q + LEFT]! ? known[p + LEFT]! : known[q + LEFT]!;
    const right = known[p + RIGHT]! < known[q + RIGHT]! ? known[p + RIGHT]! : known[q + RIGHT]!;
    if (isBounded && right <= left) return 0;
    const shared = fround(length(top, bottom) * length(left, right));
    return fround(shared / fround(both - shared));
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

/** A heap of the boxes above a score: most calls choose few of many, so the rest need no order. */
function heapOf(scores: Float32Array, scoreMin: number): { readonly heap: Int32Array; readonly size: number } {
  let size = 0;
  for (let box = 0; box < scores.length; box++) if (scores[box]! > scoreMin) size++;
  const heap = new Int32Array(size);
  for (let box = 0, at = 0; at < size; box++) if (scores[box]! > scoreMin) heap[at++] = box;
  for (let at = (size >> 1) - 1; at >= 0; at--) sink(heap, size, scores, at);
  return { heap, size };
}

export function suppress(
  overlapOf: OverlapOf,
  given: ArrayLike<number>,
  { countMax, overlapMax, scoreMin, softness }: SuppressionRules,
): Selection {
  const scores = new Float32Array(given);
  const { heap: waiting, size } = heapOf(scores, scoreMin);
  let left = size;
  const boxes = new Int32Array(Math.min(countMax, left));
  let count = 0;
  /** How many of the chosen boxes each box has met that waits again. */
  const met = new Map<number, number>();
  const decay = fround(-0.5 / softness);
  /** What overlap with the boxes chosen since then leaves of a score: nothing where it is NaN, -Infinity where it ends it. */
  const hardened = (box: number, since: number): number => {
    let rest = scores[box]!;
    for (let j = count - 1; j >= since; j--) {
      const similarity = overlapOf(box, boxes[j]!);
      if (similarity <= overlapMax) continue;
      if (similarity > overlapMax) return Number.NEGATIVE_INFINITY;
      rest *= 0;
      if (rest <= scoreMin) break;
    }
    return rest;
  };
  const softened = (box: number, since: number): number => {
    let rest = scores[box]!;
    for (let j = count - 1; j >= since; j--) {
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
    const rest = lowered(box, met.size === 0 ? 0 : (met.get(box) ?? 0));
    if (rest !== score && rest > scoreMin) {
      met.set(box, count);
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
