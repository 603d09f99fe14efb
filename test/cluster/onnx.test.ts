import assert from "node:assert/strict";
import { status as grpcStatus, type ServiceError } from "@grpc/grpc-js";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Tensor, tensor } from "@shardserve/tensor";
import { eventually, readGolden, REPO_DIR } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { GoldenCheck } from "./support/golden-check.js";
import { type GoldenModel, linkVersion } from "./support/golden-models.js";
import { GrpcClient } from "./support/grpc.js";
import { type Front, startServe } from "./support/roles.js";
import { ShardedGoldens } from "./support/sharded-goldens.js";

const root = join(REPO_DIR, "test/fixtures/onnx");
const models: readonly GoldenModel[] = ["hops", "embedding", "bags", "corners"].map((name) => ({
  name,
  dir: join(root, name, "1"),
  golden: join(root, name, "golden.json"),
}));

const hops = models[0]!;

describe("sharded ONNX models answer as ONNX Runtime does", function () {
  this.timeout(120_000);
  let served: ShardedGoldens;
  before(async () => {
    served = await ShardedGoldens.start("onnx", models);
  });
  after(() => served?.stop());

  for (const model of models) {
    describe(model.name, () => {
      it("over gRPC and REST, bit for bit as the same model unsharded, with rows from the shards", async () => {
        const check = await GoldenCheck.open(model.name, readGolden(model.golden), served.executor.rest);
        assert.deepEqual(await check.overGrpc(served.client), []);
        const { wrong, sent } = await check.overRest(served.executor.rest, served.client);
        assert.deepEqual(wrong, []);
        assert.ok(sent > 0);
        assert.ok((await served.rowsFromShards(model.name)) > 0);
        const metadata = async ({ rest }: Front) =>
          (await fetch(`http://${rest}/v1/models/${model.name}/metadata`)).json() as Promise<unknown>;
        const single = await startServe(model.name, await linkVersion(join(served.dir.path, "whole"), model));
        try {
          using whole = new GrpcClient(single.grpc);
          await check.sameBytes(served.client, whole);
          assert.deepEqual(await metadata(served.executor), await metadata(single));
        } finally {
          await single.process.stop();
        }
      });
    });
  }

  it("verify finds files and server equal to the model", async () => {
    const args = [hops.dir, join(served.place.repository, hops.name, "1"), `--address=${served.executor.grpc}`];
    const { code, stdout, stderr } = await cli("verify", ...args, `--model=${hops.name}`, "--json");
    assert.equal(code, 0, stderr);
    const { predictions } = JSON.parse(stdout) as { predictions: { answeredBy: string; isEqual: boolean }[] };
    assert.deepEqual(
      predictions.map(({ answeredBy, isEqual }) => [answeredBy, isEqual]),
      [
        ["files", true],
        [served.executor.grpc, true],
      ],
    );
  });

  it("one process serves the exported directory as well", async () => {
    const single = await startServe(hops.name, join(served.place.repository, hops.name));
    try {
      using exported = new GrpcClient(single.grpc);
      const check = await GoldenCheck.open(hops.name, readGolden(hops.golden), single.rest);
      await check.sameBytes(served.client, exported);
    } finally {
      await single.process.stop();
    }
  });

  it("negative ids count from the end, and ids outside of the table are the caller's error", async () => {
    const ask = async (...ids: bigint[]): Promise<Tensor | undefined> => {
      const inputs = new Map([["ids", tensor("int64", [ids.length, 1], BigInt64Array.from(ids))]]);
      return (await served.client.predict("embedding", "serving_default", inputs)).outputs.get("sum");
    };
    assert.deepEqual(await ask(-1n, -50n), await ask(49n, 0n));
    for (const id of [50n, -51n, 2n ** 40n]) {
      await assert.rejects(ask(0n, id), (error: ServiceError) => {
        assert.equal(error.code, grpcStatus.INVALID_ARGUMENT);
        assert.match(error.details, new RegExp(`idx=${id} must be within the inclusive range \\[-50,49\\]`));
        return true;
      });
    }
    assert.ok(await ask(49n));
  });

  it("inspect and --dry-run tell tables and what stays whole", async () => {
    const inspected = await cli("inspect", join(root, "hops/1"));
    assert.match(inspected.stdout, /words .* stays whole: read whole by Transpose "tied"/);
    const planned = await cli("shard-export", join(root, "hops/1"), "--dry-run", "--min-table-bytes=0");
    assert.match(planned.stdout, /4 tables to shard/);
    assert.match(planned.stdout, /moods: 1600 bytes, read inside If "mood_of"/);
  });

  // Behind the models' own suites: it changes one of them.
  describe("a newer model", () => {
    it("is taken up as a delta, rows and weights", async () => {
      const newer = join(served.dir.path, "newer");
      const source = join(newer, "1");
      await cp(join(root, "embedding/1"), source, { recursive: true });
      const weights = await readFile(join(source, "weights.bin"));
      for (let at = 0; at < weights.length; at += 4) weights.writeFloatLE(weights.readFloatLE(at) * -0.5, at);
      await writeFile(join(source, "weights.bin"), weights);
      const ask = async (client: GrpcClient) => {
        const inputs = new Map([["ids", tensor("int64", [2, 2], BigInt64Array.of(0n, 49n, 7n, 7n))]]);
        return (await client.predict("embedding", "serving_default", inputs)).outputs;
      };
      const before = await ask(served.client);
      const version = join(served.place.repository, "embedding", "1");
      const { code, stderr } = await cli("shard-export", source, `--base=${version}`);
      assert.equal(code, 0, stderr);
      const single = await startServe("embedding", newer);
      try {
        using whole = new GrpcClient(single.grpc);
        const expected = await ask(whole);
        assert.notDeepEqual(before, expected);
        await eventually(async () => assert.deepEqual(await ask(served.client), expected), { timeoutMs: 60_000 });
      } finally {
        await single.process.stop();
      }
    });
  });
});
