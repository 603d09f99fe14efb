import { toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { constantOf, type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, prune, rewrite } from "../../ir/program.js";
import { bare, numbersAt } from "../matching.js";
import type { Readers } from "../readers.js";

/**
 * Makes what JAX does to the ids of a lookup one node `BoundedIds`: ids below 0 count from the end (Less, AddV2, SelectV2), all are
 * clamped to the table (ExpandDims, Squeeze, Minimum, Maximum), and, for rows of NaN, it is told which were within (GreaterEqual,
 * LessEqual, LogicalAnd, All). Only int32, which JAX's ids are by default; only where a lookup reads them, so that the host has them.
 */
export function findBoundedIds(program: Program, inference: Inference, readers: Readers): Program {
  const aliases = new Map<string, TensorRef>();
  const replaced = new Map<string, GraphNode>();
  for (const lookup of program.graph.values()) {
    const high = lookup.op === "Lookup" ? bare(lookup.inputs[0]!, "Maximum", program) : undefined;
    const clamp = high && bare(high.inputs[0]!, "Minimum", program);
    if (!clamp || inference.first(high.name)?.dtype !== "int32") continue;
    const most = scalarAt(clamp, 1, program);
    if (most === undefined || most < 0 || scalarAt(high, 1, program) !== 0) continue;
    const column = columnOf(clamp.inputs[0]!, program, inference);
    const bounded = column ? column.inputs[0]! : clamp.inputs[0]!;
    const fromEnd = countedFromEnd(bounded, program);
    const attrs = new Attrs("BoundedIds", { most, added: fromEnd?.added ?? 0 });
    const inputs = [fromEnd?.ids ?? bounded];
    replaced.set(high.name, { name: high.name, op: "BoundedIds", inputs, controls: [], attrs });
    if (!column) continue;
    for (const mask of masksOf(column, most, program, inference, readers)) {
      aliases.set(outputKey(mask.name), { node: high.name, index: 1 });
    }
  }
  return replaced.size === 0 ? program : prune(rewrite(program, aliases, replaced));
}

/** Input `at` as the number that it is everywhere: a constant that makes no result larger. */
function scalarAt(node: GraphNode, at: number, { graph }: Program): number | undefined {
  const value = constantOf(graph.get(node.inputs[at]!.node));
  return value?.shape.length === 0 ? toNumbers(value)[0] : undefined;
}

/** The ExpandDims that puts index vectors of one id each behind the ids, where a value is what a Squeeze leaves of it. */
function columnOf(ref: TensorRef, program: Program, inference: Inference): GraphNode | undefined {
  const squeeze = bare(ref, "Squeeze", program);
  const expand = squeeze && bare(squeeze.inputs[0]!, "ExpandDims", program);
  const last = expand && lastAxis(expand, inference);
  if (last === undefined) return undefined;
  const isLast = (axes: readonly number[] | undefined): boolean =>
    axes?.length === 1 && (axes[0] === last || axes[0] === -1);
  return isLast(squeeze!.attrs.ints("squeeze_dims")) && isLast(numbersAt(expand!, 1, program)) ? expand : undefined;
}

function lastAxis({ name }: GraphNode, inference: Inference): number | undefined {
  const shape = inference.first(name)?.shape;
  return shape && shape.length - 1;
}

/** The ids of `select(ids < 0, ids + added, ids)`. */
function countedFromEnd(
  ref: TensorRef,
  program: Program,
): { readonly ids: TensorRef; readonly added: number } | undefined {
  const select = bare(ref, "SelectV2", program);
  const test = select && bare(select.inputs[0]!, "Less", program);
  const sum = select && bare(select.inputs[1]!, "AddV2", program);
  if (!test || !sum || scalarAt(test, 1, program) !== 0) return undefined;
  const [added, ids] = [scalarAt(sum, 1, program), select.inputs[2]!];
  const isSame = [test.inputs[0]!, sum.inputs[0]!].every((other) => refKey(other) === refKey(ids));
  return isSame && added !== undefined && added >= 0 ? { ids, added } : undefined;
}

/** The values `all(column >= 0 & column <= most)`, of the shape of the ids. */
function masksOf(
  column: GraphNode,
  most: number,
  program: Program,
  inference: Inference,
  readers: Readers,
): readonly GraphNode[] {
  const last = lastAxis(column, inference)!;
  const isWithin = (ref: TensorRef, op: string, bound: number): boolean => {
    const test = bare(ref, op, program);
    if (!test || test.inputs[0]!.node !== column.name) return false;
    const value = constantOf(program.graph.get(test.inputs[1]!.node));
    return (
      value !== undefined && value.shape.length <= last + 1 && value.data.length === 1 && toNumbers(value)[0] === bound
    );
  };
  const next = (node: GraphNode, op: string): readonly GraphNode[] =>
    readers.of({ node: node.name, index: 0 }).filter((reader) => reader.op === op && reader.controls.length === 0);
  return next(column, "GreaterEqual")
    .flatMap((test) => next(test, "LogicalAnd"))
    .filter(({ inputs }) => isWithin(inputs[0]!, "GreaterEqual", 0) && isWithin(inputs[1]!, "LessEqual", most))
    .flatMap((both) => next(both, "All"))
    .filter((all) => numbersAt(all, 1, program)?.join() === String(last) && !all.attrs.bool("keep_dims"));
}
