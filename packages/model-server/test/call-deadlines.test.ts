import assert from "node:assert/strict";
import { CallDeadlines } from "../src/grpc/call-deadlines.js";

describe("the deadlines of calls", () => {
  let nowMs = 0;
  let wallMs = 1e12;
  const clock = { nowMs: () => nowMs, wallMs: () => wallMs, after: () => () => undefined };
  const pass = (ms: number) => {
    nowMs += ms;
    wallMs += ms;
  };

  it("are told as time that is left", () => {
    const deadlines = new CallDeadlines(clock);
    assert.equal(deadlines.leftMs(wallMs + 300), 300);
    assert.equal(deadlines.leftMs(new Date(wallMs - 5)), -5);
    assert.equal(deadlines.leftMs(Infinity), undefined);
  });

  it("do not pass because the wall clock was set forward between a call's headers and its message", () => {
    const deadlines = new CallDeadlines(clock);
    const dated = wallMs + 30_000;
    wallMs += 3_600_000;
    assert.equal(deadlines.leftMs(wallMs + 50), 50);
    assert.equal(deadlines.leftMs(dated), undefined);
    pass(60_000);
    assert.equal(deadlines.leftMs(dated), dated - wallMs, "later it is late");
  });

  it("pass while the clocks drift apart", () => {
    const deadlines = new CallDeadlines(clock);
    for (let i = 0; i < 10; i++) {
      pass(1000);
      wallMs += 500;
      assert.equal(deadlines.leftMs(wallMs - 1), -1);
    }
  });
});
