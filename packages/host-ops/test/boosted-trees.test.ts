import assert from "node:assert/strict";
import { create, type MessageInitShape, toBinary, TreeEnsembleSchema } from "@shardserve/api";
import { Attrs, type HostValue } from "@shardserve/graph";
import { scalar, strings, type Tensor, tensor } from "@shardserve/tensor";
import { hostKernels } from "../src/index.js";
import { newState } from "./host-state.js";

type Node = NonNullable<NonNullable<MessageInitShape<typeof TreeEnsembleSchema>["trees"]>[number]["nodes"]>[number];

const split = (leftId: number, rightId: number, featureId = 0, dimensionId = 0): Node => ({
  node: { case: "bucketizedSplit", value: { featureId, threshold: 1, dimensionId, leftId, rightId } },
});
const leaf = (...value: number[]): Node => ({
  node: { case: "leaf", value: { leaf: { case: "vector", value: { value } } } },
});

/** Scores of buckets 1 and 2 by one tree. */
function predict(nodes: Node[], width = 1): number[] {
  const state = newState();
  const call = (op: string, inputs: HostValue[], attrs = {}) =>
    hostKernels.get(op)!({
      node: { name: op, op, inputs: [], controls: [], attrs: new Attrs(op, attrs) },
      inputs,
      state,
    }) as HostValue[];
  const bytes = toBinary(TreeEnsembleSchema, create(TreeEnsembleSchema, { trees: [{ nodes }], treeWeights: [0.5] }));
  const [handle] = call("BoostedTreesEnsembleResourceHandleOp", [], { shared_name: "trees" });
  call("BoostedTreesDeserializeEnsemble", [handle!, scalar("int64", 0n), strings([], [bytes])]);
  const buckets = tensor("int32", [2], Int32Array.of(1, 2));
  const attrs = { num_bucketized_features: 1, logits_dimension: width };
  const [scores] = call("BoostedTreesPredict", [handle!, buckets], attrs) as Tensor[];
  return [...(scores!.data as Float32Array)];
}

describe("boosted trees", () => {
  it("go left up to the threshold, and weigh the leaf that they reach", () => {
    assert.deepEqual(predict([split(1, 2), leaf(3), leaf(5)]), [1.5, 2.5]);
    assert.deepEqual(predict([split(1, 2), leaf(3, 1), leaf(5)], 2), [1.5, 0.5, 2.5, 0]);
  });

  it("refuse what would read past a tree or its features, or never end", () => {
    const refused: readonly [string, Node[], RegExp][] = [
      ["a circle", [split(0, 0)], /circle/],
      ["a missing node", [split(1, 7), leaf(1)], /no node 7/],
      ["a negative node", [split(-1, 1), leaf(1)], /no node -1/],
      ["a missing feature", [split(1, 1, 3), leaf(1)], /feature 3/],
      ["a missing column", [split(1, 1, 0, 1), leaf(1)], /column 1/],
      ["an empty tree", [], /no nodes/],
      ["an unknown split", [{}], /no leaf/],
    ];
    for (const [what, nodes, message] of refused) {
      assert.throws(() => predict(nodes), { code: "INVALID_ARGUMENT", message }, what);
    }
  });
});
