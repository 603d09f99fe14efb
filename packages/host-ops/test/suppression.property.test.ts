import assert from "node:assert/strict";
import fc from "fast-check";
import { overlapIn, suppress, type SuppressionRules } from "../src/images/suppression.js";

const { fround } = Math;

interface Candidate {
  readonly box: number;
  score: number;
  met: number;
}

/** As TensorFlow does it, with a list that is sorted anew for every choice. */
function slow(overlapOf: (i: number, j: number) => number, scores: readonly number[], rules: SuppressionRules) {
  const { countMax, overlapMax, scoreMin, softness } = rules;
  const decay = softness > 0 ? fround(-0.5 / softness) : 0;
  const waiting: Candidate[] = scores.map((score, box) => ({ box, score: fround(score), met: 0 }));
  const chosen: Candidate[] = [];
  let left = waiting.filter(({ score }) => score > scoreMin);
  while (left.length > 0 && chosen.length < countMax) {
    left.sort((a, b) => b.score - a.score || a.box - b.box);
    const next = left[0]!;
    const before = next.score;
    let isOut = false;
    for (let j = chosen.length - 1; j >= next.met && !isOut; j--) {
      const overlap = overlapOf(next.box, chosen[j]!.box);
      if (softness > 0) {
        next.score = fround(next.score * fround(Math.exp(fround(fround(decay * overlap) * overlap))));
        isOut = next.score <= scoreMin;
      } else if (overlap > overlapMax) isOut = true;
      else if (Number.isNaN(overlap)) {
        next.score *= 0;
        if (next.score <= scoreMin) break;
      }
    }
    next.met = chosen.length;
    if (!(isOut && softness === 0) && next.score !== before && next.score > scoreMin) continue;
    left = left.slice(1);
    if (!isOut && next.score === before) chosen.push(next);
  }
  return chosen;
}

/** Few different values, so that scores tie and boxes touch, and those that compare oddly. */
const corner = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 0, max: 6 }).map((x) => x / 4) },
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -0, -1, 0.1),
);
const score = fc.oneof(
  { weight: 10, arbitrary: fc.integer({ min: -2, max: 8 }).map((x) => fround(x / 10)) },
  { weight: 5, arbitrary: fc.float() },
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0),
);
const box = fc.tuple(corner, corner, corner, corner, score);
const rules: fc.Arbitrary<SuppressionRules> = fc.record({
  countMax: fc.constantFrom(0, 1, 3, 10, 2 ** 31 - 1),
  overlapMax: fc.constantFrom(0, fround(0.3), 0.5, fround(0.6), 1),
  scoreMin: fc.constantFrom(Number.NEGATIVE_INFINITY, 0, fround(0.3), Number.NaN),
  softness: fc.constantFrom(0, 0, fround(0.1), 0.5),
});

describe("non-maximum suppression", () => {
  it("chooses what sorting for every choice does", () => {
    fc.assert(
      fc.property(fc.array(box, { maxLength: 60 }), rules, (boxes, given) => {
        const overlapOf = overlapIn(boxes.flatMap((of) => of.slice(0, 4)));
        const scores = boxes.map((of) => of[4]);
        const expected = slow(overlapOf, scores, given);
        const got = suppress(overlapOf, scores, given);
        assert.deepEqual(
          Array.from(got.boxes, (number) => ({ box: number, score: got.scores[number] })),
          expected.map(({ box: number, score: kept }) => ({ box: number, score: kept })),
        );
      }),
      { numRuns: 1000 },
    );
  });
});
