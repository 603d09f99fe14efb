import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { eventually, launch, REPO_DIR, S3Server, tempDir } from "@shardserve/testkit";

const PROGRAM = join(REPO_DIR, "packages/cli/bin/shardserve.js");
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

describe("shard-export from an object store", function () {
  this.timeout(120_000);

  it("downloads the model, shows and exports it, and leaves a copy that the next run uses", async () => {
    await using server = await S3Server.start();
    await using dir = await tempDir("shardserve-export-");
    const model = join(REPO_DIR, "test/fixtures/models/dlrm/1");
    await server.putDirectory(model, "dlrm/1");
    const out = join(dir.path, "repository/dlrm/1");
    const shardserve = async (...args: string[]) => {
      const child = launch(process.execPath, { args: [PROGRAM, ...args], env: server.environment });
      const { code } = await child.exit;
      return { code, output: child.output };
    };
    const source = ["s3://models/dlrm/1", `--model-cache-dir=${join(dir.path, "cache")}`];
    const inspected = await shardserve("inspect", ...source);
    assert.equal(inspected.code, 0, inspected.output);
    assert.match(inspected.output, /tables are looked up/);
    const exported = await shardserve("shard-export", ...source, `--out=${out}`, "--min-table-bytes=1");
    assert.equal(exported.code, 0, exported.output);
    const verified = await shardserve("verify", model, out);
    assert.equal(verified.code, 0, verified.output);
    const [copy] = (await readdir(join(dir.path, "cache"))).filter((name) => name !== "lock");
    assert.match(copy!, /^[0-9a-f]{32}$/);
    const missing = await shardserve("shard-export", "s3://models/absent/1", source[1]!, "--dry-run");
    assert.equal(missing.code, 1);
    assert.match(missing.output, /there is nothing at s3:\/\/models\/absent\/1/);
  });

  it("refuses what cannot be done with object stores, and says what can", () => {
    const shardserve = (...args: string[]) => spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
    const registry = "--etcd=127.0.0.1:1";
    const repository = "--model_repository=s3://models";
    const cases: readonly (readonly [RegExp, ...string[]])[] = [
      [/objects cannot be shared/, "shard-export", HALF, "--out=s3://models/half/2", "--base=s3://models/half/1"],
      [/--out=s3:\/\/models\/half: must end in a version number/, "shard-export", HALF, "--out=s3://models/half"],
      [/s3:\/\/models: .*name a folder .* with --data-dir/, "shard", "--id=a", repository, registry],
      [/s3:\/\/models: .*name a folder .* with --data-dir/, "executor", "--id=a", repository, registry],
    ];
    for (const [message, ...args] of cases) {
      const { status, stderr } = shardserve(...args);
      assert.equal(status, 2, stderr); // usage
      assert.match(stderr, message);
    }
  });
});
