import assert from "node:assert/strict";
import fc from "fast-check";
import { loadOrt } from "@shardserve/native";
import { LookupBatch } from "../src/batch/batch.js";
import { wantedIds } from "../src/batch/batch-part.js";
import { TableState } from "../src/cache/table-state.js";
import { TABLE } from "./fake-shards.js";

const ROWS = 200;
const INFO = { ...TABLE, rows: ROWS };

/** What a batch found out, by the ids' rows: which slot each has, which are missed. */
function claimed(capacities: readonly number[], requests: readonly (readonly number[])[], stepIds: number) {
  const states = capacities.map((capacity, i) => new TableState(i, INFO, capacity));
  const wanted = requests.map((ids, table) => wantedIds(table, Int32Array.from(ids)));
  const batch = new LookupBatch(1, states, wanted, { epoch: 0, cacheEra: 0 });
  let steps = 0;
  let progress: string;
  do {
    progress = batch.claim(stepIds);
    steps++;
  } while (progress === "more");
  const result = {
    progress,
    misses: batch.missCount,
    parts: batch.parts.map(({ slots, cachedCount, foundCount, start, end, compact }) => {
      return { slots: [...slots], cachedCount, foundCount, start, end, bufferRows: compact?.count };
    }),
  };
  batch.abandon();
  batch.release();
  for (const { slab } of states) assert.equal(slab?.cache.countPinned() ?? 0, 0);
  for (const state of states) state[Symbol.dispose]();
  return { steps, result };
}

describe("the claim of a batch", () => {
  before(() => loadOrt());

  it("comes to the same in steps of any size, with a slab and without", () => {
    const ids = fc.array(fc.nat(ROWS - 1), { maxLength: 150 });
    fc.assert(
      fc.property(ids, ids, ids, fc.integer({ min: 1, max: 160 }), (a, b, c, stepIds) => {
        const capacities = [ROWS, 0, ROWS];
        const atOnce = claimed(capacities, [a, b, c], Number.POSITIVE_INFINITY);
        const inSteps = claimed(capacities, [a, b, c], stepIds);
        assert.equal(atOnce.result.progress, "done");
        assert.deepEqual(inSteps.result, atOnce.result);
        assert.ok(inSteps.steps >= Math.ceil((a.length + b.length + c.length) / stepIds));
      }),
    );
  });
});
