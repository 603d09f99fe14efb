import assert from "node:assert/strict";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { holdingKey, holdingRecord } from "@shardserve/registry";
import type { StoredManifest } from "@shardserve/rowstore";
import { eventually, tempDir } from "@shardserve/testkit";
import type { ShardServer } from "../src/index.js";
import { MODEL, tableOf, TestCluster, VERSION, writeVersion } from "./support/fixture.js";

const NAME = `${MODEL}/${VERSION}`;

/** How often it refused a manifest or a partition. */
async function refusalsOf({ metrics }: ShardServer): Promise<number> {
  const { values } = await metrics.loadFailures.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

describe("a shard whose manifest is another one than the leader's", () => {
  const write = (folder: string, rows: number) => writeVersion(folder, [tableOf("user", rows, 4)], 7);

  it("holds nothing of it and says why; once its repository has the right one it goes on by itself", async () => {
    await using folder = await tempDir();
    const right = await write(join(folder.path, "right"), 100);
    const own = join(folder.path, "own");
    await write(own, 90);
    await using cluster = new TestCluster(own, right);
    const shard = await cluster.startShard("s0");
    await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: right.digest });
    const key = holdingKey("s0", MODEL, VERSION);
    await eventually(async () => {
      const [entry] = (await cluster.registry.list(key)).entries;
      const { error, manifestDigest, partitions } = holdingRecord.decode(entry!.value, key);
      assert.deepEqual([error?.code, manifestDigest, partitions.length], ["DIGEST_MISMATCH", "", 0]);
      assert.match(error!.message, new RegExp(`the leader wants ${right.digest}; is it the same model repository`));
    });
    assert.equal(shard.holdings.get(NAME), undefined);
    await rm(join(own, MODEL), { recursive: true });
    await write(own, 100);
    await eventually(() => assert.equal(shard.holdings.get(NAME)?.length, 7));
  });

  it("is asked for the leader's other one at once, however long it would have waited", async () => {
    await using folder = await tempDir();
    const right = await write(join(folder.path, "right"), 100);
    const own = join(folder.path, "own");
    const written = await write(own, 90);
    await using cluster = new TestCluster(own, right);
    const shard = await cluster.startShard("s0", { retryMs: 60_000 });
    await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: right.digest });
    await eventually(() => refusalsOf(shard).then((count) => assert.equal(count, 1)));
    await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: written.digest });
    await eventually(() => assert.equal(shard.holdings.get(NAME)?.length, 7));
  });

  it("is copied from somebody else where the first who was asked has another one", async () => {
    await using folder = await tempDir();
    const repository = join(folder.path, "repository");
    const first = await write(repository, 100);
    await using cluster = new TestCluster(repository, first);
    const old = await cluster.startShard("s0", { dataDir: join(folder.path, "copies") });
    await cluster.put({ enabled: cluster.map(["s0"], 1), manifestDigest: first.digest });
    await eventually(() => assert.equal(old.holdings.get(NAME)?.length, 7));
    await rename(join(repository, MODEL), join(folder.path, "first"));
    const second = await write(repository, 90);
    const shard = await cluster.startShard("s1", { dataDir: join(folder.path, "own") });
    await cluster.put({ enabled: cluster.map(["s0", "s1"], 1), manifestDigest: second.digest });
    await eventually(() => assert.ok((shard.holdings.get(NAME)?.length ?? 0) > 0));
    assert.equal(await refusalsOf(shard), 1);
    assert.equal(old.isReady, true); // with the first one, which is in use
  });

  it("has no copies of the version that was exported anew while it was down: they go at once, and none is refused", async () => {
    await using folder = await tempDir();
    const repository = join(folder.path, "repository");
    const dataDir = join(folder.path, "copies");
    const first = await write(repository, 100);
    await using cluster = new TestCluster(repository, first);
    const old = await cluster.startShard("s0", { dataDir });
    await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: first.digest });
    await eventually(() => assert.equal(old.holdings.get(NAME)?.length, 7));
    await old.close();
    await rm(join(repository, MODEL), { recursive: true });
    const second = await write(repository, 90);
    await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: second.digest });
    const shard = await cluster.startShard("s0", { dataDir, instance: "s0-2", retryMs: 60_000 });
    await eventually(() => assert.equal(shard.holdings.get(NAME)?.length, 7));
    assert.equal(await refusalsOf(shard), 0);
  });

  for (const [where, dataDir] of [
    ["in its repository", undefined],
    ["as copies on its own disk", "data"],
  ] as const)
    it(`reads a version anew, ${where}, that was exported again before it was in use, and keeps one that is in use`, async () => {
      await using folder = await tempDir();
      const first = await write(folder.path, 100);
      await using cluster = new TestCluster(folder.path, first);
      const shard = await cluster.startShard("s0", dataDir ? { dataDir: join(folder.path, dataDir) } : {});
      const held = async ({ digest }: StoredManifest) => {
        const key = holdingKey("s0", MODEL, VERSION);
        const [entry] = (await cluster.registry.list(key)).entries;
        const record = holdingRecord.decode(entry!.value, key);
        assert.deepEqual([record.manifestDigest, record.partitions.length], [digest, 7]);
      };
      await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: first.digest });
      await eventually(() => held(first));
      await rm(join(folder.path, MODEL), { recursive: true });
      const second = await write(folder.path, 90);
      await cluster.put({ staged: cluster.map(["s0"], 1), manifestDigest: second.digest });
      await eventually(() => held(second));
      assert.equal(await refusalsOf(shard), 0);
      await cluster.put({ enabled: cluster.map(["s0"], 1), manifestDigest: second.digest });
      await eventually(() => assert.equal(shard.isReady, true));
      await cluster.put({ enabled: cluster.map(["s0"], 1), manifestDigest: first.digest });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await held(second);
    });
});
