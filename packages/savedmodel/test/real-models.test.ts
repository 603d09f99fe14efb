import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";
import { fromBinary, type FunctionDef, type SavedModel, SavedModelSchema, toBinary } from "@shardserve/api";
import { modelDirs, needSharedModels } from "@shardserve/testkit";
import {
  assets,
  BundleReader,
  initOp,
  objectKeys,
  readSavedModel,
  restoreOp,
  selectMetaGraph,
  tagSets,
  variableBindings,
} from "../src/index.js";

/** Variables that an initialiser fills after the restore: asset paths, metrics that start at 0. */
const INITIALISED = /^(filename_tensor|Variable(_\d+)?|(prediction\/)?mean(_\d+)?\/(total|count))$/;
/** TensorFlow Serving's own fixtures that name an asset and lack its file. */
const WITHOUT_ASSET = /saved_model_config/;

/** Functions by name: those that nobody calls are written behind the others. */
function inOrder(message: SavedModel): SavedModel {
  const nameOf = ({ signature }: FunctionDef): string => signature?.name ?? "";
  for (const { graphDef } of message.metaGraphs) {
    graphDef?.library?.function.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  }
  return message;
}

describe("real SavedModels", function () {
  let root: string;

  before(function () {
    root = needSharedModels(this);
  });

  it("are parsed piece by piece into what protobuf parses at once", async () => {
    for (const dir of modelDirs(root)) {
      const bytes = readFileSync(`${dir}/saved_model.pb`);
      const whole = fromBinary(SavedModelSchema, bytes);
      const { message } = await readSavedModel(dir);
      const [one, other] = [inOrder(fromBinary(SavedModelSchema, toBinary(SavedModelSchema, message))), inOrder(whole)];
      assert.ok(Buffer.from(toBinary(SavedModelSchema, one)).equals(toBinary(SavedModelSchema, other)), dir);
    }
  });

  it("have good checksums, and every variable has its tensor", async () => {
    const dirs = modelDirs(root);
    assert.ok(dirs.length > 50);
    for (const dir of dirs) {
      const name = relative(root, dir);
      const model = await readSavedModel(dir);
      const metaGraph = selectMetaGraph(model, tagSets(model)[0]);
      if (!model.variablesPrefix) continue;
      await using reader = await BundleReader.open(model.variablesPrefix);
      assert.deepEqual(await reader.verify(), [], name);
      const bindings = variableBindings(metaGraph, reader.entries, await objectKeys(metaGraph, reader));
      assert.deepEqual(
        bindings.unbound.filter((node) => !INITIALISED.test(node)),
        [],
        name,
      );
      const used = new Set([...bindings.variables.values()].map((binding) => binding.checkpointKey));
      for (const table of bindings.tables.values()) used.add(table.keys).add(table.values);
      const unused = [...reader.entries.keys()].filter((key) => !used.has(key));
      assert.deepEqual(
        unused.filter((key) => key !== "_CHECKPOINTABLE_OBJECT_GRAPH"),
        [],
        name,
      );
    }
  });

  it("list their assets and ops", async () => {
    for (const dir of modelDirs(root)) {
      const model = await readSavedModel(dir);
      const metaGraph = selectMetaGraph(model, tagSets(model)[0]);
      const nodes = new Set(metaGraph.graphDef?.node.map((node) => node.name));
      for (const op of [initOp(metaGraph), restoreOp(metaGraph)?.node])
        assert.ok(op === undefined || nodes.has(op), `${dir}: ${op}`);
      for (const asset of assets(model, metaGraph)) {
        assert.ok(nodes.has(asset.tensorName.replace(/:0$/, "")), asset.tensorName);
        assert.ok(WITHOUT_ASSET.test(dir) || existsSync(asset.path), asset.path);
      }
    }
  });

  it("bind Keras 3 exports, whose restore op fills nodes of its own", async () => {
    const model = await readSavedModel(`${root}/zoo/transformer-disasters-mha-conv-keras3`);
    const metaGraph = selectMetaGraph(model);
    await using reader = await BundleReader.open(model.variablesPrefix!);
    const { variables } = variableBindings(metaGraph, reader.entries, await objectKeys(metaGraph, reader));
    assert.equal(
      variables.get("address_embedding/embeddings_1")?.checkpointKey,
      "_all_variables/7/.ATTRIBUTES/VARIABLE_VALUE",
    );
    assert.ok(variables.has("address_embedding/embeddings"));
  });
});
