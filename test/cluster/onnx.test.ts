import assert from "node:assert/strict";
import { status as grpcStatus, type ServiceError } from "@grpc/grpc-js";
import { join } from "node:path";
import { type Tensor, tensor } from "@shardserve/tensor";
import { EtcdServer, type LaunchedProcess, readGolden, REPO_DIR, type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { GoldenCheck } from "./support/golden-check.js";
import { type GoldenModel, linkVersion } from "./support/golden-models.js";
import { GrpcClient } from "./support/grpc.js";
import {
  type ClusterPlace,
  type Front,
  startExecutor,
  startServe,
  startShard,
  whenAvailable,
} from "./support/roles.js";

const SHARDS = 3;
const root = join(REPO_DIR, "test/fixtures/onnx");
const models: readonly GoldenModel[] = ["hops", "embedding"].map((name) => ({
  name,
  dir: join(root, name, "1"),
  golden: join(root, name, "golden.json"),
}));

const hops = models[0]!;

describe("sharded ONNX models answer as ONNX Runtime does", function () {
  this.timeout(120_000);
  let etcd: EtcdServer;
  let dir: TempDir;
  let place: ClusterPlace;
  let shards: LaunchedProcess[] = [];
  let executor: Front;
  let client: GrpcClient;

  before(async () => {
    [etcd, dir] = await Promise.all([EtcdServer.start(), tempDir("shardserve-onnx-")]);
    place = { etcd: etcd.host, cluster: "onnx", repository: join(dir.path, "repository") };
    for (const { name, dir: source } of models) {
      const out = join(place.repository, name, "1");
      const { code, stderr } = await cli("shard-export", source, `--out=${out}`, "--min-table-bytes=0");
      assert.equal(code, 0, stderr);
    }
    const flags = ["--replication=2", `--min-shards=${SHARDS}`, "--settle-seconds=0.2"];
    shards = await Promise.all(Array.from({ length: SHARDS }, (_, i) => startShard(place, `shard-${i}`, ...flags)));
    executor = await startExecutor(place, "executor-0");
    for (const { name } of models) await whenAvailable(executor, name);
    client = new GrpcClient(executor.grpc);
  });

  after(async () => {
    client?.[Symbol.dispose]();
    await Promise.all([executor?.process, ...shards].map((child) => child?.stop()));
    await etcd?.stop();
    await dir?.remove();
  });

  for (const model of models) {
    describe(model.name, () => {
      it("over gRPC and REST, bit for bit as the same model unsharded, with rows from the shards", async () => {
        const check = await GoldenCheck.open(model.name, readGolden(model.golden), executor.rest);
        assert.deepEqual(await check.overGrpc(client), []);
        const { wrong, sent } = await check.overRest(executor.rest, client);
        assert.deepEqual(wrong, []);
        assert.ok(sent > 0);
        const metrics = await (await fetch(`http://${executor.rest}/monitoring/prometheus/metrics`)).text();
        const series = `shardserve_lookup_rows_total{model="${model.name}",source="shard"} `;
        const line = metrics.split("\n").find((text) => text.startsWith(series));
        assert.ok(Number(line?.slice(series.length)) > 0, line ?? `no ${series}`);
        const metadata = async ({ rest }: Front) =>
          (await fetch(`http://${rest}/v1/models/${model.name}/metadata`)).json() as Promise<unknown>;
        const single = await startServe(model.name, await linkVersion(join(dir.path, "whole"), model));
        try {
          using whole = new GrpcClient(single.grpc);
          await check.sameBytes(client, whole);
          assert.deepEqual(await metadata(executor), await metadata(single));
        } finally {
          await single.process.stop();
        }
      });
    });
  }

  it("verify finds files and server equal to the model", async () => {
    const args = [hops.dir, join(place.repository, hops.name, "1"), `--address=${executor.grpc}`];
    const { code, stdout, stderr } = await cli("verify", ...args, `--model=${hops.name}`, "--json");
    assert.equal(code, 0, stderr);
    const { predictions } = JSON.parse(stdout) as { predictions: { answeredBy: string; isEqual: boolean }[] };
    assert.deepEqual(
      predictions.map(({ answeredBy, isEqual }) => [answeredBy, isEqual]),
      [
        ["files", true],
        [executor.grpc, true],
      ],
    );
  });

  it("one process serves the exported directory as well", async () => {
    const single = await startServe(hops.name, join(place.repository, hops.name));
    try {
      using exported = new GrpcClient(single.grpc);
      const check = await GoldenCheck.open(hops.name, readGolden(hops.golden), single.rest);
      await check.sameBytes(client, exported);
    } finally {
      await single.process.stop();
    }
  });

  it("negative ids count from the end, and ids outside of the table are the caller's error", async () => {
    const ask = async (...ids: bigint[]): Promise<Tensor | undefined> => {
      const inputs = new Map([["ids", tensor("int64", [ids.length, 1], BigInt64Array.from(ids))]]);
      return (await client.predict("embedding", "serving_default", inputs)).outputs.get("sum");
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
});
