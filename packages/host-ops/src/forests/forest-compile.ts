/** Makes a {@link Forest} of the node files of a model. */
import type { Pieces } from "../call/turns.js";
import {
  AT_LEAST,
  type Forest,
  HOLDS_MISSING,
  IN_BITMAP,
  IN_LIST,
  IS_TRUE,
  NO_BOOLEAN,
  NO_CATEGORY,
  NO_NUMBER,
  NO_SET,
  OBLIQUE,
  SET_IN_BITMAP,
  SET_IN_LIST,
} from "./forest.js";
import type { Bank, InputColumn, InputColumns } from "./forest-columns.js";
import { damaged } from "./forest-errors.js";
import { DISCRETIZED_NUMERICAL } from "./forest-headers.js";
import {
  BITMAP_CONDITION,
  CONTAINS_CONDITION,
  DISCRETIZED_CONDITION,
  HIGHER_CONDITION,
  NA_CONDITION,
  NodeReader,
  OBLIQUE_CONDITION,
  TRUE_CONDITION,
} from "./forest-node.js";
import { type NodeFile, Records } from "./forest-records.js";
import { Growing } from "../call/growing.js";

/** What a leaf gives: a number, the share of each class, or a vote for one class. */
export type LeafKind = "number" | "shares" | "vote";

export interface ForestLayout {
  readonly treeCount: number;
  readonly leaf: LeafKind;
  /** Classes, without the one of what is out of vocabulary. */
  readonly classes: number;
  readonly inputs: InputColumns;
}

/** Multiplications that counting and reading a node take as long as. */
const [COUNT_WORK, READ_WORK] = [32, 2000];
const RECORDS_PER_PIECE = 128;
const MISSING: Readonly<Record<Bank, number>> = {
  numbers: NO_NUMBER,
  booleans: NO_BOOLEAN,
  categories: NO_CATEGORY,
  sets: NO_SET,
};

/**
 * Reads all nodes, in pieces.
 *
 * @throws ServingError SAVED_MODEL_INVALID for files that are damaged, or do not fit the layout
 */
export function* compileForest(files: readonly NodeFile[], layout: ForestLayout): Pieces<Forest> {
  let count = 0;
  for (const file of files) {
    const records = new Records(file);
    while (records.next()) if (++count % RECORDS_PER_PIECE === 0) yield COUNT_WORK * RECORDS_PER_PIECE;
  }
  const last = files.at(-1)?.name ?? "nodes";
  // Each tree has a node at least, so that this also bounds what is allocated for them.
  if (layout.treeCount > count) throw damaged(last, `${layout.treeCount} trees have ${count} nodes`);
  const trees = new TreeBuilder(count, layout);
  for (const file of files) {
    const records = new Records(file);
    const reader = new NodeReader(file.bytes);
    for (let node = 0; records.next(); node++) {
      try {
        reader.read(records.start, records.end);
        trees.add(reader);
      } catch (error) {
        throw damaged(file.name, `node ${node}: ${(error as Error).message}`);
      }
      // Long lists are work as well.
      if (node % RECORDS_PER_PIECE === 0) yield READ_WORK * RECORDS_PER_PIECE;
    }
  }
  return trees.build(last);
}

/** Adds nodes in the order of the files. What is wrong about one is a plain Error: who calls knows where it is. */
class TreeBuilder {
  readonly #layout: ForestLayout;
  readonly #roots: Int32Array;
  readonly #kinds: Uint8Array;
  readonly #columns: Int32Array;
  readonly #positives: Int32Array;
  readonly #thresholds: Float32Array;
  readonly #starts: Int32Array;
  readonly #counts: Int32Array;
  readonly #bitmaps = new Growing((length) => new Uint8Array(length));
  readonly #elements = new Growing((length) => new Int32Array(length));
  readonly #weights = new Growing((length) => new Float32Array(length));
  readonly #replacements = new Growing((length) => new Float32Array(length));
  readonly #values = new Growing((length) => new Float32Array(length));
  /** Conditions whose positive child has not come yet. */
  readonly #open: number[] = [];
  /** The last node ended its tree. */
  #isComplete = true;
  #tree = 0;
  #node = 0;

  constructor(nodeCount: number, layout: ForestLayout) {
    this.#layout = layout;
    this.#roots = new Int32Array(layout.treeCount);
    this.#kinds = new Uint8Array(nodeCount);
    this.#columns = new Int32Array(nodeCount);
    this.#positives = new Int32Array(nodeCount);
    this.#thresholds = new Float32Array(nodeCount);
    this.#starts = new Int32Array(nodeCount);
    this.#counts = new Int32Array(nodeCount);
  }

  add(node: NodeReader): void {
    if (this.#isComplete) {
      if (this.#tree === this.#roots.length) throw new Error(`it is behind the last of ${this.#tree} trees`);
      this.#roots[this.#tree++] = this.#node;
      this.#isComplete = false;
    }
    if (node.hasCondition) {
      this.#addCondition(node);
      this.#open.push(this.#node);
    } else {
      this.#addLeaf(node);
      // A leaf ends the negative subtree of the last condition that waits, or its tree.
      const parent = this.#open.pop();
      if (parent === undefined) this.#isComplete = true;
      else this.#positives[parent] = this.#node + 1;
    }
    this.#node++;
  }

  /** @param file  where the last node should be */
  build(file: string): Forest {
    if (!this.#isComplete) throw damaged(file, `it ends inside of tree ${this.#tree - 1}`);
    if (this.#tree < this.#roots.length) throw damaged(file, `it has ${this.#tree} of ${this.#roots.length} trees`);
    return {
      roots: this.#roots,
      kinds: this.#kinds,
      columns: this.#columns,
      positives: this.#positives,
      thresholds: this.#thresholds,
      starts: this.#starts,
      counts: this.#counts,
      bitmaps: this.#bitmaps.values,
      elements: this.#elements.values,
      weights: this.#weights.values,
      replacements: this.#replacements.values,
      values: this.#values.values,
    };
  }

  #addLeaf(node: NodeReader): void {
    const { leaf, classes, treeCount } = this.#layout;
    if (leaf === "number") {
      if (!node.hasValue) throw new Error("the leaf has no number");
      this.#thresholds[this.#node] = node.value;
      return;
    }
    if (!node.hasClasses) throw new Error("the leaf has no class");
    if (leaf === "vote") {
      const { topClass } = node;
      if (topClass < 1 || topClass > classes) throw new Error(`the leaf is of class ${topClass} of ${classes}`);
      this.#columns[this.#node] = topClass - 1;
      return;
    }
    const { classWeights, weightSum } = node;
    if (classWeights.length !== classes + 1) {
      throw new Error(`the leaf has weights of ${classWeights.length} classes, not of ${classes + 1}`);
    }
    this.#starts[this.#node] = this.#values.length;
    for (let i = 1; i <= classes; i++) this.#values.push(classWeights[i]! / (weightSum * treeCount));
  }

  #addCondition(node: NodeReader): void {
    const at = this.#node;
    const { bank, index, spec } = this.#input(node.attribute);
    let kind: number;
    switch (node.condition) {
      case NA_CONDITION:
        kind = MISSING[bank];
        break;
      case HIGHER_CONDITION:
        needBank(bank, "numbers", spec.name);
        this.#thresholds[at] = node.threshold;
        kind = AT_LEAST;
        break;
      case DISCRETIZED_CONDITION: {
        const boundary = spec.boundaries[node.threshold - 1];
        if (spec.type !== DISCRETIZED_NUMERICAL || boundary === undefined) {
          throw new Error(`column ${JSON.stringify(spec.name)} has no bin ${node.threshold}`);
        }
        this.#thresholds[at] = boundary;
        kind = AT_LEAST;
        break;
      }
      case TRUE_CONDITION:
        needBank(bank, "booleans", spec.name);
        kind = IS_TRUE;
        break;
      case BITMAP_CONDITION:
        if (bank !== "sets") needBank(bank, "categories", spec.name);
        this.#starts[at] = this.#bitmaps.length;
        this.#counts[at] = node.bitmap.length;
        this.#bitmaps.append(node.bitmap);
        kind = bank === "sets" ? SET_IN_BITMAP : IN_BITMAP;
        break;
      case CONTAINS_CONDITION:
        if (bank !== "sets") needBank(bank, "categories", spec.name);
        this.#addTerms(
          node.elements.sort((a, b) => a - b),
          [],
          [],
        );
        kind = bank === "sets" ? SET_IN_LIST : IN_LIST;
        break;
      case OBLIQUE_CONDITION:
        this.#addOblique(node);
        kind = OBLIQUE;
        break;
      default:
        throw new Error(`it has a condition of kind ${node.condition}, which is not supported`);
    }
    this.#columns[at] = index;
    this.#kinds[at] = kind + (node.holdsMissing ? HOLDS_MISSING : 0);
  }

  #addOblique(node: NodeReader): void {
    const { elements, weights, replacements } = node;
    const fits = weights.length === elements.length && [0, elements.length].includes(replacements.length);
    if (!fits) {
      throw new Error(`${elements.length} columns have ${weights.length} weights, ${replacements.length} replacements`);
    }
    this.#thresholds[this.#node] = node.threshold;
    const columns = elements.map((attribute) => {
      const { bank, index, spec } = this.#input(attribute);
      needBank(bank, "numbers", spec.name);
      return index;
    });
    this.#addTerms(columns, weights, replacements);
  }

  #addTerms(elements: readonly number[], weights: readonly number[], replacements: readonly number[]): void {
    this.#starts[this.#node] = this.#elements.length;
    this.#counts[this.#node] = elements.length;
    this.#elements.append(elements);
    for (let i = 0; i < elements.length; i++) {
      this.#weights.push(weights[i] ?? 0);
      this.#replacements.push(replacements[i] ?? Number.NaN);
    }
  }

  #input(attribute: number): InputColumn {
    const input = this.#layout.inputs.byColumn.get(attribute);
    if (!input) throw new Error(`column ${attribute} is no input of the model`);
    return input;
  }
}

function needBank(bank: Bank, needed: Bank, name: string): void {
  if (bank !== needed)
    throw new Error(`column ${JSON.stringify(name)} is of ${bank}, the condition asks for ${needed}`);
}
