import { tensor, toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { uniqueName } from "../../ir/unique-name.js";
import { constantOf, type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, prune, rewrite } from "../../ir/program.js";
import { constantNode } from "../rewrites/fold.js";
import type { Readers } from "../readers.js";

const COMBINERS: ReadonlyMap<string, string> = new Map([
  ["SparseSegmentSum", "sum"],
  ["SparseSegmentMean", "mean"],
  ["SparseSegmentSqrtN", "sqrtn"],
]);

/**
 * What follows the ids of tf.nn.safe_embedding_lookup_sparse (`FilledIds`), and what tf.nn.embedding_lookup_sparse is on the host:
 * - rows that the host adds up become one node `PooledLookup`: Unique, Gather, SparseSegment, and the zeros for empty rows;
 * - of others, the engine gets which rows are empty as one bool a row, not as one an element.
 *
 * @param shortRows  names of the gathers that are the host's
 */
export function poolFilledIds(
  program: Program,
  inference: Inference,
  readers: Readers,
  shortRows: ReadonlySet<string>,
): Program {
  const aliases = new Map<string, TensorRef>();
  const replaced = new Map<string, GraphNode>();
  for (const sum of program.graph.values()) {
    const combiner = COMBINERS.get(sum.op);
    if (combiner === undefined || sum.controls.length > 0) continue;
    const fill = fillOf(sum.inputs[2]!, program);
    const selection = fill && selectionOf(sum, fill, program, readers);
    const gather = program.graph.get(sum.inputs[0]!.node)!;
    const ids = fill ? { node: fill.name, index: 1 } : distinctIds(sum, program);
    const segments = fill ? { node: fill.name, index: 0 } : sum.inputs[2]!;
    const isShort = shortRows.has(gather.name) && gather.controls.length === 0;
    if (isShort && ids && readsInOrder(sum, gather, ids, program) && (fill || areIndices(segments, ids, inference))) {
      const zeroed = selection?.isOnlyReader === true ? selection.node : undefined;
      const isEmpty = fill && zeroed ? [{ node: fill.name, index: 2 }] : [];
      const inputs = [gather.inputs[0]!, ids, segments, ...isEmpty];
      const taken = (name: string): boolean => program.graph.has(name) || replaced.has(name);
      // Its errors are those of the gather, which nobody else reads.
      const isAlone = readers.of({ node: gather.name, index: 0 }).length === 1;
      const name = isAlone ? gather.name : uniqueName(`${gather.name}/pooled`, taken);
      const attrs = new Attrs("PooledLookup", { combiner });
      replaced.set(name, { name, op: "PooledLookup", inputs, controls: [], attrs });
      aliases.set(outputKey((zeroed ?? sum).name), { node: name, index: 0 });
    } else if (selection) {
      const { node, column } = selection;
      const zero = uniqueName(`${node.name}/zero`, (name) => program.graph.has(name) || replaced.has(name));
      const dtype = inference.first(sum.name)?.dtype;
      if (dtype !== "float32") continue;
      replaced.set(zero, constantNode(zero, tensor("float32", [], Float32Array.of(0))));
      const inputs = [column, { node: zero, index: 0 }, node.inputs[2]!];
      replaced.set(node.name, { ...node, op: "SelectV2", inputs, attrs: new Attrs("SelectV2", { T: dtype }) });
    }
  }
  return replaced.size === 0 ? program : prune(rewrite(program, aliases, replaced));
}

/** The `FilledIds` whose rows are the segments; a Cast of them may lie between. */
function fillOf(segments: TensorRef, { graph }: Program): GraphNode | undefined {
  let ref = segments;
  let node = graph.get(ref.node)!;
  if (node.op === "Cast" && node.controls.length === 0 && /^int(32|64)$/.test(node.attrs.dtype("DstT"))) {
    ref = node.inputs[0]!;
    node = graph.get(ref.node)!;
  }
  return node.op === "FilledIds" && ref.index === 0 ? node : undefined;
}

/** What tf.nn.embedding_lookup_sparse looks up, once each: the ids before Unique. */
function distinctIds(sum: GraphNode, { graph }: Program): TensorRef | undefined {
  const node = graph.get(sum.inputs[1]!.node)!;
  return node.op === "Unique" && node.controls.length === 0 ? node.inputs[0] : undefined;
}

/** True for vectors of int64 segments and of ids, which the kernel takes. */
function areIndices(segments: TensorRef, ids: TensorRef, inference: Inference): boolean {
  const [of, at] = [inference.info(ids), inference.info(segments)];
  return at?.dtype === "int64" && at.shape?.length === 1 && of?.shape?.length === 1 && /^int(32|64)$/.test(of.dtype);
}

/** True when entry i of the sum is the row of entry i of `ids`: by Unique of them, or as they are. */
function readsInOrder(sum: GraphNode, gather: GraphNode, ids: TensorRef, { graph }: Program): boolean {
  const [, gathered] = gather.inputs as [TensorRef, TensorRef];
  const [, positions] = sum.inputs as [TensorRef, TensorRef];
  const node = graph.get(positions.node)!;
  if (node.op === "Unique") {
    return (
      refKey(node.inputs[0]!) === refKey(ids) &&
      positions.index === 1 &&
      gathered.node === node.name &&
      gathered.index === 0
    );
  }
  if (node.op !== "Range" || refKey(gathered) !== refKey(ids)) return false;
  const [start, size, step] = node.inputs.map((ref) => graph.get(ref.node)) as [GraphNode, GraphNode, GraphNode];
  const isNumber = (from: GraphNode, wanted: number): boolean => {
    const value = constantOf(from);
    return value !== undefined && toNumbers(value)[0] === wanted;
  };
  return isNumber(start, 0) && isNumber(step, 1) && size.op === "Size" && refKey(size.inputs[0]!) === refKey(ids);
}

interface Selection {
  readonly node: GraphNode;
  /** Which rows are empty: bool [rows, 1]. */
  readonly column: TensorRef;
  /** Nobody else reads the sum, but for the zeros. */
  readonly isOnlyReader: boolean;
}

/** The Select that puts zeros into the rows of the sum that were empty. */
function selectionOf(sum: GraphNode, fill: GraphNode, { graph }: Program, readers: Readers): Selection | undefined {
  const value = { node: sum.name, index: 0 };
  const users = readers.of(value);
  for (const node of users) {
    if (!/^Select(V2)?$/.test(node.op) || refKey(node.inputs[2]!) !== refKey(value)) continue;
    const [tile, zeros] = node.inputs.slice(0, 2).map((ref) => graph.get(ref.node)) as [GraphNode, GraphNode];
    if (zeros.op !== "ZerosLike" || refKey(zeros.inputs[0]!) !== refKey(value)) continue;
    const column = columnOf(tile, fill, graph);
    if (!column || [node, tile, zeros].some(({ controls }) => controls.length > 0)) continue;
    const isOnlyReader = !readers.isFetched(value) && users.every((user) => user === node || user === zeros);
    return { node, column, isOnlyReader };
  }
  return undefined;
}

/** The bool column [rows, 1] that a Tile repeats along its rows. */
function columnOf(tile: GraphNode, fill: GraphNode, graph: Program["graph"]): TensorRef | undefined {
  if (tile.op !== "Tile") return undefined;
  const [multiples, column] = [constantOf(graph.get(tile.inputs[1]!.node)), graph.get(tile.inputs[0]!.node)!];
  if (!multiples || multiples.data.length !== 2 || toNumbers(multiples)[0] !== 1) return undefined;
  if (column.op !== "Reshape" || column.controls.length > 0) return undefined;
  const shape = constantOf(graph.get(column.inputs[1]!.node));
  const isColumn = shape !== undefined && toNumbers(shape).join() === "-1,1";
  return isColumn && refKey(column.inputs[0]!) === outputKey(fill.name, 2) ? tile.inputs[0] : undefined;
}
