import assert from "node:assert/strict";
import { ManualClock, seededRandom, sleep, systemClock } from "../src/index.js";

describe("systemClock", () => {
  // Two of three timers of Node with a fraction of a millisecond come up to 2 ms early; who waits "until it is due" then waited for ever.
  it("never calls back early", async () => {
    for (let tries = 0; tries < 100; tries++) {
      const delayMs = 1 + ((tries * 0.37) % 3);
      const startMs = systemClock.nowMs();
      await sleep(systemClock, delayMs);
      const tookMs = systemClock.nowMs() - startMs;
      assert.ok(tookMs >= delayMs, `${delayMs} ms took ${tookMs} ms`);
    }
  });

  it("does not call back after a moment when the delay is longer than a timer of Node can be", async () => {
    let isCalled = false;
    const cancel = systemClock.after(2 ** 31 + 1000, () => (isCalled = true));
    await sleep(systemClock, 20);
    cancel();
    assert.equal(isCalled, false);
  });

  it("calls nobody back who cancelled after it had found the time too early", async () => {
    for (let tries = 0; tries < 50; tries++) {
      let isCalled = false;
      const cancel = systemClock.after(2.6, () => (isCalled = true));
      await new Promise((resolve) => setTimeout(resolve, 2));
      if (isCalled) continue; // the machine was busy
      cancel();
      await new Promise((resolve) => setTimeout(resolve, 3));
      assert.equal(isCalled, false);
    }
  });
});

describe("ManualClock", () => {
  it("fires timers in order of time, also those set by timers", () => {
    const clock = new ManualClock();
    const fired: string[] = [];
    clock.after(20, () => fired.push(`b@${clock.nowMs()}`));
    clock.after(10, () => {
      fired.push(`a@${clock.nowMs()}`);
      clock.after(5, () => fired.push(`c@${clock.nowMs()}`));
    });
    const cancel = clock.after(12, () => fired.push("never"));
    cancel();
    clock.advance(30);
    assert.deepEqual(fired, ["a@10", "c@15", "b@20"]);
    assert.equal(clock.nowMs(), 30);
  });

  it("makes sleep end on time or on abort", async () => {
    const clock = new ManualClock();
    const slept = sleep(clock, 10);
    clock.advance(10);
    await slept;
    const abort = new AbortController();
    const aborted = sleep(clock, 10, abort.signal);
    abort.abort();
    await assert.rejects(aborted, { name: "AbortError" });
  });
});

describe("seededRandom", () => {
  it("repeats from its seed and spreads over [0, 1)", () => {
    const a = seededRandom(5);
    const b = seededRandom(5);
    const values = Array.from({ length: 1000 }, () => a.next());
    assert.deepEqual(
      values,
      Array.from({ length: 1000 }, () => b.next()),
    );
    const mean = values.reduce((sum, value) => sum + value, 0) / 1000;
    assert.ok(mean > 0.45 && mean < 0.55 && Math.min(...values) >= 0 && Math.max(...values) < 1);
  });
});
