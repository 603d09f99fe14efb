import assert from "node:assert/strict";
import { BytePace, ManualClock } from "../src/index.js";

describe("BytePace", () => {
  it("lets those who read at once have the rate together, and saves nothing up", async () => {
    const clock = new ManualClock();
    const rate = new BytePace(1000, clock);
    clock.advance(60_000); // nobody reads
    const done: string[] = [];
    void rate.spend(500).then(() => done.push("a"));
    void rate.spend(500).then(() => done.push("b"));
    const settled = async () => {
      for (let i = 0; i < 5; i++) await new Promise(setImmediate);
      return done.join("");
    };
    clock.advance(499);
    assert.equal(await settled(), "");
    clock.advance(1);
    assert.equal(await settled(), "a");
    clock.advance(500);
    assert.equal(await settled(), "ab");
  });

  it("ends with the signal, and does not wait without a limit", async () => {
    const clock = new ManualClock();
    await new BytePace(Number.POSITIVE_INFINITY, clock).spend(2 ** 40);
    const stop = new AbortController();
    const waiting = new BytePace(1, clock).spend(10, stop.signal);
    stop.abort(new Error("enough"));
    await assert.rejects(waiting, /enough/);
  });
});
