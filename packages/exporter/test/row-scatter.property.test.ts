import assert from "node:assert/strict";
import { loadOrt } from "@shardserve/native";
import fc from "fast-check";
import { RowScatter } from "../src/export/row-scatter.js";

describe("RowScatter", () => {
  it("deals rows out as a loop over ids would, for any row width, count and partition count", async () => {
    const ort = loadOrt();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 13 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 30 }),
        async (partitionCount, rowBytes, groupCount) => {
          using scatter = new RowScatter(ort, partitionCount, rowBytes);
          const source = Uint8Array.from(
            { length: groupCount * partitionCount * rowBytes },
            (_, i) => (i * 7919) & 0xff,
          );
          const dealt = await scatter.scatter(source, groupCount, new Uint8Array(source.length));
          for (const [partition, bytes] of dealt.entries()) {
            const twin: number[] = [];
            for (let id = partition; id < groupCount * partitionCount; id += partitionCount) {
              twin.push(...source.subarray(id * rowBytes, (id + 1) * rowBytes));
            }
            assert.deepEqual([...bytes], twin);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
