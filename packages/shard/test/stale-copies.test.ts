import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { silentLogger } from "@shardserve/core";
import { eventually, tempDir } from "@shardserve/testkit";
import { StaleCopies } from "@shardserve/shard";
import { MODEL, tableOf, TestCluster, VERSION, writeVersion } from "./support/fixture.js";

describe("copies of versions that went while a shard was down", () => {
  it("are removed once the registry names others of the model; what it does not know stays", async () => {
    await using folder = await tempDir();
    await using data = await tempDir();
    const copies = (model: string, version: number) => join(data.path, "shardserve-copies", model, String(version));
    for (const [model, version] of [
      [MODEL, VERSION - 1],
      [MODEL, VERSION],
      ["other", 1],
    ] as const) {
      await mkdir(copies(model, version), { recursive: true });
      await writeFile(join(copies(model, version), "something"), "");
    }
    await using cluster = new TestCluster(folder.path, await writeVersion(folder.path, [tableOf("user", 100, 4)], 7));
    const shard = await cluster.startShard("s0", { dataDir: data.path });
    await eventually(() => assert.equal(shard.isReady, true));
    assert.ok(existsSync(copies(MODEL, VERSION - 1)), "no map names a version of it yet");
    await cluster.publish(["s0"], 1);
    await eventually(() => assert.ok(!existsSync(copies(MODEL, VERSION - 1))));
    await eventually(() => assert.equal(shard.holdings.get(`${MODEL}/${VERSION}`)?.length, 7));
    assert.ok(existsSync(join(copies(MODEL, VERSION), "something")) && existsSync(copies("other", 1)));
  });

  it("stay when the registry names them before the removal has begun", async () => {
    await using data = await tempDir();
    const copy = (version: number) => join(data.path, MODEL, String(version));
    for (const version of [1, 2, 3]) await mkdir(copy(version), { recursive: true });
    const stale = new StaleCopies(data.path, silentLogger);
    stale.removeBeside([{ model: MODEL, version: 2 }]);
    stale.removeBeside([
      { model: MODEL, version: 2 },
      { model: MODEL, version: 3 },
    ]);
    await stale.whenIdle();
    assert.deepEqual(await readdir(join(data.path, MODEL)), ["2", "3"]);
  });
});
