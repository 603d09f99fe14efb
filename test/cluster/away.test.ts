import assert from "node:assert/strict";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { EtcdServer, type TempDir, tempDir } from "@shardserve/testkit";
import { DriftingLoad } from "./support/drifting-load.js";
import { DRIFTING } from "./support/drifting-model.js";
import { isAtEpoch, isGone, isWhole, LiveCluster, versionOf } from "./support/live-cluster.js";
import { whenAvailable } from "./support/roles.js";
import { STAMPED } from "./support/stamped-model.js";
import { type LoadResult, SteadyLoad } from "./support/steady-load.js";

const SHARDS = ["shard-0", "shard-1", "shard-2"];
/** Longer than any lease of the program (10 s). */
const LEASES_END_MS = 11_500;

/** One cluster lives through all of it; each test leaves it whole. */
describe("a cluster whose etcd is away or forgetful, whose processes are frozen", function () {
  this.timeout(240_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let cluster: LiveCluster;
  const load = (id = "executor-0") => new SteadyLoad(cluster.front(id).grpc);

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-away-")]);
    cluster = new LiveCluster({
      dir: dir.path,
      etcd: [etcd.host],
      cluster: "away",
      replication: 2,
      minShards: 3,
      shardFlags: ["--replace-after-seconds=300"],
      executorFlags: ["--lookup-timeout-ms=5000"],
    });
    await cluster.publish(1);
    await Promise.all([...SHARDS.map((id) => cluster.startShard(id)), cluster.startExecutor("executor-0")]);
    await whenAvailable(cluster.front("executor-0"), STAMPED);
    await cluster.until(isWhole);
  });
  after(async () => {
    await cluster?.stop();
    await etcd?.stop();
    await dir?.remove();
  });

  it("etcd away: a shard and an executor restart from their last known state and serve; a damaged state file is named", async () => {
    await cluster.startExecutor("executor-1");
    await whenAvailable(cluster.front("executor-1"), STAMPED);
    await new Promise((resolve) => setTimeout(resolve, 1_000)); // states are saved within half a second
    await using first = load();
    await first.more(50);
    await etcd.pause();

    await cluster.process("executor-1").stop("SIGKILL");
    const restarted = cluster.startExecutor("executor-1");
    for (const id of ["shard-1", "shard-2"]) {
      await cluster.process(id).stop("SIGKILL");
      await cluster.startShard(id);
      await cluster.process(id).waitForOutput(/going on with the last known state from disk/);
      await first.more(100);
      await new Promise((resolve) => setTimeout(resolve, 1_000)); // its rows are verified before the next one goes
    }
    await restarted;
    await whenAvailable(cluster.front("executor-1"), STAMPED);
    await using second = load("executor-1");
    await second.more(100);
    const rest = cluster.front("executor-1").rest;
    const metrics = await (await fetch(`http://${rest}/monitoring/prometheus/metrics`)).text();
    assert.ok(
      Number(/^shardserve_lookup_map_age_seconds (\S+)$/m.exec(metrics)?.[1]) > 0,
      "the age of the maps is told",
    );

    await cluster.process("executor-1").stop("SIGTERM");
    for (const name of await readdir(cluster.stateDir("executor-1")))
      await damage(join(cluster.stateDir("executor-1"), name));
    await Promise.all([cluster.startExecutor("executor-1"), etcd.resume()]);
    assert.match(cluster.process("executor-1").output, /checksum is wrong.*no last known state/);
    await whenAvailable(cluster.front("executor-1"), STAMPED);
    await cluster.until((found) => isWhole(found) && found.executors.length === 2);
    assertClean(await first.stop());
    // Of an executor that was stopped, answers may be missing; none may be wrong.
    assertClean(await second.stop(), /UNAVAILABLE|DRAINING|CANCELLED|ECONN/);
    await cluster.process("executor-1").stop();
  });

  it("etcd loses all its data: no request fails, the leader rolls out anew above the generation that shards hold", async () => {
    // Another placement back and forth, so that what the shards hold is above all that an empty registry begins with.
    for (const want of ["--replication=3", "--reset"]) {
      const { generation } = versionOf(await cluster.status(), 1)!;
      assert.equal((await cluster.command("want", STAMPED, want)).code, 0);
      await cluster.until((found) => versionOf(found, 1)!.generation > generation && isWhole(found));
    }
    const before = versionOf(await cluster.status(), 1)!.generation;
    await using running = load();
    await running.more(50);
    await etcd.wipe();
    await running.more(100);
    await etcd.resume();
    await cluster.until((now) => isWhole(now) && (versionOf(now, 1)?.generation ?? 0) > before);
    await running.more(100);
    assertClean(await running.stop());
  });

  it("etcd loses its data while deltas are in force: their epoch stays, and shards that restart come back at it", async () => {
    await cluster.publishDrifting(0);
    await whenAvailable(cluster.front("executor-0"), DRIFTING);
    for (const epoch of [1, 2]) {
      await cluster.publishDrifting(epoch);
      await cluster.until((found) => isAtEpoch(found, epoch));
    }
    await using running = new DriftingLoad(cluster.front("executor-0").grpc);
    await running.more(50);
    await etcd.wipe();
    await etcd.resume();
    await cluster.until((now) => isWhole(now) && now.models.length === 2 && isAtEpoch(now, 2));
    for (const id of SHARDS) {
      await cluster.process(id).stop();
      await cluster.startShard(id);
      await cluster.until((now) => isWhole(now) && now.shards.length === SHARDS.length);
    }
    await running.more(50);
    await running.stop();
    assert.deepEqual(running.failures, []);
    assert.deepEqual(new Set(running.epochs), new Set([2]));
  });

  it("a leader that is frozen while another takes over changes nothing when it goes on", async () => {
    const leader = (await cluster.until((found) => found.leader !== undefined)).leader!;
    await using running = load();
    await running.more(50);
    cluster.process(leader).signal("SIGSTOP");
    await cluster.publish(2);
    await cluster.until((found) => found.leader !== undefined && found.leader !== leader);
    await new Promise((resolve) => setTimeout(resolve, LEASES_END_MS / 4));
    cluster.process(leader).signal("SIGCONT");
    const found = await cluster.until(
      (now) => isWhole(now) && versionOf(now, 2)?.state === "enabled" && isGone(now, 1),
    );
    assert.notEqual(found.leader, leader);
    await cluster.process(leader).waitForOutput(/no longer leads/);
    await running.more(100);
    const result = await running.stop();
    assertClean(result, /DEADLINE_EXCEEDED/); // the frozen leader is a shard as well, and is waited for
    assert.deepEqual(new Set(result.versions.keys()), new Set([1, 2]));
  });
});

async function damage(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.write(Buffer.of(0xff, 0x00, 0xff), 0, 3, 60);
  } finally {
    await file.close();
  }
}

function assertClean({ ok, failures }: LoadResult, allowed?: RegExp): void {
  const counted = allowed ? failures.filter((text) => !allowed.test(text)) : failures;
  assert.deepEqual(counted.slice(0, 3), [], `${counted.length} of ${ok + failures.length} requests failed`);
}
