import assert from "node:assert/strict";
import { ManualClock, seededRandom, sleep } from "../src/index.js";

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
