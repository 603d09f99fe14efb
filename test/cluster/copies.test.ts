import assert from "node:assert/strict";
import { existsSync, readdirSync, truncateSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ClusterStatus, clusterStatus } from "@shardserve/controller";
import { silentLogger } from "@shardserve/core";
import { partitionsOf } from "@shardserve/placement";
import { EtcdRegistry, mapKey, mapRecord } from "@shardserve/registry";
import { partitionPath } from "@shardserve/rowstore";
import { EtcdServer, eventually, type LaunchedProcess, type TempDir, tempDir } from "@shardserve/testkit";
import { cli, cliJson } from "./support/cli.js";
import { DriftingLoad } from "./support/drifting-load.js";
import { DRIFTING, writeDrifting } from "./support/drifting-model.js";
import { type ClusterPlace, type Front, startExecutor, startShard, whenAvailable } from "./support/roles.js";

describe("copies on the shards' own disks", function () {
  this.timeout(150_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let place: ClusterPlace;
  let observer: EtcdRegistry;
  let executor: Front;
  const shards = new Map<string, LaunchedProcess>();

  const dataDir = (id: string) => join(dir.path, "data", id);
  const copies = (id: string) => join(dataDir(id), "shardserve-copies", DRIFTING, "1");
  const startOne = async (id: string, repository = place.repository) => {
    const flags = ["--replication=2", "--min-shards=2", "--settle-seconds=0.2", "--repository-poll-seconds=0.2"];
    shards.set(id, await startShard({ ...place, repository }, id, ...flags, `--data-dir=${dataDir(id)}`));
  };
  const until = (isSo: (found: ClusterStatus) => boolean) =>
    eventually(
      async () => {
        const found = await clusterStatus(observer);
        if (!isSo(found)) throw new Error(JSON.stringify(found));
        return found;
      },
      { timeoutMs: 60_000, intervalMs: 100 },
    );
  const versionOf = (found: ClusterStatus) => found.models[0]!.versions[0]!;
  const isWhole = (found: ClusterStatus) => {
    const { heldCount, neededCount, epoch } = versionOf(found);
    return heldCount === neededCount && epoch === 1 && found.missingShards.length === 0;
  };
  const files = (id: string) =>
    readdirSync(join(copies(id), "partitions"))
      .filter((name) => name.endsWith(".rows"))
      .sort();
  const instanceOf = (found: ClusterStatus, id: string) => found.shards.find((shard) => shard.id === id)?.instance;
  const restart = async (id: string, repository: string) => {
    const before = instanceOf(await clusterStatus(observer), id);
    await shards.get(id)!.stop("SIGKILL");
    await startOne(id, repository);
    await until((found) => isWhole(found) && instanceOf(found, id) !== before);
  };

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-copies-")]);
    place = { etcd: etcd.host, cluster: "copies", repository: join(dir.path, "repository") };
    observer = new EtcdRegistry({ hosts: [place.etcd], cluster: place.cluster, logger: silentLogger });
    const version = join(place.repository, DRIFTING, "1");
    for (const epoch of [0, 1]) await writeDrifting(join(dir.path, `source-${epoch}`), epoch);
    const exported = await cli(
      "shard-export",
      join(dir.path, "source-0"),
      `--out=${version}`,
      "--min-table-bytes=64KiB",
    );
    assert.equal(exported.code, 0, exported.stderr);
    await Promise.all(["shard-0", "shard-1"].map((id) => startOne(id)));
    executor = await startExecutor(place, "executor-0", "--cache-bytes=128KiB");
    await whenAvailable(executor, DRIFTING);
    await cliJson("shard-export", join(dir.path, "source-1"), `--base=${version}`);
    await until(isWhole);
  });

  after(async () => {
    await Promise.all([...shards.values(), executor?.process].map((child) => child?.stop()));
    await observer?.close();
    await etcd?.stop();
    await dir?.remove();
  });

  it("a shard that cannot reach the repository takes its partitions, and their deltas, from the others, under load", async () => {
    await using load = new DriftingLoad(executor.grpc);
    await load.more(20);
    await startOne("shard-2", join(dir.path, "nowhere"));
    await until((found) => isWhole(found) && !versionOf(found).isMoving && files("shard-2").length > 0);
    await load.more(100);
    await load.stop();
    assert.deepEqual(load.failures, []);
    // Of the delta it has the rows of its own partitions, each as a file, and nothing else.
    const segments = readdirSync(join(copies("shard-2"), "deltas/1")).filter((name) => name.startsWith("p-"));
    assert.deepEqual(segments.map((name) => name.replace(".delta", ".rows")).sort(), files("shard-2"));
    assert.ok(!existsSync(join(copies("shard-2"), "deltas/1/rows.delta")));
  });

  it("the repository goes away: shards restart from their disks, and mend from each other what is damaged there", async () => {
    await rename(place.repository, `${place.repository}-away`);
    await until((found) => isWhole(found));
    const { value } = (await observer.get(mapKey(DRIFTING, 1)))!;
    const held = partitionsOf(mapRecord.decode(value, "map").enabled!, "shard-1").map(partitionPath);
    const [damaged, cut] = held.map((path) => join(copies("shard-1"), path));
    await restart("shard-0", place.repository);
    await shards.get("shard-1")!.stop("SIGKILL");
    const right = await readFile(damaged!);
    const wrong = Buffer.from(right);
    wrong[right.length >> 1]! ^= 1;
    await writeFile(damaged!, wrong);
    await rename(cut!, `${cut}.part`); // as a copy that was cut off
    truncateSync(`${cut}.part`, 1000);
    await restart("shard-1", place.repository);
    assert.ok(existsSync(cut!) && !existsSync(`${cut}.part`));
    assert.ok(right.equals(await readFile(damaged!)));
    assert.deepEqual(
      files("shard-1").map((name) => `partitions/${name}`),
      held.sort(),
    );
    await using load = new DriftingLoad(executor.grpc);
    await load.more(100);
    await load.stop();
    assert.deepEqual(load.failures, []);
    assert.ok(load.epochs.every((epoch) => epoch === 1));
    await rename(`${place.repository}-away`, place.repository);
  });
});
