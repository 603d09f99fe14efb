import assert from "node:assert/strict";
import { RunPace } from "../src/steps/run-pace.js";

describe("RunPace", () => {
  it("keeps to other threads until a run was quick, and tells sizes apart", () => {
    const pace = new RunPace();
    assert.equal(pace.isQuick(100), false);
    pace.ranAsync(100, 0.2);
    assert.equal(pace.isQuick(100), true);
    assert.equal(pace.isQuick(1000), false);
    assert.equal(pace.isQuick(0), false);
  });

  it("forgives one slow run, not a row of them", () => {
    const pace = new RunPace();
    pace.ranAsync(1, 0.2);
    pace.ranSync(1, 50);
    assert.equal(pace.isQuick(1), true);
    for (let i = 0; i < 8; i++) pace.ranSync(1, 50);
    assert.equal(pace.isQuick(1), false);
  });

  it("tries a run here when waiting for threads may have hidden how quick it is", () => {
    const pace = new RunPace();
    for (let i = 0; i < 16; i++) pace.ranAsync(1, 1.5);
    assert.equal(pace.isQuick(1), true, "a trial");
    pace.ranSync(1, 0.1);
    assert.equal(pace.isQuick(1), true, "it was quick");
    pace.ranSync(1, 0.1);
    const slow = new RunPace();
    for (let i = 0; i < 100; i++) slow.ranAsync(1, 30);
    assert.equal(slow.isQuick(1), false, "never what is far too slow");
  });
});
