import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isServingError, seededRandom } from "@shardserve/core";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import {
  DeltaFile,
  deltaPath,
  partitionPath,
  PartitionSet,
  readDeltaChain,
  readManifest,
  type StoredManifest,
} from "@shardserve/rowstore";
import { attr, GraphBuilder, predictSignature, writeSavedModel } from "@shardserve/savedmodel";
import { bytesOf } from "@shardserve/tensor";
import { tempDir } from "@shardserve/testkit";
import { type DeltaReport, optionsOfVersion, planDelta, planExport, runDelta, runExport } from "../src/index.js";
import { plan } from "./models.js";

const DIM = 4;
const run = { writer: "test", chunkBytes: 8 * 1024 };

/** Writes a SavedModel of two looked-up tables and one dense bias. */
async function writeModel(dir: string, tables: readonly Float32Array[], bias: number): Promise<void> {
  const graph = new GraphBuilder();
  const ids = graph.placeholder("ids", "int64", [-1]);
  const gathered = tables.map((table, i) =>
    graph.gather(graph.variable(`t${i}`, "float32", [table.length / DIM, DIM]), ids, "float32", "int64"),
  );
  const dense = graph.read(graph.variable("bias", "float32", [DIM]), "float32");
  const inputs = [...gathered, dense];
  const sum = graph.node(
    "AddV2",
    [graph.node("AddN", gathered, { attrs: { T: attr.type("float32"), N: attr.int(gathered.length) } }), dense],
    {
      attrs: { T: attr.type("float32") },
    },
  );
  assert.equal(inputs.length, tables.length + 1);
  const signature = predictSignature(
    { ids: { ref: ids, dtype: "int64", shape: [-1] } },
    { sum: { ref: sum, dtype: "float32", shape: [-1, DIM] } },
  );
  await writeSavedModel(dir, graph.savedModel({ serving_default: signature }), {
    variables: async (writer) => {
      await writer.add("bias", "float32", [DIM], bytesOf(new Float32Array(DIM).fill(bias)));
      for (const [i, table] of tables.entries()) {
        await writer.add(`t${i}`, "float32", [table.length / DIM, DIM], bytesOf(table));
      }
    },
  });
}

function tableOf(rows: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: rows * DIM }, () => random.next());
}

/** A copy with some rows changed, and with more rows at its end. */
function changedCopy(table: Float32Array, ids: readonly number[], added: number): Float32Array {
  const copy = new Float32Array(table.length + added * DIM);
  copy.set(table);
  for (const id of ids) copy.fill(copy[id * DIM]! + 1, id * DIM, (id + 1) * DIM);
  for (let i = table.length; i < copy.length; i++) copy[i] = i;
  return copy;
}

async function readAll(versionDir: string, base: StoredManifest, epoch: number): Promise<Float32Array[]> {
  const { tables, partitionCount } = base.manifest;
  const set = new PartitionSet(tables, partitionCount);
  for (let p = 0; p < partitionCount; p++) await set.add(p, join(versionDir, partitionPath(p)));
  for (const { manifest } of await readDeltaChain(versionDir, base, epoch)) {
    await using file = await DeltaFile.open(join(versionDir, deltaPath(manifest.epoch)), tables);
    set.overlay.begin(manifest.epoch, manifest.tables);
    for (let p = 0; p < partitionCount; p++) await set.overlay.stage(p, file);
  }
  const read: Float32Array[] = [];
  for (const [table, { rowBytes }] of tables.entries()) {
    const ids = BigInt64Array.from({ length: set.overlay.rowsOf(table, epoch) }, (_, id) => BigInt(id));
    const indexes = new BigInt64Array(ids.length);
    assert.equal(set.locate(table, ids, indexes, 0, 0, ids.length, epoch), -1);
    const rows = new Uint8Array(ids.length * rowBytes);
    await set.gather(rowBytes, indexes, 0, ids.length, rows);
    read.push(new Float32Array(rows.buffer));
  }
  await set.close();
  return read;
}

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
    await assert.rejects(deltaOf(join(dir.path, "short"), version), /500 rows, the SavedModel 400.*new version/);
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
