import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { StateFile } from "@shardserve/registry";
import { tempDir, type TempDir } from "@shardserve/testkit";

const STATE = {
  revision: 42,
  savedAtMs: 1_700_000_000_000,
  entries: [
    { key: "maps/ctr/1", value: Uint8Array.of(1, 2, 3), modRevision: 41, createRevision: 7 },
    { key: "maps/ctr/2", value: new Uint8Array(0), modRevision: 42, createRevision: 42 },
  ],
};

describe("state file", () => {
  let dir: TempDir;
  let path: string;
  beforeEach(async () => {
    dir = await tempDir();
    path = join(dir.path, "deep", "prod-maps.state");
  });
  afterEach(() => dir.remove());

  const open = (cluster = "prod", prefix = "maps/") => new StateFile(path, { cluster, prefix });
  const refusal = async (file = open()) => {
    const error: unknown = await file.load().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(isServingError(error, "STATE_INVALID"), String(error));
    return error.message;
  };

  it("gives back what was saved last; without a file, nothing", async () => {
    assert.equal(await open().load(), undefined);
    await open().save({ ...STATE, revision: 41 });
    await open().save(STATE);
    const { revision, savedAtMs, entries } = (await open().load())!;
    assert.deepEqual({ revision, savedAtMs }, { revision: 42, savedAtMs: STATE.savedAtMs });
    assert.deepEqual(
      entries.map((entry) => ({ ...entry, value: [...entry.value] })),
      STATE.entries.map((entry) => ({ ...entry, value: [...entry.value] })),
    );
  });

  it("is not believed with any byte changed or cut off", async () => {
    await open().save(STATE);
    const good = await readFile(path);
    for (let i = 0; i < good.length; i++) {
      const bad = Buffer.from(good);
      bad[i]! ^= 1 << (i % 8);
      await writeFile(path, bad);
      await refusal();
    }
    for (let length = 0; length < good.length; length++) {
      await writeFile(path, good.subarray(0, length));
      await refusal();
    }
  });

  it("is not believed by another cluster, for another prefix, or by a program of another format", async () => {
    await open().save(STATE);
    assert.match(await refusal(open("test")), /of cluster "prod", not "test"/);
    assert.match(await refusal(open("prod", "shards/")), /of prefix "maps\/", not "shards\/"/);
    const bytes = await readFile(path);
    bytes.writeUInt32LE(9, 8);
    await writeFile(path, bytes);
    assert.match(await refusal(), /its format is 9, this program reads 1/);
  });
});
