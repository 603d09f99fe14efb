import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, type Logger, silentLogger } from "@shardserve/core";
import { readDeltaChain, readManifest } from "@shardserve/rowstore";
import { tempDir } from "@shardserve/testkit";
import { runExport, writeFold } from "../src/index.js";
import { plan, writeTables } from "./models.js";
import { stream, tableOf, writeModel } from "./versions.js";

const run = { writer: "test", chunkBytes: 64 * 1024 };

const isFullAt = (path: string) => (error: unknown) =>
  isServingError(error, "DISK_FULL") && error.message.startsWith(`${path}: ENOSPC`);

/** Enough to begin with, not enough for the rows. */
const LEFT_BYTES = 8192;

/** Takes nearly all room that a disk has left. @returns the file that takes it */
function fill(mount: string): string {
  const path = join(mount, "filler");
  const file = openSync(path, "w");
  try {
    for (const bytes of [64 * 1024, 4096]) {
      try {
        while (writeSync(file, new Uint8Array(bytes)) === bytes);
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
      }
    }
    ftruncateSync(file, fstatSync(file).size - LEFT_BYTES);
  } finally {
    closeSync(file);
  }
  return path;
}

describe("full disk", () => {
  /** Runs on a small disk of its own, where that can be made. */
  const onSmallDisk = (title: string, body: (mount: string, work: string) => Promise<void>) =>
    it(title, async function () {
      await using dir = await tempDir();
      const mount = join(dir.path, "small");
      await mkdir(mount);
      const mounted =
        process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", mount]).status === 0;
      if (!mounted) {
        console.log("      skipped: a full disk is made by mounting a small tmpfs, which needs root");
        return this.skip();
      }
      try {
        await body(mount, dir.path);
      } finally {
        execFileSync("umount", [mount]);
      }
    });

  onSmallDisk("is named by an export, which leaves nothing behind", async (mount, work) => {
    const source = join(work, "model");
    await writeTables(source, [40_000], 32);
    const out = join(mount, "m/1");
    const warnings: string[] = [];
    const logger: Logger = { ...silentLogger, warn: (_fields, message) => warnings.push(message) };
    await assert.rejects(runExport(await plan(source), out, { ...run, logger }), isFullAt(out));
    assert.deepEqual(readdirSync(join(mount, "m")), []);
    assert.deepEqual(warnings, ["the disk has less room than what is left to write"]);
  });

  onSmallDisk("is told from one that is mounted read-only", async (mount, work) => {
    const source = join(work, "model");
    await writeTables(source, [10], 4);
    execFileSync("mount", ["-o", "remount,ro", mount]);
    await assert.rejects(
      runExport(await plan(source), join(mount, "m/1"), run),
      (error) => isServingError(error, "FAILED_PRECONDITION") && error.message.includes("EROFS"),
    );
  });

  onSmallDisk("is named by streamed rows and by a fold, which succeed once there is room", async (mount, work) => {
    const source = join(work, "model");
    await writeModel(source, [tableOf(900, 1), tableOf(400, 2)], 0);
    const version = join(mount, "m/1");
    await runExport(await plan(source, { tables: ["t0", "t1"], partitions: 7 }), version, run);
    const base = (await readManifest(version))!;
    const deltas = () => readdirSync(join(version, "deltas"));
    const ids = Array.from({ length: 300 }, (_, id) => id);

    let filler = fill(mount);
    await assert.rejects(stream(version, base, ids, 1, 1), isFullAt(join(version, "deltas/1")));
    assert.deepEqual(deltas(), []);
    rmSync(filler);
    for (const sequence of [1, 2]) await stream(version, base, ids, sequence, sequence);
    assert.deepEqual(deltas(), ["1", "2"]);

    filler = fill(mount);
    const fold = async () => writeFold(version, base, await readDeltaChain(version, base, 2), { writer: "test" });
    await assert.rejects(fold(), isFullAt(join(version, "folds/2")));
    assert.deepEqual(readdirSync(join(version, "folds")), []);
    rmSync(filler);
    assert.equal((await fold()).epoch, 2);
  });
});
