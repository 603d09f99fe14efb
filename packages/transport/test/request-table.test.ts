import assert from "node:assert/strict";
import fc from "fast-check";
import { RequestTable } from "../src/frame/request-table.js";

/** Ids from few values, so that they come again, and from regular series, so that they collide. */
const id = fc.oneof(
  fc.nat(50),
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.nat(1000).map((k) => (k << 22) >>> 0),
);
const step = fc.record({ kind: fc.constantFrom("add", "take", "get"), id });

describe("RequestTable", () => {
  it("does what a Map does", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 600 }), (steps) => {
        const table = new RequestTable<{ readonly id: number }>();
        const twin = new Map<number, { readonly id: number }>();
        for (const { kind, id } of steps) {
          assert.equal(table.get(id), twin.get(id));
          if (kind === "add" && !twin.has(id)) {
            const value = { id };
            table.add(id, value);
            twin.set(id, value);
          } else if (kind === "take") {
            assert.equal(table.take(id), twin.get(id));
            twin.delete(id);
          }
          assert.equal(table.size, twin.size);
        }
        assert.deepEqual(new Set(table.all()), new Set(twin.values()));
      }),
    );
  });

  it("leaves nothing behind when requests are done", () => {
    const table = new RequestTable<object>();
    for (let round = 0; round < 50; round++) {
      for (let k = 0; k < 1000; k++) table.add(round * 1000 + k, {});
      for (let k = 0; k < 1000; k++) assert.ok(table.take(round * 1000 + k));
      assert.equal(table.size, 0);
      assert.deepEqual(table.all(), []);
    }
  });
});
