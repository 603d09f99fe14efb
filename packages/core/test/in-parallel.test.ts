import assert from "node:assert/strict";
import { inParallel } from "../src/index.js";

describe("inParallel", () => {
  it("calls for each item, in order and never more at once than it may", async () => {
    const begun: number[] = [];
    let running = 0;
    await inParallel(Array(10).keys(), 3, async (item) => {
      begun.push(item);
      assert.ok(++running <= 3);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
    });
    assert.deepEqual(begun, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("begins nothing after a failure, and rejects when what is under way has ended", async () => {
    const begun: number[] = [];
    let isOver = false;
    const work = async (item: number) => {
      begun.push(item);
      if (item === 0) throw new Error("the first");
      await new Promise((resolve) => setTimeout(resolve, 5));
      isOver = true;
    };
    await assert.rejects(inParallel([0, 1, 2, 3], 2, work), /the first/);
    assert.deepEqual([begun, isOver], [[0, 1], true]);
  });
});
