import { toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { constantOf, type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, prune, rewrite } from "../../ir/program.js";
import { bare, numbersAt } from "../matching.js";
import type { Readers } from "../readers.js";

/**
 * Makes the start of tf.nn.safe_embedding_lookup_sparse one node `FilledIds`: ids below 0 dropped (GreaterEqual, Where, Reshape, two
 * Gathers; where the graph does so), one id put into each empty row (SparseFillEmptyRows), and the row of every id (a StridedSlice).
 */
export function findFilledIds(program: Program, inference: Inference, readers: Readers): Program {
  const aliases = new Map<string, TensorRef>();
  const replaced = new Map<string, GraphNode>();
  for (const fill of program.graph.values()) {
    if (fill.op !== "SparseFillEmptyRows" || fill.controls.length > 0) continue;
    const rows = rowsOf(fill, program, readers);
    const [indices, ids, shape, filler] = fill.inputs as [TensorRef, TensorRef, TensorRef, TensorRef];
    if (!rows || !/^int(32|64)$/.test(inference.info(ids)?.dtype ?? "")) continue;
    const all = unpruned(program, indices, ids);
    const attrs = new Attrs("FilledIds", { dropsNegative: all !== undefined });
    const inputs = [all?.indices ?? indices, all?.ids ?? ids, shape, filler];
    replaced.set(fill.name, { name: fill.name, op: "FilledIds", inputs, controls: [], attrs });
    for (const { name } of rows) aliases.set(outputKey(name), { node: fill.name, index: 0 });
  }
  return replaced.size === 0 ? program : prune(rewrite(program, aliases, replaced));
}

/** The slices `indices[:, 0]`, when nothing else reads the indices and nothing the reverse map. */
function rowsOf({ name }: GraphNode, program: Program, readers: Readers): readonly GraphNode[] | undefined {
  const [indices, reverse] = [0, 3].map((index) => ({ node: name, index })) as [TensorRef, TensorRef];
  if (readers.of(reverse).length > 0 || readers.isFetched(reverse) || readers.isFetched(indices)) return undefined;
  const slices = readers.of(indices);
  return slices.length > 0 && slices.every((slice) => isFirstColumn(slice, program)) ? slices : undefined;
}

/** True for `x[:, 0]`. */
function isFirstColumn(node: GraphNode, program: Program): boolean {
  if (node.op !== "StridedSlice" || node.controls.length > 0) return false;
  const { attrs } = node;
  const [begin, end, strides] = [1, 2, 3].map((at) => numbersAt(node, at, program));
  return (
    begin?.length === 2 &&
    begin[1] === 0 &&
    end?.length === 2 &&
    strides?.join() === "1,1" &&
    (attrs.int("begin_mask") & 1) === 1 &&
    (attrs.int("end_mask") & 1) === 1 &&
    attrs.int("shrink_axis_mask") === 2 &&
    attrs.int("new_axis_mask") === 0 &&
    attrs.int("ellipsis_mask") === 0
  );
}

/** Indices and ids before those with ids below 0 were dropped; undefined where that is not what was done. */
function unpruned(
  program: Program,
  indices: TensorRef,
  ids: TensorRef,
): { readonly indices: TensorRef; readonly ids: TensorRef } | undefined {
  const [fromIndices, fromIds] = [gatherAt(indices, program), gatherAt(ids, program)];
  if (!fromIndices || !fromIds || refKey(fromIndices.at) !== refKey(fromIds.at)) return undefined;
  const flat = bare(fromIds.at, "Reshape", program);
  const where = flat && numbersAt(flat, 1, program)?.join() === "-1" && bare(flat.inputs[0]!, "Where", program);
  const test = where && bare(where.inputs[0]!, "GreaterEqual", program);
  if (!test || refKey(test.inputs[0]!) !== refKey(fromIds.params)) return undefined;
  const least = constantOf(program.graph.get(test.inputs[1]!.node));
  if (least?.shape.length !== 0 || toNumbers(least)[0] !== 0) return undefined;
  return { indices: fromIndices.params, ids: fromIds.params };
}

/** What a gather along axis 0 gathers from, and where. */
function gatherAt(
  ref: TensorRef,
  program: Program,
): { readonly params: TensorRef; readonly at: TensorRef } | undefined {
  const node = bare(ref, "GatherV2", program);
  if (!node || node.attrs.int("batch_dims") !== 0 || numbersAt(node, 2, program)?.join() !== "0") return undefined;
  return { params: node.inputs[0]!, at: node.inputs[1]! };
}
