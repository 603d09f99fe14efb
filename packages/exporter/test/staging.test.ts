import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import { Staging } from "../src/export/staging.js";

const isTaken = (error: unknown) => isServingError(error, "OUTPUT_EXISTS");

describe("the directory in which something grows before it is published", () => {
  it("is new for each run; what dead ones left is removed, what belongs to others is not", async () => {
    await using dir = await tempDir();
    for (const name of [".1.partial", ".1.partial.dead", ".2.partial", ".11.partial"]) mkdirSync(join(dir.path, name));
    const staging = await Staging.openNew(join(dir.path, "1"));
    const names = () => readdirSync(dir.path).filter((name) => !name.endsWith(".lock"));
    assert.deepEqual(names().sort(), [".11.partial", ".2.partial", staging.dir.slice(dir.path.length + 1)].sort());
    writeFileSync(join(staging.dir, "rows"), "mine");
    await staging.publish();
    assert.deepEqual(names().sort(), [".11.partial", ".2.partial", "1"].sort());
  });

  it("of a process that was taken for dead and goes on is published by nobody, and mixes with nobody else's", async () => {
    await using dir = await tempDir();
    const target = join(dir.path, "1");
    const frozen = await Staging.openNew(target);
    writeFileSync(join(frozen.dir, "rows"), "frozen");
    writeFileSync(join(dir.path, ".1.partial.lock"), "4711 other-machine a-token\n"); // who took it over
    await assert.rejects(frozen.publish(), isTaken);
    await frozen.abandon(false);
    assert.ok(!existsSync(target));
    assert.ok(existsSync(join(dir.path, ".1.partial.lock")));
  });

  it("of two machines at once is published by one, whole", async () => {
    await using dir = await tempDir();
    const target = join(dir.path, "1");
    const staging = await Staging.openNew(target);
    writeFileSync(join(staging.dir, "rows"), "mine");
    mkdirSync(target);
    writeFileSync(join(target, "rows"), "theirs");
    await assert.rejects(staging.publish(), isTaken);
    await staging.abandon(false);
    assert.deepEqual(readdirSync(dir.path), ["1"]);
    assert.equal(readFileSync(join(target, "rows"), "utf8"), "theirs");
  });
});
