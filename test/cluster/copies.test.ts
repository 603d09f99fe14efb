import assert from "node:assert/strict";
import { existsSync, readdirSync, truncateSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterStatus } from "@shardserve/controller";
import { partitionsOf } from "@shardserve/placement";
import { mapKey, mapRecord } from "@shardserve/registry";
import { partitionPath } from "@shardserve/rowstore";
import { cli, cliJson } from "./support/cli.js";
import { DriftingLoad } from "./support/drifting-load.js";
import { DRIFTING, writeDrifting } from "./support/drifting-model.js";
import { type Front, startExecutor, whenAvailable } from "./support/roles.js";
import { SmallCluster } from "./support/small-cluster.js";

describe("copies on the shards' own disks", function () {
  this.timeout(150_000);
  let cluster: SmallCluster;
  let executor: Front;

  const dataDir = (id: string) => join(cluster.dir.path, "data", id);
  const copies = (id: string) => join(dataDir(id), "shardserve-copies", DRIFTING, "1");
  const versionOf = (found: ClusterStatus) => found.models[0]!.versions[0]!;
  const isWhole = (found: ClusterStatus) => {
    const { heldCount, neededCount, epoch } = versionOf(found);
    return heldCount === neededCount && epoch === 1 && found.missingShards.length === 0;
  };
  const files = (id: string) =>
    readdirSync(join(copies(id), "partitions"))
      .filter((name) => name.endsWith(".rows"))
      .sort();
  const restart = async (id: string) => {
    await cluster.kill(id);
    await cluster.restartShard(id, isWhole);
  };

  before(async () => {
    const flags = ["--replication=2", "--min-shards=2", "--settle-seconds=0.2", "--repository-poll-seconds=0.2"];
    cluster = await SmallCluster.start("copies", { shardFlags: (id) => [...flags, `--data-dir=${dataDir(id)}`] });
    const { dir, place } = cluster;
    const version = join(place.repository, DRIFTING, "1");
    for (const epoch of [0, 1]) await writeDrifting(join(dir.path, `source-${epoch}`), epoch);
    const exported = await cli(
      "shard-export",
      join(dir.path, "source-0"),
      `--out=${version}`,
      "--min-table-bytes=64KiB",
    );
    assert.equal(exported.code, 0, exported.stderr);
    await cluster.startShards("shard-0", "shard-1");
    executor = await startExecutor(place, "executor-0", "--cache-bytes=128KiB");
    await whenAvailable(executor, DRIFTING);
    await cliJson("shard-export", join(dir.path, "source-1"), `--base=${version}`);
    await cluster.until(isWhole);
  });

  after(() => cluster?.stop(executor?.process));

  it("a shard that cannot reach the repository takes its partitions, and their deltas, from the others, under load", async () => {
    await using load = new DriftingLoad(executor.grpc);
    await load.more(20);
    await cluster.startShard("shard-2", join(cluster.dir.path, "nowhere"));
    await cluster.until((found) => isWhole(found) && !versionOf(found).isMoving && files("shard-2").length > 0);
    await load.more(100);
    await load.stop();
    assert.deepEqual(load.failures, []);
    // Of the delta it has the rows of its own partitions, each as a file, and nothing else.
    const segments = readdirSync(join(copies("shard-2"), "deltas/1")).filter((name) => name.startsWith("p-"));
    assert.deepEqual(segments.map((name) => name.replace(".delta", ".rows")).sort(), files("shard-2"));
    assert.ok(!existsSync(join(copies("shard-2"), "deltas/1/rows.delta")));
  });

  it("the repository goes away: shards restart from their disks, and mend from each other what is damaged there", async () => {
    const { repository } = cluster.place;
    await rename(repository, `${repository}-away`);
    await cluster.until((found) => isWhole(found));
    const { value } = (await cluster.observer.get(mapKey(DRIFTING, 1)))!;
    const held = partitionsOf(mapRecord.decode(value, "map").enabled!, "shard-1").map(partitionPath);
    const [damaged, cut] = held.map((path) => join(copies("shard-1"), path));
    await restart("shard-0");
    await cluster.kill("shard-1");
    const right = await readFile(damaged!);
    const wrong = Buffer.from(right);
    wrong[right.length >> 1]! ^= 1;
    await writeFile(damaged!, wrong);
    await rename(cut!, `${cut}.part`); // as a copy that was cut off
    truncateSync(`${cut}.part`, 1000);
    await restart("shard-1");
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
    await rename(`${repository}-away`, repository);
  });
});
