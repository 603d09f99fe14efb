import assert from "node:assert/strict";
import { LOAD_FACTOR } from "@shardserve/placement";
import { type Row, runScenarios, simulateFanOut, Simulation, SMALL, Timeline } from "../src/index.js";

const run = (seed: number, only: readonly string[] = []) => runScenarios({ ...SMALL, seed, realMs: () => 0 }, only);

/** Tests of the control plane as a whole, on simulated time. By hand with other seeds: npm run sim -- --size small --seed 7. */
describe("a simulated cluster", function () {
  this.timeout(60_000);
  let rows: ReadonlyMap<string, Row>;

  before(() => {
    rows = new Map(run(1).map((row) => [row.name, row]));
  });
  const row = (name: string) => rows.get(name) as Row;

  it("comes to rest after every disturbance, never out of balance", () => {
    assert.equal(rows.size, 10);
    for (const { name, imbalance } of rows.values()) assert.ok(imbalance <= LOAD_FACTOR, `${name}: ${imbalance}`);
  });

  it("moves no more than must be moved", () => {
    for (const name of ["join", "leader", "drain", "kill", "zone", "flap"]) {
      const { movedReplicas, leastReplicas } = row(name);
      assert.ok(movedReplicas <= 1.1 * leastReplicas, `${name}: ${movedReplicas} moved, ${leastReplicas} had to`);
    }
    for (const name of ["restart", "version", "history"]) assert.equal(row(name).movedReplicas, 0, name);
    assert.ok(row("flap").movedReplicas > 0, "a flapping shard is replaced");
  });

  it("writes little: the leader by steps and not by partitions, shards by versions that changed", () => {
    for (const { name, leaderWrites } of rows.values()) assert.ok(leaderWrites <= 30, `${name}: ${leaderWrites}`);
    // Each shard proves and drops: at most a handful of writes for each model that changes for it.
    for (const { name, writeCount } of rows.values())
      assert.ok(writeCount <= 8 * SMALL.shardCount * SMALL.models.length, `${name}: ${writeCount}`);
  });

  it("is the same for the same seed", () => {
    const again = run(1, ["join", "kill"]);
    assert.deepEqual(again, run(1, ["join", "kill"]));
    assert.notDeepEqual(again, run(2, ["join", "kill"]));
  });

  it("ends at the first broken invariant and says what, when, and how to see it again", () => {
    const simulation = new Simulation({ ...SMALL, seed: 3, realMs: () => 0 });
    simulation.disturb(() => undefined);
    const startMs = simulation.timeline.nowMs();
    assert.throws(
      () => simulation.disturb(() => simulation.shards.forEach((shard) => shard.kill())),
      /broken at \d+\.\d s: model-0 1 generation 1: nobody answers for partition 0; .*, and 398 more/,
    );
    assert.ok(simulation.timeline.nowMs() - startMs <= 1_500);
  });
});

describe("simulated fan-out", () => {
  it("hedging cuts the tail and stays within its budget", () => {
    const options = {
      seed: 1,
      shardCount: 20,
      partitionCount: 211,
      replication: 2,
      requestCount: 3_000,
      rowsPerRequest: 64,
    };
    const plain = simulateFanOut({ ...options, hedgeShare: 0 });
    const hedged = simulateFanOut({ ...options, hedgeShare: 0.05 });
    assert.equal(plain.extraFrames, 0);
    assert.ok(hedged.extraFrames <= 0.06, String(hedged.extraFrames));
    assert.ok(hedged.p99Ms < plain.p99Ms / 1.3, `${hedged.p99Ms} against ${plain.p99Ms}`);
  });
});

describe("timeline", () => {
  it("runs events by time, then by order, and not the cancelled ones", () => {
    const timeline = new Timeline();
    const seen: string[] = [];
    const say = (text: string) => () => seen.push(`${text}@${timeline.nowMs()}`);
    timeline.after(20, say("c"));
    timeline.after(10, say("a"));
    timeline.after(10, say("b"));
    timeline.after(15, say("never"))();
    timeline.after(5, () => timeline.after(1, say("nested")));
    timeline.runUntil(15);
    assert.deepEqual(seen, ["nested@6", "a@10", "b@10"]);
    timeline.runUntil(30);
    assert.deepEqual([seen.at(-1), timeline.nowMs()], ["c@20", 30]);
  });
});
