import assert from "node:assert/strict";
import { isServingError } from "@shardserve/core";
import { tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { gatherIds } from "../src/steps/gather-ids.js";

describe("gatherIds", () => {
  it("counts negative ids from the end, like its slow twin, and refuses what is outside", () => {
    const rows = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2 ** 40 }));
    const cases = rows.chain((count) =>
      fc.tuple(
        fc.constant(count),
        fc.array(
          fc.oneof(
            fc.bigInt({ min: -BigInt(count), max: BigInt(count) - 1n }),
            fc.constantFrom(-BigInt(count) - 1n, BigInt(count), -(2n ** 63n), 2n ** 63n - 1n),
            fc.constantFrom(0n, -1n, -BigInt(count), BigInt(count) - 1n),
          ),
          { maxLength: 6 },
        ),
        fc.boolean(),
      ),
    );
    fc.assert(
      fc.property(cases, ([count, ids, isInt32]) => {
        const fits = ids.every((id) => BigInt.asIntN(32, id) === id);
        const shape = [ids.length];
        const given =
          isInt32 && fits
            ? tensor("int32", shape, Int32Array.from(ids, Number))
            : tensor("int64", shape, BigInt64Array.from(ids));
        const before = [...given.data];
        const isInside = ids.every((id) => id >= -BigInt(count) && id < BigInt(count));
        if (isInside) {
          const expected = ids.map((id) => (id < 0n ? id + BigInt(count) : id));
          assert.deepEqual(Array.from(gatherIds(given, count, "g"), BigInt), expected);
        } else {
          assert.throws(
            () => gatherIds(given, count, "g"),
            (error) => isServingError(error, "ROW_OUT_OF_RANGE") && /node g}}/.test(error.message),
          );
        }
        assert.deepEqual([...given.data], before);
      }),
    );
  });
});
