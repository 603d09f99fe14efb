import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import { EtcdRegistry } from "@shardserve/registry";
import { EtcdServer, RedisServer, SmallDisk, TcpProxy, type TempDir, tempDir } from "@shardserve/testkit";
import { LiveCluster } from "../cluster/support/live-cluster.js";
import { SteadyLoad } from "../cluster/support/steady-load.js";
import { MINUTES, runFaults, SEED, SHARDS, startWhole } from "./fault-run.js";
import { type Arena, FAULTS } from "./faults.js";
import { NETWORK_SHARE } from "./shares.js";
import { checkNoDegradedRows, isWrong } from "./verifier.js";

/** Enough for a few hundred versions and deltas; filled by one of the faults. */
const DISK_BYTES = 512 * 2 ** 20;

/**
 * Real processes, three etcd members, a proxy on every link; one fault after another while a client compares every element
 * of every answer with what the version and the epoch that the answer claims must say. By hand for hours: CHAOS_MINUTES=120 CHAOS_SEED=7.
 */
describe(`chaos, seed ${SEED}`, function () {
  this.timeout(MINUTES * 60_000 + 240_000);
  let dir: TempDir;
  let arena: Arena;
  let registry: EtcdRegistry;

  before(async () => {
    const [etcd, redis, folder] = await Promise.all([
      EtcdServer.startCluster(3),
      RedisServer.start(),
      tempDir("shardserve-chaos-"),
    ]);
    dir = folder;
    const disk = SmallDisk.mount(dir.path, DISK_BYTES);
    const redisLink = await TcpProxy.start({ host: "127.0.0.1", port: redis.port });
    const cluster = new LiveCluster({
      dir: dir.path,
      etcd: etcd.map((member) => member.host),
      cluster: "chaos",
      replication: 2,
      minShards: SHARDS.length,
      shardFlags: ["--replace-after-seconds=300"],
      executorFlags: [`--redis=127.0.0.1:${redisLink.port}`],
      hasClocks: true,
    });
    registry = new EtcdRegistry({ hosts: etcd.map((member) => member.host), cluster: "chaos" });
    arena = { cluster, etcd, redis, redisLink, disk, random: seededRandom(SEED), version: 1, epoch: 0 };
    await startWhole(cluster);
  });
  after(async () => {
    await registry?.close();
    await arena?.cluster.stop();
    await Promise.all(arena?.etcd.map((member) => member.stop()) ?? []);
    await arena?.redisLink.stop();
    await arena?.redis.stop();
    arena?.disk?.stop();
    await dir?.remove();
  });

  it("never a wrong answer, never a failed one, and always whole again", async () => {
    const untilMs = performance.now() + MINUTES * (1 - NETWORK_SHARE) * 60_000;
    await runFaults(arena, FAULTS, { registry, untilMs });
    await checkNoDegradedRows(arena.cluster, "executor-0");
  });

  it("a link that damages rows behind every checksum is caught by the verifying client", async () => {
    await using load = new SteadyLoad(arena.cluster.front("executor-0").grpc);
    await load.more(20);
    await arena.redis.pause(); // it holds rows that came undamaged
    for (const id of arena.cluster.shardIds) arena.cluster.shardLink(id).setFlipping(true);
    await load.more(100);
    for (const id of arena.cluster.shardIds) arena.cluster.shardLink(id).setFlipping(false);
    const { failures } = await load.stop();
    assert.ok(failures.some(isWrong), `the verifier saw nothing: ${failures.slice(0, 3).join("; ")}`);
  });
});
