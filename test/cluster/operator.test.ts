import assert from "node:assert/strict";
import { seededRandom } from "@shardserve/core";
import { EtcdServer, eventually, type TempDir, tempDir } from "@shardserve/testkit";
import { GrpcClient } from "./support/grpc.js";
import { isGone, isWhole, LiveCluster, versionOf } from "./support/live-cluster.js";
import { whenAvailable } from "./support/roles.js";
import { STAMPED, STAMPED_ROWS, stampedRequest } from "./support/stamped-model.js";
import { type LoadResult, SteadyLoad } from "./support/steady-load.js";

/** What an operator does to a cluster under load, by the commands of the program. One cluster; each test leaves it whole. */
describe("drain, rebalance, want, rollback, label and traffic under load", function () {
  this.timeout(240_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let cluster: LiveCluster;

  const command = async (name: string, ...args: readonly string[]) => {
    const { code, stdout, stderr } = await cluster.command(name, ...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  /** What a command tells programs. */
  const facts = async (name: string, ...args: readonly string[]): Promise<unknown> =>
    JSON.parse(await command(name, ...args, "--json"));
  const partitionsBy = (found: Awaited<ReturnType<LiveCluster["status"]>>) =>
    Object.fromEntries(found.shards.map(({ id, partitionCount }) => [id, partitionCount]));

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-operator-")]);
    cluster = new LiveCluster({
      dir: dir.path,
      etcd: [etcd.host],
      cluster: "operator",
      replication: 2,
      minShards: 3,
      executorFlags: ["--probation-seconds=5"],
      shardFlags: ["--moves-in-flight=16", "--move-bytes-per-second=8MiB", "--replace-after-seconds=300"],
    });
    await cluster.publish(1);
    const shards = ["shard-0", "shard-1", "shard-2"].map((id) => cluster.startShard(id));
    await Promise.all([...shards, cluster.startExecutor("executor-0")]);
    await whenAvailable(cluster.front("executor-0"), STAMPED);
    await cluster.until(isWhole);
  });
  after(async () => {
    await cluster?.stop();
    await etcd?.stop();
    await dir?.remove();
  });
  const load = () => new SteadyLoad(cluster.front("executor-0").grpc);

  it("a drain that would not leave enough shards is refused with the numbers", async () => {
    const { code, stderr } = await cluster.command("drain", "shard-9");
    assert.equal(code, 1);
    assert.match(stderr, /NOT_FOUND: there is no shard shard-9; there are shard-0, shard-1, shard-2/);
    await command("want", STAMPED, "--replication=3");
    await cluster.until((found) => versionOf(found, 1)?.replication === 3 && isWhole(found));
    const refused = await cluster.command("drain", "shard-2");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /PLACEMENT_INFEASIBLE: .*3 replicas need 3 shards, there are 2 \(shard-0, shard-1\)/);
    await command("want", STAMPED, "--reset");
    await cluster.until((found) => versionOf(found, 1)?.replication === 2 && isWhole(found));
  });

  it("drained, a shard holds nothing and can be killed; undrained, it gets its share again; no request fails", async () => {
    await using running = load();
    await running.more(50);
    const said = await command("drain", "shard-2");
    assert.match(said, /shard-2 holds \d+ partitions that are in use\n[^]*shard-2: drained/);
    const drained = await cluster.status();
    assert.equal(partitionsBy(drained)["shard-2"], 0);
    assert.ok(drained.shards.find(({ id }) => id === "shard-2")?.isDraining);
    await cluster.process("shard-2").stop("SIGKILL");
    await running.more(100);
    await cluster.startShard("shard-2");
    assert.deepEqual(await facts("undrain", "shard-2"), { shard: "shard-2" });
    const found = await cluster.until((now) => (partitionsBy(now)["shard-2"] ?? 0) > 0 && isWhole(now));
    assert.match(
      cluster.process("shard-2").output,
      /"model":"stamped","version":1,"loaded":\d+,"held":\d+,"msg":"partitions held"/,
    );
    const slip = await cluster.command("undrain", "shard-9");
    assert.match(slip.stderr, /NOT_FOUND: there is no shard shard-9; there are shard-0, shard-1, shard-2/);
    const counts = Object.values(partitionsBy(found));
    assert.ok(Math.max(...counts) <= 1.1 * (counts.reduce((a, b) => a + b) / counts.length) + 1, String(counts));
    assert.match(await command("rebalance", STAMPED), /stamped is level/);
    assert.deepEqual(await facts("rebalance", STAMPED), { model: STAMPED, isLevel: true });
    await running.more(50);
    assertClean(await running.stop());
  });

  it("rolls back to the version before and forward again; labels follow; no reply is mixed", async () => {
    await using running = load();
    assert.deepEqual(await facts("want", STAMPED, "--versions=latest:2"), {
      model: STAMPED,
      wanted: { policy: { kind: "latest", count: 2 } },
    });
    await cluster.publish(2);
    await cluster.until((found) => versionOf(found, 2)?.state === "enabled" && isWhole(found));
    await whenAvailable(cluster.front("executor-0"), STAMPED, 2);
    assert.match(await command("label", STAMPED, "stable=1", "canary=2"), /stamped: stable=1 canary=2/);
    assert.deepEqual(await facts("label", STAMPED), { model: STAMPED, labels: { stable: 1, canary: 2 } });
    const refused = await cluster.command("label", STAMPED, "next=3", "--json");
    assert.equal(refused.stdout, "");
    assert.match(refused.stderr, /FAILED_PRECONDITION: stamped version 3 is not enabled/);
    const rest = cluster.front("executor-0").rest;
    const versionOfLabel = async (label: string) => {
      const reply = await fetch(`http://${rest}/v1/models/${STAMPED}/labels/${label}/metadata`);
      return /"version": *"(\d+)"/.exec(await reply.text())?.[1];
    };
    await eventually(async () => {
      assert.deepEqual(await Promise.all(["stable", "canary"].map(versionOfLabel)), ["1", "2"]);
    });

    assert.match(
      await command("traffic", STAMPED, "1=1", "2=1", "--shadow=2:0.5"),
      /stamped: 1=1 2=1, copies of 50 % to 2/,
    );
    assert.deepEqual(await facts("traffic", STAMPED), {
      model: STAMPED,
      split: [
        { version: 1, weight: 1 },
        { version: 2, weight: 1 },
      ],
      shadow: { version: 2, fraction: 0.5 },
    });
    await eventually(async () => {
      await using shared = load();
      await shared.more(40);
      const result = await shared.stop();
      assertClean(result);
      assert.deepEqual(new Set(result.versions.keys()), new Set([1, 2]));
    });
    const unknown = await cluster.command("traffic", STAMPED, "1=1", "7=1");
    assert.match(unknown.stderr, /FAILED_PRECONDITION: stamped version 7 is not enabled; keep it with/);
    assert.match(await command("traffic", STAMPED, "--clear"), /all to the highest version/);
    assert.match(await command("rollback", STAMPED), /version 1 is wanted/);
    assert.match(await command("status"), /^ {2}wanted of stamped: --versions=1$/m);
    await cluster.until((found) => isGone(found, 2));
    using client = new GrpcClient(cluster.front("executor-0").grpc);
    assert.equal(await lastVersion(client), 1);
    assert.deepEqual(await facts("rollback", STAMPED, "--undo"), { model: STAMPED, wanted: null });
    await cluster.until((found) => versionOf(found, 2)?.state === "enabled" && isGone(found, 1));

    assert.match(await command("rollback", STAMPED, "--to=7"), /version 7 is wanted, once the leader finds it/);
    assert.match(await command("status"), /^ {2}wanted of stamped: --versions=7; not found: 7$/m);
    await running.more(50);
    assert.equal(versionOf(await cluster.status(), 2)?.state, "enabled");
    await command("rollback", STAMPED, "--undo");
    await running.more(50);
    assertClean(await running.stop());
  });

  it("goes back by itself from a version that fails where the one before did not", async () => {
    await using running = load();
    const before = Math.max(
      ...(await cluster.status()).models.flatMap(({ versions }) => versions.map((one) => one.version)),
    );
    await running.more(200); // what the version before is like
    await cluster.publish(before + 1, undefined, STAMPED_ROWS / 100);
    const found = await cluster.until((now) => {
      const isFixed = now.models[0]?.aspired?.policy.kind === "specific";
      return isFixed && isGone(now, before + 1) && versionOf(now, before)?.state === "enabled";
    });
    assert.ok(isWhole(found));
    const { failures } = await running.stop();
    assert.ok(failures.length >= 5 && failures.every((text) => text.includes("is not in [0, 200)")), failures[0]);
    await using after = load();
    await after.more(50);
    assertClean(await after.stop());
  });
});

async function lastVersion(client: GrpcClient): Promise<number> {
  const request = stampedRequest(seededRandom(3));
  const reply = await client.send(request.bytes);
  request.check(reply);
  return reply.version;
}

function assertClean({ ok, failures }: LoadResult): void {
  assert.deepEqual(failures.slice(0, 3), [], `${failures.length} of ${ok + failures.length} requests failed`);
}
