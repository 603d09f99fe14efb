import assert from "node:assert/strict";
import { type Clock, seededRandom, silentLogger, systemClock } from "@shardserve/core";
import { place } from "@shardserve/placement";
import type { ReportedLease, RowLease } from "@shardserve/rowstore";
import type { FramedServer } from "@shardserve/transport";
import { eventually, RedisServer } from "@shardserve/testkit";
import { Redis } from "ioredis";
import { LookupMetrics, RedisLevel, type ShardRows, type ShardRowsOptions } from "../src/index.js";
import { fakeShard, honest, P, rowsOver } from "./fake-shards.js";

const ZEROS = { staleMaxAgeMs: 0, allowDefault: true, shareMax: 1 };

function requestOf(...ids: number[]) {
  return [{ table: 0, ids: BigInt64Array.from(ids, BigInt) }];
}

function valuesOf(lease: RowLease): number[] {
  const { rows, slots } = lease.batches[0] as RowLease["batches"][number];
  const view = rows.view<"float32">();
  return Array.from(slots, (slot) => view[slot * 4 + 1] as number);
}

function countsOf({ report }: ReportedLease): number[] {
  const { cacheRows, shardRows, redisRows, staleRows, defaultRows } = report;
  return [cacheRows, shardRows, redisRows, staleRows, defaultRows].map((counts) => counts[0] as number);
}

describe("rows that cannot be had", () => {
  /** A row source over one shard that has the rows 1 and 2 in its cache. */
  async function rowsOf(shard: FramedServer, options: Partial<ShardRowsOptions>): Promise<ShardRows> {
    const rows = await rowsOver({ right: shard }, { timeoutMs: 3_000, ...options });
    await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
    (await rows.lookup(requestOf(1, 2))).release();
    return rows;
  }

  it("fail the lookup unless the operator says otherwise", async () => {
    await using shard = await fakeShard("right", (exchange) => honest(exchange));
    const rows = await rowsOf(shard, {});
    await shard.close();
    await assert.rejects(rows.lookup(requestOf(1, 7)), { code: "UNAVAILABLE" });
    (await rows.lookup(requestOf(1, 2))).release();
    await rows.close();
  });

  it("are zeros where allowed: counted by table, never cached, never handed to another lookup as found", async () => {
    const shard = await fakeShard("right", (exchange) => honest(exchange));
    const metrics = new LookupMetrics();
    const rows = await rowsOf(shard, { degraded: ZEROS, metrics });
    await shard.close();
    const [first, second] = await Promise.all([rows.lookup(requestOf(2, 7, 7, 8, 1)), rows.lookup(requestOf(8, 2))]);
    assert.deepEqual(valuesOf(first!), [2, 0, 0, 0, 1]);
    assert.deepEqual(countsOf(first!), [2, 0, 0, 0, 3]);
    assert.deepEqual(valuesOf(second!), [0, 2]);
    assert.deepEqual(countsOf(second!), [1, 0, 0, 0, 1]);
    first!.release();
    second!.release();
    assert.equal(rows.cacheUse.rows, 2);
    const whole = await rows.lookup(requestOf(1, 2));
    assert.deepEqual(countsOf(whole), [2, 0, 0, 0, 0]);
    whole.release();
    const { values } = await metrics.rows.get();
    assert.equal(values.find(({ labels }) => labels.source === "default")?.value, 3);
    await rows.close();
  });

  it("are refused beyond the operator's share, naming the table", async () => {
    const shard = await fakeShard("right", (exchange) => honest(exchange));
    const rows = await rowsOf(shard, { degraded: { ...ZEROS, shareMax: 0.4 } });
    await shard.close();
    (await rows.lookup(requestOf(1, 2, 7))).release();
    await assert.rejects(rows.lookup(requestOf(1, 7, 8)), {
      code: "ROWS_DEGRADED",
      message: /2 of 3 rows of m\/1 could only be stale or defaults, 2 of them of table t; at most 40 % are allowed/,
    });
    await rows.close();
  });

  it("are those of an older epoch in Redis, as long as that is not too old", async () => {
    await using redis = await RedisServer.start();
    const client = new Redis({ port: redis.port, enableOfflineQueue: false });
    await eventually(() => assert.equal(client.status, "ready"));
    const metrics = new LookupMetrics();
    const level = new RedisLevel({
      client,
      isCluster: false,
      budgetMs: 2_000,
      ttlSeconds: 60,
      clock: systemClock,
      random: seededRandom(1),
      metrics,
      logger: silentLogger,
    });
    let laterMs = 0;
    const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + laterMs };
    const shard = await fakeShard("right", (exchange) => honest(exchange));
    const degraded = { staleMaxAgeMs: 10_000, allowDefault: false, shareMax: 1 };
    const rows = await rowsOf(shard, { redis: level, degraded, clock });
    await eventually(async () => assert.equal((await metrics.redisWrites.get()).values[0]?.value, 2));
    rows.setMap(
      place([{ id: "right", weight: 1, zone: "" }], P, 1, { model: "m", version: 1, generation: 2, epoch: 1 }),
    );
    await shard.close();
    const lease = await rows.lookup(requestOf(2, 1, 2));
    assert.deepEqual(valuesOf(lease), [2, 1, 2]);
    assert.deepEqual(countsOf(lease), [0, 0, 0, 3, 0]);
    assert.equal(lease.report.epoch, 1);
    lease.release();
    await assert.rejects(rows.lookup(requestOf(2, 9)), { code: "UNAVAILABLE" }, "row 9 was never in Redis");
    laterMs = 10_001;
    await assert.rejects(rows.lookup(requestOf(2, 1)), { code: "UNAVAILABLE" });
    await rows.close();
    level.close();
  }).timeout(60_000);
});
