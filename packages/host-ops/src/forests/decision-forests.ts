/**
 * Ops of TensorFlow Decision Forests (tensorflow_decision_forests/tensorflow/ops/inference): a resource that an initialiser fills with a
 * model of trees out of the SavedModel's assets, and its predictions.
 */
import { ServingError } from "@shardserve/core";
import { type HostResource, type HostValue, type ResourceHandle, resourceKey } from "@shardserve/graph";
import { StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { inTurns, type Pieces, runPieces, Turns } from "../call/turns.js";
import { integersOf } from "../call/shapes.js";
import type { Features, Forest } from "./forest.js";
import type { InputColumns } from "./forest-columns.js";
import { compileForest } from "./forest-compile.js";
import { damaged, unsupported } from "./forest-errors.js";
import { readBoostedTreesHeader, readDataSpec, readModelHeader, readRandomForestHeader } from "./forest-headers.js";
import { BOOSTED_TREES, type ForestModel, forestModel, RANDOM_FOREST } from "./forest-model.js";
import { predict } from "./forest-predict.js";
import { type NodeFile, openNodeFile } from "./forest-records.js";

class DecisionForest implements HostResource {
  readonly kind = "decision forest";
  loaded: { readonly model: ForestModel; readonly forest: Forest } | undefined;
}

function resourceAt(op: OpCall, key: string): DecisionForest | undefined {
  const found = op.state.resources.get(key);
  if (found === undefined || found instanceof DecisionForest) return found;
  throw new ServingError(
    "GRAPH_INVALID",
    `resource ${key} is a ${found.kind}, but ${op.node.name} needs a decision forest`,
  );
}

function create(op: OpCall): ResourceHandle[] {
  const key = resourceKey(op.node);
  if (!resourceAt(op, key)) op.state.resources.set(key, new DecisionForest());
  return [{ kind: "other", key }];
}

/** The resource that an input names. */
function forestOf(op: OpCall, input: number): DecisionForest {
  const { key } = op.handle(input);
  const found = resourceAt(op, key);
  if (found) return found;
  throw new ServingError(
    "NOT_FOUND",
    `Resource localhost/${key} does not exist: ${op.node.name} ran before it was made`,
  );
}

const TREES_HEADERS = {
  [RANDOM_FOREST]: { file: "random_forest_header.pb", read: readRandomForestHeader },
  [BOOSTED_TREES]: { file: "gradient_boosted_trees_header.pb", read: readBoostedTreesHeader },
};

/** Reads a model out of the folder that input 1 names. */
async function load(op: OpCall): Promise<[]> {
  const resource = forestOf(op, 0);
  const paths = op.strings(1);
  check(paths.length === 1, () => `The "path" attribute is expected to contains exactly one entry.`);
  const folder = paths.textAt(0).replace(/\/+$/, "");
  const prefix = op.attrs.text("file_prefix");
  const read = (file: string): Promise<Uint8Array> =>
    op.state.readFile(`${folder}/${prefix}${file}`, { signal: op.signal });
  const header = readModelHeader(`${prefix}header.pb`, await read("header.pb"));
  const treesHeader = Object.hasOwn(TREES_HEADERS, header.name)
    ? TREES_HEADERS[header.name as keyof typeof TREES_HEADERS]
    : undefined;
  if (!treesHeader) throw unsupported(`a model of the kind ${JSON.stringify(header.name)}`);
  const columns = readDataSpec(`${prefix}data_spec.pb`, await read("data_spec.pb"), header.labelColumn);
  const trees = treesHeader.read(prefix + treesHeader.file, await read(treesHeader.file));
  const model = forestModel(`${prefix}header.pb`, header, columns, trees);
  if (!(trees.treeCount >= 1) || !(trees.shardCount >= 1)) {
    throw damaged(prefix + treesHeader.file, `it has ${trees.treeCount} trees in ${trees.shardCount} files`);
  }
  const files: NodeFile[] = [];
  for (let i = 0; i < trees.shardCount; i++) {
    const file = `nodes-${digits(i)}-of-${digits(trees.shardCount)}`;
    files.push(await openNodeFile(prefix + file, await read(file), trees.nodeFormat));
  }
  const forest = await runPieces(compileForest(files, model.layout), new Turns(op));
  resource.loaded = { model, forest };
  return [];
}

function digits(number: number): string {
  return String(number).padStart(5, "0");
}

const infer = inTurns(function* (op: OpCall): Pieces<readonly HostValue[]> {
  const { loaded } = forestOf(op, 6);
  if (!loaded) throw new ServingError("FAILED_PRECONDITION", `decision forest ${op.handle(6).key} was not loaded`);
  const { model, forest } = loaded;
  const wanted = op.attrs.int("dense_output_dim");
  const { outputs } = model;
  check(
    wanted === outputs.length,
    () => `The "dense_output_dim"=${wanted} attribute does not match the model output dimension=${outputs.length}`,
  );
  const features = featuresOf(op, model.layout.inputs);
  const out = allocate("float32", features.rows * wanted);
  yield* predict(model, forest, features, out);
  return [
    tensor("float32", [features.rows, wanted], out),
    tensor("string", [wanted], StringColumn.from(outputs.map((text) => Buffer.from(text)))),
  ];
});

const INPUT_NAMES = ["numerical_features", "boolean_features", "categorical_int_features"];

/** The six inputs, checked so that no row or column reads outside of them. */
function featuresOf(op: OpCall, { counts, categoryCounts, setCounts }: InputColumns): Features {
  const banks = [counts.numbers, counts.booleans, counts.categories];
  const matrices = banks.map((columns, i) => {
    const value = op.tensor(i);
    check(value.shape.length === 2, () => `${INPUT_NAMES[i]} must be a matrix, got shape ${printShape(value.shape)}`);
    check(value.shape[1] === columns, () => `Unexpected dimension of ${INPUT_NAMES[i]} bank.`);
    return value;
  });
  const [inner, outer] = [integersOf(op.tensor(4)), integersOf(op.tensor(5))];
  const sizes = [...matrices.map(({ shape }) => shape[0]!), outer.length - 1];
  const rows = Math.max(0, ...sizes);
  for (const [i, size] of sizes.entries()) {
    const isRead = (banks[i] ?? counts.sets) > 0;
    check(
      size === rows || (size <= 0 && !isRead),
      () => `The batch size of the input features are inconsistent: ${size} vs ${rows}.`,
    );
  }
  return {
    rows,
    numbers: matrices[0]!.data as Float32Array,
    numberColumns: counts.numbers,
    booleans: matrices[1]!.data as Float32Array,
    booleanColumns: counts.booleans,
    categories: inVocabulary(matrices[2]!, categoryCounts),
    categoryColumns: counts.categories,
    ...setsOf(op.tensor(3), inner, outer, rows, setCounts),
  };
}

/** What is out of a column's vocabulary is 0; -1 stays. */
function inVocabulary({ data }: Tensor, counts: readonly number[]): Int32Array {
  const values = Int32Array.from(data as Int32Array);
  for (let i = 0; i < values.length; ) {
    for (const count of counts) {
      if (values[i]! < -1 || values[i]! >= count) values[i] = 0;
      i++;
    }
  }
  return values;
}

type Sets = Pick<Features, "setValues" | "setStarts" | "setColumns">;

function setsOf(
  given: Tensor,
  starts: ArrayLike<number>,
  rowStarts: ArrayLike<number>,
  rows: number,
  counts: readonly number[],
): Sets {
  const setColumns = counts.length;
  if (setColumns === 0) return { setValues: new Int32Array(0), setStarts: [], setColumns };
  for (let row = 0; row <= rows; row++) {
    if (rowStarts[row] !== row * setColumns) throw invalid("Unexpected features_row_splits_dim_2 size.");
  }
  const sets = rows * setColumns;
  check(starts.length > sets, () => "Unexpected features_row_splits_dim_1 size.");
  const setValues = Int32Array.from(given.data as Int32Array);
  for (let set = 0; set < sets; set++) {
    const [start, end] = [starts[set]!, starts[set + 1]!];
    if (!(start >= 0 && end >= start && end <= setValues.length)) {
      throw invalid(`features_row_splits_dim_1 goes from ${start} to ${end} in ${setValues.length} values`);
    }
    const count = counts[set % setColumns]!;
    for (let i = start; i < end; i++) if (setValues[i]! < -1 || setValues[i]! >= count) setValues[i] = 0;
  }
  return { setValues, setStarts: starts, setColumns };
}

export const DECISION_FOREST_KERNELS: Readonly<Record<string, Kernel>> = {
  SimpleMLCreateModelResource: create,
  SimpleMLLoadModelFromPathWithHandle: load,
  SimpleMLInferenceOpWithHandle: infer,
};
