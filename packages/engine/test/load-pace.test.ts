import assert from "node:assert/strict";
import { ManualClock } from "@shardserve/core";
import { TrafficPace } from "../src/load/load-pace.js";

describe("TrafficPace", () => {
  it("takes a tenth of the time while requests come, and all of it when they stop", async () => {
    const clock = new ManualClock();
    const pace = new TrafficPace(clock);
    let requests = 0;
    pace.follow(() => requests);
    assert.equal(pace.isBusy, false);
    await pace.pause();
    clock.advance(2); // work
    requests++;
    const resting = pace.pause();
    assert.equal(pace.isBusy, true);
    assert.equal(await isSettled(resting), false);
    clock.advance(17);
    assert.equal(await isSettled(resting), false);
    clock.advance(1);
    await resting;
    clock.advance(1000);
    assert.equal(pace.isBusy, false);
    await pace.pause();
  });

  it("lets loads that run at once share the tenth", async () => {
    const clock = new ManualClock();
    const pace = new TrafficPace(clock);
    pace.follow(() => 1);
    const first = pace.pause();
    const second = pace.pause();
    await isSettled(first);
    clock.advance(90);
    await first;
    assert.equal(await isSettled(second), false);
    clock.advance(2); // the first one works
    await isSettled(second);
    clock.advance(90);
    await second;
  });
});

/** After a few turns of the event loop. */
async function isSettled(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
  return settled;
}
