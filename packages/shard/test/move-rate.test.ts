import assert from "node:assert/strict";
import { MoveRate } from "../src/move-rate.js";

describe("move rate", () => {
  it("starts copies as far apart as their bytes take, and never in a burst after a pause", () => {
    const rate = new MoveRate(1_000);
    assert.equal(rate.tryStart(500, 0), 0);
    assert.equal(rate.tryStart(2_000, 100), 400);
    assert.equal(rate.tryStart(2_000, 500), 0);
    assert.equal(rate.tryStart(10, 2_000), 500);
    assert.equal(rate.tryStart(1_000, 60_000), 0);
    assert.equal(rate.tryStart(1_000, 60_000), 1_000);
  });

  it("unlimited, nobody waits", () => {
    const rate = new MoveRate(Infinity);
    for (let i = 0; i < 3; i++) assert.equal(rate.tryStart(1e15, 5), 0);
  });
});
