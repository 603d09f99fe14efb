import assert from "node:assert/strict";
import { RepeatedWork } from "../src/index.js";

const ticks = async (count: number) => {
  for (let i = 0; i < count; i++) await Promise.resolve();
};

describe("RepeatedWork", () => {
  it("does what was asked last, however close to the end of a run", async () => {
    for (let runTicks = 0; runTicks < 4; runTicks++) {
      for (let afterTicks = 0; afterTicks < 20; afterTicks++) {
        let wanted = 1;
        let done = 0;
        const work = new RepeatedWork(async () => {
          const seen = wanted;
          await ticks(runTicks);
          done = seen;
        });
        work.ask();
        await ticks(afterTicks);
        wanted = 2;
        work.ask();
        await work.whenIdle();
        assert.equal(done, 2, `a run of ${runTicks} turns, asked again after ${afterTicks}`);
        assert.equal(work.isRunning, false);
      }
    }
  });

  it("runs one at a time, and once more for all who asked meanwhile", async () => {
    let runs = 0;
    let atOnce = 0;
    const work = new RepeatedWork(async () => {
      runs++;
      assert.equal(++atOnce, 1);
      await ticks(3);
      atOnce--;
    });
    for (let i = 0; i < 5; i++) work.ask();
    await work.whenIdle();
    assert.equal(runs, 2);
    work.ask();
    await work.whenIdle();
    assert.equal(runs, 3);
  });
});
