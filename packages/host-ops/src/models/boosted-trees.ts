/**
 * Ensembles of the BoostedTrees estimators (tensorflow/core/kernels/boosted_trees of TensorFlow 1.15; TensorFlow 2.21 has
 * no such kernels): a resource that is made of a serialised TreeEnsemble, and its scores of bucketised features.
 */
import { type BoostedTree, fromBinary, type TreeEnsemble, TreeEnsembleSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { type HostResource, type ResourceHandle, resourceKey } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, checkScalar, invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";

/** What a node does, as {@link Forest.kinds} says. */
const LEAF = 0;
const AT_MOST = 1;
const EQUAL = 2;

/** Fields of a node in {@link Forest.nodes}: a split's feature, column of it, bucket, and where to go; a leaf's values start at LEFT. */
const [FEATURE, COLUMN, BUCKET, LEFT, RIGHT, FIELDS] = [0, 1, 2, 3, 4, 5];

/** All trees in flat arrays. */
interface Forest {
  readonly weights: Float32Array;
  /** First node of each tree, and the end of the last one's. */
  readonly roots: Int32Array;
  readonly kinds: Uint8Array;
  readonly nodes: Int32Array;
  readonly values: Float32Array;
  /** Values of a leaf; shorter leaves are filled up with zeros. */
  readonly width: number;
}

class Ensemble implements HostResource {
  readonly kind = "tree ensemble";
  forest: Forest | undefined;
}

function corrupt(what: string): ServingError {
  return invalid(`Unable to parse tree ensemble proto: ${what}`);
}

function leafValues(tree: BoostedTree): (readonly number[])[] {
  return tree.nodes.flatMap(({ node }) => {
    if (node.case !== "leaf") return [];
    const { leaf, scalar } = node.value;
    return [leaf.case === "vector" ? leaf.value.value : [scalar]];
  });
}

function forestOf(ensemble: TreeEnsemble): Forest {
  const { trees, treeWeights } = ensemble;
  if (treeWeights.length < trees.length) throw corrupt(`${trees.length} trees have ${treeWeights.length} weights`);
  const leaves = trees.flatMap(leafValues);
  const width = leaves.reduce((most, { length }) => Math.max(most, length), 1);
  const values = new Float32Array(leaves.length * width);
  leaves.forEach((leaf, i) => values.set(leaf, i * width));
  const roots = new Int32Array(trees.length + 1);
  trees.forEach((tree, i) => (roots[i + 1] = roots[i]! + tree.nodes.length));
  const count = roots[trees.length]!;
  const forest = { weights: Float32Array.from(treeWeights), roots, width, values };
  const [kinds, nodes] = [new Uint8Array(count), new Int32Array(count * FIELDS)];
  let leaf = 0;
  for (const [i, tree] of trees.entries()) {
    if (tree.nodes.length === 0) throw corrupt(`tree ${i} has no nodes`);
    const target = (id: number): number => {
      if (id < 0 || id >= tree.nodes.length) throw corrupt(`tree ${i} has no node ${id}`);
      return roots[i]! + id;
    };
    for (const [j, { node }] of tree.nodes.entries()) {
      const at = roots[i]! + j;
      const put = (...fields: number[]): void => nodes.set(fields, at * FIELDS);
      if (node.case === "leaf") {
        put(0, 0, 0, leaf++ * width);
      } else if (node.case === undefined) {
        throw corrupt(`node ${j} of tree ${i} is no leaf and no split on buckets or categories`);
      } else {
        const { featureId, dimensionId, leftId, rightId } = node.value;
        const isBucket = node.case === "bucketizedSplit";
        kinds[at] = isBucket ? AT_MOST : EQUAL;
        put(
          featureId,
          dimensionId,
          isBucket ? node.value.threshold : node.value.value,
          target(leftId),
          target(rightId),
        );
      }
    }
  }
  return { ...forest, kinds, nodes };
}

/** The ensemble that input 0 names, made where it is not there yet. */
function ensembleOf(op: OpCall): Ensemble {
  return ensembleAt(op, op.handle(0).key);
}

function ensembleAt(op: OpCall, key: string): Ensemble {
  const found = op.state.resources.get(key);
  if (found instanceof Ensemble) return found;
  if (found) {
    throw new ServingError(
      "GRAPH_INVALID",
      `resource ${key} is a ${found.kind}, but ${op.node.name} needs a tree ensemble`,
    );
  }
  const made = new Ensemble();
  op.state.resources.set(key, made);
  return made;
}

function handle(op: OpCall): ResourceHandle[] {
  const key = resourceKey(op.node);
  ensembleAt(op, key);
  return [{ kind: "other", key }];
}

function read(op: OpCall): Forest {
  checkScalar(op.tensor(2), "tree_ensemble_serialized");
  let ensemble: TreeEnsemble;
  try {
    ensemble = fromBinary(TreeEnsembleSchema, op.strings(2).at(0));
  } catch (cause) {
    throw corrupt((cause as Error).message);
  }
  return forestOf(ensemble);
}

/** Makes an ensemble, or leaves the one that is there. */
function createEnsemble(op: OpCall): [] {
  const ensemble = ensembleOf(op);
  ensemble.forest ??= read(op);
  return [];
}

function deserializeEnsemble(op: OpCall): [] {
  ensembleOf(op).forest = read(op);
  return [];
}

function isInitialized(op: OpCall): Tensor[] {
  return [tensor("bool", [], Uint8Array.of(ensembleOf(op).forest ? 1 : 0))];
}

/** A feature's buckets: one column, or as many as the feature has dimensions. */
interface Buckets {
  readonly ids: ArrayLike<number>;
  readonly columns: number;
}

function bucketsOf(value: Tensor, rows: number): Buckets {
  const { shape } = value;
  check(
    (shape.length === 1 || shape.length === 2) && shape[0] === rows,
    () => `bucketized features must be [${rows}] or [${rows}, dimensions], got shape [${shape.join(",")}]`,
  );
  return { ids: integersOf(value), columns: shape[1] ?? 1 };
}

function predict(op: OpCall): Tensor[] {
  const { forest } = ensembleOf(op);
  if (!forest)
    throw new ServingError("FAILED_PRECONDITION", `the tree ensemble ${op.handle(0).key} is not initialized`);
  const inputs = op.tensors(1);
  check(inputs.length > 0, () => "BoostedTreesPredict needs at least one feature");
  const rows = inputs[0]!.shape[0] ?? 0;
  const features = inputs.map((value) => bucketsOf(value, rows));
  const width = op.attrs.int("logits_dimension");
  const out = new Float32Array(checkedCount("float32", [rows, width]));
  const { weights, roots, values } = forest;
  const used = Math.min(width, forest.width);
  for (let row = 0; row < rows; row++) {
    for (let tree = 0; tree + 1 < roots.length; tree++) {
      const leaf = leafOf(forest, tree, features, row);
      // Floats that are added up one after the other, as TensorFlow does.
      for (let i = 0; i < used; i++) out[row * width + i]! += Math.fround(weights[tree]! * values[leaf + i]!);
    }
  }
  return [tensor("float32", [rows, width], out)];
}

/** Where the values of a row's leaf start. */
function leafOf({ roots, kinds, nodes }: Forest, tree: number, features: readonly Buckets[], row: number): number {
  let node = roots[tree]!;
  // A tree that has no leaf on the way is a cycle.
  for (let steps = roots[tree + 1]! - node; steps > 0; steps--) {
    const at = node * FIELDS;
    if (kinds[node] === LEAF) return nodes[at + LEFT]!;
    const feature = features[nodes[at + FEATURE]!];
    const column = nodes[at + COLUMN]!;
    if (!feature || column < 0 || column >= feature.columns) {
      throw invalid(`tree ${tree} splits on column ${column} of feature ${nodes[at + FEATURE]}, which is not given`);
    }
    const bucket = feature.ids[row * feature.columns + column]!;
    const isLeft = kinds[node] === AT_MOST ? bucket <= nodes[at + BUCKET]! : bucket === nodes[at + BUCKET]!;
    node = nodes[at + (isLeft ? LEFT : RIGHT)]!;
  }
  throw corrupt(`tree ${tree} goes round in a circle`);
}

export const BOOSTED_TREES_KERNELS: Readonly<Record<string, Kernel>> = {
  BoostedTreesEnsembleResourceHandleOp: handle,
  BoostedTreesCreateEnsemble: createEnsemble,
  BoostedTreesDeserializeEnsemble: deserializeEnsemble,
  IsBoostedTreesEnsembleInitialized: isInitialized,
  BoostedTreesPredict: predict,
};
