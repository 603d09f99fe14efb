import assert from "node:assert/strict";
import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ErrorCode, isServingError, ServingError, silentLogger } from "@shardserve/core";
import { readSavedModel } from "@shardserve/savedmodel";
import type { Loader, Model } from "@shardserve/servable";
import { REPO_DIR, S3Server, tempDir, type TempDir } from "@shardserve/testkit";
import { VersionFiles } from "../src/roles/versions/version-files.js";

const HALF = join(REPO_DIR, "test/fixtures/models/half-plus-two/1");
const URI = "s3://models/half/1";

describe("files of versions in an object store", function () {
  this.timeout(60_000);
  let server: S3Server;
  let dir: TempDir;
  let files: VersionFiles;
  before(async () => {
    server = await S3Server.start();
    Object.assign(process.env, server.environment);
    await server.putDirectory(HALF, "half/1");
  });
  after(async () => {
    for (const name of Object.keys(server.environment)) delete process.env[name];
    await server[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    dir = await tempDir("shardserve-cache-");
    const flags = { modelCacheDir: dir.path, modelCacheBytes: 2 ** 30, downloadBytesPerSecond: 0 };
    files = new VersionFiles({ ...flags, objectStorePollSeconds: 60 }, server.environment, silentLogger);
  });
  afterEach(async () => {
    await files.close();
    await dir.remove();
  });

  const load = (directories: Loader["load"]) =>
    files
      .loader({ load: directories })
      .load({ name: "half", version: 1 }, URI, { signal: AbortSignal.timeout(30_000) });
  const copies = async () => (await readdir(dir.path)).filter((name) => /^[0-9a-f]{32}$/.test(name));
  const graphs = async (_id: unknown, path: string): Promise<Model> => {
    await readSavedModel(path);
    return {
      signatures: new Map(),
      metadata: new Uint8Array(),
      run: () => assert.fail("it is not run"),
      close: async () => {},
    };
  };

  it("are downloaded anew where a byte of the graph was flipped on this disk", async () => {
    await (await load(graphs)).close();
    const [copy] = await copies();
    const path = join(dir.path, copy!, "saved_model.pb");
    const good = await readFile(path);
    await using file = await open(path, "r+");
    await file.write(Uint8Array.of(good[0]! ^ 0x04), 0, 1, 0);
    await assert.rejects(load(graphs), (error) => isServingError(error, "SAVED_MODEL_INVALID"));
    await (await load(graphs)).close();
    assert.deepEqual(await readFile(path), good);
  });

  it("stay where a load fails on something else than damage", async () => {
    const failing = (code: ErrorCode) => load(() => Promise.reject(new ServingError(code, "no")));
    for (const code of ["INVALID_ARGUMENT", "OP_UNSUPPORTED", "DATA_LOSS", "UNAVAILABLE"] as const) {
      await assert.rejects(failing(code), (error) => isServingError(error, code));
      assert.equal((await copies()).length, 1, code);
    }
    await assert.rejects(failing("CHECKPOINT_INVALID"), (error) => isServingError(error, "CHECKPOINT_INVALID"));
    assert.equal((await copies()).length, 0);
  });
});
