import assert from "node:assert/strict";
import fc from "fast-check";
import { sortAsGnu } from "../src/call/gnu-order.js";
import { topWithNaN } from "../src/math/rows-with-nan.js";

describe("a sort step by step as GNU's", () => {
  it("gives the same with runs between NaN sorted as with items inserted one by one", () => {
    const key = fc.oneof(fc.constant(Number.NaN), fc.integer({ min: 0, max: 9 }), fc.double({ noNaN: true }));
    fc.assert(
      fc.property(fc.array(key, { minLength: 1, maxLength: 200 }), (keys) => {
        const isBefore = (a: number, b: number): boolean => keys[b]! < keys[a]!;
        const [inserted, sorted] = [0, 1].map(() => Int32Array.from(keys.keys()));
        sortAsGnu(inserted!, isBefore);
        sortAsGnu(sorted!, isBefore, (item) => Number.isNaN(keys[item]));
        assert.deepEqual(sorted, inserted);
      }),
    );
  });

  it("takes no square of the row's length where NaN keeps the larger half from its place", () => {
    const count = 2000;
    const row = Float64Array.from({ length: count }, (_, i) => Math.abs(Math.sin(i)) + (i < count / 2 ? 1000 : 0));
    row[1] = -1;
    row[count / 2] = Number.NaN;
    let reads = 0;
    const keys = new Proxy(row, { get: (target, at) => (reads++, Reflect.get(target, at) as number) });
    topWithNaN(keys, 0, count, 8, new Int32Array(count));
    const bound = 10 * count * Math.log2(count);
    assert.ok(reads < bound, `${reads} reads, not ${bound}`);
  });
});
