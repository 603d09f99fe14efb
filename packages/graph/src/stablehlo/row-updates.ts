import { attr, type HloOp, type HloRegion } from "@shardserve/savedmodel";
import { freeValues } from "./control.js";
import type { Ref } from "./function-builder.js";
import { type Combiner, combinerOf, joinOf } from "./monoids.js";
import { OpTranslation } from "./translation.js";

/** Writes updates into rows of a matrix, by TensorFlow's ops where the body is one of theirs, and by any other body in rounds. */

const SCATTERS: Partial<Record<Combiner, string>> = {
  add: "TensorScatterAdd",
  maximum: "TensorScatterMax",
  minimum: "TensorScatterMin",
  second: "TensorScatterUpdate",
};
/** What bools do as integers 0 and 1. */
const OF_BOOLS: Partial<Record<Combiner, Combiner>> = {
  add: "maximum",
  or: "maximum",
  maximum: "maximum",
  multiply: "minimum",
  and: "minimum",
  minimum: "minimum",
};

/**
 * @param matrix  [rows, width]; the last row takes what must not be written, and holds nothing
 * @param index  [updates, 1], the row of each update
 * @param updates  [updates, width]
 */
export function writtenRows(t: OpTranslation, matrix: Ref, index: Ref, updates: Ref): Ref {
  const region = t.region(0);
  const combiner = combinerOf(region);
  const isBool = matrix.dtype === "bool";
  if (isBool && combiner && OF_BOOLS[combiner]) {
    const [rows, values] = [t.b.cast(matrix, "int32"), t.b.cast(updates, "int32")];
    return t.b.cast(t.emit(SCATTERS[OF_BOOLS[combiner]]!, [rows, index, values]), "bool");
  }
  const op = isDifference(region) ? "TensorScatterSub" : combiner && SCATTERS[combiner];
  if (op && (!isBool || combiner === "second")) return t.emit(op, [matrix, index, updates]);
  if (combiner === "multiply" && !/complex/.test(matrix.dtype)) return multiplied(t, matrix, index, updates);
  return inRounds(t, matrix, index, updates);
}

function isDifference(region: HloRegion): boolean {
  const [op, result] = region.ops as [HloOp?, HloOp?];
  const [a, b] = region.args;
  const isOnly = region.ops.length === 2 && op?.name === "subtract" && result?.operands[0] === op.results[0];
  return isOnly && region.args.length === 2 && op.operands[0] === a && op.operands[1] === b;
}

function multiplied(t: OpTranslation, matrix: Ref, index: Ref, updates: Ref): Ref {
  const rows = t.emit("Squeeze", [index], { squeeze_dims: attr.ints([1]) });
  const count = t.at(t.emit("Shape", [matrix]), 0);
  return t.emit("Mul", [matrix, t.emit("UnsortedSegmentProd", [updates, rows, count])]);
}

/** Each round takes one update of every row, in their order: the first of each, then the second of each, and so on. */
function inRounds(t: OpTranslation, matrix: Ref, index: Ref, updates: Ref): Ref {
  const join = joinOf(t, t.region(0)) ?? t.fail("its body does more than compute with scalars");
  const captures = freeValues(t.op.regions);
  const rows = t.emit("Squeeze", [index], { squeeze_dims: attr.ints([1]) });
  const places = placesAmongEqual(t, rows);
  const most = t.emit("Max", [t.emit("ConcatV2", [places, t.b.ints([-1]), t.b.scalar("int32", 0)]), t.b.ints([0])]);
  const args = [t.b.scalar("int32", 0), matrix, most, places, rows, updates];
  const dtypes = args.map(({ dtype }) => dtype);
  const cond = t.around.writtenFunction(dtypes, captures, (around, [round, , last]) => [
    around.b.emit("LessEqual", [round!, last!]),
  ]);
  const body = t.around.writtenFunction(dtypes, captures, (around, given) => {
    const inner = new OpTranslation(t.op, around);
    const [round, current, last, turns, at, values] = given as [Ref, Ref, Ref, Ref, Ref, Ref];
    const none = inner.b.cast(
      inner.emit("Sub", [inner.at(inner.emit("Shape", [current]), 0), inner.b.scalar("int32", 1)]),
      at.dtype,
    );
    const target = inner.select(inner.emit("Equal", [turns, round]), at, none);
    const old = inner.emit("GatherV2", [current, target, inner.b.scalar("int32", 0)]);
    const [made] = join(inner, [old], [values]) as [Ref];
    const next = inner.emit("TensorScatterUpdate", [current, inner.expand(target, 1), made]);
    const one = inner.b.scalar("int32", 1);
    const captured = captures.map((value) => around.translated(value).full());
    return [inner.emit("AddV2", [round, one]), next, last, turns, at, values, ...captured];
  });
  const captured = captures.map((value) => t.around.translated(value).full());
  return t.b.emitAll("StatelessWhile", [...args, ...captured], { cond: attr.func(cond), body: attr.func(body) })[1]!;
}

/** For each element of a vector, how many equal ones stand before it. */
function placesAmongEqual(t: OpTranslation, rows: Ref): Ref {
  const [, group, sizes] = t.b.emitAll("UniqueWithCounts", [rows]) as [Ref, Ref, Ref];
  const size = t.emit("Size", [rows]);
  const order = t.b.emitAll("TopKV2", [t.emit("Invert", [group]), size])[1]!;
  const axis = t.b.scalar("int32", 0);
  const starts = t.emit("Cumsum", [sizes, axis], { exclusive: attr.bool(true) });
  const start = t.emit("GatherV2", [starts, t.emit("GatherV2", [group, order, axis]), axis]);
  const counted = t.emit("Range", [axis, size, t.b.scalar("int32", 1)]);
  const inOrder = t.emit("Sub", [counted, start]);
  return t.emit("GatherV2", [inOrder, t.emit("InvertPermutation", [order]), axis]);
}
