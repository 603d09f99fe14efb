import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import { ordered } from "./elementwise.js";
import { computed, type Expression, expressionsOf } from "./expressions.js";
import type { Ref } from "./function-builder.js";
import { axesOf, checkedAxes, type OpTranslation, type Translate } from "./translation.js";

/** Sorts, of which TopKV2 gives the order by one key: the largest first, and of equal ones the first. */

const [EQUAL, NOT_EQUAL, GREATER, LESS] = [0, 1, 3, 5];
const TOTAL_ORDER = 2;

/** What a comparator orders by: which operand, which way, and whether -0 and 0, and all NaN, are the same. */
interface Key {
  readonly operand: number;
  /** Of complex numbers. */
  readonly part: "Real" | "Imag" | undefined;
  readonly isDescending: boolean;
  readonly isCanonical: boolean;
  readonly isTotal: boolean;
  /** What of the operand is compared, where the comparator computes it in another way than JAX does in StableHLO. */
  readonly computed?: { readonly value: HloValue; readonly expression: Expression };
}

/**
 * The keys of a comparator, the most important first: a < b, or (a < b or (a = b and what the other keys say)).
 *
 * @returns undefined for a comparator that computes something else
 */
function keysOf(region: HloRegion): Key[] | undefined {
  const definitions = new Map(region.ops.flatMap((op) => op.results.map((value) => [value, op] as const)));
  const expressions = expressionsOf(region);
  const keys: Key[] = [];
  const result = region.ops.at(-1);
  let open = result?.name === "return" ? result.operands[0] : undefined;
  while (open) {
    const op = definitions.get(open);
    const parts: readonly HloValue[] = op?.name === "or" ? op.operands : [open];
    const named = (name: string): HloOp | undefined =>
      parts.map((value) => definitions.get(value)).find((part) => part?.name === name);
    const [compare, and] = [named("compare"), named("and")];
    const key = compare && (keyOf(compare, region, definitions) ?? computedKey(compare, expressions));
    if (!key || parts.length !== (and ? 2 : 1)) return undefined;
    keys.push(key);
    open = and && restOf(and, key, region, definitions, expressions);
    if (and && !open) return undefined;
  }
  return keys;
}

type Definitions = ReadonlyMap<HloValue, HloOp>;
type Expressions = ReadonlyMap<HloValue, Expression>;

/** Of (a = b and rest): the rest, if a and b are the key's. */
function restOf(
  and: HloOp,
  key: Key,
  region: HloRegion,
  definitions: Definitions,
  expressions: Expressions,
): HloValue | undefined {
  const isTie = (value: HloValue): boolean => {
    const op = definitions.get(value);
    if (op?.name !== "compare" || op.attrs.enum("comparison_direction") !== EQUAL) return false;
    if (key.computed) {
      const operand = computedPair(op, expressions);
      return operand === key.operand && expressions.get(op.operands[0]!)!.id === key.computed.expression.id;
    }
    const [a, b] = op.operands.map((side) => argumentBehind(side, region, definitions));
    return a?.position === 2 * key.operand && b?.position === 2 * key.operand + 1 && a.part === key.part;
  };
  const at = and.operands.findIndex(isTie);
  return at < 0 ? undefined : and.operands[1 - at];
}

function keyOf(compare: HloOp, region: HloRegion, definitions: Definitions): Key | undefined {
  const direction = compare.attrs.enum("comparison_direction");
  if (direction !== GREATER && direction !== LESS) return undefined;
  const [a, b] = compare.operands.map((value) => argumentBehind(value, region, definitions));
  if (!a || !b || a.position % 2 !== 0 || b.position !== a.position + 1 || a.part !== b.part) return undefined;
  return {
    operand: a.position / 2,
    part: a.part,
    isDescending: direction === GREATER,
    isCanonical: a.isChanged,
    isTotal: isTotalOrder(compare),
  };
}

/** A comparison of what one operand has, computed in the same way on both sides. */
function computedKey(compare: HloOp, expressions: Expressions): Key | undefined {
  const direction = compare.attrs.enum("comparison_direction");
  const operand = computedPair(compare, expressions);
  if ((direction !== GREATER && direction !== LESS) || operand === undefined) return undefined;
  const [value] = compare.operands as [HloValue];
  return {
    operand,
    part: undefined,
    isDescending: direction === GREATER,
    isCanonical: false,
    isTotal: isTotalOrder(compare),
    computed: { value, expression: expressions.get(value)! },
  };
}

/** Which operand has its two elements compared. */
function computedPair({ operands }: HloOp, expressions: Expressions): number | undefined {
  const [a, b] = operands.map((value) => expressions.get(value));
  const isPair = a?.position !== undefined && a.position % 2 === 0 && b?.position === a.position + 1 && a.id === b.id;
  return isPair ? a.position! / 2 : undefined;
}

function isTotalOrder(compare: HloOp): boolean {
  const kind = compare.attrs.get("compare_type");
  return kind?.kind === "enum" && kind.value === TOTAL_ORDER;
}

interface Compared {
  readonly position: number;
  readonly part: "Real" | "Imag" | undefined;
  readonly isChanged: boolean;
}

/**
 * The argument that is compared: itself, its real or imaginary part, or either with -0 made 0 and every NaN the same, as
 * jax.lax.sort compares floats.
 */
function argumentBehind(value: HloValue, region: HloRegion, definitions: Definitions): Compared | undefined {
  let current = value;
  let isChanged = false;
  let part: Compared["part"];
  for (let op = definitions.get(current); op; op = definitions.get(current)) {
    if (op.name === "real" || op.name === "imag") part = op.name === "real" ? "Real" : "Imag";
    else if (op.name === "select" && isCanonicalChoice(op, definitions)) isChanged = true;
    else return undefined;
    const source = op.name === "select" ? op.operands[2] : op.operands[0];
    if (!source) return undefined;
    current = source;
  }
  const position = region.args.indexOf(current);
  return position < 0 ? undefined : { position, part, isChanged };
}

/** A choice by x = 0 (of -0) or by x != x (of NaN) that leaves any other x as it is. */
function isCanonicalChoice({ operands }: HloOp, definitions: Definitions): boolean {
  const [condition, , otherwise] = operands;
  const compare = condition && definitions.get(condition);
  if (compare?.name !== "compare") return false;
  const [x, other] = compare.operands;
  const direction = compare.attrs.enum("comparison_direction");
  // What is not a number is asked of x as it was before its -0 was made 0.
  const inner = otherwise && definitions.get(otherwise);
  const isOfX = x === otherwise || (inner?.name === "select" && inner.operands[2] === x);
  return isOfX && (direction === EQUAL || (direction === NOT_EQUAL && other === x));
}

const sort: Translate = (t) => {
  const axis = t.attrs.int("dimension");
  return firstInOrder(t, t.region(0), t.op.operands.length, axis, t.dim(0, axis));
};

/**
 * The first `size` of the first `count` operands in the order of a comparator along an axis.
 *
 * @param size  an int32 scalar
 */
export function firstInOrder(t: OpTranslation, comparator: HloRegion, count: number, axis: number, size: Ref): Ref[] {
  const keys = keysOf(comparator) ?? t.fail("its comparator does not compare keys one after another");
  const rank = t.rank(0);
  checkedAxes(t, [axis], rank, "a dimension");
  const toLast = [...axesOf(rank).filter((other) => other !== axis), axis];
  const back = axesOf(rank).map((other) => toLast.indexOf(other));
  const values = t.ins(0, count).map((value) => t.transpose(value, toLast));
  const picked = (value: Ref, places: Ref): Ref =>
    t.emit("GatherV2", [value, places, t.b.scalar("int32", -1)], { batch_dims: attr.int(rank - 1) });
  const comparables = keys.map((key) => {
    const operand = values[key.operand] ?? t.fail("no such key");
    if (!key.computed) return comparable(t, operand, key);
    const both = values.flatMap((value) => [value, value]);
    return comparable(t, computed(t, comparator, key.computed.value, both), key);
  });
  // By the least important key first: an order that leaves equal ones where they are keeps what came before it.
  let order: Ref | undefined;
  for (const [i, key] of [...comparables.entries()].reverse()) {
    const next = t.b.emitAll("TopKV2", [order ? picked(key, order) : key, i === 0 ? size : t.dim(0, axis)])[1]!;
    order = order ? picked(order, next) : next;
  }
  return values.map((value) => t.transpose(picked(value, order!), back));
}

/** Something that is largest where the key comes first. */
function comparable(t: OpTranslation, operand: Ref, { part, isDescending, isCanonical, isTotal }: Key): Ref {
  let key = part
    ? t.emit(part, [operand], { Tout: attr.type(PARTS[operand.dtype] ?? t.fail("a part of a real")) })
    : operand;
  if (key.dtype.includes("float")) {
    if (isCanonical) key = canonical(t, key);
    // Integers have an order that NaN has a place in.
    if (isTotal) key = ordered(t, key);
  }
  if (key.dtype === "bool") key = t.b.cast(key, "int32");
  if (isDescending) return key;
  // ~x turns the order of integers round, without an overflow.
  return t.emit(key.dtype.includes("int") ? "Invert" : "Neg", [key]);
}

const PARTS: Partial<Record<Ref["dtype"], Ref["dtype"]>> = { complex64: "float32", complex128: "float64" };

function canonical(t: OpTranslation, value: Ref): Ref {
  const zero = t.b.scalar(value.dtype, 0);
  const plain = t.select(t.emit("Equal", [value, zero]), zero, value);
  return t.select(t.emit("IsNan", [plain]), t.b.scalar(value.dtype, Number.NaN), plain);
}

export const SORTING: Readonly<Record<string, Translate>> = { sort };
