import assert from "node:assert/strict";
import { cp, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary, onnx, toBinary } from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { tensorsOf } from "@shardserve/onnx";
import { PartitionRows, readManifest } from "@shardserve/rowstore";
import { REPO_DIR, tempDir } from "@shardserve/testkit";
import { bytesOf } from "@shardserve/tensor";
import { type DeltaReport, openSourceTensors, planDelta, runDelta, runExport } from "../src/index.js";
import { plan } from "./models.js";

const HOPS = join(REPO_DIR, "test/fixtures/onnx/hops/1");
const run = { writer: "test" };

async function readModel(dir: string): Promise<onnx.ModelProto> {
  return fromBinary(onnx.ModelProtoSchema, new Uint8Array(await readFile(join(dir, "model.onnx"))));
}

describe("export of ONNX models", () => {
  it("plans the initialisers that are gathered by row, and says why others stay", async () => {
    const { tables, dense, lookups } = await plan(HOPS);
    assert.deepEqual(
      tables.map(({ name, rows, rowShape, dtype }) => [name, rows, rowShape, dtype]),
      [
        ["users", 600, [8], "float32"],
        ["favourite", 600, [], "int64"],
        ["items", 300, [2, 4], "float32"],
        ["tags", 200, [8], "float16"],
      ],
    );
    assert.deepEqual(
      lookups.map(({ node, table }) => [node, table]),
      [
        ["user", 0],
        ["favourite_of", 1],
        ["favourite_item_of", 2],
        ["item", 2],
        ["tag", 3],
      ],
    );
    const why = new Map(dense.map(({ checkpointKey, why: reason }) => [checkpointKey, reason]));
    assert.equal(why.get("words"), 'read whole by Transpose "tied"');
    assert.equal(why.get("moods"), 'read inside If "mood_of"');
    const large = await plan(HOPS, { minTableBytes: 5000 });
    assert.deepEqual(
      large.tables.map(({ name }) => name),
      ["users", "items"],
    );
    await assert.rejects(
      plan(HOPS, { tables: ["words"] }),
      /"words" cannot be sharded: read whole by Transpose "tied"/,
    );
  });

  it("brings gathers out of loops over bags, and before what widens a table", async () => {
    const { tables, lookups } = await plan(join(REPO_DIR, "test/fixtures/onnx/bags/1"));
    assert.deepEqual(
      tables.map(({ name, dtype }) => [name, dtype]),
      [
        ["words", "float32"],
        ["items_int8", "int8"],
        ["users_half", "float16"],
      ],
    );
    assert.deepEqual(
      lookups.map(({ node }) => node),
      ["sum/gather", "mean/gather", "item", "user", "friend"],
    );
  });

  it("writes every row where its id says, and leaves a valid model whose tables are inputs", async () => {
    await using dir = await tempDir();
    const out = join(dir.path, "hops/1");
    const source = join(dir.path, "source");
    await cp(HOPS, source, { recursive: true });
    await writeFile(join(source, "notes.txt"), "carried along");
    const report = await runExport(await plan(source, { partitions: 7 }), out, run);
    assert.equal(report.isResumed, false);
    const { manifest } = (await readManifest(out))!;
    assert.deepEqual((await readdir(out)).sort(), [
      "model.onnx",
      "model.onnx.data",
      "notes.txt",
      "partitions",
      "shardserve.manifest",
    ]);
    const rows = await PartitionRows.open(out, manifest);
    await using tensors = await openSourceTensors(source);
    for (const [table, info] of manifest.tables.entries()) {
      const lease = await rows.lookup([
        { table, ids: BigInt64Array.from({ length: info.rows }, (_, id) => BigInt(id)) },
      ]);
      const { rows: slab, slots } = lease.batches[0]!;
      const slabBytes = bytesOf(slab.toTensor().data as Float32Array);
      for (const [id, slot] of slots.entries()) {
        const expected = await tensors.readRange(info.checkpointKey, id * info.rowBytes, info.rowBytes);
        const found = slabBytes.subarray(slot * info.rowBytes, (slot + 1) * info.rowBytes);
        assert.deepEqual(Buffer.from(found), Buffer.from(expected), `row ${id} of ${info.name}`);
      }
      lease.release();
    }
    await rows.close();
    const config = { "session.model_external_initializers_file_folder_path": out };
    using session = await loadOrt().createSession(new Uint8Array(await readFile(join(out, "model.onnx"))), { config });
    const names = session.inputs.map(({ name }) => name);
    assert.deepEqual(names, ["user", "item", "tag", "word", "mood", "users", "favourite", "items", "tags"]);
  });

  it("makes the same partitions of inline and of external data", async () => {
    await using dir = await tempDir();
    const inline = join(dir.path, "inline");
    await cp(HOPS, inline, { recursive: true });
    const model = await readModel(inline);
    const data = await readFile(join(inline, "hops.weights"));
    for (const tensor of tensorsOf(model)) {
      if (tensor.dataLocation !== 1) continue;
      const at = Object.fromEntries(tensor.externalData.map(({ key, value }) => [key, Number(value)]));
      tensor.rawData = new Uint8Array(data.subarray(at["offset"]!, at["offset"]! + at["length"]!));
      tensor.dataLocation = 0;
      tensor.externalData = [];
    }
    await writeFile(join(inline, "model.onnx"), toBinary(onnx.ModelProtoSchema, model));
    await rm(join(inline, "hops.weights"));
    const digests = async (source: string, out: string) => {
      await runExport(await plan(source, { partitions: 3 }), out, run);
      const { manifest } = (await readManifest(out))!;
      return manifest.files.filter(({ path }) => path.startsWith("partitions/"));
    };
    assert.deepEqual(await digests(inline, join(dir.path, "a/1")), await digests(HOPS, join(dir.path, "b/1")));
  });

  it("moves large weights out of the graph, into a file that can be mapped", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "m");
    await cp(HOPS, source, { recursive: true });
    const model = await readModel(source);
    const table = model.graph!.initializer.find(({ name }) => name === "weight")!;
    const values = Float32Array.from({ length: 8 * 4096 }, (_, i) => i);
    const dims = [8n, 4096n];
    model.graph!.initializer.push({ ...table, name: "large", dims, rawData: bytesOf(values) });
    const product = { ...model.graph!.node.find(({ opType }) => opType === "MatMul")! };
    model.graph!.node.push({ ...product, name: "extra", input: ["hidden", "large"], output: ["extra"] });
    model.graph!.output.push({ ...model.graph!.output[0]!, name: "extra" });
    delete (model.graph!.output.at(-1) as { type?: unknown }).type;
    await writeFile(join(source, "model.onnx"), toBinary(onnx.ModelProtoSchema, model));
    const out = join(dir.path, "out/1");
    await runExport(await plan(source), out, run);
    const left = (await readModel(out)).graph!.initializer.find(({ name }) => name === "large")!;
    assert.equal(left.rawData.length, 0);
    const at = Object.fromEntries(left.externalData.map(({ key, value }) => [key, value]));
    assert.equal(Number(at["offset"]) % 4096, 0);
    const data = await readFile(join(out, at["location"]!));
    const stored = data.subarray(Number(at["offset"]), Number(at["offset"]) + Number(at["length"]));
    assert.deepEqual(new Uint8Array(stored), new Uint8Array(bytesOf(values)));
    const config = { "session.model_external_initializers_file_folder_path": out };
    using session = await loadOrt().createSession(new Uint8Array(await readFile(join(out, "model.onnx"))), { config });
    assert.ok(session.outputs.some(({ name }) => name === "extra"));
  });

  it("checks reduced rows, and shares partitions that a base has", async () => {
    await using dir = await tempDir();
    const first = join(dir.path, "m/1");
    const options = { rowDtype: "float16" as const, partitions: 3, tables: ["users", "items"] };
    const report = await runExport(await plan(HOPS, options), first, run);
    assert.deepEqual(
      report.parity.map(({ table }) => table),
      ["users", "items"],
    );
    const again = await runExport(await plan(HOPS, options), join(dir.path, "m/2"), { ...run, shareWith: first });
    assert.equal(again.sharedPartitions, 3);
  });

  it("writes deltas: rows, dense values, the graph, or nothing where nothing changed", async () => {
    await using dir = await tempDir();
    const [source, version] = [join(dir.path, "m"), join(dir.path, "out/1")];
    await cp(HOPS, source, { recursive: true });
    await runExport(await plan(source, { partitions: 7, tables: ["users", "items"] }), version, run);
    const delta = async (isDryRun = false) =>
      runDelta(await planDelta(source, version, {}, hostKernels), { ...run, isDryRun });
    const changed = ({ tables }: DeltaReport) => tables.map(({ table, changed: count }) => [table, count]);
    const edit = async (change: (graph: onnx.GraphProto) => void) => {
      const model = await readModel(source);
      change(model.graph!);
      await writeFile(join(source, "model.onnx"), toBinary(onnx.ModelProtoSchema, model));
    };
    assert.equal((await delta()).out, undefined, "nothing changed");

    const weights = await readFile(join(source, "hops.weights"));
    const users = (await readModel(source)).graph!.initializer.find(({ name }) => name === "users")!;
    const at = Number(users.externalData.find(({ key }) => key === "offset")?.value ?? 0) + 599 * 8 * 4;
    weights.writeFloatLE(123.5, at);
    await writeFile(join(source, "hops.weights"), weights);
    const rows = await delta();
    assert.deepEqual(changed(rows), [
      ["users", 1],
      ["items", 0],
    ]);
    assert.deepEqual([rows.denseChanged, rows.isGraphChanged, rows.denseBytes], [[], false, 0]);
    const stored = await readFile(join(rows.out!, "rows.delta"));
    assert.ok(stored.includes(weights.subarray(at, at + 8 * 4)), "the row as it is now");

    await edit(({ initializer }) => initializer.find(({ name }) => name === "weight")!.rawData.fill(0));
    const dry = await delta(true);
    const dense = await delta();
    for (const report of [dry, dense]) {
      assert.deepEqual(changed(report), [
        ["users", 0],
        ["items", 0],
      ]);
      assert.deepEqual([report.denseChanged, report.isGraphChanged], [["weight"], false]);
    }
    assert.equal(dry.out, undefined);
    const served = await readModel(join(dense.out!, "dense"));
    assert.ok(served.graph!.initializer.find(({ name }) => name === "weight")!.rawData.every((byte) => byte === 0));
    assert.ok(
      served.graph!.input.some(({ name }) => name === "users"),
      "a table is an input, as in the version",
    );

    await edit(({ node }) => {
      node.find(({ opType }) => opType === "ReduceMax")!.opType = "ReduceMin";
    });
    const graph = await delta();
    assert.deepEqual([graph.denseChanged, graph.isGraphChanged, graph.epoch], [[], true, 3]);
    assert.equal((await delta()).out, undefined, "nothing changed since");
  });

  it("refuses external data that is not there, cut off, or outside the directory", async () => {
    await using dir = await tempDir();
    const source = join(dir.path, "m");
    const refused = (pattern: RegExp) =>
      assert.rejects(
        plan(source),
        (error) => isServingError(error, "CHECKPOINT_INVALID") && pattern.test(error.message),
      );
    await cp(HOPS, source, { recursive: true });
    await truncate(join(source, "hops.weights"), 20_000);
    await refused(/hops\.weights has 20000; copy the file again/);
    await rm(join(source, "hops.weights"));
    await refused(/hops\.weights cannot be read/);
    const weights = join(HOPS, "hops.weights");
    await symlink(weights, join(source, "hops.weights"));
    await refused(/External data path escapes model directory: "hops\.weights" leads to .*put the file into/);
    const config = { "session.model_external_initializers_file_folder_path": source };
    const load = loadOrt().createSession(new Uint8Array(await readFile(join(source, "model.onnx"))), { config });
    await assert.rejects(load, /External data path escapes model directory/, "as loading does");
    await cp(weights, join(source, "weights.0"));
    await rm(join(source, "hops.weights"));
    await symlink("weights.0", join(source, "hops.weights"));
    assert.equal((await plan(source)).tables.length, 4, "a link that stays inside");
    const model = await readModel(source);
    for (const location of ["../hops.weights", "/etc/passwd", ""]) {
      for (const { externalData } of tensorsOf(model))
        for (const entry of externalData) if (entry.key === "location") entry.value = location;
      await writeFile(join(source, "model.onnx"), toBinary(onnx.ModelProtoSchema, model));
      await refused(/is no file of the directory/);
    }
    await writeFile(join(source, "model.onnx"), "not an ONNX model");
    await assert.rejects(plan(source), (error) => isServingError(error, "GRAPH_INVALID"));
  });
});
