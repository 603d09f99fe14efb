import assert from "node:assert/strict";
import fc from "fast-check";
import { isServingError, Semaphore } from "../src/index.js";

describe("Semaphore", () => {
  it("serves waiters in order and refuses when the line is full", async () => {
    const semaphore = new Semaphore(1, 2);
    await semaphore.acquire();
    const order: number[] = [];
    const first = semaphore.acquire().then(() => order.push(1));
    const second = semaphore.acquire().then(() => order.push(2));
    await assert.rejects(semaphore.acquire(), (error) => isServingError(error, "RESOURCE_EXHAUSTED"));
    semaphore.release();
    await first;
    semaphore.release();
    await second;
    assert.deepEqual(order, [1, 2]);
  });

  it("frees the place of an aborted waiter and lets a smaller one behind it pass", async () => {
    const semaphore = new Semaphore(3, 8);
    await semaphore.acquire(2);
    const abort = new AbortController();
    const big = semaphore.acquire(3, abort.signal);
    const small = semaphore.acquire(1);
    assert.equal(semaphore.waiting, 2);
    abort.abort();
    await assert.rejects(big, { name: "AbortError" });
    await small;
    assert.equal(semaphore.free, 0);
  });

  it("lets a weight above the capacity run alone", async () => {
    const semaphore = new Semaphore(4, 8);
    await semaphore.acquire(9);
    assert.equal(semaphore.tryAcquire(), false);
    semaphore.release(9);
    assert.equal(semaphore.free, 4);
  });

  it("never exceeds its capacity and always drains", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 30 }), async (weights) => {
        const semaphore = new Semaphore(4, 100);
        let held = 0;
        await Promise.all(
          weights.map(async (weight) => {
            await semaphore.acquire(weight);
            held += weight;
            assert.ok(held <= 4);
            await Promise.resolve();
            held -= weight;
            semaphore.release(weight);
          }),
        );
        assert.equal(semaphore.free, 4);
      }),
    );
  });
});
