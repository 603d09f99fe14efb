import assert from "node:assert/strict";
import { Outcomes } from "../src/outcomes.js";

describe("outcomes of a version's requests", () => {
  it("know the 99th percentile to within 9 %, and of longer requests that they took about a minute", () => {
    const outcomes = new Outcomes(60_000);
    for (let ms = 1; ms <= 100; ms++) outcomes.record(0, false, ms);
    const { p99Ms } = outcomes.summary();
    assert.ok(p99Ms >= 99 && p99Ms < 99 * 1.1, `${p99Ms}`);
    for (let i = 0; i < 100; i++) outcomes.record(0, false, 3_600_000);
    assert.ok(outcomes.summary().p99Ms > 60_000);
  });

  it("count errors and what has no time, and forget the window before the last", () => {
    const outcomes = new Outcomes(1_000);
    outcomes.record(0, true, undefined);
    outcomes.record(1_000, false, 2);
    assert.deepEqual({ ...outcomes.summary(), p99Ms: 0 }, { requests: 2, errors: 1, timed: 1, p99Ms: 0 });
    outcomes.record(2_000, false, undefined);
    assert.deepEqual({ ...outcomes.summary(), p99Ms: 0 }, { requests: 2, errors: 0, timed: 1, p99Ms: 0 });
    assert.ok(Number.isNaN(new Outcomes(1_000).summary().p99Ms));
  });
});
