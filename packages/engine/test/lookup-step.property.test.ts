import assert from "node:assert/strict";
import fc from "fast-check";
import { indexText } from "../src/steps/lookup-step.js";

describe("indexText", () => {
  it("is the position's index in row-major order", () => {
    const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(shapes, fc.nat(), (shape, seed) => {
        const count = shape.reduce((product, length) => product * length, 1);
        const position = seed % count;
        const index = JSON.parse(indexText(shape, position)) as number[];
        assert.equal(index.length, shape.length);
        const back = index.reduce((flat, at, axis) => flat * shape[axis]! + at, 0);
        assert.equal(back, position);
        assert.ok(index.every((at, axis) => at < shape[axis]!));
      }),
    );
    assert.equal(indexText([], 0), "");
  });
});
