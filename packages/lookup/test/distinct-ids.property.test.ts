import assert from "node:assert/strict";
import fc from "fast-check";
import { DistinctIds } from "../src/batch/distinct-ids.js";
import { findOutOfRange, idAt, idLanes } from "../src/batch/id-lanes.js";

describe("dedup and scatter", () => {
  it("equals a Map, in steps of any size: distinct ids in order of first appearance, and where each id's row is", () => {
    const id = fc.oneof(fc.bigInt({ min: 0n, max: 40n }), fc.bigInt({ min: 0n, max: 2n ** 62n }));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 200 }), fc.integer({ min: 1, max: 250 }), (ids, step) => {
        const positions = new Int32Array(ids.length);
        const distinct = new DistinctIds(idLanes(BigInt64Array.from(ids)), positions);
        while (distinct.leftCount > 0) distinct.take(Math.min(step, distinct.leftCount));
        const twin = new Map<bigint, number>();
        for (const each of ids) if (!twin.has(each)) twin.set(each, twin.size);
        assert.deepEqual(
          [...positions],
          ids.map((each) => twin.get(each)),
        );
        const got = Array.from(
          { length: distinct.count },
          (_, i) => (BigInt(distinct.hi[i] as number) << 32n) | BigInt((distinct.lo[i] as number) >>> 0),
        );
        assert.deepEqual(got, [...twin.keys()]);
      }),
    );
  });

  it("takes int32 ids as they are", () => {
    const positions = new Int32Array(3);
    const distinct = new DistinctIds(idLanes(Int32Array.of(5, 7, 5)), positions);
    distinct.take(3);
    assert.equal(distinct.count, 2);
    assert.deepEqual([...positions], [0, 1, 0]);
  });
});

describe("range check", () => {
  it("finds the first id outside the table, as a comparison of bigints does", () => {
    const id = fc.oneof(fc.bigInt({ min: -2n, max: 12n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }));
    const rows = fc.oneof(fc.nat(12), fc.constant(2 ** 32), fc.constant(2 ** 40));
    fc.assert(
      fc.property(fc.array(id, { maxLength: 20 }), rows, (ids, rowCount) => {
        const expected = ids.findIndex((each) => each < 0n || each >= BigInt(rowCount));
        const lanes = idLanes(BigInt64Array.from(ids));
        assert.equal(findOutOfRange(lanes, rowCount), expected);
        if (expected >= 0) assert.equal(idAt(lanes, expected), ids[expected]);
      }),
    );
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 12 }), { maxLength: 20 }), (ids) => {
        assert.equal(
          findOutOfRange(idLanes(Int32Array.from(ids)), 9),
          ids.findIndex((each) => each < 0 || each >= 9),
        );
      }),
    );
  });
});
