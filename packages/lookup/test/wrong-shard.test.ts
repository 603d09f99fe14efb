import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { type Logger, seededRandom, ServingError, silentLogger, systemClock } from "@shardserve/core";
import { type Exchange, FRAME } from "@shardserve/transport";
import { eventually } from "@shardserve/testkit";
import { place } from "@shardserve/placement";
import { divideCache } from "../src/index.js";
import { fakeShard, honest, P, rowsOver } from "./fake-shards.js";

const REQUEST = [{ table: 0, ids: BigInt64Array.of(7n, 8n, 9n, 7n) }];

describe("lookup against shards that misbehave", () => {
  it("a process that stood still over the timeout asks again; one that did not has waited long enough", async () => {
    const unanswered: Exchange[] = [];
    await using shard = await fakeShard("mute", (exchange) => {
      if (unanswered.length === 0) unanswered.push(exchange);
      else honest(exchange);
    });
    let stoodStillMs = 0;
    const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + stoodStillMs };
    const rows = await rowsOver({ mute: shard }, { clock });
    await rows.whenReady({ deadlineMs: clock.nowMs() + 2_000 });
    const asked = rows.lookup(REQUEST);
    await eventually(() => Promise.resolve(assert.equal(unanswered.length, 1)));
    stoodStillMs = 10_000;
    (await asked).release();
    const other = [{ table: 0, ids: BigInt64Array.of(11n) }];
    unanswered.length = 0;
    await assert.rejects(rows.lookup(other), { code: "DEADLINE_EXCEEDED" });
    unanswered.length = 0;
    const late = rows.lookup(other, { deadlineMs: clock.nowMs() + 300 });
    await eventually(() => Promise.resolve(assert.equal(unanswered.length, 1)));
    stoodStillMs = 20_000;
    await assert.rejects(late, { code: "DEADLINE_EXCEEDED" }, "nobody waits for it any more");
    await rows.close();
  });

  it("a shard that proved little when it came back is asked for all that it holds later: the other one may hang", async () => {
    let held = [0];
    let proofs = 0;
    const proof = {
      get partitions() {
        proofs++;
        return held;
      },
      get digests() {
        return held.map((partition) => `d${partition}`);
      },
    };
    let isMute = false;
    await using first = await fakeShard("first", (exchange) => isMute || honest(exchange));
    await using back = await fakeShard("back", (exchange) => honest(exchange), proof);
    const rows = await rowsOver({ first, back }, { timeoutMs: 5_000 });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
    await eventually(() => Promise.resolve(assert.ok(proofs > 0)));
    held = [0, 1, 2];
    isMute = true;
    (await rows.lookup([{ table: 0, ids: BigInt64Array.of(21n, 22n, 23n) }])).release();
    await rows.close();
  });

  it("of a late frame, what nobody else had at first is asked of whoever has it later, beside what was asked already", async () => {
    const trial = async (seed: number) => {
      let held = [0];
      const proof = {
        get partitions() {
          return held;
        },
        get digests() {
          return held.map((partition) => `d${partition}`);
        },
      };
      let isMute = false;
      await using first = await fakeShard("first", (exchange) => isMute || honest(exchange));
      await using back = await fakeShard("back", (exchange) => honest(exchange), proof);
      const rows = await rowsOver({ first, back }, { timeoutMs: 10_000, random: seededRandom(seed) });
      await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
      await pause(400); // both are connected
      isMute = true;
      const asked = rows.lookup([{ table: 0, ids: BigInt64Array.of(21n, 22n, 23n) }]);
      await pause(600); // the first hedge is long under way
      held = [0, 1, 2];
      (await asked).release();
      await rows.close();
    };
    await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(trial));
  }).timeout(30_000);

  const cases: Readonly<Record<string, { answer: (exchange: Exchange) => void; error: RegExp }>> = {
    "rows of another width": {
      answer: (exchange) => honest(exchange, (table) => ({ ...table, rowBytes: 12 })),
      error: /rows of 12 bytes/,
    },
    "fewer rows": {
      answer: (exchange) => honest(exchange, (table) => ({ ...table, rowCount: 1 })),
      error: /1 of 3 rows/,
    },
    "another table": {
      answer: (exchange) => honest(exchange, (table) => ({ ...table, table: 5 })),
      error: /table 5 at place 0/,
    },
    "default rows": {
      answer: (exchange) => honest(exchange, (table) => ({ ...table, defaults: Uint32Array.of(1) })),
      error: /1 rows are defaults, which nobody allowed/,
    },
    garbage: {
      answer: (exchange) => exchange.reply(FRAME.ROWS, [Buffer.alloc(50, 255)]),
      error: /a rows frame cannot be read/,
    },
    "an error": {
      answer: (exchange) => exchange.fail(new ServingError("UNAVAILABLE", "out for lunch")),
      error: /out for lunch/,
    },
    "a failure of its own": {
      answer: (exchange) => exchange.fail(new ServingError("ENGINE_FAILED", "the gather broke")),
      error: /the gather broke/,
    },
  };
  for (const [what, { answer, error }] of Object.entries(cases)) {
    it(`${what}: the other replica answers; alone, the lookup fails and says why`, async () => {
      await using wrong = await fakeShard("wrong", answer);
      await using right = await fakeShard("right", (exchange) => honest(exchange));
      const both = await rowsOver({ wrong, right });
      await both.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
      for (let i = 0; i < 5; i++) {
        const lease = await both.lookup(REQUEST);
        const view = lease.batches[0]?.rows.view<"float32">() as Float32Array;
        const got = Array.from(lease.batches[0]?.slots ?? [], (slot) => view[slot * 4 + 3]);
        assert.deepEqual(got, [7, 8, 9, 7]);
        lease.release();
      }
      await both.close();
      const alone = await rowsOver({ wrong });
      await alone.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
      await assert.rejects(alone.lookup(REQUEST), (reason: Error) => {
        assert.match(`${reason.message} ${String((reason.cause as Error | undefined)?.message)}`, error);
        return true;
      });
      await alone.close();
    });
  }

  it("another epoch than asked fails the lookup, and no row of it is kept", async () => {
    await using wrong = await fakeShard("wrong", (exchange) => honest(exchange, (table) => table, 3));
    const rows = await rowsOver({ wrong });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
    await assert.rejects(rows.lookup(REQUEST), { code: "EPOCH_MISMATCH" });
    assert.equal(rows.cacheUse.rows, 0);
    await rows.close();
  });

  it("is never asked when it proves other digests", async () => {
    let asked = 0;
    await using wrong = await fakeShard("wrong", () => asked++, { digests: ["d0", "d1", "XX"] });
    const rows = await rowsOver({ wrong });
    await eventually(() =>
      assert.rejects(rows.whenReady({ deadlineMs: systemClock.nowMs() }), /for partition 2 digest XX, expected d2/),
    );
    await assert.rejects(rows.lookup(REQUEST), { code: "DIGEST_MISMATCH" });
    assert.equal(asked, 0);
    await rows.close();
  });

  it("does not wait for a shard that says nothing beyond the deadline", async () => {
    await using silent = await fakeShard("silent", () => undefined);
    const rows = await rowsOver({ silent }, { timeoutMs: 3_600_000 });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
    await assert.rejects(rows.lookup(REQUEST, { deadlineMs: systemClock.nowMs() + 60 }), { code: "DEADLINE_EXCEEDED" });
    assert.equal(rows.cacheUse.rows, 0);
    await rows.close();
  });
});

describe("a shard that took more partitions since it was connected", () => {
  it("is asked for them from the next map on, though another replica answers as well", async () => {
    const proof = { partitions: [0], digests: ["d0"] };
    let asked = 0;
    await using late = await fakeShard("late", (exchange) => (asked++, honest(exchange)), proof);
    await using whole = await fakeShard("whole", (exchange) => honest(exchange));
    const rows = await rowsOver({ late, whole });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
    let id = 1n;
    const askPartition1 = async () => {
      (await rows.lookup([{ table: 0, ids: BigInt64Array.of(id) }])).release();
      id += BigInt(P);
    };
    for (let i = 0; i < 20; i++) await askPartition1();
    assert.equal(asked, 0, "it did not prove partition 1");
    Object.assign(proof, { partitions: [0, 1, 2], digests: ["d0", "d1", "d2"] });
    const shards = ["late", "whole"].map((name) => ({ id: name, weight: 1, zone: name }));
    rows.setMap(place(shards, P, 2, { model: "m", version: 1, generation: 2 }));
    await eventually(async () => {
      await askPartition1();
      assert.ok(asked > 0);
    });
    await rows.close();
  });
});

describe("a shard that was away for long", () => {
  it("is asked as soon as it is back, at another address, though reconnecting had long pauses by then", async () => {
    const servers = { right: await fakeShard("right", (exchange) => honest(exchange)) };
    const rows = await rowsOver(servers, { timeoutMs: 3_000 });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
    await servers.right.close();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await assert.rejects(rows.lookup(REQUEST), { code: "UNAVAILABLE" });
    servers.right = await fakeShard("right", (exchange) => honest(exchange));
    (await rows.lookup(REQUEST)).release();
    await rows.close();
    await servers.right.close();
  }).timeout(60_000);
});

describe("closing", () => {
  it("waits for leases, but not for ever, and keeps their rows readable", async () => {
    await using shard = await fakeShard("right", (exchange) => honest(exchange));
    const errors: string[] = [];
    const logger: Logger = { ...silentLogger, error: (_, message) => errors.push(message), child: () => logger };
    const rows = await rowsOver({ right: shard }, { logger, closeMs: 50 });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 20_000 });
    const first = await rows.lookup(REQUEST);
    const second = await rows.lookup(REQUEST);
    const closing = rows.close();
    first.release();
    await closing;
    assert.deepEqual(errors, ["row leases were not released; their memory is kept"]);
    const slot = second.batches[0]?.slots[1] as number;
    const view = second.batches[0]?.rows.view<"float32">() as Float32Array;
    assert.equal(view[slot * 4], 8);
    second.release();
  });
});

describe("cache budget", () => {
  it("gives small tables everything and shares the rest", () => {
    const tables = [
      { rows: 10, slabRowBytes: 64 },
      { rows: 1_000_000, slabRowBytes: 64 },
      { rows: 2_000_000, slabRowBytes: 192 },
    ];
    assert.deepEqual(divideCache(tables, 0), [0, 0, 0]);
    const [small, medium, large] = divideCache(tables, 1_281_280) as [number, number, number];
    assert.equal(small, 10);
    assert.equal(medium, 5_000);
    assert.equal(large, 2_500);
    assert.deepEqual(divideCache(tables, 2 ** 40), [10, 1_000_000, 2_000_000]);
  });
});
