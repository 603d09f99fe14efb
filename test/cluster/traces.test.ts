import assert from "node:assert/strict";
import { join } from "node:path";
import { seededRandom } from "@shardserve/core";
import { OtlpCollector, type TempDir, tempDir } from "@shardserve/testkit";
import { cli } from "./support/cli.js";
import { DRIFTING, driftingRequest, writeDrifting } from "./support/drifting-model.js";
import { GrpcClient } from "./support/grpc.js";
import { startUp } from "./support/roles.js";

describe("traces of a cluster", function () {
  this.timeout(120_000);
  let dir: TempDir;
  let repository: string;

  before(async () => {
    dir = await tempDir("shardserve-traces-");
    repository = join(dir.path, "repository");
    const source = join(dir.path, "source");
    await writeDrifting(source, 0);
    const version = join(repository, DRIFTING, "1");
    const exported = await cli("shard-export", source, `--out=${version}`, "--min-table-bytes=64KiB");
    assert.equal(exported.code, 0, exported.stderr);
  });
  after(() => dir?.remove());

  /** The spans of some requests to two shards, at a rate of traces. */
  async function spansAt(samplingRate: number) {
    await using collector = await OtlpCollector.start();
    const flags = ["--shards=2", "--replication=1", "--cache-bytes=0"];
    const traces = [`--otlp-endpoint=${collector.endpoint}`, `--trace-sampling-rate=${samplingRate}`];
    const up = await startUp(repository, ...flags, ...traces);
    try {
      using client = new GrpcClient(up.grpc);
      const random = seededRandom(1);
      for (let i = 0; i < 4; i++) {
        const request = driftingRequest(random);
        request.check(await client.send(request.bytes));
      }
    } finally {
      await up.process.stop(); // what waits is sent
    }
    return collector.spans;
  }

  it("hold what each shard did for a request, inside of its lookup", async () => {
    const spans = await spansAt(1);
    const lookups = spans.filter(({ name, service }) => name === "lookup" && service === "shardserve");
    assert.equal(lookups.length, 4);
    const shards = spans.filter(({ service }) => service === "shardserve-shard");
    assert.deepEqual([...new Set(shards.map(({ name }) => name))], ["shard"]);
    for (const { traceId, spanId } of lookups) {
      const inside = shards.filter(({ parentSpanId }) => parentSpanId === spanId);
      assert.deepEqual(new Set(inside.map((span) => span.traceId)), new Set([traceId]));
      const shardIds = new Set(inside.map(({ attributes }) => attributes["shardserve.shard"]));
      assert.deepEqual(shardIds, new Set(["shard-0", "shard-1"]));
      for (const { attributes } of inside) {
        const { "shardserve.model": model, "shardserve.version": version, "shardserve.epoch": epoch } = attributes;
        assert.deepEqual([model, version, epoch], [DRIFTING, 1, 0]);
        assert.ok((attributes["shardserve.rows"] as number) > 0);
      }
    }
    assert.equal(shards.length, 8, "each inside of a lookup that was told");
  });

  it("cost a request that is not sampled nothing: shards tell nothing of it", async () => {
    assert.deepEqual(await spansAt(0), []);
  });
});
