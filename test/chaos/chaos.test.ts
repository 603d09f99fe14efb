import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import { EtcdRegistry } from "@shardserve/registry";
import { EtcdServer, RedisServer, SmallDisk, TcpProxy, type TempDir, tempDir } from "@shardserve/testkit";
import { DriftingLoad } from "../cluster/support/drifting-load.js";
import { DRIFTING } from "../cluster/support/drifting-model.js";
import { LiveCluster } from "../cluster/support/live-cluster.js";
import { whenAvailable } from "../cluster/support/roles.js";
import { STAMPED } from "../cluster/support/stamped-model.js";
import { SteadyLoad } from "../cluster/support/steady-load.js";
import { type Arena, FAULTS } from "./faults.js";
import { checkAnswers, checkControlPlane, checkEpochs, checkNoDegradedRows, isWrong } from "./verifier.js";

/** The same seed gives the same faults in the same order; what the processes make of them is theirs. */
const SEED = Number(process.env.CHAOS_SEED ?? 1);
const MINUTES = Number(process.env.CHAOS_MINUTES ?? 3);
/** Only faults whose name contains it. */
const ONLY = process.env.CHAOS_ONLY ?? "";

/** Enough for a few hundred versions and deltas; filled by one of the faults. */
const DISK_BYTES = 512 * 2 ** 20;

const SHARDS = ["shard-0", "shard-1", "shard-2", "shard-3"];

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
    await Promise.all([cluster.publish(1), cluster.publishDrifting(0)]);
    const shards = SHARDS.map((id) => cluster.startShard(id));
    await Promise.all([...shards, cluster.startExecutor("executor-0"), cluster.startExecutor("executor-1")]);
    for (const id of cluster.executorIds) {
      for (const model of [STAMPED, DRIFTING]) await whenAvailable(cluster.front(id), model);
    }
    await cluster.untilWhole();
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
    const endMs = performance.now() + MINUTES * 60_000;
    const wanted = FAULTS.filter(({ name }) => name.includes(ONLY));
    const faults = wanted.filter(({ name, obstacle }) => {
      const why = obstacle?.(arena);
      if (why !== undefined) console.log(`      SKIPPED ${name}: ${why}`);
      return why === undefined;
    });
    let queue: (typeof faults)[number][] = [];
    let count = 0;
    while (performance.now() < endMs) {
      if (queue.length === 0) queue = shuffled(faults);
      const fault = queue.pop()!;
      const { grpc } = arena.cluster.front("executor-0");
      await using load = new SteadyLoad(grpc, ++count);
      await using drifting = new DriftingLoad(grpc, count);
      await load.more(20);
      const startedMs = performance.now();
      const what = await fault.run(arena);
      await load.more(20);
      await arena.cluster.untilWhole();
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      const result = await load.stop();
      await drifting.stop();
      console.log(
        `      ${count}. ${fault.name}: ${what} (${seconds} s, ${result.ok} and ${drifting.epochs.length} answers, ${result.failures.length + drifting.failures.length} failed)`,
      );
      await checkControlPlane(registry, fault.name);
      const during = `seed ${SEED}, fault ${count}, ${fault.name}: ${what}`;
      checkAnswers(result, during);
      checkEpochs(drifting, during);
    }
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

  function shuffled<T>(items: readonly T[]): T[] {
    const mixed = [...items];
    for (let i = mixed.length - 1; i > 0; i--) {
      const j = Math.floor(arena.random.next() * (i + 1));
      [mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T];
    }
    return mixed;
  }
});
