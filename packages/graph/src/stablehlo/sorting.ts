import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import { ordered } from "./elementwise.js";
import type { Ref } from "./function-builder.js";
import { axesOf, checkedAxes, type OpTranslation, type Translate } from "./translation.js";

/** Sorts by one key, of which TopKV2 gives the order: the largest first, and of equal ones the first. */

const [GREATER, LESS] = [3, 5];
const TOTAL_ORDER = 2;

/** What a comparator orders by: which operand, which way, and whether -0 and 0, and all NaN, are the same. */
interface Key {
  readonly operand: number;
  readonly isDescending: boolean;
  readonly isCanonical: boolean;
  readonly isTotal: boolean;
}

/** @returns undefined for a comparator of several keys, or one that computes something else */
function keyOf(region: HloRegion): Key | undefined {
  const definitions = new Map(region.ops.flatMap((op) => op.results.map((value) => [value, op] as const)));
  const result = region.ops.at(-1);
  const compare = result?.name === "return" && result.operands[0] ? definitions.get(result.operands[0]) : undefined;
  if (compare?.name !== "compare") return undefined;
  const direction = compare.attrs.enum("comparison_direction");
  if (direction !== GREATER && direction !== LESS) return undefined;
  const [a, b] = compare.operands.map((value) => argumentBehind(value, region, definitions));
  if (!a || !b || a.position % 2 !== 0 || b.position !== a.position + 1) return undefined;
  const kind = compare.attrs.get("compare_type");
  return {
    operand: a.position / 2,
    isDescending: direction === GREATER,
    isCanonical: a.isChanged,
    isTotal: kind?.kind === "enum" && kind.value === TOTAL_ORDER,
  };
}

/** The argument that is compared: itself, or with -0 made 0 and every NaN the same, as jax.lax.sort compares floats. */
function argumentBehind(
  value: HloValue,
  region: HloRegion,
  definitions: ReadonlyMap<HloValue, HloOp>,
): { readonly position: number; readonly isChanged: boolean } | undefined {
  let current = value;
  let isChanged = false;
  for (let op = definitions.get(current); op; op = definitions.get(current)) {
    const other = op.operands[2];
    if (op.name !== "select" || !other) return undefined;
    current = other;
    isChanged = true;
  }
  const position = region.args.indexOf(current);
  return position < 0 ? undefined : { position, isChanged };
}

const sort: Translate = (t) => {
  const key = keyOf(t.region(0)) ?? t.fail("its comparator does not compare one key");
  const rank = t.rank(0);
  const axis = t.attrs.int("dimension");
  checkedAxes(t, [axis], rank, "a dimension");
  const toLast = [...axesOf(rank).filter((other) => other !== axis), axis];
  const back = axesOf(rank).map((other) => toLast.indexOf(other));
  const values = t.ins().map((value) => t.transpose(value, toLast));
  const order = orderOf(t, values[key.operand] ?? t.fail("no such key"), key, t.dim(0, axis));
  return values.map((value) => {
    const last = t.b.scalar("int32", -1);
    return t.transpose(t.emit("GatherV2", [value, order, last], { batch_dims: attr.int(rank - 1) }), back);
  });
};

/** For each place along the last axis, the place of the element that goes there. */
function orderOf(t: OpTranslation, key: Ref, { isDescending, isCanonical, isTotal }: Key, size: Ref): Ref {
  let comparable = key;
  if (key.dtype.includes("float")) {
    if (isCanonical) comparable = canonical(t, key);
    // Integers have an order that NaN has a place in.
    if (isTotal) comparable = ordered(t, comparable);
  }
  if (comparable.dtype === "bool") comparable = t.b.cast(comparable, "int32");
  if (!isDescending) {
    // ~x turns the order of integers round, without an overflow.
    comparable = t.emit(comparable.dtype.includes("int") ? "Invert" : "Neg", [comparable]);
  }
  return t.b.emitAll("TopKV2", [comparable, size])[1]!;
}

function canonical(t: OpTranslation, value: Ref): Ref {
  const zero = t.b.scalar(value.dtype, 0);
  const plain = t.select(t.emit("Equal", [value, zero]), zero, value);
  return t.select(t.emit("IsNan", [plain]), t.b.scalar(value.dtype, Number.NaN), plain);
}

export const SORTING: Readonly<Record<string, Translate>> = { sort };
