import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { PullQueue } from "../src/client/pull-queue.js";

async function allOf(queue: PullQueue<number>): Promise<number[]> {
  const items: number[] = [];
  for await (const item of queue.read()) items.push(item);
  return items;
}

describe("PullQueue", () => {
  it("gives what was pushed, in order, also to a reader that waits", async () => {
    const queue = new PullQueue<number>(2, "news");
    const items = allOf(queue);
    for (let i = 0; i < 4; i++) {
      assert.equal(queue.push(i), true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    queue.end(undefined);
    assert.deepEqual(await items, [0, 1, 2, 3]);
  });

  it("takes nothing after its end; the first end counts", async () => {
    const queue = new PullQueue<number>(2, "news");
    queue.push(1);
    queue.end(undefined);
    assert.equal(queue.push(2), false);
    queue.end(new Error("late"));
    assert.deepEqual(await allOf(queue), [1]);
  });

  it("is ended by a reader that falls behind, who gets what was queued first", async () => {
    const queue = new PullQueue<number>(2, "news");
    assert.deepEqual(
      [1, 2, 3, 4].map((item) => queue.push(item)),
      [true, true, false, false],
    );
    const read: number[] = [];
    const reading = (async () => {
      for await (const item of queue.read()) read.push(item);
    })();
    await assert.rejects(
      reading,
      (error) => error instanceof ServingError && /2 items of news wait/.test(error.message),
    );
    assert.deepEqual(read, [1, 2]);
  });
});
