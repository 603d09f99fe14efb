import assert from "node:assert/strict";
import { cp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterStatus } from "@shardserve/controller";
import { seededRandom, silentLogger } from "@shardserve/core";
import { EtcdRegistry, holdingKey, holdingRecord } from "@shardserve/registry";
import { partitionPath } from "@shardserve/rowstore";
import { EtcdServer, eventually, REPO_DIR, type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { GrpcClient } from "./support/grpc.js";
import { FIRST_ROW_BYTE, isGone, isWhole, LiveCluster, versionOf } from "./support/live-cluster.js";
import { whenAvailable } from "./support/roles.js";
import { STAMPED, stampedRequest } from "./support/stamped-model.js";
import { type LoadResult, SteadyLoad } from "./support/steady-load.js";

const SHARD_IDS = ["shard-0", "shard-1", "shard-2"];
const EXECUTOR_IDS = ["executor-0", "executor-1"];

/** One cluster lives through all faults, one after another; each test leaves it whole. */
describe("a cluster under faults", function () {
  this.timeout(90_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let cluster: LiveCluster;
  const load = (id = "executor-0") => new SteadyLoad(cluster.front(id).grpc);
  const until = (isSo: (found: ClusterStatus) => boolean) => cluster.until(isSo);

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-faults-")]);
    cluster = new LiveCluster({
      dir: dir.path,
      etcd: [etcd.host],
      cluster: "faults",
      replication: 2,
      minShards: SHARD_IDS.length,
      executorFlags: ["--target-latency-ms=30000"],
    });
    await cluster.publish(1);
    const other = join(REPO_DIR, "test/fixtures/models/dlrm/1");
    const out = join(cluster.repository, "dlrm", "1");
    const { code, stderr } = await cli("shard-export", other, `--out=${out}`, "--min-table-bytes=0");
    assert.equal(code, 0, stderr);
    await Promise.all([
      ...SHARD_IDS.map((id) => cluster.startShard(id)),
      ...EXECUTOR_IDS.map((id) => cluster.startExecutor(id)),
    ]);
    for (const id of EXECUTOR_IDS) {
      for (const model of [STAMPED, "dlrm"]) await whenAvailable(cluster.front(id), model);
    }
  });

  after(async () => {
    await cluster?.stop();
    await etcd?.stop();
    await dir?.remove();
  });

  it("kill -9 of one of three shards: no request fails; restarted with the same id it serves again", async () => {
    await using running = load();
    await running.more(200);
    await cluster.process("shard-1").stop("SIGKILL");
    await running.more(200);
    const found = await until(({ missingShards }) => missingShards.length === 1);
    assert.deepEqual(found.missingShards, ["shard-1"]);
    assert.equal(versionOf(found, 1)?.darkCount, 0);
    assert.ok(versionOf(found, 1)!.degradedCount > 0);

    await cluster.startShard("shard-1");
    await until(isWhole);
    // Whatever shard-2 shares with shard-1 can come from the restarted one only.
    await cluster.process("shard-2").stop("SIGKILL");
    await running.more(300);
    await cluster.startShard("shard-2"); // at once: its old registration still stands
    await running.more(200);
    await until(isWhole);
    assertClean(await running.stop());
  });

  it("SIGTERM to a shard: no request fails, and it ends by itself with 0", async () => {
    await using running = load();
    await running.more(100);
    cluster.process("shard-0").signal("SIGTERM");
    assert.deepEqual(await cluster.process("shard-0").exit, { code: 0, signal: null });
    await running.more(100);
    await cluster.startShard("shard-0");
    await until(isWhole);
    assertClean(await running.stop());
  });

  it("a partition file with one flipped byte: its shard refuses it by file and block, the rest serves", async () => {
    const registry = new EtcdRegistry({ hosts: [etcd.host], cluster: "faults", logger: silentLogger });
    const holding = async () => {
      const entry = await registry.get(holdingKey("shard-2", STAMPED, 1));
      return entry && holdingRecord.decode(entry.value, entry.key);
    };
    try {
      const held = (await holding())!.partitions;
      const partition = held[7]!;
      // The shard reads its own copy of the repository, as on a machine of its own; the other replica is sound.
      const damaged = join(dir.path, "damaged");
      await cp(cluster.repository, damaged, { recursive: true });
      await flipByte(join(damaged, STAMPED, "1", partitionPath(partition)), FIRST_ROW_BYTE + 5);
      await using running = load();
      await cluster.process("shard-2").stop("SIGKILL");
      await cluster.startShard("shard-2", damaged);
      await cluster
        .process("shard-2")
        .waitForOutput(new RegExp(`${partitionPath(partition).replace(".", "\\.")}: block 0`));
      const record = await eventually(async () => {
        const now = await holding();
        assert.equal(now?.partitions.length, held.length - 1);
        return now;
      });
      assert.ok(!record.partitions.includes(partition));
      assert.equal(record.error?.code, "CHECKSUM_MISMATCH");
      assert.match(record.error.message, new RegExp(`${partitionPath(partition)}: block 0`));
      const found = versionOf(await cluster.status(), 1)!;
      assert.equal(found.neededCount - found.heldCount, 1);
      await running.more(300);

      await cluster.process("shard-2").stop();
      await cluster.startShard("shard-2");
      await until(isWhole);
      assertClean(await running.stop());
    } finally {
      await registry.close();
    }
  });

  it("etcd away: predictions go on, status fails clearly; etcd back: status works", async () => {
    await using running = load();
    await running.more(100);
    await etcd.pause();
    const [{ code, stdout, stderr }] = await Promise.all([cluster.command("status"), running.more(300)]);
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(stderr, /^shardserve status: REGISTRY_UNAVAILABLE: .*127\.0\.0\.1/m);
    // Longer than any lease, so that every registration has to be made anew.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    await etcd.resume();
    const found = await until((now) => isWhole(now) && now.leader !== undefined && now.executors.length === 2);
    assert.equal(found.shards.length, SHARD_IDS.length);
    await running.more(100);
    assertClean(await running.stop());
  });

  it("a version dropped into the repository rolls out by itself, every reply is wholly one version's", async () => {
    const [first, second] = EXECUTOR_IDS.map((id) => cluster.front(id));
    await using one = new SteadyLoad(first!.grpc, 1);
    await using two = new SteadyLoad(second!.grpc, 2);
    await one.more(100);
    await cluster.publish(2);
    await eventually(() => one.answeredBy(2) > 200 && two.answeredBy(2) > 200, { timeoutMs: 60_000 });
    await until((found) => versionOf(found, 2)?.state === "enabled" && isGone(found, 1));
    await first!.process.waitForOutput(/"model":"stamped","version":2,"from":"version 1",.*"cache warmed up"/);
    await one.more(100);
    for (const result of [await one.stop(), await two.stop()]) {
      assertClean(result);
      assert.deepEqual(new Set(result.versions.keys()), new Set([1, 2]));
    }
  });

  it("a published version with one flipped byte is refused and named; the version before serves on", async () => {
    await using running = load();
    const file = partitionPath(11);
    await cluster.publish(3, (out) => flipByte(join(out, file), FIRST_ROW_BYTE + 5));
    const found = await until((now) => versionOf(now, 3)?.error !== undefined);
    const { error, state } = versionOf(found, 3)!;
    assert.equal(error?.code, "CHECKSUM_MISMATCH");
    assert.match(error.message, new RegExp(`stamped/3/${file}: block 0`));
    assert.ok(SHARD_IDS.includes(error.shard), error.shard);
    assert.notEqual(state, "enabled");
    assert.match(cluster.process(error.shard).output, new RegExp(`${file}: block 0`));
    const { stdout } = await cluster.command("status");
    assert.match(stdout, new RegExp(`CHECKSUM_MISMATCH on ${error.shard}: .*${file}: block 0`));
    assert.equal(versionOf(found, 2)?.state, "enabled");
    assert.equal(versionOf(found, 1, "dlrm")?.state, "enabled");
    await running.more(200);

    await rm(join(cluster.repository, STAMPED, "3"), { recursive: true });
    await until((now) => isGone(now, 3) && isWhole(now));
    const result = await running.stop();
    assertClean(result);
    assert.deepEqual([...result.versions.keys()], [2]);
  });

  it("SIGTERM to an executor under load: what was sent is answered, the other executor serves on", async () => {
    const first = cluster.front("executor-0");
    await using running = load("executor-1");
    using client = new GrpcClient(first.grpc);
    const random = seededRandom(5);
    const requests = Array.from({ length: 200 }, () => stampedRequest(random, 256));
    const warm = stampedRequest(random);
    warm.check(await client.send(warm.bytes)); // the connection stands
    const replies = requests.map(({ bytes }) => client.send(bytes));
    await Promise.race(replies); // the first answer comes: all were sent
    first.process.signal("SIGTERM");
    const settled = await Promise.allSettled(replies);
    const failures = settled.flatMap((item) => (item.status === "rejected" ? [String(item.reason)] : []));
    assert.deepEqual(failures, []);
    for (const [i, item] of settled.entries()) if (item.status === "fulfilled") requests[i]!.check(item.value);
    assert.deepEqual(await first.process.exit, { code: 0, signal: null });
    const found = await until(({ executors: living }) => living.length === 1);
    assert.equal(found.executors[0]!.id, "executor-1");
    await running.more(100);
    assertClean(await running.stop());
    await cluster.startExecutor("executor-0");
  });
});

async function flipByte(path: string, at: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0]! ^= 1;
    await file.write(byte, 0, 1, at);
  } finally {
    await file.close();
  }
}

function assertClean({ ok, failures }: LoadResult): void {
  assert.deepEqual(failures.slice(0, 3), [], `${failures.length} of ${ok + failures.length} requests failed`);
}
