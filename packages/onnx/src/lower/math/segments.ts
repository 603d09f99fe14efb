/** Rows reduced by the segment that they belong to. */
import { type DType, elementCount } from "@shardserve/tensor";
import type { Value } from "../../proto/value.js";
import {
  boundedLength,
  boundedShape,
  cast,
  CHECK_LABEL,
  concat,
  ELEMENTS_MAX,
  equal,
  filled,
  guardedIndices,
  INT64_MAX,
  INT64_MIN,
  isFloat,
  less,
  not,
  shapeOf,
  slice,
  where,
  zeroOrFail,
} from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";
import { type Reduction, scatterND, innerShape, sizeVector, rowsOf, column, countOf } from "../arrays/scatter.js";

const LOWEST: Partial<Record<DType, number | bigint>> = {
  float32: -3.4028234663852886e38,
  float64: -Number.MAX_VALUE,
  int32: -(2 ** 31),
  int64: INT64_MIN,
  int8: -128,
  int16: -32768,
  uint8: 0,
  uint16: 0,
  uint32: 0,
};

const HIGHEST: Partial<Record<DType, number | bigint>> = {
  float32: 3.4028234663852886e38,
  float64: Number.MAX_VALUE,
  int32: 2 ** 31 - 1,
  int64: INT64_MAX,
  int8: 127,
  int16: 32767,
  uint8: 255,
  uint16: 65535,
  uint32: 2 ** 32 - 1,
};

/** What a segment without elements starts from, by reduction. */
function startOf(n: NodeLowering, reduction: Reduction, dtype: DType): number | bigint {
  if (reduction === "add") return 0;
  if (reduction === "mul") return 1;
  return (reduction === "max" ? LOWEST : HIGHEST)[dtype] ?? n.fail(`no extreme of ${dtype}`);
}

/** Rows [ids, ...inner] with the segment of each. */
interface SegmentedRows {
  readonly rows: Value;
  /** int64; those that do not lie in [0, count) make the run fail. */
  readonly ids: Value;
  /** Number of segments, an int64 vector of one. */
  readonly count: Value;
  /** Shape of a row, an int64 vector. */
  readonly inner: Value;
}

function reduceSegments(n: NodeLowering, { rows, ids, count, inner }: SegmentedRows, reduction: Reduction): Value {
  const shape = boundedShape(n.b, concat(n.b, [count, inner]));
  const base = filled(n.b, shape, rows.dtype, startOf(n, reduction, rows.dtype));
  return scatterND(n, base, column(n, ids), rows, reduction);
}

/** Shape of a row where it is known and holds something; ops over such rows have short forms, as they are all overhead. */
function rowShape(n: NodeLowering): readonly number[] | undefined {
  const shape = n.shape(0);
  if (!shape || shape.length === 0 || !SHORT_DTYPES.has(n.dtype(0))) return undefined;
  const inner = shape.slice(1);
  return inner.every((length) => length > 0) && elementCount(inner) <= ROW_ELEMENTS_MAX ? inner : undefined;
}

const SHORT_DTYPES: ReadonlySet<DType> = new Set(["float32", "float64", "int32", "int64"]);
const ROW_ELEMENTS_MAX = 2 ** 20;

/** Most rows of a shape that an answer may have. */
function rowsMax(inner: readonly number[]): number {
  return Math.floor(ELEMENTS_MAX / elementCount(inner));
}

/** One reduction by index tuples into new rows; ids beyond them make the run fail. */
function scatteredInto(
  n: NodeLowering,
  count: Value,
  inner: readonly number[],
  { at, rows, reduction }: { at: Value; rows: Value; reduction: Reduction },
): Value {
  const { b } = n;
  const shape = inner.length === 0 ? count : concat(b, [count, b.ints(inner)]);
  const base = filled(b, shape, rows.dtype, startOf(n, reduction, rows.dtype));
  return b.ops("ScatterND", [base, at, rows], [rows.dtype], { reduction }, CHECK_LABEL)[0]!;
}

/**
 * UnsortedSegment* of rows of a known shape by one id each, as graph networks sum messages, in half the nodes of the general
 * way. The first row made takes what is dropped and is cut off.
 */
function shortUnsortedSegment(n: NodeLowering, reduction: Reduction, inner: readonly number[]): Value {
  const { b } = n;
  const count = cast(b, b.op("Reshape", [n.x(2), b.ints([1])]), "int64");
  // 0 for a number of segments that may be, else no index of a table of one element.
  const excess = b.op("Sub", [count, b.op("Mod", [count, b.scalar("int64", rowsMax(inner))])]);
  const one = b.ops("Gather", [b.ints([1]), excess], ["int64"], {}, CHECK_LABEL)[0]!;
  const kept = b.op("Max", [cast(b, n.x(1), "int64"), b.scalar("int64", -1)]);
  const at = column(n, b.op("Add", [kept, b.scalar("int64", 1)]));
  const all = scatteredInto(n, b.op("Add", [count, one]), inner, { at, rows: n.x(0), reduction });
  return slice(b, all, [1], [INT64_MAX]);
}

/** UnsortedSegment*: negative ids are dropped, here into one row more that is cut off again. */
function unsortedSegment(reduction: Reduction): Lower {
  return (n) => {
    const { b } = n;
    const known = rowShape(n);
    if (known && n.rank(1) === 1) return shortUnsortedSegment(n, reduction, known);
    const count = boundedLength(b, cast(b, b.op("Reshape", [n.x(2), b.ints([1])]), "int64"));
    const ids = cast(b, n.x(1), "int64");
    const one = b.ints([1]);
    const inner = innerShape(n, n.x(0), ids);
    const isDropped = less(b, ids, b.scalar("int64", 0));
    const isOutside = not(b, less(b, ids, count));
    const target = where(b, isDropped, count, where(b, isOutside, b.scalar("int64", INT64_MAX), ids));
    const rows = rowsOf(n, n.x(0), ids, inner);
    const flat = b.op("Reshape", [target, b.ints([-1])]);
    const all = reduceSegments(n, { rows, ids: flat, count: b.op("Add", [count, one]), inner }, reduction);
    return slice(b, all, [0], count);
  };
}

/** Ids that must not descend and not be negative, as TensorFlow demands of sorted segments. */
function sortedIds(n: NodeLowering, ids: Value): Value {
  const { b } = n;
  const before = concat(b, [b.ints([0]), slice(b, ids, [0], [-1])]);
  // The slice of an empty vector is empty: both sides are cut to the ids' length.
  const previous = slice(b, before, [0], sizeVector(n, ids));
  return b.op("Add", [ids, zeroOrFail(b, less(b, ids, previous))]);
}

/** Number of elements per segment, shaped to divide [count, ...inner]. */
function countPerSegment(n: NodeLowering, { rows, ids, count, inner }: SegmentedRows): Value {
  const { b } = n;
  const ones = filled(b, shapeOf(b, ids), rows.dtype, 1);
  const counts = scatterND(n, filled(b, count, rows.dtype, 0), column(n, ids), ones, "add");
  const trailing = filled(b, shapeOf(b, inner), "int64", 1);
  return b.op("Reshape", [counts, concat(b, [count, trailing])], { allowzero: 1 });
}

type SegmentKind = "sum" | "mean" | "sqrtn" | "prod" | "max" | "min";

const REDUCTION: Record<SegmentKind, Reduction> = {
  sum: "add",
  mean: "add",
  sqrtn: "add",
  prod: "mul",
  max: "max",
  min: "min",
};

function sortedSegments(n: NodeLowering, kind: SegmentKind, segmented: SegmentedRows): Value {
  const { dtype } = segmented.rows;
  const reduced = reduceSegments(n, segmented, REDUCTION[kind]);
  if (kind === "sum" || kind === "prod") return reduced;
  if (!isFloat(dtype) && kind !== "max" && kind !== "min") n.fail(`a ${kind} of ${dtype}`);
  return overCounts(n, kind, reduced, countPerSegment(n, segmented));
}

/**
 * Segment* and SparseSegment* over rows of a known shape, in half the nodes of the general way. Ids ascend, so the last one
 * tells how many segments there are; whatever is wrong with them sends an element out of range, and ScatterND refuses it.
 */
function shortSegment(n: NodeLowering, kind: SegmentKind, rows: Value, ids: Value, inner: readonly number[]): Value {
  const { b } = n;
  const { dtype } = rows;
  const led = concat(b, [b.ints([-1]), ids]);
  const floor = b.op("Max", [slice(b, led, [0], [-1]), b.scalar("int64", 0)]);
  const checked = where(b, less(b, ids, floor), b.scalar("int64", INT64_MAX), ids);
  const last = slice(b, led, [-1], [INT64_MAX]);
  const bounded = b.op("Clip", [last, b.scalar("int64", -1), b.scalar("int64", rowsMax(inner) - 1)]);
  const count = b.op("Add", [bounded, b.ints([1])]);
  const at = column(n, checked);
  const reduced = scatteredInto(n, count, inner, { at, rows, reduction: REDUCTION[kind] });
  if (kind === "sum" || kind === "prod") return reduced;
  if (!isFloat(dtype) && kind !== "max" && kind !== "min") n.fail(`a ${kind} of ${dtype}`);
  const single = inner.map(() => 1);
  const ones = filled(b, concat(b, [shapeOf(b, ids), ...(single.length > 0 ? [b.ints(single)] : [])]), dtype, 1);
  const counts = scatteredInto(n, count, single, { at, rows: ones, reduction: "add" });
  return overCounts(n, kind, reduced, counts);
}

/** What becomes of sums or extremes by the number of elements of each segment; those of none are 0. */
function overCounts(n: NodeLowering, kind: SegmentKind, reduced: Value, counts: Value): Value {
  const { b } = n;
  const zero = b.scalar(reduced.dtype, 0);
  if (kind === "max" || kind === "min") return where(b, equal(b, counts, zero), zero, reduced);
  const divisor = b.op("Max", [counts, b.scalar(reduced.dtype, 1)]);
  return b.op("Div", [reduced, kind === "mean" ? divisor : b.op("Sqrt", [divisor])]);
}

function segment(kind: SegmentKind): Lower {
  return (n) => {
    const wide = cast(n.b, n.x(1), "int64");
    const known = rowShape(n);
    if (known && n.rank(1) === 1) return shortSegment(n, kind, n.x(0), wide, known);
    const ids = sortedIds(n, wide);
    return sortedSegments(n, kind, {
      rows: n.x(0),
      ids,
      count: countOf(n, ids),
      inner: innerShape(n, n.x(0), ids),
    });
  };
}

/** SparseSegment*: rows of input 0 picked by input 1, reduced by input 2. */
function sparseSegment(kind: "sum" | "mean" | "sqrtn"): Lower {
  return (n) => {
    const { b } = n;
    const rows = b.op("Gather", [n.x(0), guardedIndices(b, n.x(1))], { axis: 0 });
    const wide = cast(b, n.x(2), "int64");
    const known = rowShape(n);
    if (n.inputs.length === 3 && known) return shortSegment(n, kind, rows, wide, known);
    const ids = sortedIds(n, wide);
    const inner = slice(b, shapeOf(b, n.x(0)), [1], [INT64_MAX]);
    const count =
      n.inputs.length > 3
        ? boundedLength(b, cast(b, b.op("Reshape", [n.x(3), b.ints([1])]), "int64"))
        : countOf(n, ids);
    return sortedSegments(n, kind, { rows, ids, count, inner });
  };
}

export const segments: LoweringTable = {
  UnsortedSegmentSum: unsortedSegment("add"),
  UnsortedSegmentProd: unsortedSegment("mul"),
  UnsortedSegmentMax: unsortedSegment("max"),
  UnsortedSegmentMin: unsortedSegment("min"),
  SegmentSum: segment("sum"),
  SegmentMean: segment("mean"),
  SegmentProd: segment("prod"),
  SegmentMax: segment("max"),
  SegmentMin: segment("min"),
  SparseSegmentSum: sparseSegment("sum"),
  SparseSegmentMean: sparseSegment("mean"),
  SparseSegmentSqrtN: sparseSegment("sqrtn"),
  SparseSegmentSumWithNumSegments: sparseSegment("sum"),
  SparseSegmentMeanWithNumSegments: sparseSegment("mean"),
  SparseSegmentSqrtNWithNumSegments: sparseSegment("sqrtn"),
};
