import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ManualClock } from "@shardserve/core";
import { DEFAULT_LIMITS } from "../src/index.js";
import { Liveness } from "../src/client/liveness.js";

/** One watched connection and what was said of it. */
class Watched {
  readonly clock = new ManualClock();
  readonly said: string[] = [];
  isWaiting = false;
  readonly liveness = new Liveness(DEFAULT_LIMITS, this.clock, {
    onPing: () => void this.said.push("ping"),
    onSuspect: (isSuspect) => void this.said.push(isSuspect ? "suspect" : "alive"),
    onDead: () => void this.said.push("dead"),
    isWaiting: () => this.isWaiting,
  });

  /** Passes time in steps of 100 ms, each with a turn of the event loop. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 100) {
      this.clock.advance(100);
      await nextTurn();
      await nextTurn();
    }
  }
}

describe("liveness of a connection", () => {
  it("asks an idle one every interval, and gives it up after two", async () => {
    const watched = new Watched();
    watched.liveness.start();
    await watched.pass(5_000);
    assert.deepEqual(watched.said, []);
    await watched.pass(9_900);
    assert.deepEqual(watched.said, ["ping"]);
    await watched.pass(100);
    assert.deepEqual(watched.said, ["ping", "dead"]);
  });

  it("doubts one that owes an answer after a second, and suspects it when a ping stays without answer", async () => {
    const watched = new Watched();
    watched.liveness.asked();
    await watched.pass(900);
    assert.deepEqual(watched.said, []);
    await watched.pass(100);
    assert.deepEqual(watched.said, ["ping"]);
    await watched.pass(1_400);
    assert.deepEqual(watched.said, ["ping"]);
    await watched.pass(100);
    assert.deepEqual(watched.said, ["ping", "suspect"]);
  });

  it("suspects once however much is asked, and takes it back with the first byte", async () => {
    const watched = new Watched();
    for (let i = 0; i < 40; i++) {
      watched.liveness.asked();
      await watched.pass(100);
    }
    watched.liveness.heard();
    await watched.pass(4_000);
    assert.deepEqual(watched.said, ["ping", "suspect", "alive"]);
    watched.liveness.asked();
    await watched.pass(2_500);
    assert.deepEqual(watched.said.slice(3), ["ping", "suspect"]);
  });

  it("does not doubt one that answers, nor after it has answered", async () => {
    const watched = new Watched();
    for (let i = 0; i < 40; i++) {
      watched.liveness.asked();
      await watched.pass(100);
      watched.liveness.heard();
    }
    await watched.pass(4_000);
    assert.deepEqual(watched.said, []);
  });

  it("leaves one alone that answered the ping and owes nothing more", async () => {
    const watched = new Watched();
    watched.liveness.asked();
    await watched.pass(1_000);
    watched.liveness.heard();
    await watched.pass(20_000);
    assert.deepEqual(watched.said, ["ping"]);
  });

  it("doubts one whose last answer came before another that is due", async () => {
    const watched = new Watched();
    watched.liveness.asked();
    watched.isWaiting = true;
    watched.liveness.heard();
    await watched.pass(3_600);
    assert.deepEqual(watched.said, ["ping", "suspect"]);
  });

  it("reads what came while this process stood still before it doubts", async () => {
    const watched = new Watched();
    watched.liveness.asked();
    watched.clock.advance(3_000);
    watched.liveness.heard(); // the turn's reads come after its timers
    await watched.pass(3_000);
    assert.deepEqual(watched.said, []);
  });

  it("says nothing after it was stopped", async () => {
    const watched = new Watched();
    watched.liveness.start();
    watched.liveness.asked();
    watched.liveness.stop();
    watched.liveness.asked();
    await watched.pass(20_000);
    assert.deepEqual(watched.said, []);
  });
});
