import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, seededRandom } from "@shardserve/core";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { deltaPath, partitionPath, readDeltaChain, readManifest } from "@shardserve/rowstore";
import { bytesOf } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import { type DeltaReport, optionsOfVersion, planDelta, planExport, runDelta, runExport } from "../src/index.js";
import { plan } from "./models.js";
import { changedCopy, DIM, readAll, tableOf, writeModel } from "./versions.js";

const run = { writer: "test", chunkBytes: 8 * 1024 };

const deltaOf = async (source: string, version: string, parent?: number): Promise<DeltaReport> =>
  runDelta(await planDelta(source, version, { ...(parent !== undefined && { parent }) }, hostKernels), run);

describe("delta export", () => {
  before(() => void loadOrt());

  it("writes exactly what changed, epoch after epoch; base and chain give every epoch back bit for bit", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    const random = seededRandom(3);
    let tables = [tableOf(3000, 1), tableOf(700, 2)];
    await writeModel(join(dir.path, "s0"), tables, 0);
    await runExport(await plan(join(dir.path, "s0"), { tables: ["t0", "t1"], partitions: 13 }), version, run);
    const base = (await readManifest(version))!;
    const epochs = [tables];
    for (let epoch = 1; epoch <= 5; epoch++) {
      const ids = tables.map((table) => [
        ...new Set(Array.from({ length: 40 }, () => Math.floor((random.next() * table.length) / DIM))),
      ]);
      const added = epoch % 2 === 0 ? 17 : 0;
      tables = tables.map((table, i) => changedCopy(table, ids[i]!, i === 1 ? added : 0));
      const source = join(dir.path, `s${epoch}`);
      await writeModel(source, tables, epoch >= 3 ? 1 : 0);
      const report = await deltaOf(source, version);
      assert.equal(report.out, join(version, deltaPath(epoch)));
      assert.equal(report.parent, epoch - 1);
      assert.deepEqual(
        report.tables.map(({ changed, added: grown }) => [changed, grown]),
        [
          [ids[0]!.length, 0],
          [ids[1]!.length, added],
        ],
      );
      assert.deepEqual(report.denseChanged, epoch === 3 ? ["bias"] : []);
      // a row that grew the table changes the variable's shape in the graph
      assert.equal(
        existsSync(join(report.out, "dense/saved_model.pb")),
        epoch === 3 || added > 0 || report.isGraphChanged,
      );
      const rowBytes = report.tables.reduce((sum, { bytes }) => sum + bytes, 0);
      assert.ok(report.rowsFileBytes <= 1.5 * rowBytes + 13 * 256, `${report.rowsFileBytes} for ${rowBytes}`);
      epochs.push(tables);
    }
    for (const [epoch, expected] of epochs.entries()) {
      const read = await readAll(version, base, epoch);
      for (const [i, table] of expected.entries())
        assert.ok(Buffer.from(bytesOf(read[i]!)).equals(bytesOf(table)), `t${i} at epoch ${epoch}`);
    }
  });

  it("writes nothing when nothing changed, nothing with --dry-run, and says what would be written", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    const tables = [tableOf(500, 1)];
    await writeModel(join(dir.path, "a"), tables, 0);
    await writeModel(join(dir.path, "b"), [changedCopy(tables[0]!, [3, 77], 0)], 2);
    await runExport(await plan(join(dir.path, "a"), { tables: ["t0"], partitions: 7 }), version, run);
    const nothing = await deltaOf(join(dir.path, "a"), version);
    assert.equal(nothing.out, undefined);
    const dry = await runDelta(await planDelta(join(dir.path, "b"), version, {}, hostKernels), {
      ...run,
      isDryRun: true,
    });
    assert.equal(dry.out, undefined);
    assert.equal(dry.tables[0]!.changed, 2);
    assert.deepEqual(dry.denseChanged, ["bias"]);
    assert.deepEqual(readdirSync(version).includes("deltas") ? readdirSync(join(version, "deltas")) : [], []);
  });

  it("branches where it is told to, and refuses a missing or foreign parent by name", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    const other = join(dir.path, "m/2");
    const tables = [tableOf(500, 1)];
    for (const [name, ids] of [
      ["a", []],
      ["b", [1]],
      ["c", [2]],
    ] as const)
      await writeModel(join(dir.path, name), [changedCopy(tables[0]!, ids, 0)], 0);
    await runExport(await plan(join(dir.path, "a"), { tables: ["t0"], partitions: 7 }), version, run);
    await runExport(await plan(join(dir.path, "b"), { tables: ["t0"], partitions: 7 }), other, run);
    await deltaOf(join(dir.path, "b"), version);
    const branch = await deltaOf(join(dir.path, "c"), version, 0);
    assert.deepEqual([branch.epoch, branch.parent, branch.tables[0]!.changed], [2, 0, 1]);
    const base = (await readManifest(version))!;
    assert.deepEqual(
      (await readDeltaChain(version, base, 2)).map(({ manifest }) => manifest.epoch),
      [2],
    );
    await assert.rejects(readDeltaChain(version, (await readManifest(other))!, 1), (error) =>
      isServingError(error, "DELTA_OUT_OF_ORDER"),
    );
    await rm(join(version, deltaPath(1)), { recursive: true });
    await assert.rejects(deltaOf(join(dir.path, "c"), version, 1), (error) => {
      assert.ok(isServingError(error, "NOT_FOUND"));
      assert.match(error.message, /deltas\/1/);
      return true;
    });
  });

  it("refuses tables that a delta cannot express, and says to export a new version", async () => {
    await using dir = await tempDir();
    const version = join(dir.path, "m/1");
    await writeModel(join(dir.path, "a"), [tableOf(500, 1), tableOf(300, 2)], 0);
    await writeModel(join(dir.path, "short"), [tableOf(400, 1), tableOf(300, 2)], 0);
    await writeModel(join(dir.path, "one"), [tableOf(500, 1)], 0);
    await runExport(await plan(join(dir.path, "a"), { tables: ["t0", "t1"], partitions: 7 }), version, run);
    await assert.rejects(deltaOf(join(dir.path, "short"), version), /500 rows, the model 400.*new version/);
    await assert.rejects(deltaOf(join(dir.path, "one"), version), /lacks a table.*new version/);
  });

  it("shares unchanged partition files with the base when a whole version is exported", async () => {
    await using dir = await tempDir();
    const [one, two] = [join(dir.path, "m/1"), join(dir.path, "m/2")];
    const table = tableOf(5000, 1);
    await writeModel(join(dir.path, "a"), [table], 0);
    await writeModel(join(dir.path, "b"), [changedCopy(table, [5, 5 + 13, 5 + 26], 0)], 0); // all in one partition
    await runExport(await plan(join(dir.path, "a"), { tables: ["t0"], partitions: 13 }), one, run);
    const options = { ...(await optionsOfVersion(one)), tags: ["serve"] };
    const report = await runExport(await planExport(join(dir.path, "b"), options, hostKernels), two, {
      ...run,
      shareWith: one,
    });
    assert.equal(report.sharedPartitions, 12);
    const inode = (version: string, p: number) => statSync(join(version, partitionPath(p))).ino;
    for (let p = 0; p < 13; p++) assert.equal(inode(one, p) === inode(two, p), p !== 5);
    assert.deepEqual(readdirSync(join(two, "partitions")).length, 13);
    const alone = await runExport(
      await planExport(join(dir.path, "b"), options, hostKernels),
      join(dir.path, "m/3"),
      run,
    );
    assert.equal(alone.manifestDigest, report.manifestDigest);
    assert.deepEqual(
      await readFile(join(two, partitionPath(5))),
      await readFile(join(dir.path, "m/3", partitionPath(5))),
    );
  });
});
