/** A model of trees as a whole: what its trees' leaves add up to, and what becomes of the sums. */
import type { ForestLayout, LeafKind } from "./forest-compile.js";
import { type InputColumns, inputColumns } from "./forest-columns.js";
import { damaged, unsupported } from "./forest-errors.js";
import {
  CLASSIFICATION,
  type ColumnSpec,
  type ModelHeader,
  RANKING,
  REGRESSION,
  TASK_NAMES,
  type TreesHeader,
} from "./forest-headers.js";

/** Loss of the proto; the losses of regression and of ranking that are not named here leave sums as they are. */
const [BINOMIAL, MULTINOMIAL, BINARY_FOCAL, POISSON] = [1, 3, 6, 7];
const LINEAR_LOSSES: ReadonlySet<number> = new Set([2, 4, 5, 8, 9]);
/** Far above what trees can tell apart, and far below what would be work to write. */
const CLASSES_MAX = 1 << 16;

/** How the sums of an example become its answer. */
export type Link = "identity" | "mean" | "sigmoid" | "softmax" | "exp";

export interface ForestModel {
  readonly layout: ForestLayout;
  readonly link: Link;
  /** Sums that trees take in turn: tree i adds to sum i mod this. 0: each tree adds to all. */
  readonly treesInTurn: number;
  readonly sums: number;
  readonly initial: readonly number[];
  /** The positive class tells the share of both. */
  readonly isBinary: boolean;
  /** Names of the columns of the answer. */
  readonly outputs: readonly string[];
}

export const BOOSTED_TREES = "GRADIENT_BOOSTED_TREES";
export const RANDOM_FOREST = "RANDOM_FOREST";

/**
 * What the headers of a model say together.
 *
 * @param file  the model's header
 * @throws ServingError SAVED_MODEL_INVALID where they do not fit, UNIMPLEMENTED for tasks and losses that have no kernel
 */
export function forestModel(
  file: string,
  header: ModelHeader,
  columns: readonly ColumnSpec[],
  trees: TreesHeader,
): ForestModel {
  if (header.hasPostprocessors) throw unsupported("a postprocessor of predictions");
  const inputs = inputColumns(file, columns, header.inputColumns);
  const { task } = header;
  if (task !== CLASSIFICATION && task !== REGRESSION && task !== RANKING) {
    throw unsupported(`the task ${TASK_NAMES[task] ?? task}`);
  }
  const classes = task === CLASSIFICATION ? classNames(file, header, columns) : [];
  return header.name === RANDOM_FOREST
    ? randomForest(header, trees, inputs, classes)
    : boostedTrees(file, header, trees, inputs, classes);
}

function classNames(file: string, { labelColumn }: ModelHeader, columns: readonly ColumnSpec[]): string[] {
  const label = columns[labelColumn];
  if (!label || !(label.valueCount >= 2)) throw damaged(file, `its label, column ${labelColumn}, has no classes`);
  if (label.valueCount > CLASSES_MAX) throw unsupported(`a label of ${label.valueCount} classes`);
  // A label that was an integer from the start has no texts.
  return Array.from({ length: label.valueCount - 1 }, (_, i) => label.values.get(i + 1) ?? String(i + 1));
}

function randomForest(
  header: ModelHeader,
  trees: TreesHeader,
  inputs: InputColumns,
  classes: readonly string[],
): ForestModel {
  if (header.task === RANKING) throw unsupported("ranking by a random forest");
  const leaf: LeafKind = classes.length === 0 ? "number" : trees.isWinnerTakeAll ? "vote" : "shares";
  return {
    layout: { treeCount: trees.treeCount, leaf, classes: classes.length, inputs },
    link: "mean",
    treesInTurn: 0,
    sums: Math.max(1, classes.length),
    initial: [],
    isBinary: classes.length === 2,
    outputs: classes.length === 0 ? [""] : classes,
  };
}

function boostedTrees(
  file: string,
  header: ModelHeader,
  trees: TreesHeader,
  inputs: InputColumns,
  classes: readonly string[],
): ForestModel {
  const { loss, initialPredictions, treesPerIteration: sums } = trees;
  if (initialPredictions.length !== sums) {
    throw damaged(file, `${sums} trees an iteration have ${initialPredictions.length} initial predictions`);
  }
  const isBinary = header.task === CLASSIFICATION && sums === 1;
  if (isBinary && classes.length !== 2) throw damaged(file, `${classes.length} classes have one tree an iteration`);
  if (sums > 1 && sums !== classes.length) throw damaged(file, `${classes.length} classes have ${sums} trees`);
  const givesLogits = trees.givesLogits || (header.task === CLASSIFICATION && !header.givesProbabilities);
  const link = linkOf(loss);
  const linksOneSum = link !== "softmax";
  if (sums < 1 || (sums > 1 && linksOneSum)) throw damaged(file, `loss ${loss} has ${sums} trees an iteration`);
  return {
    layout: { treeCount: trees.treeCount, leaf: "number", classes: classes.length, inputs },
    link: givesLogits ? "identity" : link,
    treesInTurn: sums,
    sums,
    initial: initialPredictions,
    isBinary: isBinary && !givesLogits,
    outputs: header.task !== CLASSIFICATION ? [""] : isBinary && givesLogits ? ["logit"] : classes,
  };
}

function linkOf(loss: number): Link {
  if (loss === BINOMIAL || loss === BINARY_FOCAL) return "sigmoid";
  if (loss === MULTINOMIAL) return "softmax";
  if (loss === POISSON) return "exp";
  if (LINEAR_LOSSES.has(loss)) return "identity";
  throw unsupported(`loss ${loss} of gradient boosted trees`);
}
