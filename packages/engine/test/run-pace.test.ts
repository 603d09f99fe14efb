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
    pace.ranSync(1, 5);
    assert.equal(pace.isQuick(1), true);
    for (let i = 0; i < 8; i++) pace.ranSync(1, 5);
    assert.equal(pace.isQuick(1), false);
  });

  it("keeps to other threads once a run held the event loop, until one there was quick", () => {
    const pace = new RunPace();
    pace.ranAsync(1, 0.2);
    pace.ranSync(1, 50);
    assert.equal(pace.isQuick(1), false);
    pace.ranAsync(1, 0.2);
    assert.equal(pace.isQuick(1), true, "it was an accident");
  });

  it("lets a run that is alone hold the event loop for longer, and asks only where that matters", () => {
    const pace = new RunPace();
    let asked = 0;
    const answer = (isAlone: boolean) => () => {
      asked++;
      return isAlone;
    };
    assert.equal(pace.isQuick(1, answer(true)), false, "never run");
    pace.ranAsync(1, 0.2);
    assert.equal(pace.isQuick(1, answer(false)), true);
    pace.ranAsync(100, 30);
    assert.equal(pace.isQuick(100, answer(true)), false, "far too slow");
    assert.equal(asked, 0);
    pace.ranAsync(10, 0.9);
    assert.equal(pace.isQuick(10, answer(true)), true);
    assert.equal(pace.isQuick(10, answer(false)), false);
    assert.equal(asked, 2);
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
