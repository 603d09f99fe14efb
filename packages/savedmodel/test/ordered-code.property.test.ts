import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeSliceKey, encodeSliceKey, isSliceKey } from "../src/bundle/ordered-code.js";

const numbers = fc.oneof(fc.constant(-1), fc.integer({ min: -70, max: 70 }), fc.maxSafeInteger(), fc.maxSafeNat());
const extents = fc.array(fc.tuple(numbers, numbers), { maxLength: 4 });

describe("slice keys", () => {
  it("are the bytes that TensorFlow writes", () => {
    const key = encodeSliceKey({ name: Buffer.from("p/emb"), starts: [0, 0], lengths: [4, 4] });
    assert.equal(Buffer.from(key).toString("hex"), "00702f656d620001010280848084");
  });

  it("survive a round trip", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), extents, (name, pairs) => {
        const slice = { name, starts: pairs.map(([start]) => start), lengths: pairs.map(([, length]) => length) };
        const key = encodeSliceKey(slice);
        assert.ok(isSliceKey(key));
        assert.deepEqual(decodeSliceKey(key), slice);
      }),
      { numRuns: 1000 },
    );
  });

  it("sort as their numbers do", () => {
    fc.assert(
      fc.property(numbers, numbers, (a, b) => {
        const key = (value: number) => encodeSliceKey({ name: new Uint8Array(), starts: [value], lengths: [0] });
        assert.equal(Math.sign(Buffer.compare(key(a), key(b))), Math.sign(a - b) + 0);
      }),
      { numRuns: 1000 },
    );
  });
});
