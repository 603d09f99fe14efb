import assert from "node:assert/strict";
import { seededRandom, ServingError } from "@shardserve/core";
import fc from "fast-check";
import { Circuit } from "../src/replicas/circuit.js";
import { LatencyHistogram } from "../src/replicas/latency-histogram.js";
import { type Behaviour, percentile, SimCluster } from "./sim-shards.js";

/** 1 to 3 ms, and one in fifty 8 ms. */
const healthy: Behaviour = (random) => (random.next() < 0.02 ? 8 : 1 + 2 * random.next());
const stalled: Behaviour = () => "never";
const slow: Behaviour = () => 200;
const broken: Behaviour = () => ({ afterMs: 1, error: new ServingError("ENGINE_FAILED", "the gather broke") });

const faults: Readonly<Record<string, Behaviour>> = { stalled, slow, broken };

describe("lookups over simulated shards", () => {
  for (const [what, fault] of Object.entries(faults)) {
    it(`one of three shards is ${what}: no lookup fails, p99 stays within 3 x, it is avoided, and used again when well`, async () => {
      const cluster = new SimCluster({ seed: 7, replication: 2, behaviours: [healthy, healthy, healthy] });
      const victim = cluster.shards[1]!;
      const steady = await cluster.load(1_000, 2, 40);
      victim.behaviour = fault;
      const during = await cluster.load(2_000, 2, 40);
      const askedBefore = victim.asked;
      const later = await cluster.load(2_000, 2, 40);
      const askedIll = victim.asked - askedBefore;
      victim.behaviour = healthy;
      await cluster.load(6_000, 20, 40); // it is probed after 5 s at the latest
      const askedWell = victim.asked;
      const after = await cluster.load(500, 2, 40);

      const all = [...steady, ...during, ...later, ...after];
      assert.deepEqual(
        all.filter(({ error }) => error).map(({ error }) => error?.message),
        [],
      );
      const p99 = percentile(steady, 0.99);
      assert.ok(percentile(during, 0.99) <= 3 * p99, `${percentile(during, 0.99)} ms, steady ${p99} ms`);
      assert.ok(percentile(later, 0.99) <= 3 * p99, `${percentile(later, 0.99)} ms, steady ${p99} ms`);
      assert.ok(askedIll <= 20, `asked ${askedIll} times while it was ${what}`);
      assert.ok(victim.asked - askedWell >= 100, `asked ${victim.asked - askedWell} times of 250 when it was well`);
      for (let i = 0; i < 400; i++) await cluster.step(); // answers that were overtaken come, or are overdue
      assert.ok(cluster.shards.every(({ openReplies, rowsInFlight }) => openReplies === 0 && rowsInFlight === 0));
    });
  }

  it("hedges no more than its budget allows, however slow all shards are", async () => {
    const erratic: Behaviour = (random) => (random.next() < 0.5 ? 1 : 100);
    const cluster = new SimCluster({ seed: 3, replication: 2, behaviours: [healthy, healthy, healthy] });
    await cluster.load(500, 2, 40);
    for (const shard of cluster.shards) shard.behaviour = erratic;
    await cluster.load(1_000, 2, 40);
    const sent = cluster.shards.reduce((sum, { asked }) => sum + asked, 0);
    const circuits = (await cluster.metrics.circuits.get()).values.length;
    const hedged = sent - cluster.frames;
    assert.ok(hedged > 10, `${hedged} hedges`);
    // 50 at first; frames of a shard with an open circuit are free, and none opened
    if (circuits === 0) assert.ok(hedged <= 50 + 0.05 * cluster.frames, `${hedged} hedges of ${cluster.frames} frames`);
    assert.ok((await cluster.hedges("refused")) > 0);
    const none = new SimCluster({ seed: 3, replication: 2, behaviours: [erratic, erratic], hedgeShare: 0 });
    await none.load(200, 2, 40);
    assert.equal(
      none.shards.reduce((sum, { asked }) => sum + asked, 0),
      none.frames,
    );
  });

  it("a shard that hangs while the budget is spent costs time, but no lookup", async () => {
    const cluster = new SimCluster({
      seed: 3,
      replication: 2,
      behaviours: [healthy, healthy, healthy],
      hedgeShare: 1e-6,
    });
    await cluster.load(500, 2, 40);
    for (const shard of cluster.shards) shard.behaviour = (random) => (random.next() < 0.5 ? 1 : 40);
    await cluster.load(1_000, 2, 40);
    assert.ok((await cluster.hedges("refused")) > 0, "the budget is spent");
    for (const shard of cluster.shards) shard.behaviour = healthy;
    cluster.shards[1]!.behaviour = stalled;
    const results = await cluster.finish(Promise.all(Array.from({ length: 7 }, () => cluster.lookup(40, 5_000))));
    assert.deepEqual(
      results.filter(({ error }) => error).map(({ error }) => error?.message),
      [],
    );
    assert.ok(
      results.some(({ latencyMs }) => latencyMs >= 2_000),
      "they waited for it",
    );
  });

  it("tries a third replica when the first hangs and the second fails", async () => {
    const cluster = new SimCluster({ seed: 5, replication: 3, behaviours: [stalled, broken, healthy] });
    const results = await cluster.finish(Promise.all(Array.from({ length: 30 }, () => cluster.lookup(20))));
    assert.deepEqual(
      results.filter(({ error }) => error).map(({ error }) => error?.message),
      [],
    );
  });

  it("asks the shards of its own zone while they keep up", async () => {
    const zones = ["a", "b", "a", "b"];
    const cluster = new SimCluster({
      seed: 5,
      replication: 2,
      behaviours: Array.from({ length: 4 }, () => healthy),
      zones,
      zone: "a",
      hedgeShare: 0,
    });
    await cluster.load(2_000, 4, 40);
    const shares = cluster.shards.map(({ asked }) => asked);
    assert.ok(shares[0]! + shares[2]! > shares[1]! + shares[3]!, shares.join());
  });

  it("any faults: every lookup ends with all its rows, each written once, or with an error, and gives everything back", async () => {
    const behaviours = fc.array(
      fc.constantFrom<Behaviour>(healthy, stalled, slow, broken, (random) => (random.next() < 0.3 ? "never" : 1)),
      { minLength: 3, maxLength: 4 },
    );
    await fc.assert(
      fc.asyncProperty(behaviours, fc.integer({ min: 1, max: 3 }), fc.nat(1000), async (list, replication, seed) => {
        const cluster = new SimCluster({ seed, replication, behaviours: list });
        const results = await cluster.finish(Promise.all(Array.from({ length: 6 }, () => cluster.lookup(30, 300))));
        for (const { error, latencyMs } of results) assert.ok(latencyMs <= 301, `${latencyMs} ms: ${error?.message}`);
        for (let i = 0; i < 400; i++) await cluster.step();
        for (const shard of cluster.shards) assert.deepEqual([shard.openReplies, shard.rowsInFlight], [0, 0]);
      }),
      { numRuns: 25 },
    );
  }).timeout(60_000);

  it("fails at once, naming partition and cause, when no replica of a row is connected", async () => {
    const cluster = new SimCluster({ seed: 5, replication: 2, behaviours: [healthy, healthy] });
    for (const shard of cluster.shards) {
      shard.isReady = false;
      shard.lastError = new ServingError("UNAVAILABLE", `connection to ${shard.shard} refused`);
    }
    const { error, latencyMs } = await cluster.finish(cluster.lookup(20));
    assert.equal(error?.code, "UNAVAILABLE");
    assert.match(
      error?.message ?? "",
      /no replica of partition \d+ of m\/1 can be asked \(.*s0: connection to s0 refused/,
    );
    assert.ok(latencyMs <= 1);
  });
});

describe("latency histogram", () => {
  it("finds quantiles to within a quarter", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.1, max: 50_000, noNaN: true }), { minLength: 1, maxLength: 1_000 }),
        fc.constantFrom(0.5, 0.95, 0.99),
        (samples, share) => {
          const histogram = new LatencyHistogram();
          for (const ms of samples) histogram.record(ms);
          const sorted = samples.toSorted((a, b) => a - b);
          const exact = sorted[Math.ceil(share * sorted.length) - 1] as number;
          const found = histogram.quantileMs(share);
          assert.ok(found >= exact * 0.999 && found <= exact * 1.251, `${found}, exact ${exact}`);
        },
      ),
    );
  });

  it("forgets what is long ago", () => {
    const histogram = new LatencyHistogram();
    assert.equal(histogram.quantileMs(0.5), 0);
    for (let i = 0; i < 1_000; i++) histogram.record(500);
    for (let i = 0; i < 5_000; i++) histogram.record(2);
    assert.ok(histogram.quantileMs(0.95) < 3);
  });
});

describe("circuit", () => {
  it("opens when half of the recent answers fail, lets one through after a pause that doubles, closes when it is answered", () => {
    const circuit = new Circuit(seededRandom(1));
    for (let i = 0; i < 100; i++) circuit.succeeded();
    let failures = 0;
    while (!circuit.failed(0)) failures++;
    assert.equal(failures, 6);
    assert.equal(circuit.state(0), "open");
    assert.equal(circuit.state(250), "probe");
    circuit.probing(250);
    assert.equal(circuit.state(251), "open");
    assert.equal(circuit.failed(260), false);
    assert.equal(circuit.state(260 + 249), "open");
    assert.equal(circuit.state(260 + 500), "probe");
    circuit.succeeded(); // an answer to a frame from before says nothing
    assert.equal(circuit.isOpen, true);
    circuit.probing(800);
    circuit.succeeded();
    assert.equal(circuit.state(801), "closed");
  });

  it("stays closed while fewer fail", () => {
    const circuit = new Circuit(seededRandom(1));
    for (let i = 0; i < 500; i++) {
      circuit.succeeded();
      if (i % 2 === 0) assert.equal(circuit.failed(i), false);
    }
  });
});
