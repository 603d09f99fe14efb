import { assets, BundleReader, initOp, objectKeys, readSavedModel, variableBindings } from "@shardserve/savedmodel";
import { importModel, type ModelGraph } from "../src/import/model.js";

/** Paths of a SavedModel's assets by the tensors that take them. */
export async function assetPaths(dir: string): Promise<Map<string, string>> {
  const savedModel = await readSavedModel(dir);
  return new Map(
    assets(savedModel, savedModel.message.metaGraphs[0]!).map(({ tensorName, path }) => [tensorName, path]),
  );
}

const loaded = new Map<string, Promise<ModelGraph>>();

/** Imports the first meta graph of a SavedModel, once for all tests. */
export function loadModelGraph(dir: string): Promise<ModelGraph> {
  let model = loaded.get(dir);
  if (!model) loaded.set(dir, (model = importFrom(dir)));
  return model;
}

async function importFrom(dir: string): Promise<ModelGraph> {
  const savedModel = await readSavedModel(dir);
  const metaGraph = savedModel.message.metaGraphs[0]!;
  if (!savedModel.variablesPrefix) {
    return importModel(metaGraph, { bindings: new Map(), entries: new Map(), initOp: initOp(metaGraph) });
  }
  await using reader = await BundleReader.open(savedModel.variablesPrefix);
  const bindings = variableBindings(metaGraph, reader.entries, await objectKeys(metaGraph, reader)).variables;
  return importModel(metaGraph, { bindings, entries: reader.entries, initOp: initOp(metaGraph) });
}
