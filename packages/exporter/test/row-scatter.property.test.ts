import assert from "node:assert/strict";
import { loadOrt } from "@shardserve/native";
import fc from "fast-check";
import { RowScatter, rowsIn } from "../src/row-scatter.js";

describe("RowScatter", () => {
  it("deals rows out as a loop over ids would, for any row width, count and partition count", async () => {
    const ort = loadOrt();
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 13 }), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 200 }), async (partitionCount, rowBytes, rows) => {
        using scatter = new RowScatter(ort, partitionCount, rowBytes);
        const source = new Uint8Array(new ArrayBuffer(Math.max(scatter.bufferBytes(rows), 8)));
        for (let i = 0; i < rows * rowBytes; i++) source[i] = (i * 7919) & 0xff;
        const dealt = rows === 0 ? [] : await scatter.scatter(source, rows, new Uint8Array(source.length));
        for (const [partition, bytes] of dealt.entries()) {
          const twin: number[] = [];
          for (let id = partition; id < rows; id += partitionCount) twin.push(...source.subarray(id * rowBytes, (id + 1) * rowBytes));
          assert.deepEqual([...bytes], twin);
          assert.equal(bytes.length, rowsIn(partition, rows, partitionCount) * rowBytes);
        }
      }),
      { numRuns: 60 },
    );
  });
});
