/** Predictions: what the leaves of all trees add up to. */
import type { Pieces } from "../call/turns.js";
import { type Features, type Forest, leafOf } from "./forest.js";
import type { ForestModel } from "./forest-model.js";

/** An example's way down one tree of sixteen levels or so, in multiplications. */
const WORK_PER_TREE = 160;
const WORK_PER_PIECE = 1 << 16;
const ROWS_PER_BLOCK = 64;

/**
 * Answers [rows, outputs] of some examples, in pieces. Floats are added up tree after tree, as Yggdrasil does.
 *
 * @param out  zeros, as many as the answers
 */
export function* predict(model: ForestModel, forest: Forest, features: Features, out: Float32Array): Pieces<void> {
  const { sums } = model;
  const scratch = new Float32Array(ROWS_PER_BLOCK * sums);
  const width = model.outputs.length;
  const { roots } = forest;
  const workPerTree = WORK_PER_TREE + (model.layout.leaf === "shares" ? sums : 0);
  for (let first = 0; first < features.rows; first += ROWS_PER_BLOCK) {
    const rows = Math.min(ROWS_PER_BLOCK, features.rows - first);
    scratch.fill(0);
    let work = 0;
    // A tree after the other for all rows of a block: its nodes stay in the processor's cache.
    for (let tree = 0; tree < roots.length; tree++) {
      const adds = leafAdder(model, forest, tree);
      for (let i = 0; i < rows; i++) adds(scratch, i * sums, leafOf(forest, roots[tree]!, features, first + i));
      work += rows * workPerTree;
      if (work < WORK_PER_PIECE) continue;
      yield work;
      work = 0;
    }
    for (let i = 0; i < rows; i++) link(model, scratch, i * sums, out, (first + i) * width);
    yield work;
  }
}

type LeafAdder = (sums: Float32Array, at: number, leaf: number) => void;

/** Adds what a leaf of one tree gives to the sums of an example. */
function leafAdder({ layout, treesInTurn }: ForestModel, forest: Forest, tree: number): LeafAdder {
  const { columns, starts, thresholds, values } = forest;
  const { classes, leaf: kind, treeCount } = layout;
  if (kind === "vote") {
    const vote = Math.fround(1 / treeCount);
    return (sums, at, leaf) => void (sums[at + columns[leaf]!]! += vote);
  }
  if (kind === "shares") {
    return (sums, at, leaf) => {
      const start = starts[leaf]!;
      for (let i = 0; i < classes; i++) sums[at + i]! += values[start + i]!;
    };
  }
  if (treesInTurn === 0) return (sums, at, leaf) => void (sums[at]! += Math.fround(thresholds[leaf]! / treeCount));
  const turn = tree % treesInTurn;
  return (sums, at, leaf) => void (sums[at + turn]! += thresholds[leaf]!);
}

function link(model: ForestModel, sums: Float32Array, at: number, out: Float32Array, to: number): void {
  const { initial, isBinary } = model;
  for (let i = 0; i < model.sums; i++) sums[at + i]! += initial[i] ?? 0;
  switch (model.link) {
    case "softmax": {
      let total = 0;
      for (let i = 0; i < model.sums; i++) total += out[to + i] = Math.exp(sums[at + i]!);
      for (let i = 0; i < model.sums; i++) out[to + i]! /= total;
      return;
    }
    case "sigmoid": {
      const positive = 1 / (1 + Math.exp(-sums[at]!));
      out[to] = isBinary ? Math.fround(1 - Math.fround(positive)) : positive;
      if (isBinary) out[to + 1] = positive;
      return;
    }
    case "exp":
      out[to] = Math.exp(sums[at]!);
      return;
    case "mean":
      if (isBinary) {
        // Shares of many trees may add up to a little more than all of them.
        const positive = Math.min(1, sums[at + 1]!);
        out[to] = 1 - positive;
        out[to + 1] = positive;
        return;
      }
      for (let i = 0; i < model.sums; i++) out[to + i] = sums[at + i]!;
      return;
    case "identity":
      for (let i = 0; i < model.sums; i++) out[to + i] = sums[at + i]!;
  }
}
