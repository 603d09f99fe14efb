import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, type Logger, seededRandom, silentLogger, systemClock } from "@shardserve/core";
import { holdingKey, holdingRecord } from "@shardserve/registry";
import type { RowLease, StoredManifest } from "@shardserve/rowstore";
import { partitionPath } from "@shardserve/rowstore";
import { eventually, tempDir } from "@shardserve/testkit";
import { element, MODEL, tableOf, TestCluster, VERSION, writeVersion } from "./support/fixture.js";

const TABLES = [
  tableOf("user", 5_000, 16),
  tableOf("item", 900, 16),
  tableOf("tag", 7, 3),
  tableOf("half", 400, 8, "float16"),
  tableOf("byte", 300, 8, "int8"),
];
/** Callers that look rows up at the same time. */
const WORKERS = 8;
const P = 13;

type Folder = Awaited<ReturnType<typeof tempDir>>;

/** Checks every element of a lease. */
function assertRows(lease: RowLease, requests: readonly { table: number; ids: BigInt64Array | Int32Array }[]): void {
  requests.forEach(({ table, ids }, k) => {
    const { rows, slots } = lease.batches[k] as RowLease["batches"][number];
    const view = rows.view<"float32">();
    const dim = TABLES[table]?.dim as number;
    const tolerance = table === 3 ? 2 : table === 4 ? 0.01 : 0;
    ids.forEach((id: bigint | number, i: number) => {
      for (let e = 0; e < dim; e++) {
        const got = view[(slots[i] as number) * dim + e] as number;
        const wanted = element(table, Number(id), e);
        if (Math.abs(got - wanted) > tolerance)
          assert.fail(`table ${table} row ${id} [${e}]: ${got}, wanted ${wanted}`);
      }
    });
  });
}

describe("shards and lookup", () => {
  let folder: Folder;
  let stored: StoredManifest;

  before(async () => {
    folder = await tempDir();
    stored = await writeVersion(folder.path, TABLES, P);
  });

  after(async () => {
    await folder[Symbol.asyncDispose]();
  });

  async function threeShards(options: object = {}) {
    const cluster = new TestCluster(folder.path, stored);
    for (const id of ["s0", "s1", "s2"]) await cluster.startShard(id, options);
    const map = await cluster.publish(["s0", "s1", "s2"], 2);
    return { cluster, map };
  }

  it("fetches rows of many tables, with repeated ids, and reports where they came from", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map);
    const requests = [
      { table: 0, ids: BigInt64Array.of(4_999n, 0n, 17n, 17n, 0n) },
      { table: 1, ids: Int32Array.of(899, 1, 1) },
      { table: 2, ids: new BigInt64Array(0) },
      { table: 3, ids: BigInt64Array.of(399n) },
      { table: 4, ids: BigInt64Array.of(299n, 0n) },
      { table: 0, ids: BigInt64Array.of(17n, 5n) },
    ];
    const first = await source.lookup(requests);
    assertRows(first, requests);
    assert.deepEqual([...first.report.shardRows], [7, 3, 0, 1, 2]);
    assert.deepEqual([...first.report.cacheRows], [0, 0, 0, 0, 0]);
    first.release();
    const second = await source.lookup(requests);
    assertRows(second, requests);
    assert.deepEqual([...second.report.shardRows], [0, 0, 0, 0, 0]);
    assert.deepEqual([...second.report.cacheRows], [7, 3, 0, 1, 2]);
    assert.deepEqual(second.batches[0]?.rows.shape.length, 2);
    second.release();
    second.release();
  });

  it("refuses ids outside a table in TensorFlow's words, before anything is sent", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map);
    const good = { table: 1, ids: BigInt64Array.of(1n) };
    await assert.rejects(source.lookup([good, { table: 0, ids: BigInt64Array.of(3n, 5_000n) }]), (error) => {
      assert.ok(isServingError(error, "ROW_OUT_OF_RANGE"));
      assert.equal(error.message, "indices[1] = 5000 is not in [0, 5000)");
      assert.deepEqual(error.details, { table: "user", position: 1, id: "5000", rows: 5000, request: 1 });
      return true;
    });
    await assert.rejects(
      source.lookup([{ table: 0, ids: Int32Array.of(-1) }]),
      /indices\[0\] = -1 is not in \[0, 5000\)/,
    );
  });

  it("falls back to a buffer of its own when the slab is too small, and to no cache at all", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    for (const cacheBytes of [0, 20_000]) {
      const source = await cluster.source(map, { cacheBytes });
      const random = seededRandom(3);
      for (let round = 0; round < 5; round++) {
        const requests = TABLES.map((table, i) => ({
          table: i,
          ids: BigInt64Array.from({ length: 400 }, () => BigInt(random.uint32() % table.rows)),
        }));
        const lease = await source.lookup(requests);
        assertRows(lease, requests);
        lease.release();
      }
    }
  });

  it("answers many lookups that arrive together", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map, { cacheBytes: 0 });
    const random = seededRandom(5);
    const asked = Array.from({ length: 100 }, () =>
      TABLES.map(({ rows }, table) => ({
        table,
        ids: BigInt64Array.from({ length: 100 }, () => BigInt(random.uint32() % rows)),
      })),
    );
    const leases = await Promise.all(asked.map((requests) => source.lookup(requests)));
    for (const [i, lease] of leases.entries()) {
      assertRows(lease, asked[i]!);
      lease.release();
    }
  });

  it("asks once for a row that several batches miss at the same time", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map);
    const requests = [{ table: 0, ids: BigInt64Array.from({ length: 300 }, (_, i) => BigInt(i)) }];
    const leases = await Promise.all(Array.from({ length: 8 }, () => source.lookup(requests)));
    for (const lease of leases) assertRows(lease, requests);
    const fetched = leases.reduce((sum, lease) => sum + (lease.report.shardRows[0] as number), 0);
    assert.equal(fetched, 300);
    for (const lease of leases) lease.release();
  });

  it("lets a waiter fetch for itself when the batch that it waited for is given up", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map);
    const requests = [{ table: 0, ids: BigInt64Array.from({ length: 50 }, (_, i) => BigInt(i)) }];
    const abort = new AbortController();
    const given = source.lookup(requests, { signal: abort.signal });
    const waiting = source.lookup(requests);
    abort.abort(new Error("not needed"));
    await assert.rejects(given, /not needed/);
    const lease = await waiting;
    assertRows(lease, requests);
    assert.equal(lease.report.shardRows[0], 50);
    lease.release();
  });

  it("loses no lookup when a replica is killed under load", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map, { cacheBytes: 30_000, timeoutMs: 3_000 });
    const random = seededRandom(11);
    let done = 0;
    let isStopping = false;
    const worker = async () => {
      while (!isStopping) {
        const requests = TABLES.map((table, i) => ({
          table: i,
          ids: BigInt64Array.from({ length: 60 }, () => BigInt(random.uint32() % table.rows)),
        }));
        const lease = await source.lookup(requests);
        assertRows(lease, requests);
        lease.release();
        done++;
      }
    };
    const workers = Promise.all(Array.from({ length: WORKERS }, worker));
    await eventually(() => done > WORKERS);
    await cluster.shards.get("s1")?.close({ drainMs: 0 });
    const atKill = done;
    await eventually(() => done > atKill + 2 * WORKERS); // more than were under way
    isStopping = true;
    await workers;
  });

  it("fails with the cause when no replica is left, within the deadline", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source(map);
    for (const shard of cluster.shards.values()) await shard.close();
    const startMs = systemClock.nowMs();
    await assert.rejects(
      source.lookup([{ table: 0, ids: BigInt64Array.of(1n) }], { deadlineMs: startMs + 200 }),
      (error) => {
        assert.ok(isServingError(error, "UNAVAILABLE", "DEADLINE_EXCEEDED"));
        assert.match(error.message, /no replica of partition 1 of ctr\/3|not fetched in time/);
        return true;
      },
    );
    assert.ok(systemClock.nowMs() - startMs < 5_000);
  });

  it("never mixes epochs: a shard at another epoch refuses", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const source = await cluster.source({ ...map, epoch: 4 });
    const deadlineMs = systemClock.nowMs() + 300;
    await assert.rejects(source.lookup([{ table: 0, ids: BigInt64Array.of(1n) }], { deadlineMs }), {
      code: "EPOCH_MISMATCH",
    });
    source.setMap(map);
    const lease = await source.lookup([{ table: 0, ids: BigInt64Array.of(1n) }]);
    assert.equal(lease.report.epoch, 0);
    lease.release();
  });

  it("does not use a shard whose bytes differ from the manifest", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const wrong = { ...stored, digest: "f".repeat(32) };
    const other = new TestCluster(folder.path, wrong);
    for (const [id, shard] of cluster.shards) other.shards.set(id, shard);
    const warned: string[] = [];
    const warn = (fields: object) => void warned.push((fields as { readonly reason: string }).reason);
    const logger: Logger = { ...silentLogger, warn, child: () => logger };
    await assert.rejects(other.source(map, { logger }, 400), (error) => {
      assert.ok(isServingError(error, "UNAVAILABLE"));
      assert.match(error.message, /proves manifest digest/);
      return true;
    });
    assert.equal(warned.length, cluster.shards.size, warned.join("; "));
    assert.match(warned[0]!, /it is not used: is it the same model repository\?/);
  }).timeout(60_000);

  it("refuses more than its budget at once, and serves again afterwards", async () => {
    const { cluster, map } = await threeShards({ replyBytesInFlightMax: 200 * 1024 });
    await using _ = cluster;
    const source = await cluster.source(map, { cacheBytes: 0 });
    const requests = [{ table: 0, ids: BigInt64Array.from({ length: 5_000 }, (_, i) => BigInt(i)) }];
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => source.lookup(requests)));
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    assert.ok(refused.length > 0, "nothing was refused");
    for (const { reason } of refused as PromiseRejectedResult[]) assert.equal(reason.code, "RESOURCE_EXHAUSTED");
    for (const outcome of outcomes) if (outcome.status === "fulfilled") outcome.value.release();
    const lease = await eventually(() => source.lookup(requests));
    assertRows(lease, requests);
    lease.release();
  });

  it("loads what maps give it, proves it, and drops what no map gives it any more", async () => {
    const { cluster, map } = await threeShards();
    await using _ = cluster;
    const s0 = cluster.shards.get("s0");
    const name = `${MODEL}/${VERSION}`;
    await eventually(() => assert.ok((s0?.holdings.get(name)?.length ?? 0) > 0), { timeoutMs: 5_000 });
    const source = await cluster.source(map);
    const moved = cluster.map(["s1", "s2"], 2);
    await cluster.put({ enabled: moved });
    await eventually(
      () => {
        assert.equal(s0?.holdings.size, 0);
        assert.equal(cluster.shards.get("s1")?.holdings.get(name)?.length, P);
      },
      { timeoutMs: 5_000 },
    );
    assert.equal(await cluster.registry.get(holdingKey("s0", MODEL, VERSION)), undefined);
    // the old map still names s0: its rows come from the other replicas
    const requests = [{ table: 0, ids: BigInt64Array.from({ length: 200 }, (_, i) => BigInt(i * 7)) }];
    const stale = await source.lookup(requests);
    assertRows(stale, requests);
    stale.release();
    source.setMap(moved);
    await source.whenReady({ deadlineMs: systemClock.nowMs() + 5_000 });
    const lease = await source.lookup([{ table: 0, ids: BigInt64Array.of(4_000n) }]);
    lease.release();
  });

  it("refuses a partition file with one flipped byte, names file and block, and serves the rest", async () => {
    await using copy = await tempDir();
    const damaged = await writeVersion(copy.path, TABLES, P);
    const path = join(copy.path, MODEL, String(VERSION), partitionPath(5));
    const bytes = await readFile(path);
    const at = 4096 + 100;
    bytes[at] = (bytes[at] as number) ^ 1;
    await writeFile(path, bytes);
    await using cluster = new TestCluster(copy.path, damaged);
    const shard = await cluster.startShard("s0");
    const map = await cluster.publish(["s0"], 1);
    await eventually(() => assert.equal(shard.holdings.get(`${MODEL}/${VERSION}`)?.length, P - 1), {
      timeoutMs: 5_000,
    });
    await eventually(
      async () => {
        const entry = await cluster.registry.get(holdingKey("s0", MODEL, VERSION));
        const record = holdingRecord.decode(entry?.value ?? new Uint8Array(), "holding");
        assert.equal(record.error?.code, "CHECKSUM_MISMATCH");
        assert.match(record.error?.message ?? "", /p-00005\.rows: block 0/);
        assert.ok(!record.partitions.includes(5));
      },
      { timeoutMs: 5_000 },
    );
    await assert.rejects(cluster.source(map, {}, 400), /partition 5 has no replica that proved it/);
  }).timeout(60_000);

  it("uses the Unix socket of a shard on the same machine", async () => {
    await using sockets = await tempDir();
    const cluster = new TestCluster(folder.path, stored);
    await using _ = cluster;
    const unixPath = join(sockets.path, "s0.sock");
    await cluster.startShard("s0", { unixPath });
    const map = await cluster.publish(["s0"], 1);
    const directory = { shard: () => ({ machine: "here", addresses: { unix: unixPath, tcp: "127.0.0.1:1" } }) };
    const source = await cluster.source(map, { directory, machine: "here" });
    const requests = [{ table: 1, ids: BigInt64Array.of(3n) }];
    const lease = await source.lookup(requests);
    assertRows(lease, requests);
    lease.release();
  });
});
