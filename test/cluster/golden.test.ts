import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readGolden, tempDir } from "@shardserve/testkit";
import { cliJson } from "./support/cli.js";
import { GoldenCheck } from "./support/golden-check.js";
import { type GoldenModel, linkVersion, ownModels, servingModels, strangersModels } from "./support/golden-models.js";
import { GrpcClient } from "./support/grpc.js";
import { startServe } from "./support/roles.js";
import { REPLICATION, ShardedGoldens, SHARDS } from "./support/sharded-goldens.js";

interface Inspected {
  readonly tables: readonly { readonly checkpointKey: string; readonly dtype: string }[];
}
interface Planned {
  readonly tables: readonly { readonly checkpointKey: string }[];
}

/** Says why a part of the suite is left out, and leaves it out. */
function skipWithoutShared(what: string): void {
  it(what, function () {
    console.log(`skipped: ${what}: no ../shared with SavedModels (SHARDSERVE_SHARED names it)`);
    this.skip();
  });
}

describe("sharded models answer as TensorFlow does", function () {
  this.timeout(120_000);
  const strangers = strangersModels();
  const models: readonly GoldenModel[] = [...ownModels(), ...(strangers ?? [])];
  if (!strangers) skipWithoutShared("strangers' recommenders");

  let served: ShardedGoldens;
  before(async () => {
    served = await ShardedGoldens.start("golden", models);
  });
  after(() => served?.stop());

  it("spreads every partition over two of three shards", async () => {
    const status = await cliJson<{
      shards: { partitionCount: number; bytes: number }[];
      models: { model: string; versions: { heldCount: number; neededCount: number; replication: number }[] }[];
    }>("status", `--etcd=${served.place.etcd}`, `--cluster=${served.place.cluster}`);
    assert.equal(status.models.length, models.length);
    for (const { versions } of status.models) {
      assert.equal(versions[0]!.replication, REPLICATION);
      assert.equal(versions[0]!.heldCount, versions[0]!.neededCount);
    }
    assert.equal(status.shards.length, SHARDS);
    for (const shard of status.shards) assert.ok(shard.partitionCount > 0 && shard.bytes > 0);
  });

  for (const model of models) {
    describe(model.name, () => {
      const golden = readGolden(model.golden);
      let check: GoldenCheck;
      before(async () => {
        check = await GoldenCheck.open(model.name, golden, served.executor.rest);
      });

      it("has every numeric table that is looked up on the shards", async () => {
        const { tables } = await cliJson<Inspected>("inspect", model.dir);
        const planned = await cliJson<Planned>("shard-export", model.dir, "--dry-run", "--min-table-bytes=0");
        const keys = (items: Planned["tables"]) => items.map(({ checkpointKey }) => checkpointKey).sort();
        const numeric = tables.filter(({ dtype }) => dtype !== "string");
        assert.notEqual(numeric.length, 0);
        assert.deepEqual(keys(planned.tables), keys(numeric));
        const { tables: known = [] } = JSON.parse(await readFile(model.golden, "utf8")) as {
          tables?: { variable: string }[]; // as found in the graph when the golden was recorded, without this program
        };
        for (const { variable } of known)
          assert.ok(keys(planned.tables).includes(`${variable}/.ATTRIBUTES/VARIABLE_VALUE`), variable);
      });

      it("over gRPC, with rows from the shards", async () => {
        assert.deepEqual(await check.overGrpc(served.client), []);
        assert.ok((await served.rowsFromShards(model.name)) > 0);
      });

      it("over REST", async () => {
        assert.deepEqual((await check.overRest(served.executor.rest, served.client)).wrong, []);
      });

      it("bit for bit as the same model unsharded", async () => {
        const single = await startServe(model.name, await linkVersion(join(served.dir.path, "whole"), model));
        try {
          using whole = new GrpcClient(single.grpc);
          await check.sameBytes(served.client, whole);
          assert.deepEqual(await check.overGrpc(whole), []);
          assert.deepEqual((await check.overRest(single.rest, whole)).wrong, []);
        } finally {
          await single.process.stop();
        }
      });
    });
  }
});

describe("TensorFlow Serving's own models on a single node answer as TensorFlow does", function () {
  this.timeout(60_000);
  const models = servingModels();
  if (!models) return skipWithoutShared("TensorFlow Serving's models");

  it("there are 13 of them that TensorFlow loads", () => assert.equal(models.length, 13));

  for (const model of models) {
    it(`${model.name}/${model.version}`, async () => {
      await using dir = await tempDir("shardserve-single-");
      const base = await linkVersion(dir.path, model, model.version);
      const golden = readGolden(model.golden);
      // Afresh for each front: a model may count its calls.
      const grpc = await startServe(model.name, base);
      try {
        using client = new GrpcClient(grpc.grpc);
        const check = await GoldenCheck.open(model.name, golden, grpc.rest);
        assert.deepEqual(await check.overGrpc(client), [], "gRPC");
      } finally {
        await grpc.process.stop();
      }
      const rest = await startServe(model.name, base);
      try {
        using client = new GrpcClient(rest.grpc);
        const check = await GoldenCheck.open(model.name, golden, rest.rest);
        const { wrong, sent } = await check.overRest(rest.rest, client);
        assert.deepEqual(wrong, [], "REST");
        assert.ok(sent > 0, "a case that JSON can say");
      } finally {
        await rest.process.stop();
      }
    });
  }
});
