import assert from "node:assert/strict";
import { join } from "node:path";
import { S3Server } from "@shardserve/testkit";
import { ApplyClient } from "./support/apply-client.js";
import { cliIn } from "./support/cli.js";
import { DRIFTING, writeDrifting } from "./support/drifting-model.js";
import { startApply } from "./support/roles.js";
import { SmallCluster } from "./support/small-cluster.js";
import { acknowledged, send } from "./support/streamed-rows.js";

const BASE = "s3://models/repository";
const BATCHES = 6;

describe("a leader that looks at an object store once an hour", function () {
  this.timeout(120_000);

  it("is told of epochs and folds that are put there, and takes them up", async () => {
    await using store = await S3Server.start();
    const cluster = await SmallCluster.start("stored-news", {
      repository: BASE,
      env: store.environment,
      timeoutMs: 60_000,
      shardFlags: (id) => [
        "--replication=1",
        "--settle-seconds=0.2",
        "--object-store-poll-seconds=3600",
        `--data-dir=${join(cluster.dir.path, id)}`,
      ],
    });
    let process: Awaited<ReturnType<typeof startApply>>["process"] | undefined;
    try {
      const staging = `--staging-dir=${join(cluster.dir.path, "staging")}`;
      const source = join(cluster.dir.path, "source");
      await writeDrifting(source, 0);
      const out = `--out=${BASE}/${DRIFTING}/1`;
      const exported = await cliIn(store.environment, "shard-export", source, out, staging, "--min-table-bytes=64KiB");
      assert.equal(exported.code, 0, exported.stderr);
      await cluster.startShards("shard-0");
      await cluster.until(({ models }) =>
        models.some(({ versions }) => versions.some(({ state }) => state === "enabled")),
      );
      const front = await startApply(cluster.place, "--epoch-seconds=0.05", staging);
      process = front.process;
      using client = new ApplyClient(front.grpc, DRIFTING, "a");
      for (let sequence = 1; sequence <= BATCHES; sequence++) {
        send(client, sequence);
        await acknowledged(client, sequence);
      }
      const flags = [...cluster.registryFlags, `--model-repository=${BASE}`, staging, "--keep-epochs=1", "--json"];
      const folded = await cliIn(cluster.place.env!, "fold", DRIFTING, ...flags);
      assert.equal(folded.code, 0, folded.stderr);
      assert.equal((JSON.parse(folded.stdout) as { isInForce: boolean }).isInForce, true);
    } finally {
      await cluster.stop(process);
    }
  });
});
