import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, type Logger, silentLogger } from "@shardserve/core";
import { readDeltaChain, readManifest } from "@shardserve/rowstore";
import { SmallDisk, tempDir } from "@shardserve/testkit";
import { warnOfRoom } from "../src/export/disk-room.js";
import { runExport, writeFold } from "../src/index.js";
import { plan, writeTables } from "./models.js";
import { stream, tableOf, writeModel } from "./versions.js";

const run = { writer: "test", chunkBytes: 64 * 1024 };

const isFullAt = (path: string) => (error: unknown) =>
  isServingError(error, "DISK_FULL") && error.message.startsWith(`${path}: ENOSPC`);

/** Enough to begin with, not enough for the rows. */
const LEFT_BYTES = 8192;

describe("full disk", () => {
  /** Runs on a small disk of its own, where that can be made. */
  const onSmallDisk = (title: string, body: (disk: SmallDisk, work: string) => Promise<void>) =>
    it(title, async function () {
      await using dir = await tempDir();
      const path = join(dir.path, "small");
      await mkdir(path);
      const disk = SmallDisk.mount(path, 2 * 2 ** 20);
      if (!disk) {
        console.log("      skipped: a full disk is made by mounting a small tmpfs, which needs root");
        return this.skip();
      }
      try {
        await body(disk, dir.path);
      } finally {
        disk.stop();
      }
    });

  onSmallDisk("is named by an export, which leaves nothing behind", async ({ path: mount }, work) => {
    const source = join(work, "model");
    await writeTables(source, [40_000], 32);
    const out = join(mount, "m/1");
    const warnings: string[] = [];
    const logger: Logger = { ...silentLogger, warn: (_fields, message) => warnings.push(message) };
    await assert.rejects(runExport(await plan(source), out, { ...run, logger }), isFullAt(out));
    assert.deepEqual(readdirSync(join(mount, "m")), []);
    assert.deepEqual(warnings, ["the disk has less room than what is left to write"]);
  });

  onSmallDisk("is told from one that is mounted read-only", async ({ path: mount }, work) => {
    const source = join(work, "model");
    await writeTables(source, [10], 4);
    execFileSync("mount", ["-o", "remount,ro", mount]);
    await assert.rejects(
      runExport(await plan(source), join(mount, "m/1"), run),
      (error) => isServingError(error, "FAILED_PRECONDITION") && error.message.includes("EROFS"),
    );
  });

  onSmallDisk("is named by streamed rows and by a fold, which succeed once there is room", async (disk, work) => {
    const mount = disk.path;
    const source = join(work, "model");
    await writeModel(source, [tableOf(900, 1), tableOf(400, 2)], 0);
    const version = join(mount, "m/1");
    await runExport(await plan(source, { tables: ["t0", "t1"], partitions: 7 }), version, run);
    const base = (await readManifest(version))!;
    const deltas = () => readdirSync(join(version, "deltas"));
    const ids = Array.from({ length: 300 }, (_, id) => id);

    disk.fill(LEFT_BYTES);
    await assert.rejects(stream(version, base, ids, 1, 1), isFullAt(join(version, "deltas/1")));
    assert.deepEqual(deltas(), []);
    disk.free();
    for (const sequence of [1, 2]) await stream(version, base, ids, sequence, sequence);
    assert.deepEqual(deltas(), ["1", "2"]);

    disk.fill(LEFT_BYTES);
    const fold = async () => writeFold(version, base, await readDeltaChain(version, base, 2), { writer: "test" });
    await assert.rejects(fold(), isFullAt(join(version, "folds/2")));
    assert.deepEqual(readdirSync(join(version, "folds")), []);
    disk.free();
    assert.equal((await fold()).epoch, 2);
  });

  it("cannot always be foreseen: room that nobody can tell is no error", async () => {
    await using dir = await tempDir();
    const told: string[] = [];
    const logger: Logger = { ...silentLogger, info: (_fields, message) => told.push(message) };
    await warnOfRoom(join(dir.path, "away"), 1, logger);
    assert.deepEqual(told, ["how much room the disk has is not known"]);
  });
});
