import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isServingError } from "@shardserve/core";
import { tempDir } from "@shardserve/testkit";
import { type Journal, JOURNAL_NAME, writeJournal } from "../src/export/journal.js";
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

  it("that is gone on with goes on elsewhere: whoever was taken for dead finds nothing where it wrote", async () => {
    await using dir = await tempDir();
    const target = join(dir.path, "1");
    const frozen = await Staging.open(target);
    await frozen.clear();
    writeFileSync(join(frozen.dir, JOURNAL_NAME), "so far");
    writeFileSync(join(frozen.dir, "rows"), "rows");
    writeFileSync(join(dir.path, ".1.partial.lock"), `${2 ** 31 - 2}\n`); // of a successor, which was killed at once
    const script = `
      const { Staging } = await import(${JSON.stringify(new URL("../src/export/staging.js", import.meta.url).href)});
      const { dir } = await Staging.open(${JSON.stringify(target)});
      process.stdout.write(dir);
      process.kill(process.pid, "SIGKILL");`;
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    assert.equal(readFileSync(join(stdout, "rows"), "utf8"), "rows");
    assert.throws(() => writeFileSync(join(frozen.dir, "rows"), "frozen"), /ENOENT/);
    await assert.rejects(writeJournal(frozen.dir, {} as Journal), /ENOENT/);
    await assert.rejects(frozen.publish(), isTaken);
    await frozen.abandon(false);
    assert.ok(existsSync(join(stdout, JOURNAL_NAME)));
    const next = await Staging.open(target);
    assert.equal(readFileSync(join(next.dir, "rows"), "utf8"), "rows");
    await next.publish();
    assert.deepEqual(readdirSync(dir.path), ["1"]);
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
