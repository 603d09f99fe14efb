import assert from "node:assert/strict";
import { eachInPieces, type Pieces, runAtOnce, runInTurns } from "../src/index.js";

describe("runInTurns", () => {
  it("pauses once pieces have taken a millisecond, and not after each", async () => {
    let pauses = 0;
    const pause = (): Promise<void> => Promise.resolve(void pauses++);
    await runInTurns(pieces(1000, 0), undefined, pause);
    const short = pauses;
    assert.ok(short < 500, `${short} pauses in a thousand pieces of nothing`);
    await runInTurns(pieces(5, 2), undefined, pause);
    assert.equal(pauses - short, 5);
  });

  it("ends between two pieces with the signal's reason", async () => {
    const controller = new AbortController();
    const stopping = (function* (): Pieces<void> {
      yield;
      controller.abort(new Error("no more"));
      yield;
      assert.fail("went on");
    })();
    await assert.rejects(runInTurns(stopping, controller.signal), /no more/);
  });
});

describe("eachInPieces", () => {
  it("handles every item, what is added meanwhile too, and yields in between", () => {
    const numbers = new Set([0]);
    let yields = 0;
    const all = eachInPieces(numbers, (item) => {
      if (item < 299) numbers.add(item + 1);
    });
    while (!all.next().done) yields++;
    assert.equal(numbers.size, 300);
    assert.ok(yields >= 4);
    const order: string[] = [];
    runAtOnce(eachInPieces(["a", "b"], (item) => order.push(item)));
    assert.deepEqual(order, ["a", "b"]);
  });
});

/** Pieces that each take so long. */
function* pieces(count: number, pieceMs: number): Pieces<void> {
  for (let i = 0; i < count; i++) {
    const endMs = performance.now() + pieceMs;
    while (performance.now() < endMs);
    yield;
  }
}
