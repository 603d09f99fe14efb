import assert from "node:assert/strict";
import { ManualClock, OutageLog, ServingError, silentLogger } from "../src/index.js";

describe("OutageLog", () => {
  const clock = new ManualClock();
  const said: [string, string, object][] = [];
  const say = (level: string) => (fields: object, message: string) => void said.push([level, message, fields]);
  const logger = { ...silentLogger, debug: say("debug"), info: say("info"), warn: say("warn") };
  const taken = () => said.splice(0).filter(([level]) => level !== "debug");
  const away = new ServingError("REGISTRY_UNAVAILABLE", "away");

  it("says the beginning, the end, another code and a reminder each minute", () => {
    const outage = new OutageLog(logger, clock, "fails", "works");
    outage.works();
    assert.deepEqual(taken(), []);
    for (let second = 0; second < 100; second++) {
      outage.failed(second < 90 ? away : new ServingError("LEASE_LOST", "lost"), { key: "k" });
      clock.advance(1000);
    }
    assert.equal(said.length, 100, "each attempt is for debug at least");
    assert.deepEqual(taken(), [
      ["warn", "fails", { key: "k", error: "away", attempts: 1 }],
      ["warn", "fails", { key: "k", error: "away", attempts: 61 }],
      ["warn", "fails", { key: "k", error: "lost", attempts: 91 }],
    ]);
    outage.works({ key: "k" });
    outage.works();
    assert.deepEqual(taken(), [["info", "works", { key: "k", attempts: 100, seconds: 100 }]]);
    outage.failed(away);
    assert.deepEqual(taken(), [["warn", "fails", { error: "away", attempts: 1 }]]);
  });
});
