import assert from "node:assert/strict";
import { chmod, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { aspiredVersions, controllerSettings, planPlacement, Repository } from "@shardserve/controller";
import { tempDir } from "@shardserve/testkit";
import { PARTITION_COUNT, publish } from "./cluster.js";

describe("model repository", () => {
  it("finds finished versions only, and reads a manifest again when it changed", async () => {
    await using dir = await tempDir();
    const repository = new Repository(dir.path);
    assert.equal((await repository.scan()).size, 0);
    await publish(dir.path, "ctr", 1);
    await publish(dir.path, "ctr", 12);
    await mkdir(join(dir.path, "ctr", "13")); // being written: no manifest
    await mkdir(join(dir.path, "ctr", "not-a-version"));
    await mkdir(join(dir.path, "empty"));
    await writeFile(join(dir.path, "a file"), "");
    const found = await repository.scan();
    assert.deepEqual([...found.keys()], ["ctr"]);
    assert.deepEqual(
      [...(found.get("ctr") ?? new Map()).keys()].sort((a, b) => a - b),
      [1, 12],
    );
    const contents = found.get("ctr")?.get(12);
    assert.equal(contents?.digests.length, PARTITION_COUNT);
    assert.equal((await repository.scan()).get("ctr")?.get(12), contents, "not read again");
    await rm(join(dir.path, "ctr", "12"), { recursive: true });
    await publish(dir.path, "ctr", 14);
    await rename(join(dir.path, "ctr", "14"), join(dir.path, "ctr", "12"));
    assert.notEqual((await repository.scan()).get("ctr")?.get(12)?.manifestDigest, contents?.manifestDigest);
  });

  it("a damaged manifest is no deletion: what it said before holds; one that was never read is left out", async () => {
    await using dir = await tempDir();
    const repository = new Repository(dir.path);
    await publish(dir.path, "ctr", 1);
    const before = (await repository.scan()).get("ctr")?.get(1);
    await publish(dir.path, "ctr", 2);
    for (const version of ["1", "2"]) await writeFile(join(dir.path, "ctr", version, "shardserve.manifest"), "damaged");
    const found = (await repository.scan()).get("ctr");
    assert.equal(found?.get(1), before);
    assert.equal(found?.has(2), false);
  });

  it("a missing base and a failing disk are errors, not an empty repository", async function () {
    await using dir = await tempDir();
    const base = join(dir.path, "base");
    const repository = new Repository(base);
    await assert.rejects(
      repository.scan(),
      (error) => isServingError(error, "NOT_FOUND") && error.message.includes(base),
    );
    await publish(base, "ctr", 1);
    if (process.getuid?.() === 0) return; // root reads everything
    await chmod(join(base, "ctr"), 0);
    await assert.rejects(repository.scan(), (error) => isServingError(error, "UNAVAILABLE"));
    await chmod(join(base, "ctr"), 0o755);
  });

  it("policies choose as TensorFlow Serving's do", () => {
    const existing = [3, 1, 12, 7];
    assert.deepEqual(aspiredVersions({ kind: "latest", count: 1 }, existing), [12]);
    assert.deepEqual(aspiredVersions({ kind: "latest", count: 3 }, existing), [12, 7, 3]);
    assert.deepEqual(aspiredVersions({ kind: "all" }, existing), [12, 7, 3, 1]);
    assert.deepEqual(aspiredVersions({ kind: "specific", versions: [1, 7, 99] }, existing), [7, 1]);
  });
});

describe("planPlacement", () => {
  it("gives exact bytes per shard, and the numbers when it cannot be", async () => {
    await using dir = await tempDir();
    await publish(dir.path, "ctr", 1);
    const contents = (await new Repository(dir.path).scan()).get("ctr")?.get(1);
    assert.ok(contents);
    const shards = ["b", "a", "c"].map((id) => ({ id, weight: 1, zone: "" }));
    const plan = planPlacement(contents, shards, { model: "ctr", version: 1, replication: 2 });
    assert.deepEqual(
      plan.shards.map((shard) => shard.id),
      ["a", "b", "c"],
    );
    assert.equal(plan.totalBytes, PARTITION_COUNT * 2 * contents.partitionBytes);
    for (const { partitions, bytes } of plan.shards) assert.equal(bytes, partitions.length * contents.partitionBytes);
    const small = shards.map((shard) => ({ ...shard, capacityBytes: contents.partitionBytes * 8 }));
    assert.throws(
      () => planPlacement(contents, small, { model: "ctr", version: 1, replication: 2 }),
      (error) =>
        isServingError(error, "PLACEMENT_INFEASIBLE") && error.message.includes(String(contents.partitionBytes * 26)),
    );
  });
});

describe("controllerSettings", () => {
  it("has defaults, refuses unknown keys and what does not fit together", () => {
    assert.deepEqual([controllerSettings().replication, controllerSettings({ replication: 3 }).minShards], [2, 3]);
    for (const raw of [{ replication: 3, minShards: 2 }, { pollMs: 0 }, { nonsense: 1 }]) {
      assert.throws(
        () => controllerSettings(raw),
        (error) => isServingError(error, "CONFIG_INVALID"),
      );
    }
  });
});
