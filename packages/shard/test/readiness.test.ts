import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { partitionPath } from "@shardserve/rowstore";
import { eventually, tempDir } from "@shardserve/testkit";
import { MODEL, tableOf, TestCluster, VERSION, writeVersion } from "./support/fixture.js";

describe("readiness of a shard", () => {
  it("is ready without a map, and then once it holds what the enabled map gives it", async () => {
    await using folder = await tempDir();
    await using cluster = new TestCluster(folder.path, await writeVersion(folder.path, [tableOf("user", 100, 4)], 7));
    const shard = await cluster.startShard("s0");
    await eventually(() => assert.equal(shard.isReady, true));
    const map = await cluster.publish(["s0"], 1);
    await eventually(() => assert.equal(shard.holdings.get(`${MODEL}/${VERSION}`)?.length, map.partitionCount));
    assert.equal(shard.isReady, true);
    await shard.close();
    assert.equal(shard.isReady, false);
  });

  it("is healthy but not ready while a partition is refused", async () => {
    await using folder = await tempDir();
    await using cluster = new TestCluster(folder.path, await writeVersion(folder.path, [tableOf("user", 100, 4)], 7));
    const path = join(folder.path, MODEL, String(VERSION), partitionPath(3));
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, 64));
    await cluster.publish(["s0"], 1);
    const shard = await cluster.startShard("s0");
    await eventually(() => assert.equal(shard.holdings.get(`${MODEL}/${VERSION}`)?.length, 6));
    assert.deepEqual([shard.isHealthy, shard.isReady], [true, false]);
    await writeFile(path, whole);
    await eventually(() => assert.equal(shard.isReady, true));
  });
});
