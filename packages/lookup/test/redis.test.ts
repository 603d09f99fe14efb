import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { seededRandom, silentLogger, systemClock } from "@shardserve/core";
import { place } from "@shardserve/placement";
import type { RowLease } from "@shardserve/rowstore";
import type { FramedServer } from "@shardserve/transport";
import { eventually, findProgram, freePort, launch, RedisServer, TcpProxy, tempDir } from "@shardserve/testkit";
import fc from "fast-check";
import { Cluster, Redis } from "ioredis";
import { LookupMetrics, RedisLevel, type RedisLevelOptions, type ShardRows } from "../src/index.js";
import { readValue, RowKeys, valueBytes, writeValue } from "../src/redis/redis-rows-format.js";
import { fakeShard, honest, P, rowsOver } from "./fake-shards.js";

const BUDGET_MS = 25;
/** What a loaded machine may add to a budget. */
const NOISE_MS = 2_000;

function levelOver(client: Redis | Cluster, options: Partial<RedisLevelOptions> = {}): RedisLevel {
  return new RedisLevel({
    client,
    isCluster: client instanceof Cluster,
    budgetMs: BUDGET_MS,
    ttlSeconds: 60,
    clock: systemClock,
    random: seededRandom(1),
    metrics: new LookupMetrics(),
    logger: silentLogger,
    ...options,
  });
}

async function connected<C extends Redis | Cluster>(client: C): Promise<C> {
  client.on("error", () => undefined);
  await eventually(() => assert.equal(client.status, "ready"), { timeoutMs: 15_000 });
  return client;
}

const clientOf = (port: number) =>
  connected(new Redis({ host: "127.0.0.1", port, enableOfflineQueue: false, maxRetriesPerRequest: 0 }));

function requestOf(...ids: number[]) {
  return [{ table: 0, ids: BigInt64Array.from(ids, BigInt) }];
}

function assertRows(lease: RowLease, ids: readonly number[]): void {
  const { rows, slots } = lease.batches[0] as RowLease["batches"][number];
  const view = rows.view<"float32">();
  assert.deepEqual(
    Array.from(slots, (slot) => view[slot * 4 + 2]),
    [...ids],
  );
}

async function ready(rows: ShardRows): Promise<ShardRows> {
  await rows.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
  return rows;
}

async function counts(metrics: LookupMetrics, name: "redisReads" | "redisRows" | "redisWrites") {
  const { values } = await metrics[name].get();
  return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]));
}

/** Looks ids up and waits until their rows are in Redis. */
async function fill(right: FramedServer, level: RedisLevel, ids: readonly number[]): Promise<void> {
  const rows = await ready(await rowsOver({ right }, { redis: level }));
  const lease = await rows.lookup(requestOf(...ids));
  assertRows(lease, ids);
  lease.release();
  await eventually(async () => assert.equal((await counts(level.metrics, "redisWrites")).written, new Set(ids).size));
  await rows.close();
}

describe("Redis as second level", () => {
  let redis: RedisServer;
  let right: FramedServer;
  let asked = 0;

  before(async () => {
    redis = await RedisServer.start();
    right = await fakeShard("right", (exchange) => {
      asked++;
      honest(exchange);
    });
  });

  after(async () => {
    await right?.close();
    await redis?.stop();
  });

  beforeEach(async () => {
    using client = closing(await clientOf(redis.port));
    await client.it.flushall();
  });

  it("gives one executor the rows that another fetched, and says so", async () => {
    using level = closing(levelOver(await clientOf(redis.port)));
    await fill(right, level.it, [1, 2, 3]);
    asked = 0;
    const rows = await ready(await rowsOver({ right }, { redis: level.it }));
    const first = await rows.lookup(requestOf(3, 1, 3, 9));
    assertRows(first, [3, 1, 3, 9]);
    const { redisRows, shardRows, cacheRows } = first.report;
    assert.deepEqual([redisRows[0], shardRows[0], cacheRows[0]], [3, 1, 0]);
    first.release();
    assert.equal(asked, 1);
    const second = await rows.lookup(requestOf(3, 1));
    assert.deepEqual([second.report.redisRows[0], second.report.cacheRows[0]], [0, 2]);
    second.release();
    await rows.close();
    using client = closing(await clientOf(redis.port));
    const keys = await client.it.keysBuffer("*");
    assert.equal(keys.length, 4);
    for (const key of keys) assert.ok((await client.it.ttl(key)) > 50);
  });

  for (const redisFor of ["misses", "dark"] as const) {
    it(`serves a dark shard's rows, asked for ${redisFor}; a row that it has not fails and names the partition`, async () => {
      using level = closing(levelOver(await clientOf(redis.port)));
      await fill(right, level.it, [1, 2, 3]);
      await using shard = await fakeShard("right", (exchange) => honest(exchange));
      const rows = await ready(await rowsOver({ right: shard }, { redis: level.it, redisFor, timeoutMs: 3_000 }));
      await shard.close();
      const lease = await eventually(() => rows.lookup(requestOf(2, 3)));
      assertRows(lease, [2, 3]);
      assert.equal(lease.report.redisRows[0], 2);
      lease.release();
      await assert.rejects(rows.lookup(requestOf(2, 500)), {
        code: "UNAVAILABLE",
        message: /no replica of partition 2 /,
      });
      await rows.close();
    });
  }

  it("keeps the rows of two deltas that had one number apart, and leaves an epoch alone that it does not know", async () => {
    using level = closing(levelOver(await clientOf(redis.port)));
    await using shard = await fakeShard("right", (exchange) => honest(exchange, (table) => table, 1), { epoch: 1 });
    const mapOf = (generation: number, epoch: number) =>
      place([{ id: "right", weight: 1, zone: "" }], P, 1, { model: "m", version: 1, generation, epoch });
    const countsOf = async (digest: string | undefined) => {
      const rows = await rowsOver({ right: shard }, { redis: level.it });
      rows.setMap(mapOf(2, 1));
      await ready(rows);
      if (digest !== undefined) rows.nameEpoch(1, digest);
      const lease = await rows.lookup(requestOf(1, 2));
      assertRows(lease, [1, 2]);
      lease.release();
      await new Promise((resolve) => setTimeout(resolve, 50)); // whatever is to be written is written
      await rows.close();
      return [lease.report?.redisRows[0], lease.report?.shardRows[0]];
    };
    assert.deepEqual(await countsOf("aa"), [0, 2]);
    await eventually(async () => assert.equal((await counts(level.it.metrics, "redisWrites")).written, 2));
    assert.deepEqual(await countsOf("aa"), [2, 0]);
    assert.deepEqual(await countsOf(undefined), [0, 2]);
    assert.deepEqual(await countsOf("bb"), [0, 2]);
  });

  it("uses no damaged row: the shard's comes instead, and is written anew", async () => {
    using level = closing(levelOver(await clientOf(redis.port)));
    await fill(right, level.it, [1, 2, 3]);
    using client = closing(await clientOf(redis.port));
    const keys = await client.it.keysBuffer("*");
    const value = (await client.it.getBuffer(keys[0] as Buffer)) as Buffer;
    value[9] = (value[9] as number) ^ 1;
    await client.it.set(keys[0] as Buffer, value);
    await client.it.set(keys[1] as Buffer, (await client.it.getBuffer(keys[2] as Buffer)) as Buffer); // another row's
    const rows = await ready(await rowsOver({ right }, { redis: level.it }));
    const lease = await rows.lookup(requestOf(1, 2, 3));
    assertRows(lease, [1, 2, 3]);
    assert.deepEqual([lease.report.redisRows[0], lease.report.shardRows[0]], [1, 2]);
    lease.release();
    assert.equal((await counts(level.it.metrics, "redisRows")).damaged, 2);
    await eventually(async () => assert.equal((await counts(level.it.metrics, "redisWrites")).written, 5));
    await rows.close();
  });

  it("hung or gone, it delays no lookup beyond its budget, is left alone soon, and is used again when it is back", async () => {
    await using own = await RedisServer.start();
    await using proxy = await TcpProxy.start({ host: "127.0.0.1", port: own.port });
    const client = await connected(
      new Redis({
        host: "127.0.0.1",
        port: proxy.port,
        enableOfflineQueue: false,
        maxRetriesPerRequest: 0,
        retryStrategy: () => 50,
      }),
    );
    using level = closing(levelOver(client));
    const rows = await ready(await rowsOver({ right }, { redis: level.it, cacheBytes: 0, timeoutMs: 5_000 }));
    const random = seededRandom(2);
    const load = async (lookups: number) => {
      let slowestMs = 0;
      for (let i = 0; i < lookups; i++) {
        const ids = Array.from({ length: 20 }, () => random.uint32() % 1000);
        const startMs = systemClock.nowMs();
        const lease = await rows.lookup(requestOf(...ids));
        slowestMs = Math.max(slowestMs, systemClock.nowMs() - startMs);
        assertRows(lease, ids);
        lease.release();
      }
      return slowestMs;
    };
    await load(100);
    assert.ok(((await counts(level.it.metrics, "redisRows")).hit ?? 0) > 0);
    proxy.setDark(true);
    const hungMs = await load(100);
    assert.ok(hungMs <= BUDGET_MS + NOISE_MS, `${hungMs} ms while Redis hung`);
    const late = (await counts(level.it.metrics, "redisReads")).late ?? 0;
    assert.ok(late >= 1 && late <= 40, `${late} lookups waited for the budget`);
    proxy.setDark(false);
    await own.pause();
    const goneMs = await load(100);
    assert.ok(goneMs <= BUDGET_MS + NOISE_MS, `${goneMs} ms while Redis was gone`);
    await own.resume();
    const before = (await counts(level.it.metrics, "redisRows")).hit ?? 0;
    await eventually(
      async () => {
        await load(5);
        assert.ok(((await counts(level.it.metrics, "redisRows")).hit ?? 0) > before);
      },
      { timeoutMs: 15_000 },
    );
    await rows.close();
  }).timeout(60_000);

  it("works with a Redis Cluster of two nodes", async () => {
    const nodes = await Promise.all(
      [0, 1].map((i) =>
        RedisServer.start({ args: ["--cluster-enabled", "yes", "--cluster-config-file", `nodes-${i}.conf`] }),
      ),
    );
    try {
      const [first, second] = await Promise.all(nodes.map(({ port }) => clientOf(port)));
      await first!.cluster("ADDSLOTSRANGE", 0, 8191);
      await second!.cluster("ADDSLOTSRANGE", 8192, 16383);
      await first!.cluster("MEET", "127.0.0.1", nodes[1]!.port);
      await eventually(async () => assert.match(String(await first!.cluster("INFO")), /cluster_state:ok/), {
        timeoutMs: 15_000,
      });
      await eventually(async () => assert.match(String(await second!.cluster("INFO")), /cluster_state:ok/), {
        timeoutMs: 15_000,
      });
      const cluster = await connected(new Cluster([{ host: "127.0.0.1", port: nodes[0]!.port }]));
      using level = closing(levelOver(cluster, { budgetMs: 2_000 }));
      const ids = Array.from({ length: 300 }, (_, i) => i);
      await fill(right, level.it, ids);
      const rows = await ready(await rowsOver({ right }, { redis: level.it }));
      const lease = await rows.lookup(requestOf(...ids));
      assertRows(lease, ids);
      assert.equal(lease.report.redisRows[0], 300);
      lease.release();
      await rows.close();
      const held = await Promise.all([first!.dbsize(), second!.dbsize()]);
      assert.equal(held[0] + held[1], 300);
      assert.ok(held[0] > 50 && held[1] > 50, `${held.join()} keys on the nodes`);
      first!.disconnect();
      second!.disconnect();
    } finally {
      for (const node of nodes) await node.stop();
    }
  }).timeout(60_000);

  it("finds the master through a Sentinel", async () => {
    await using dir = await tempDir();
    const port = await freePort();
    const config = join(dir.path, "sentinel.conf");
    await writeFile(config, `port ${port}\nsentinel monitor mymaster 127.0.0.1 ${redis.port} 1\n`);
    const { path, env } = findProgram("redis-server");
    await using sentinel = launch(path, { args: [config, "--sentinel"], env });
    await sentinel.waitForOutput(/monitor master mymaster/);
    const client = await connected(
      new Redis({ sentinels: [{ host: "127.0.0.1", port }], name: "mymaster", enableOfflineQueue: false }),
    );
    using level = closing(levelOver(client, { budgetMs: 2_000 }));
    await fill(right, level.it, [5, 6]);
    const rows = await ready(await rowsOver({ right }, { redis: level.it }));
    const lease = await rows.lookup(requestOf(5, 6));
    assert.equal(lease.report.redisRows[0], 2);
    lease.release();
    await rows.close();
  }).timeout(60_000);
});

describe("rows in Redis, their format", () => {
  const space = { cluster: "c", model: "m", version: 3, manifestDigest: "ab" };
  const keyOf = (keys: RowKeys, table: number, id: bigint) => {
    const lanes = new Int32Array(BigInt64Array.of(id).buffer);
    const target = Buffer.alloc(keys.bytesMax);
    return target.subarray(0, keys.write(target, 0, table, lanes[0] as number, lanes[1] as number));
  };

  it("has one key for each space, epoch, table and id", () => {
    const part = fc.record({
      version: fc.integer({ min: 1, max: 3 }),
      epoch: fc.nat(300),
      table: fc.nat(300),
      id: fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
    });
    fc.assert(
      fc.property(part, part, (a, b) => {
        const [keyA, keyB] = [a, b].map(({ version, epoch, table, id }) =>
          keyOf(new RowKeys({ ...space, version }, epoch, ""), table, id),
        );
        assert.equal(
          keyA!.equals(keyB!),
          JSON.stringify([a, String(a.id)], text) === JSON.stringify([b, String(b.id)], text),
        );
        assert.match(keyA!.toString("latin1"), /^\{[\w-]{13}\}/);
        assert.ok(keyA!.length <= 15 + 3 + 2 + 8);
      }),
    );
  });

  it("reads back what was written, and nothing that was changed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 64 }), fc.nat(), fc.nat(1000), (row, flip, id) => {
        const key = keyOf(new RowKeys(space, 0, ""), 1, BigInt(id));
        const value = Buffer.alloc(valueBytes(row.length));
        writeValue(value, 0, key, row);
        assert.deepEqual(new Uint8Array(readValue(value, key, row.length) as Uint8Array), row);
        assert.equal(readValue(value, key, row.length + 1), undefined);
        assert.equal(readValue(value.subarray(1), key, row.length), undefined);
        assert.equal(readValue(value, keyOf(new RowKeys(space, 1, ""), 1, BigInt(id)), row.length), undefined);
        const at = flip % (value.length * 8);
        value[at >> 3] = (value[at >> 3] as number) ^ (1 << (at & 7));
        assert.equal(readValue(value, key, row.length), undefined);
      }),
    );
  });
});

const text = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);

/** Something to be closed at the end of a test. */
function closing<T extends { close(): void } | Redis>(it: T): Disposable & { readonly it: T } {
  return { it, [Symbol.dispose]: () => ("close" in it ? it.close() : it.disconnect()) };
}
