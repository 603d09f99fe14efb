/** A decision forest in flat arrays, and the way down its trees. */

/**
 * What a node asks, as {@link Forest.kinds} says, or that it is a leaf. A condition that holds leads to the node's positive child.
 */
export const LEAF = 0;
/** A number is at least the threshold. */
export const AT_LEAST = 1;
/** A boolean is true. */
export const IS_TRUE = 2;
/** A category is in a bitmap, or in a sorted list. */
export const IN_BITMAP = 3;
export const IN_LIST = 4;
/** Some category of a set is in a bitmap, or in a sorted list. */
export const SET_IN_BITMAP = 5;
export const SET_IN_LIST = 6;
/** A weighted sum of numbers is at least the threshold. */
export const OBLIQUE = 7;
/** A value of the kind is missing. */
export const NO_NUMBER = 8;
export const NO_BOOLEAN = 9;
export const NO_CATEGORY = 10;
export const NO_SET = 11;
/** Added to a kind: the condition holds where the value is missing. */
export const HOLDS_MISSING = 16;
const KIND = 15;

/**
 * Nodes of all trees, each before its negative child's subtree, and that before its positive child's: so the negative child of node i is
 * node i + 1, children come behind their parents, and every way down ends.
 */
export interface Forest {
  /** First node of each tree. */
  readonly roots: Int32Array;
  readonly kinds: Uint8Array;
  /** Of a condition: the column of its kind of features. Of a leaf of trees that vote: the class. */
  readonly columns: Int32Array;
  /** The positive child. */
  readonly positives: Int32Array;
  /** Of a leaf of trees with one output: its value. */
  readonly thresholds: Float32Array;
  /** Where what a node has more of starts: bytes of a bitmap, elements of a list, terms of a sum, values of a leaf. */
  readonly starts: Int32Array;
  /** How much more: bytes, elements or terms. */
  readonly counts: Int32Array;
  readonly bitmaps: Uint8Array;
  /** Sorted categories of lists; columns of terms. */
  readonly elements: Int32Array;
  /** As long as {@link elements}: weights of terms, and what stands for their numbers where those are missing (NaN: nothing does). */
  readonly weights: Float32Array;
  readonly replacements: Float32Array;
  readonly values: Float32Array;
}

/** Features of some examples, as the inference op has them: one matrix a kind, one row an example. */
export interface Features {
  readonly rows: number;
  /** NaN is missing. */
  readonly numbers: Float32Array;
  readonly numberColumns: number;
  /** NaN is missing; true from 0.5 on. */
  readonly booleans: Float32Array;
  readonly booleanColumns: number;
  /** -1 is missing, 0 any category that is not in the vocabulary. */
  readonly categories: Int32Array;
  readonly categoryColumns: number;
  /** Categories of all sets, by row and column; [-1] is a missing set. */
  readonly setValues: Int32Array;
  /** Where each set starts, and the end of the last. */
  readonly setStarts: ArrayLike<number>;
  readonly setColumns: number;
}

/** The leaf that an example comes to. */
export function leafOf(forest: Forest, root: number, features: Features, row: number): number {
  const { kinds, columns, positives, thresholds } = forest;
  let node = root;
  for (;;) {
    const kind = kinds[node]!;
    if (kind === LEAF) return node;
    const column = columns[node]!;
    let holds: boolean;
    switch (kind & KIND) {
      case AT_LEAST: {
        const value = features.numbers[row * features.numberColumns + column]!;
        holds = value >= thresholds[node]! || (value !== value && kind >= HOLDS_MISSING);
        break;
      }
      case IS_TRUE: {
        const value = features.booleans[row * features.booleanColumns + column]!;
        holds = value >= 0.5 || (value !== value && kind >= HOLDS_MISSING);
        break;
      }
      case IN_BITMAP:
      case IN_LIST: {
        const value = features.categories[row * features.categoryColumns + column]!;
        holds = value < 0 ? kind >= HOLDS_MISSING : hasCategory(forest, node, (kind & KIND) === IN_BITMAP, value);
        break;
      }
      case SET_IN_BITMAP:
      case SET_IN_LIST:
        holds = hasAny(forest, node, kind, features, row);
        break;
      case OBLIQUE:
        holds = isSumAtLeast(forest, node, kind >= HOLDS_MISSING, features, row);
        break;
      default:
        holds = isMissing(kind & KIND, column, features, row);
    }
    node = holds ? positives[node]! : node + 1;
  }
}

function hasCategory(forest: Forest, node: number, isBitmap: boolean, value: number): boolean {
  const start = forest.starts[node]!;
  const count = forest.counts[node]!;
  if (isBitmap) return value >> 3 < count && ((forest.bitmaps[start + (value >> 3)]! >> (value & 7)) & 1) === 1;
  const { elements } = forest;
  let low = start;
  let high = start + count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (elements[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low < start + count && elements[low] === value;
}

function hasAny(forest: Forest, node: number, kind: number, features: Features, row: number): boolean {
  const { setValues, setStarts } = features;
  const set = row * features.setColumns + forest.columns[node]!;
  const isBitmap = (kind & KIND) === SET_IN_BITMAP;
  for (let i = setStarts[set]!; i < setStarts[set + 1]!; i++) {
    const value = setValues[i]!;
    if (value < 0 ? kind >= HOLDS_MISSING : hasCategory(forest, node, isBitmap, value)) return true;
  }
  return false;
}

/** Floats that are added up one after the other, as Yggdrasil does. */
function isSumAtLeast(forest: Forest, node: number, holdsMissing: boolean, features: Features, row: number): boolean {
  const { elements, weights, replacements } = forest;
  const start = forest.starts[node]!;
  const base = row * features.numberColumns;
  let sum = 0;
  for (let i = start; i < start + forest.counts[node]!; i++) {
    let value = features.numbers[base + elements[i]!]!;
    if (value !== value) value = replacements[i]!;
    if (value !== value) return holdsMissing;
    sum = Math.fround(sum + Math.fround(value * weights[i]!));
  }
  return sum >= forest.thresholds[node]!;
}

function isMissing(kind: number, column: number, features: Features, row: number): boolean {
  if (kind === NO_NUMBER) return Number.isNaN(features.numbers[row * features.numberColumns + column]!);
  if (kind === NO_BOOLEAN) return Number.isNaN(features.booleans[row * features.booleanColumns + column]!);
  if (kind === NO_CATEGORY) return features.categories[row * features.categoryColumns + column]! < 0;
  const set = row * features.setColumns + column;
  const start = features.setStarts[set]!;
  return start < features.setStarts[set + 1]! && features.setValues[start]! < 0;
}
