import assert from "node:assert/strict";
import fc from "fast-check";
import { Attrs } from "../src/ir/attrs.js";
import { sliceAxes, sliceRange } from "../src/infer/strided-slice.js";

/** Python's rule for one axis, one element at a time. */
function picked(length: number, begin: number | null, end: number | null, step: number): number[] {
  const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
  const wrap = (value: number): number => (value < 0 ? value + length : value);
  const first =
    begin === null
      ? step > 0
        ? 0
        : length - 1
      : clamp(wrap(begin), step > 0 ? 0 : -1, step > 0 ? length : length - 1);
  const last =
    end === null ? (step > 0 ? length : -1) : clamp(wrap(end), step > 0 ? 0 : -1, step > 0 ? length : length - 1);
  const result: number[] = [];
  for (let i = first; step > 0 ? i < last : i > last; i += step) result.push(i);
  return result;
}

describe("sliceRange, against Python's slices", () => {
  it("picks the same elements", () => {
    const bound = fc.option(fc.integer({ min: -8, max: 8 }));
    const step = fc.integer({ min: -4, max: 4 }).filter((value) => value !== 0);
    fc.assert(
      fc.property(fc.nat({ max: 6 }), bound, bound, step, (length, begin, end, stride) => {
        const attrs = new Attrs("StridedSlice", { begin_mask: begin === null ? 1 : 0, end_mask: end === null ? 1 : 0 });
        const [axis] = sliceAxes(attrs, { begin: [begin ?? 0], end: [end ?? 0], strides: [stride] }, 1)!;
        const range = sliceRange(axis!, length)!;
        assert.deepEqual(
          Array.from({ length: range.count }, (_, i) => range.first + i * range.step),
          picked(length, begin, end, stride),
        );
      }),
    );
  });
});
