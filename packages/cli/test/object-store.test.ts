import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { eventually, launch, REPO_DIR, S3Server, tempDir } from "@shardserve/testkit";

const HALF = join(REPO_DIR, "test/fixtures/models/half-plus-two");

describe("serve from an object store", function () {
  this.timeout(120_000);

  it("downloads versions, follows new ones, and keeps what it serves", async () => {
    await using server = await S3Server.start();
    await using dir = await tempDir("shardserve-cache-");
    const [version] = await readdir(HALF);
    await server.putDirectory(join(HALF, version!), "half/1");
    await using serving = launch(process.execPath, {
      args: [
        join(REPO_DIR, "packages/cli/bin/shardserve.js"),
        "serve",
        "--model_name=half",
        "--model_base_path=s3://models/half",
        `--model-cache-dir=${dir.path}`,
        "--object-store-poll-seconds=1",
        "--memory-limit-bytes=1GiB",
        "--host=127.0.0.1",
        "--port=0",
        "--rest-api-port=0",
      ],
      env: server.environment,
    });
    const [, address] = await serving.waitForOutput(/REST on (\S+)/, { timeoutMs: 60_000 });
    const answer = async () => {
      const response = await fetch(`http://${address}/v1/models/half:predict`, {
        method: "POST",
        body: '{"instances": [1.0, 5.0]}',
      });
      const body = (await response.json()) as { readonly predictions: readonly number[] };
      return [response.headers.get("x-shardserve-model-version"), body.predictions];
    };
    assert.deepEqual(await answer(), ["1", [2.5, 4.5]]);
    await server.putDirectory(join(HALF, version!), "half/2");
    await eventually(async () => assert.deepEqual(await answer(), ["2", [2.5, 4.5]]), { timeoutMs: 60_000 });
    assert.equal((await serving.stop()).code, 0);
    const kept = (await readdir(dir.path)).filter((name) => /^[0-9a-f]{32}$/.test(name));
    assert.ok(kept.length >= 2 && !(await readdir(dir.path)).includes("lock"), kept.join());
  });
});
