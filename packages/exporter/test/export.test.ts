import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { cp, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isServingError } from "@shardserve/core";
import { PartitionSet, partitionPath, readManifest } from "@shardserve/rowstore";
import { BundleReader, BundleWriter, readSavedModel } from "@shardserve/savedmodel";
import { REPO_DIR, tempDir } from "@shardserve/testkit";
import { type ExportPlan, runExport } from "../src/index.js";
import { element, plan, writeTables } from "./models.js";

const DLRM = join(REPO_DIR, "test/fixtures/models/dlrm/1");
const run = { writer: "test", chunkBytes: 64 * 1024 };

/** Reads every row of every table back from the partition files and compares it with what the checkpoint held. */
async function assertRows(out: string, rows: readonly number[], dim: number): Promise<void> {
  const { manifest } = (await readManifest(out))!;
  const set = new PartitionSet(manifest.tables, manifest.partitionCount);
  for (let p = 0; p < manifest.partitionCount; p++) await set.add(p, join(out, partitionPath(p)));
  for (const [table, info] of manifest.tables.entries()) {
    const ids = BigInt64Array.from({ length: info.rows }, (_, id) => BigInt(id));
    const read = await readRows(set, table, ids, info.rowBytes);
    const index = Number(info.name.slice(1));
    assert.equal(info.rows, rows[index]);
    assert.deepEqual(
      new Float32Array(read.buffer),
      Float32Array.from({ length: info.rows * dim }, (_, i) => element(index, i)),
    );
  }
  await set.close();
}

async function readRows(set: PartitionSet, table: number, ids: BigInt64Array, rowBytes: number): Promise<Uint8Array> {
  const indexes = new BigInt64Array(ids.length);
  set.locate(table, ids, indexes, 0);
  const out = new Uint8Array(ids.length * rowBytes);
  await set.gather(rowBytes, indexes, 0, ids.length, out);
  return out;
}

describe("export", () => {
  it("puts every row where its id says, whatever the chunk, the table's size and the partition count", async () => {
    for (const partitions of [1, 7, 61]) {
      await using dir = await tempDir();
      const rows = [1, 6, 7, 8, 999, 20_000];
      await writeTables(join(dir.path, "model"), rows, 3);
      await runExport(await plan(join(dir.path, "model"), { partitions }), join(dir.path, "m/1"), run);
      await assertRows(join(dir.path, "m/1"), rows, 3);
    }
  });

  it("leaves a dense SavedModel that lacks just the sharded variables, assets and graph byte for byte", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "source");
    await cp(DLRM, source, { recursive: true });
    await mkdir(join(source, "assets"), { recursive: true });
    await writeFile(join(source, "assets/vocabulary.txt"), "a\nb\n");
    const out = join(dir.path, "dlrm/1");
    const exported = await plan(source);
    const report = await runExport(exported, out, run);
    assert.equal(
      report.tableBytes,
      exported.tables.reduce((sum, table) => sum + table.rows * 32, 0),
    );
    const dense = await readSavedModel(out);
    await using bundle = await BundleReader.open(dense.variablesPrefix!);
    assert.deepEqual(
      [...bundle.entries.keys()].sort(),
      exported.dense.map(({ checkpointKey }) => checkpointKey).sort(),
    );
    for (const key of bundle.entries.keys()) await bundle.read(key);
    assert.deepEqual(await readFile(join(out, "saved_model.pb")), await readFile(join(source, "saved_model.pb")));
    assert.equal(await readFile(join(out, "assets/vocabulary.txt"), "utf8"), "a\nb\n");
    const { manifest } = (await readManifest(out))!;
    assert.ok(manifest.files.some(({ path }) => path === "assets/vocabulary.txt"));
    assert.deepEqual(readdirSync(join(dir.path, "dlrm")), ["1"]);
  });

  it("never overwrites, and refuses a second export of the same target while one runs", async () => {
    await using dir = await tempDir();
    const exported = await plan(DLRM);
    const out = join(dir.path, "1");
    const both = await Promise.allSettled([runExport(exported, out, run), runExport(exported, out, run)]);
    const [refused, ...others] = both.filter((one) => one.status === "rejected");
    assert.ok(isServingError(refused?.reason, "OUTPUT_EXISTS"));
    assert.equal(others.length, 0, "one of them exports");
    await assert.rejects(runExport(exported, out, run), (error) => isServingError(error, "OUTPUT_EXISTS"));
  });

  it("says that an exported version is one, and not that its checkpoint is damaged", async () => {
    await using dir = await tempDir();
    const out = join(dir.path, "1");
    await runExport(await plan(DLRM), out, run);
    await assert.rejects(plan(out), /^ServingError: .*\/1 is an exported version \(shardserve\.manifest\)/);
  });

  it("goes on after kill -9 where it was, and what it publishes equals an undisturbed export", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "model");
    const rows = [40_000, 130_000];
    await writeTables(source, rows, 16);
    const script = fileURLToPath(new URL("./killed-export.js", import.meta.url));
    const out = join(dir.path, "m/1");
    for (const bytes of [2_500_000, 6_000_000]) {
      const { signal } = spawnSync(process.execPath, [script, source, out, String(bytes)]);
      assert.equal(signal, "SIGKILL");
      assert.equal(existsSync(out), false);
    }
    const resumed = await runExport(await plan(source), out, run);
    assert.equal(resumed.isResumed, true);
    await assertRows(out, rows, 16);
    const undisturbed = await runExport(await plan(source), join(dir.path, "m/2"), run);
    assert.equal(resumed.manifestDigest, undisturbed.manifestDigest);
  });

  it("ends where somebody else took this process for dead and goes on, and leaves that one's files alone", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "model");
    await writeTables(source, [40_000], 16);
    const theirs = join(dir.path, ".1.partial.theirs");
    let isTaken = false;
    const advance = () => {
      if (isTaken) return;
      isTaken = true;
      const [ours] = readdirSync(dir.path).filter((name) => /^\.1\.partial\.(?!lock)/.test(name));
      writeFileSync(join(dir.path, ".1.partial.lock"), "4711 other-machine a-token\n");
      renameSync(join(dir.path, ours!), theirs);
    };
    const progress = { task: () => ({ advance, done() {} }) };
    const writing = runExport(await plan(source), join(dir.path, "1"), { ...run, journalEveryBytes: 1, progress });
    await assert.rejects(writing, (error) => isServingError(error, "OUTPUT_EXISTS"));
    assert.deepEqual(readdirSync(dir.path).sort(), [".1.partial.lock", ".1.partial.theirs", "model"]);
    assert.ok(!existsSync(join(theirs, "shardserve.manifest")));
  });

  it("begins anew by itself when what a killed run left is damaged", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "model");
    await writeTables(source, [60_000], 16);
    const script = fileURLToPath(new URL("./killed-export.js", import.meta.url));
    spawnSync(process.execPath, [script, source, join(dir.path, "1"), "2500000"]);
    const [left] = readdirSync(dir.path).filter(
      (name) => /^\.1\.partial\.[^.]+$/.test(name) && !name.endsWith(".lock"),
    );
    const partition = join(dir.path, left!, partitionPath(3));
    await flipByte(partition, 5000);
    const again = await runExport(await plan(source), join(dir.path, "1"), run);
    assert.equal(again.isResumed, false);
    await assertRows(join(dir.path, "1"), [60_000], 16);
  });

  it("stops at a source byte that does not match its checksum, names variable and file, and leaves nothing behind", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "model");
    await writeTables(source, [500, 3000], 8);
    const exported: ExportPlan = await plan(source);
    await flipByte(join(source, "variables/variables.data-00000-of-00001"), 500 * 32 + 77);
    await assert.rejects(runExport(exported, join(dir.path, "m/1"), run), (error) => {
      assert.ok(isServingError(error, "CHECKSUM_MISMATCH"));
      assert.match(error.message, /"t1".*variables\.data-00000-of-00001/);
      return true;
    });
    assert.deepEqual(readdirSync(join(dir.path, "m")), []);
  });

  it("says where it may not write", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "model");
    await writeTables(source, [40], 32);
    const out = join(source, "saved_model.pb", "m", "1"); // below a file, where nobody may
    await assert.rejects(
      runExport(await plan(source), out, run),
      (error) => isServingError(error, "FAILED_PRECONDITION") && error.message.startsWith(`${out} cannot be written`),
    );
  });

  it("stores rows as float16 and int8 after a parity check, and refuses what they cannot hold", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "model");
    await writeTables(source, [3000], 16);
    for (const rowDtype of ["float16", "int8"] as const) {
      const report = await runExport(await plan(source, { rowDtype }), join(dir.path, rowDtype), run);
      assert.equal(report.parity.length, 1);
      const [{ maxRelativeError, rowsChecked }] = report.parity as [(typeof report.parity)[0]];
      assert.ok(rowsChecked >= 1000 && maxRelativeError > 0 && maxRelativeError < 0.005, String(maxRelativeError));
      const { manifest } = (await readManifest(join(dir.path, rowDtype)))!;
      assert.equal(manifest.tables[0]!.rowBytes, rowDtype === "float16" ? 32 : 24);
    }
    const huge = join(dir.path, "huge");
    await writeTables(huge, [100], 4);
    const data = Float32Array.from({ length: 400 }, (_, i) => (i === 17 ? 1e6 : 1));
    await rewriteTable(huge, data);
    await assert.rejects(
      plan(huge, { rowDtype: "float16" }).then((exported) => runExport(exported, join(dir.path, "huge-out"), run)),
      (error) => isServingError(error, "PARITY_FAILED"),
    );
  });

  it("takes the tables named, explains why others stay, and refuses names that are no tables", async () => {
    const all = await plan(DLRM);
    const one = await plan(DLRM, { tables: ["emb_2"] });
    assert.equal(all.tables.length, 6);
    assert.deepEqual(
      one.tables.map(({ name }) => name),
      ["emb_2"],
    );
    assert.equal(one.dense.filter(({ why }) => why === "not named in --tables").length, 5);
    const large = await plan(DLRM, { minTableBytes: 50_000 });
    assert.deepEqual(
      large.tables.map(({ name }) => name),
      ["emb_2", "emb_5"],
    );
    await assert.rejects(plan(DLRM, { tables: ["emb_9"] }), /no lookup reads "emb_9"; tables are emb_0/);
  });
});

async function flipByte(path: string, offset: number): Promise<void> {
  const file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset);
  byte[0] = byte[0]! ^ 0x10;
  await file.write(byte, 0, 1, offset);
  await file.close();
}

/** Replaces table t0 of a model made by `writeTables` with other numbers, checksums and all. */
async function rewriteTable(dir: string, values: Float32Array): Promise<void> {
  await rm(join(dir, "variables"), { recursive: true });
  await mkdir(join(dir, "variables"));
  const writer = await BundleWriter.create(join(dir, "variables/variables"));
  await writer.add("t0", "float32", [values.length / 4, 4], new Uint8Array(values.buffer));
  await writer.finish();
}
