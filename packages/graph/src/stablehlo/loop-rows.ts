import { attr, type HloOp, type HloRegion, type HloValue } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { constantItem, type OpTranslation, type Surroundings } from "./translation.js";

/**
 * What jax.lax.scan makes of its results: a loop that counts its turns and writes row i of a tensor in turn i. Such a tensor is
 * carried as a TensorList, as in TensorFlow's own loops, which is no copy of all rows in every turn and becomes a stacked output.
 */

export interface List {
  /** The list without elements. */
  readonly made: Ref;
  /** The rows of the list that the loop returns. */
  readonly stacked: (list: Ref) => Ref;
}

/** The carried tensors that are lists, by position; says of the counter and of them what they are. */
export function listsOf(t: OpTranslation): ReadonlyMap<number, List> {
  const [condition, body] = [t.region(0), t.region(1)];
  const lists = new Map<number, List>();
  const counter = counterOf(t, condition, body);
  if (!counter) return lists;
  const { position, limit } = counter;
  for (const region of [condition, body]) {
    const arg = region.args[position]!;
    // In the condition the counter may be the limit itself.
    t.around.setRange(arg, region === body ? limit : limit + 1);
  }
  const uses = usesIn(body);
  for (const [i, arg] of body.args.entries()) {
    const isWritten = writesRow(t, body, i, body.args[position]!, uses) && !usesIn(condition).has(condition.args[i]!);
    if (!isWritten || !startsAsZeros(t, i, limit)) continue;
    t.around.setList(arg);
    t.around.setList(condition.args[i]!);
    lists.set(i, list(t, i));
  }
  return lists;
}

function list(t: OpTranslation, i: number): List {
  const element = t.b.ints(t.type(i).shape.slice(1));
  const types = { element_dtype: attr.type(t.dtype(i)) };
  const [made] = t.b.emitAll("TensorListReserve", [element, t.dim(i, 0)], types) as [Ref];
  return { made, stacked: (value) => t.emit("TensorListStack", [value, element], types) };
}

/** The integer that is 0 in the first turn and one more in each further turn, while it is less than `limit`. */
function counterOf(
  t: OpTranslation,
  condition: HloRegion,
  body: HloRegion,
): { readonly position: number; readonly limit: number } | undefined {
  const compare = condition.ops.find((op) => op.results[0] === condition.ops.at(-1)?.operands[0]);
  const [counted, end] = compare?.operands ?? [];
  const position = condition.args.indexOf(counted!);
  if (compare?.name !== "compare" || compare.attrs.enum("comparison_direction") !== LESS || position < 0)
    return undefined;
  const next = definitionIn(body, body.ops.at(-1)!.operands[position]);
  const arg = body.args[position];
  const [a, b] = next?.operands ?? [];
  const step = a === arg ? b : b === arg ? a : undefined;
  const isCounter =
    next?.name === "add" && step && numberOf(t, body, step) === 1 && numberOf(t, undefined, t.operand(position)) === 0;
  return isCounter ? { position, limit: numberOf(t, condition, end!) ?? Number.POSITIVE_INFINITY } : undefined;
}

const LESS = 5;

/** The integer that a value is: a constant of the region, or of what is around it. */
function numberOf(t: OpTranslation, region: HloRegion | undefined, value: HloValue): number | undefined {
  const around: Pick<Surroundings, "definition"> = {
    definition: (inner) => (region && definitionIn(region, inner)) ?? t.around.definition(inner),
  };
  const item = constantItem(value, around);
  return item?.dtype === "int32" || item?.dtype === "int64"
    ? Number((item.data as ArrayLike<number | bigint>)[0])
    : undefined;
}

/** The op of a region that makes a value. */
export function definitionIn(region: HloRegion, value: HloValue | undefined): HloOp | undefined {
  return region.ops.find((op) => value !== undefined && op.results.includes(value));
}

/** How often each value is used in a region, and in those inside of it. */
function usesIn(region: HloRegion, counts = new Map<HloValue, number>()): ReadonlyMap<HloValue, number> {
  for (const op of region.ops) {
    for (const value of op.operands) counts.set(value, (counts.get(value) ?? 0) + 1);
    for (const inner of op.regions) usesIn(inner, counts);
  }
  return counts;
}

/** True where carried value `i` is used for nothing but writing its row `counter`, here or in a function that does that alone. */
function writesRow(
  t: OpTranslation,
  body: HloRegion,
  i: number,
  counter: HloValue,
  uses: ReadonlyMap<HloValue, number>,
): boolean {
  const result = body.ops.at(-1)!.operands[i];
  const arg = body.args[i]!;
  if (!result || uses.get(arg) !== 1 || uses.get(result) !== 1) return false;
  const op = definitionIn(body, result);
  if (op?.name === "dynamic_update_slice") return isRowUpdate(t, body, op, arg, counter);
  if (op?.name !== "call" || op.results.length !== 1) return false;
  const called = t.around.calledBody(op.attrs.text("callee"));
  const [inner, index] = [arg, counter].map((value) => called.args[op.operands.indexOf(value)]);
  const update = definitionIn(called, called.ops.at(-1)?.operands[0]);
  if (!inner || !index || update?.name !== "dynamic_update_slice" || !t.around.isInlined(called)) return false;
  return usesIn(called).get(inner) === 1 && isRowUpdate(t, called, update, inner, index);
}

function isRowUpdate(
  t: OpTranslation,
  region: HloRegion,
  { operands }: HloOp,
  target: HloValue,
  index: HloValue,
): boolean {
  const [into, update, start] = operands;
  const shapes = [into, update].map((value) => (value?.type.kind === "tensor" ? value.type.shape : []));
  const [whole, row] = shapes as [readonly number[], readonly number[]];
  const isRow = row[0] === 1 && row.slice(1).every((dim, axis) => dim === whole[axis + 1]);
  return into === target && isRow && (start === index || isWrapped(t, region, start, index));
}

/** Whether an index below zero would count from the end: what is the index itself, where that is never below zero. */
function isWrapped(t: OpTranslation, region: HloRegion, start: HloValue | undefined, index: HloValue): boolean {
  const op = definitionIn(region, start);
  if (op?.name !== "select" || op.operands[2] !== index) return false;
  const compare = definitionIn(region, op.operands[0]);
  if (compare?.name !== "compare" || compare.attrs.enum("comparison_direction") !== LESS) return false;
  const [x, zero] = compare.operands;
  return x === index && numberOf(t, region, zero!) === 0;
}

/** True where rows that no turn writes are zeros, and no turn writes beyond them. */
function startsAsZeros(t: OpTranslation, i: number, limit: number): boolean {
  const [rows] = t.type(i).shape;
  if (rows === undefined || (rows >= 0 && limit > rows)) return false;
  if (rows === limit) return true;
  let value = t.operand(i);
  for (let op = t.around.definition(value); op; op = t.around.definition(value)) {
    if (op.name === "constant") {
      const { bytes } = op.attrs.tensor("value");
      return bytes.length <= 16 && bytes.every((byte) => byte === 0);
    }
    if (!/^(reshape|(dynamic_)?broadcast_in_dim)$/.test(op.name)) return false;
    value = op.operands[0]!;
  }
  return false;
}
