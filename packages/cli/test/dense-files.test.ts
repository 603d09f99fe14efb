import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BytePace, silentLogger, systemClock } from "@shardserve/core";
import { Stores } from "@shardserve/object-store";
import { eventually, tempDir } from "@shardserve/testkit";
import { CopiedDenseFiles } from "../src/roles/versions/dense-files.js";
import { StoredRepository } from "../src/roles/versions/stored-repository.js";

describe("an executor's copies of dense parts", () => {
  it("of versions that went while it was down are removed once the registry names others of the model", async () => {
    await using data = await tempDir();
    const pace = new BytePace(Number.POSITIVE_INFINITY, systemClock);
    const repository = new StoredRepository({ stores: new Stores({}), uri: "s3://bucket/models", pace });
    const copies = (model: string, version: number) => join(data.path, "shardserve-dense", model, String(version));
    for (const [model, version] of [
      ["m", 1],
      ["m", 2],
      ["other", 1],
    ] as const) {
      await mkdir(copies(model, version), { recursive: true });
      await writeFile(join(copies(model, version), "shardserve.manifest"), "");
    }
    const files = new CopiedDenseFiles(repository, data.path, silentLogger);
    files.removeBeside([]);
    files.removeBeside([{ model: "m", version: 2 }]);
    await eventually(() => assert.ok(!existsSync(copies("m", 1))));
    assert.ok(existsSync(copies("m", 2)) && existsSync(copies("other", 1)));
    await repository.close();
  });
});
