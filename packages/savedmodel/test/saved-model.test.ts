import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  create,
  fromBinary,
  type MetaGraphDef,
  MetaGraphDefSchema,
  type SavedModel,
  SavedModelSchema,
  toBinary,
} from "@shardserve/api";
import { isServingError } from "@shardserve/core";
import { dataFromBytes, strings, tensor } from "@shardserve/tensor";
import {
  assets,
  attr,
  bindingVariables,
  BundleReader,
  GraphBuilder,
  initOp,
  parseSliceSpec,
  readSavedModel,
  selectMetaGraph,
  variableBindings,
  writeSavedModel,
} from "../src/index.js";
import { parseSavedModel } from "../src/parse-saved-model.js";

describe("SavedModel", () => {
  let dir: string;
  beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), "savedmodel-"))));
  afterEach(() => rm(dir, { recursive: true }));

  const refused = (pattern: RegExp) => (error: unknown) =>
    isServingError(error, "SAVED_MODEL_INVALID") && pattern.test(error.message);

  it("parses in pieces, more of them in a larger graph", () => {
    const piecesOf = (count: number): number => {
      const graph = new GraphBuilder();
      for (let i = 0; i < count; i++) graph.node("NoOp", [], { name: `n${i}` });
      return [...parseSavedModel("m.pb", toBinary(SavedModelSchema, graph.savedModel({})))].length;
    };
    assert.ok(piecesOf(2000) > 50 * piecesOf(20), `${piecesOf(2000)} and ${piecesOf(20)} pieces`);
  });

  it("refuses what is no file, without waiting for somebody to write into a pipe", async () => {
    const path = join(dir, "saved_model.pb");
    await mkdir(path);
    await assert.rejects(readSavedModel(dir), refused(/saved_model\.pb is no file/));
    await rm(path, { recursive: true });
    execFileSync("mkfifo", [path]);
    await assert.rejects(readSavedModel(dir), refused(/saved_model\.pb is no file/));
  });

  it("a file that the system does not let be read is not called damaged", async function () {
    const NO_READ = "/proc/self/mem"; // a regular file whose first byte is an EIO
    if (!existsSync(NO_READ)) return this.skip();
    const outage = (pattern: RegExp) => (error: unknown) =>
      isServingError(error, "UNAVAILABLE") && pattern.test(error.message);
    await symlink(NO_READ, join(dir, "saved_model.pb"));
    await assert.rejects(readSavedModel(dir), outage(/saved_model\.pb cannot be read: EIO.*; look at the disk$/));
    await symlink(NO_READ, join(dir, "variables.index"));
    await assert.rejects(BundleReader.open(join(dir, "variables")), outage(/variables\.index cannot be read: EIO/));
  });

  it("says what lies there instead of saved_model.pb", async () => {
    await assert.rejects(readSavedModel(dir), refused(/no saved_model.pb in .*name a SavedModel directory/));
    await writeFile(join(dir, "saved_model.pbtxt"), "");
    await assert.rejects(readSavedModel(dir), refused(/saved_model\.pbtxt, the text form/));
  });

  it("names the byte where the encoding breaks", async () => {
    await writeFile(join(dir, "saved_model.pb"), Uint8Array.of(8, 1, 0x12, 50, 1, 2));
    await assert.rejects(readSavedModel(dir), refused(/saved_model\.pb, byte 4: not a SavedModel/));
    await writeFile(join(dir, "saved_model.pb"), Uint8Array.of(8, 1));
    await assert.rejects(readSavedModel(dir), refused(/no meta graph/));
  });

  it("selects the meta graph with exactly the given tags", async () => {
    const metaGraphs = [["serve"], ["train", "serve"], ["serve", "gpu"]].map((tags) => ({ metaInfoDef: { tags } }));
    await writeSavedModel(dir, create(SavedModelSchema, { savedModelSchemaVersion: 1n, metaGraphs }));
    const model = await readSavedModel(dir);
    assert.equal(model.variablesPrefix, undefined);
    assert.deepEqual(selectMetaGraph(model, ["gpu", "serve"]).metaInfoDef?.tags, ["serve", "gpu"]);
    assert.deepEqual(selectMetaGraph(model).metaInfoDef?.tags, ["serve"]);
    assert.throws(
      () => selectMetaGraph(model, ["tpu"]),
      refused(/\{tpu\}; it has \{serve\}, \{serve,train\}, \{gpu,serve\}/),
    );
  });

  it("refuses a copy under way: a graph with variables, whose checkpoint is not there yet", async () => {
    const graph = new GraphBuilder();
    graph.variable("w", "float32", [2]);
    await writeSavedModel(dir, graph.savedModel({}), {
      variables: (writer) => writer.addTensor("w", tensor("float32", [2], Float32Array.of(1, 2))),
    });
    await rename(join(dir, "variables"), join(dir, "later"));
    const half = await readSavedModel(dir);
    assert.throws(() => selectMetaGraph(half), refused(/no variables\/variables\.index for its variables \("w"\)/));
    await rename(join(dir, "later"), join(dir, "variables"));
    selectMetaGraph(await readSavedModel(dir));
    await rm(dir, { recursive: true });
    await writeSavedModel(dir, new GraphBuilder().savedModel({})); // none to restore, and no checkpoint: a whole model
    await rm(join(dir, "variables"), { recursive: true, force: true });
    selectMetaGraph(await readSavedModel(dir));
  });

  it("parses the functions that the graph calls, and keeps the others as they are", async () => {
    const definition = (name: string, ...called: readonly string[]) => ({
      signature: { name },
      nodeDef: called.map((op) => ({ name: `call_${op}`, op })),
    });
    const library = {
      function: [definition("training", "step"), definition("step"), definition("serve", "layer"), definition("layer")],
    };
    const graphDef = { node: [{ name: "main", op: "serve" }], library };
    await writeSavedModel(dir, create(SavedModelSchema, { metaGraphs: [{ graphDef }] }));
    const { message } = await readSavedModel(dir);
    const names = ({ metaGraphs: [metaGraph] }: SavedModel) =>
      metaGraph!.graphDef!.library!.function.map(({ signature }) => signature!.name);
    assert.deepEqual(names(message), ["serve", "layer"]);
    const again = fromBinary(SavedModelSchema, toBinary(SavedModelSchema, message));
    assert.deepEqual(names(again), ["serve", "layer", "training", "step"]);
  });

  it("never overwrites a model", async () => {
    const message = create(SavedModelSchema);
    await writeSavedModel(dir, message);
    await assert.rejects(writeSavedModel(dir, message), (error) => isServingError(error, "OUTPUT_EXISTS"));
  });

  it("refuses assets that lead out of assets/", async () => {
    const model = { dir, message: create(SavedModelSchema), variablesPrefix: undefined };
    for (const filename of ["../../etc/passwd", "/etc/passwd", "a/../../b"]) {
      const metaGraph = create(MetaGraphDefSchema, { assetFileDef: [{ filename }] });
      assert.throws(() => assets(model, metaGraph), refused(/outside of assets/));
    }
  });

  it("finds the init op where each exporter puts it", () => {
    const key = "__saved_model_init_op";
    const signature = { outputs: { [key]: { encoding: { case: "name" as const, value: "NoOp:0" } } } };
    const collection = (value: string) => ({ kind: { case: "nodeList" as const, value: { value: [value] } } });
    const found = (init: Parameters<typeof create<typeof MetaGraphDefSchema>>[1]) =>
      initOp(create(MetaGraphDefSchema, init));
    assert.equal(found({ signatureDef: { [key]: signature } }), "NoOp");
    assert.equal(found({ collectionDef: { saved_model_main_op: collection("group_deps") } }), "group_deps");
    assert.equal(found({ collectionDef: { legacy_init_op: collection("legacy_init_op") } }), "legacy_init_op");
    assert.equal(found({}), undefined);
  });

  it("writes and reads variables, several data files, assets", async () => {
    const graph = new GraphBuilder();
    graph.variable("w", "float32", [2]);
    graph.variable("names", "string", [1]);
    await writeSavedModel(dir, graph.savedModel({}), {
      bundle: { shardCount: 2 },
      assets: [{ filename: "vocab/a.txt", source: Buffer.from("x\n") }],
      variables: async (writer) => {
        await writer.addTensor("w", tensor("float32", [2], Float32Array.of(1, 2)));
        await writer.addTensor("names", strings([1], ["a"]));
      },
    });
    const model = await readSavedModel(dir);
    await using reader = await BundleReader.open(model.variablesPrefix!);
    assert.equal(reader.shardCount, 2);
    const { variables } = variableBindings(selectMetaGraph(model), reader.entries);
    assert.deepEqual([...variables.values()].map((binding) => binding.checkpointKey).sort(), ["names", "w"]);
    const [range] = reader.ranges("w")!;
    assert.equal(range!.path, reader.dataFile(range!.shardId));
    assert.deepEqual(dataFromBytes("float32", await reader.readRange("w", 4, 4)), Float32Array.of(2));
  });

  it("leaves no checkpoint behind when a source fails", async () => {
    const failing = writeSavedModel(dir, create(SavedModelSchema), {
      variables: async (writer) => {
        await writer.add("a", "float32", [1], new Uint8Array(4));
        throw new Error("the source failed");
      },
    });
    await assert.rejects(failing, /the source failed/);
    await mkdir(join(dir, "again")); // the directory is usable
    await assert.rejects(readSavedModel(dir), refused(/no saved_model.pb/));
    await assert.rejects(BundleReader.open(join(dir, "variables", "variables")), (error) =>
      isServingError(error, "CHECKPOINT_INVALID"),
    );
  });
});

describe("variable bindings", () => {
  it("carry the slices of partitioned variables of TensorFlow 1", () => {
    const { variables } = variableBindings(
      partitionedGraph(),
      new Map([["emb", { crc32c: 0, size: 0, dtype: "float32" as const, shape: [] }]]),
    );
    assert.deepEqual(variables.get("emb/part_1"), {
      checkpointKey: "emb",
      slice: { fullShape: [10, 4], start: [5, 0], shape: [5, 4] },
    });
  });

  it("refuse a tensor that the checkpoint lacks", () => {
    assert.throws(
      () => variableBindings(partitionedGraph(), new Map()),
      /"emb\/part_\d" is restored from "emb", which the checkpoint lacks/,
    );
  });

  it("are found in pieces, more of them in a larger graph", () => {
    const entries = new Map([["emb", { crc32c: 0, size: 0, dtype: "float32" as const, shape: [] }]]);
    const piecesOf = (parts: number): number => [...bindingVariables(partitionedGraph(parts), entries)].length;
    assert.ok(piecesOf(400) > 50 * piecesOf(2), `${piecesOf(400)} and ${piecesOf(2)} pieces`);
  });

  it("read shape_and_slices as TensorFlow does", () => {
    assert.deepEqual(parseSliceSpec("10 4 0,4:0,4"), { fullShape: [10, 4], start: [0, 0], shape: [4, 4] });
    assert.deepEqual(parseSliceSpec("10 4 2,4:-"), { fullShape: [10, 4], start: [2, 0], shape: [4, 4] });
    assert.equal(parseSliceSpec("10 4 -:-"), undefined);
    assert.equal(parseSliceSpec(""), undefined);
    for (const bad of ["10 4 0,4", "x 0,1", "10 4 0,4:0", "10 -1 -:-"]) assert.throws(() => parseSliceSpec(bad), bad);
  });
});

/** What a partitioner of TensorFlow 1 leaves: some variables, one key. */
function partitionedGraph(parts = 2): MetaGraphDef {
  const graph = new GraphBuilder();
  const all = Array.from({ length: parts }, (_, i) => i);
  const names = strings(
    [parts],
    all.map(() => "emb"),
  );
  const slices = strings(
    [parts],
    all.map((i) => `${5 * parts} 4 ${5 * i},5:0,4`),
  );
  const prefix = graph.placeholder("prefix", "string", []);
  graph.node("RestoreV2", [prefix, graph.constant(names), graph.constant(slices)], {
    name: "restore",
    attrs: { dtypes: attr.types(all.map(() => "float32" as const)) },
  });
  const assigned = all.map((i) => {
    graph.node("VarHandleOp", [], { name: `emb/part_${i}`, attrs: { shared_name: attr.text(`emb/part_${i}`) } });
    return graph.node("AssignVariableOp", [`emb/part_${i}`, `restore:${i}`]);
  });
  graph.node("NoOp", [], { name: "restore_all", controls: assigned });
  const metaGraph = graph.savedModel({}).metaGraphs[0]!;
  metaGraph.saverDef!.restoreOpName = "restore_all";
  return metaGraph;
}
