import assert from "node:assert/strict";
import { EtcdServer, type TempDir, tempDir } from "@shardserve/testkit";
import { isWhole, LiveCluster, versionOf } from "../cluster/support/live-cluster.js";
import { whenAvailable } from "../cluster/support/roles.js";
import { STAMPED } from "../cluster/support/stamped-model.js";
import { SteadyLoad } from "../cluster/support/steady-load.js";
import { checkAnswers } from "./verifier.js";

const BASE = ["shard-0", "shard-1", "shard-2"];
const MORE = ["shard-3", "shard-4", "shard-5"];
const REPLICATION = 2;

describe("scale out 3 -> 6 and in 6 -> 3 under load", function () {
  this.timeout(300_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let cluster: LiveCluster;

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-scale-")]);
    cluster = new LiveCluster({
      dir: dir.path,
      etcd: [etcd.host],
      cluster: "scale",
      replication: REPLICATION,
      minShards: BASE.length,
      // All newcomers are to be seen before the moves are planned, on a slow machine too.
      shardFlags: ["--settle-seconds=6", "--moves-in-flight=8", "--replace-after-seconds=300"],
    });
    await cluster.publish(1);
    await Promise.all([...BASE.map((id) => cluster.startShard(id)), cluster.startExecutor("executor-0")]);
    await whenAvailable(cluster.front("executor-0"), STAMPED);
    await cluster.untilWhole();
  });
  after(async () => {
    await cluster?.stop();
    await etcd?.stop();
    await dir?.remove();
  });

  /** Partitions by shard, the bytes that flips moved so far, and latencies of the load between two points. */
  const observe = async () => {
    const found = await cluster.status();
    const version = versionOf(found, 1)!;
    return {
      counts: new Map(found.shards.map(({ id, partitionCount }) => [id, partitionCount])),
      partitionBytes: version.bytes / version.partitionCount,
      replicas: version.partitionCount * REPLICATION,
      movedBytes: await cluster.shardMetric("shardserve_controller_moved_bytes_total"),
    };
  };

  it("no request fails, no more bytes move than must, and nobody holds more than 1.1 of its share", async () => {
    await using load = new SteadyLoad(cluster.front("executor-0").grpc);
    await load.more(300);
    const steadyMs = load.takeLatencies();
    const before = await observe();

    await Promise.all(MORE.map((id) => cluster.startShard(id)));
    await cluster.until((found) => isWhole(found) && MORE.every((id) => (partitionsOf(found, id) ?? 0) > 0), 120_000);
    const outMs = load.takeLatencies();
    const wide = await observe();
    checkBalance(wide, [...BASE, ...MORE]);
    const outMoved = (wide.movedBytes - before.movedBytes) / wide.partitionBytes;
    const outLeast = MORE.length * Math.floor(wide.replicas / (BASE.length + MORE.length));
    assert.ok(outMoved <= 1.1 * outLeast + MORE.length, `${outMoved} replicas moved, ${outLeast} had to`);

    const { code, stderr } = await cluster.command("drain", ...MORE);
    assert.equal(code, 0, stderr);
    await cluster.until((found) => isWhole(found) && MORE.every((id) => partitionsOf(found, id) === 0), 120_000);
    const inMs = load.takeLatencies();
    const narrow = await observe();
    checkBalance(narrow, BASE);
    const inMoved = (narrow.movedBytes - wide.movedBytes) / wide.partitionBytes;
    const inLeast = MORE.reduce((sum, id) => sum + (wide.counts.get(id) ?? 0), 0);
    assert.ok(inMoved <= 1.1 * inLeast, `${inMoved} replicas moved, ${inLeast} had to`);
    for (const id of MORE) await cluster.process(id).stop("SIGKILL");
    await load.more(200);

    checkAnswers(await load.stop(), "scaling");
    const ratio = (now: readonly number[]) => (quantile(now, 0.99) / quantile(steadyMs, 0.99)).toFixed(1);
    console.log(
      `      out: ${outMoved} replicas moved, least ${outLeast}; in: ${inMoved}, least ${inLeast}; ` +
        `p99 ${quantile(steadyMs, 0.99).toFixed(1)} ms, out x ${ratio(outMs)}, in x ${ratio(inMs)}`,
    );
  });
});

function partitionsOf(found: Awaited<ReturnType<LiveCluster["status"]>>, id: string): number | undefined {
  return found.shards.find((shard) => shard.id === id)?.partitionCount;
}

function checkBalance(
  found: { readonly counts: ReadonlyMap<string, number>; readonly replicas: number },
  ids: readonly string[],
): void {
  const share = found.replicas / ids.length;
  for (const id of ids) {
    const count = found.counts.get(id) ?? 0;
    assert.ok(
      count <= Math.max(Math.ceil(share), 1.1 * share),
      `${id} holds ${count} of ${found.replicas}, share ${share}`,
    );
  }
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
