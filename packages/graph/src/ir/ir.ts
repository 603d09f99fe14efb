import { ServingError } from "@shardserve/core";
import type { DType, Tensor } from "@shardserve/tensor";
import type { Attrs, Shape } from "./attrs.js";

/** One value of the graph: output `index` (flat, over all output arguments) of a node. */
export interface TensorRef {
  readonly node: string;
  readonly index: number;
}

/** TensorFlow's name of a value, as its error texts and graphs have it: "node:index". For maps take {@link refKey}. */
export function tensorName({ node, index }: TensorRef): string {
  return `${node}:${index}`;
}

/** The key of a value in maps: see {@link outputKey}. */
export function refKey(ref: TensorRef): string {
  return outputKey(ref.node, ref.index);
}

/**
 * The key of a node's output in maps: of the first, which most values are, the node's name as it is, so that no string is made to look
 * one up; of the others "node:index". No node has a ":" in its name.
 */
export function outputKey(node: string, index = 0): string {
  return index === 0 ? node : `${node}:${index}`;
}

/**
 * One node. Besides TensorFlow's ops the compiler makes pseudo-ops (names that TensorFlow does not have):
 * - `Variable`: a read of a frozen variable. Attributes: checkpointKey (string), dtype, shape, and, for one part of a partitioned
 *   variable, sliceStart and sliceLength (list(int)). No inputs.
 * - `Lookup`: the cut end of a lookup. Input ids; outputs rows [capacity, ...row shape] and int32 slots (shape of the ids). Attributes:
 *   checkpointKey, dtype, rowOffset, rowCount, rowShape. It becomes a lookup step and stands in no other.
 * - `GatherRows`: the device end of a cut lookup. Inputs rows [capacity, ...row shape], slots int32 (shape of the ids).
 * - `FilledIds`: the start of tf.nn.safe_embedding_lookup_sparse. Inputs indices, ids and dense shape of a sparse tensor of int64 or int32,
 *   and the id for empty rows. Outputs, in the order of the rows: the row of every id, the ids, and which rows were empty (bool
 *   [rows]). Attribute dropsNegative: ids below 0 count as absent.
 * - `PooledLookup`: inputs a table, ids, the segment of every id, and, optional, which segments are to be 0. Attribute combiner: sum, mean
 *   or sqrtn of the rows of a segment.
 * - `BoundedIds`: JAX's ids of a lookup. Input int32 ids; outputs the ids moved into [0, most], and which were there (bool). Attributes most
 *   and added: what ids below 0 get before.
 * - `PresentElements`: inputs x and a scalar. Outputs the indices of the elements of x that differ from it, and these elements.
 * - `Branch`: If and Case. Input 0 the condition or index, the rest go to every region; one region a branch, whose outputs are the node's.
 * - `Loop`: While. The first `carried` inputs change from turn to turn, the others go to every turn. Regions: the condition (one
 *   output) and the body. The body's first `carried` outputs are the node's after the last turn; the `stacked` (attribute, else
 *   0) others are values of one turn, of which the node's outputs are the stacks [turns, ...]. `limits` names
 *   inputs, int32 scalars that no region uses: more turns than that are an error.
 *   Both have attributes dtypes and shapes (of the outputs) and hasEffect.
 */
export interface GraphNode {
  readonly name: string;
  readonly op: string;
  readonly inputs: readonly TensorRef[];
  /** Names of nodes that must run before this one. */
  readonly controls: readonly string[];
  readonly attrs: Attrs;
  /** What `Branch` and `Loop` choose from. */
  readonly regions?: readonly Region[];
}

/** Nodes by name, in no particular order. Passes never change one; they make a new one. */
export type Graph = ReadonlyMap<string, GraphNode>;

/** A graph with its fetches: what the passes turn into one another. Feeds are Placeholder nodes of the graph. */
export interface Program {
  readonly graph: Graph;
  /** Values to compute, in the caller's order. */
  readonly outputs: readonly TensorRef[];
  /** Nodes to run for their effects. */
  readonly targets: readonly string[];
}

/** A program inside a node. Its graph is its own: names mean nothing outside. */
export interface Region extends Program {
  /** Names of the Placeholders that take the node's inputs, in order; one that nothing uses may be gone. */
  readonly args: readonly string[];
  /** Once it is compiled: dtype and shape of every value that is known, by `refKey`. */
  readonly infos?: ReadonlyMap<string, ValueInfo>;
}

/** What is known of a value before any request: its dtype and as much of its shape as can be trusted. */
export interface ValueInfo {
  readonly dtype: DType;
  readonly shape: Shape;
}

/**
 * The value of a Const node; undefined for other nodes, and for constants of dtypes that this project does not know, which
 * matter only if something reads them.
 */
export function constantOf(node: GraphNode | undefined): Tensor | undefined {
  if (node?.op !== "Const") return undefined;
  try {
    return node.attrs.tensor("value");
  } catch (error) {
    if (error instanceof ServingError) return undefined;
    throw error;
  }
}

/** What is known around one node: what kernels and lowerings look at to say whether they can take it. */
export interface NodeContext {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** The value of input `index` when it is known before any request. */
  constant(index: number): Tensor | undefined;
}
