import type { DType } from "@shardserve/tensor";
import { numbers, type Value } from "../proto/builder.js";
import {
  asScalar,
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
} from "../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "./node-lowering.js";

/** Writing by index: scatters, sums over segments, partitions and histograms. All rest on ScatterND. */

type Reduction = "none" | "add" | "mul" | "max" | "min";

function scatterND(n: NodeLowering, base: Value, indices: Value, updates: Value, reduction: Reduction): Value {
  if (base.dtype !== "float16" || reduction === "none")
    return n.b.op("ScatterND", [base, indices, updates], { reduction });
  const [wideBase, wideUpdates] = [cast(n.b, base, "float32"), cast(n.b, updates, "float32")];
  return cast(n.b, n.b.op("ScatterND", [wideBase, indices, wideUpdates], { reduction }), "float16");
}

const scatterNd: Lower = (n) => {
  const base = filled(n.b, boundedShape(n.b, cast(n.b, n.x(2), "int64")), n.dtype(1), 0);
  return scatterND(
    n,
    base,
    guardedIndices(n.b, n.x(0), "int64"),
    n.x(1),
    n.dtype(1) === "bool" ? n.fail("bool") : "add",
  );
};

function tensorScatter(reduction: Reduction, isNegated = false): Lower {
  return (n) => {
    const updates = isNegated ? n.b.op("Sub", [n.b.scalar(n.dtype(2), 0), n.x(2)]) : n.x(2);
    return scatterND(n, n.x(0), guardedIndices(n.b, n.x(1), "int64"), updates, reduction);
  };
}

/** Shape of `data` behind the dimensions that `ids` covers, as an int64 vector. */
function innerShape(n: NodeLowering, data: Value, ids: Value): Value {
  const { b } = n;
  const idsRank = b.op("Size", [shapeOf(b, ids)], {}, "int64");
  const start = b.op("Reshape", [idsRank, b.ints([1])]);
  return slice(b, shapeOf(b, data), start, [INT64_MAX]);
}

function sizeVector(n: NodeLowering, value: Value): Value {
  return n.b.op("Reshape", [n.b.op("Size", [value], {}, "int64"), n.b.ints([1])]);
}

/** Elements of `data` as rows [number of ids, ...inner]. */
function rowsOf(n: NodeLowering, data: Value, ids: Value, inner: Value): Value {
  return n.b.op("Reshape", [data, concat(n.b, [sizeVector(n, ids), inner])], { allowzero: 1 });
}

function column(n: NodeLowering, ids: Value): Value {
  return n.b.op("Reshape", [ids, n.b.ints([-1, 1])]);
}

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

/** Reduces rows into `count` (int64 vector of one) segments; ids must lie in [0, count), else the run fails. */
function reduceSegments(
  n: NodeLowering,
  rows: Value,
  ids: Value,
  count: Value,
  inner: Value,
  reduction: Reduction,
): Value {
  const shape = boundedShape(n.b, concat(n.b, [count, inner]));
  const base = filled(n.b, shape, rows.dtype, startOf(n, reduction, rows.dtype));
  return scatterND(n, base, column(n, ids), rows, reduction);
}

/** UnsortedSegment*: negative ids are dropped, here into one row more that is cut off again. */
function unsortedSegment(reduction: Reduction): Lower {
  return (n) => {
    const { b } = n;
    const count = boundedLength(b, cast(b, b.op("Reshape", [n.x(2), b.ints([1])]), "int64"));
    const ids = cast(b, n.x(1), "int64");
    const one = b.ints([1]);
    const inner = innerShape(n, n.x(0), ids);
    const isDropped = less(b, ids, b.scalar("int64", 0));
    const isOutside = not(b, less(b, ids, count));
    const target = where(b, isDropped, count, where(b, isOutside, b.scalar("int64", INT64_MAX), ids));
    const rows = rowsOf(n, n.x(0), ids, inner);
    const all = reduceSegments(
      n,
      rows,
      b.op("Reshape", [target, b.ints([-1])]),
      b.op("Add", [count, one]),
      inner,
      reduction,
    );
    return slice(b, all, [0], count);
  };
}

/** Largest id + 1; 0 when there are none. */
function countOf(n: NodeLowering, ids: Value): Value {
  const { b } = n;
  const largest = b.op("ReduceMax", [concat(b, [b.ints([-1]), ids])], { keepdims: 1 });
  return boundedLength(b, b.op("Add", [largest, b.ints([1])]));
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
function countPerSegment(n: NodeLowering, rows: Value, ids: Value, count: Value, inner: Value): Value {
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

function sortedSegments(
  n: NodeLowering,
  kind: SegmentKind,
  rows: Value,
  ids: Value,
  count: Value,
  inner: Value,
): Value {
  const { b } = n;
  const reduced = reduceSegments(n, rows, ids, count, inner, REDUCTION[kind]);
  if (kind === "sum" || kind === "prod") return reduced;
  if (!isFloat(rows.dtype) && kind !== "max" && kind !== "min") n.fail(`a ${kind} of ${rows.dtype}`);
  const counts = countPerSegment(n, rows, ids, count, inner);
  const zero = b.scalar(rows.dtype, 0);
  if (kind === "max" || kind === "min") return where(b, equal(b, counts, zero), zero, reduced);
  const divisor = b.op("Max", [counts, b.scalar(rows.dtype, 1)]);
  return b.op("Div", [reduced, kind === "mean" ? divisor : b.op("Sqrt", [divisor])]);
}

function segment(kind: SegmentKind): Lower {
  return (n) => {
    const ids = sortedIds(n, cast(n.b, n.x(1), "int64"));
    const inner = innerShape(n, n.x(0), ids);
    return sortedSegments(n, kind, n.x(0), ids, countOf(n, ids), inner);
  };
}

/**
 * SparseSegment* over rows of a known length, in half the nodes of the general way: such ops are all overhead. Ids ascend,
 * so the last one tells how many segments there are; whatever is wrong with them sends an element out of range, and
 * ScatterND refuses it.
 */
function shortSparseSegment(n: NodeLowering, kind: "sum" | "mean" | "sqrtn", width: number): Value {
  const { b } = n;
  const ids = cast(b, n.x(2), "int64");
  const led = concat(b, [b.ints([-1]), ids]);
  const floor = b.op("Max", [slice(b, led, [0], [-1]), b.scalar("int64", 0)]);
  const checked = where(b, less(b, ids, floor), b.scalar("int64", INT64_MAX), ids);
  const last = slice(b, led, [-1], [INT64_MAX]);
  const rowsMax = Math.floor(ELEMENTS_MAX / width);
  const bounded = b.op("Clip", [last, b.scalar("int64", -1), b.scalar("int64", rowsMax - 1)]);
  const count = b.op("Add", [bounded, b.ints([1])]);
  const at = column(n, checked);
  const zeros = (length: number) => filled(b, concat(b, [count, b.ints([length])]), n.dtype(0), 0);
  const added = (base: Value, rows: Value) =>
    b.ops("ScatterND", [base, at, rows], [rows.dtype], { reduction: "add" }, CHECK_LABEL)[0]!;
  const sums = added(zeros(width), b.op("Gather", [n.x(0), guardedIndices(b, n.x(1))], { axis: 0 }));
  if (kind === "sum") return sums;
  const counts = added(zeros(1), filled(b, shapeOf(b, at), n.dtype(0), 1));
  const divisor = b.op("Max", [counts, b.scalar(n.dtype(0), 1)]);
  return b.op("Div", [sums, kind === "mean" ? divisor : b.op("Sqrt", [divisor])]);
}

/** SparseSegment*: rows of input 0 picked by input 1, reduced by input 2. */
function sparseSegment(kind: "sum" | "mean" | "sqrtn"): Lower {
  return (n) => {
    const { b } = n;
    const width = n.rank(0) === 2 ? n.dim(0, 1) : undefined;
    const isWide = n.dtype(0) === "float32" || n.dtype(0) === "float64";
    if (n.inputs.length === 3 && isWide && width) return shortSparseSegment(n, kind, width);
    const ids = sortedIds(n, cast(b, n.x(2), "int64"));
    const rows = b.op("Gather", [n.x(0), guardedIndices(b, n.x(1))], { axis: 0 });
    const inner = slice(b, shapeOf(b, n.x(0)), [1], [INT64_MAX]);
    const count =
      n.inputs.length > 3
        ? boundedLength(b, cast(b, b.op("Reshape", [n.x(3), b.ints([1])]), "int64"))
        : countOf(n, ids);
    return sortedSegments(n, kind, rows, ids, count, inner);
  };
}

/** Sparse [r, c] times dense [c, k]: rows of the dense matrix, scaled and summed. */
const sparseDenseMatmul: Lower = (n) => {
  const { b } = n;
  const isAdjointA = n.attrs.bool("adjoint_a");
  const indices = cast(b, n.x(0), "int64");
  const pick = (at: number) => b.op("Gather", [indices, b.scalar("int64", at)], { axis: 1 });
  const dense = n.attrs.bool("adjoint_b") ? b.op("Transpose", [n.x(3)], { perm: [1, 0] }) : n.x(3);
  const picked = b.op("Gather", [dense, guardedIndices(b, pick(isAdjointA ? 0 : 1))], { axis: 0 });
  const scaled = b.op("Mul", [picked, b.op("Unsqueeze", [n.x(1), b.ints([1])])]);
  const rowCount = b.op("Gather", [cast(b, n.x(2), "int64"), b.ints([isAdjointA ? 1 : 0])]);
  const base = filled(b, boundedShape(b, concat(b, [rowCount, slice(b, shapeOf(b, dense), [1], [2])])), n.dtype(1), 0);
  const rows = guardedIndices(b, pick(isAdjointA ? 1 : 0));
  return scatterND(n, base, b.op("Unsqueeze", [rows, b.ints([1])]), scaled, "add");
};

/** Part i: the rows whose partition number is i, in order. */
const dynamicPartition: Lower = (n) => {
  const { b } = n;
  const count = n.attrs.int("num_partitions");
  const partitions = b.op("Reshape", [n.x(1), b.ints([-1])]);
  const isOutside = b.op("Or", [
    less(b, partitions, b.scalar("int32", 0)),
    not(b, less(b, partitions, b.scalar("int32", count))),
  ]);
  const checked = b.op("Add", [cast(b, partitions, "int64"), zeroOrFail(b, isOutside)]);
  const rows = rowsOf(n, n.x(0), n.x(1), innerShape(n, n.x(0), n.x(1)));
  return Array.from({ length: count }, (_, part) => {
    const found = b.op("NonZero", [equal(b, checked, b.scalar("int64", part))], {}, "int64");
    return b.op("Gather", [rows, b.op("Reshape", [found, b.ints([-1])])], { axis: 0 });
  });
};

/** The inverse: row i of the result is the last given row with index i; rows that nobody gives are 0. */
const dynamicStitch: Lower = (n) => {
  const { b } = n;
  const count = n.attrs.int("N");
  const indices = n.inputs.slice(0, count);
  const data = n.inputs.slice(count);
  const inner = innerShape(n, data[0]!, indices[0]!);
  const ids = guardedIndices(
    b,
    concat(
      b,
      indices.map((value) => b.op("Reshape", [value, b.ints([-1])])),
    ),
    "int64",
  );
  const rows = concat(
    b,
    data.map((value, i) => rowsOf(n, value, indices[i]!, inner)),
  );
  const base = filled(b, boundedShape(b, concat(b, [countOf(n, ids), inner])), rows.dtype, 0);
  return scatterND(n, base, column(n, ids), rows, "none");
};

/** Counts, or sums of weights, per value; values of `size` and more do not count, negative ones are errors. */
const bincount: Lower = (n) => {
  const { b } = n;
  const isDense = n.node.op === "DenseBincount";
  const isBinary = isDense && n.attrs.bool("binary_output");
  const weightShape = n.shape(2) ?? n.fail("it is unknown whether there are weights");
  const hasWeights = !weightShape.includes(0);
  if (hasWeights && weightShape.includes(-1)) n.fail("it is unknown whether there are weights");
  const isMatrix = isDense && n.needRank(0) === 2;
  const size = boundedLength(b, asScalar(b, cast(b, n.x(1), "int64")));
  const values = cast(b, n.x(0), "int64");
  const isOutside = not(b, less(b, values, size));
  const checked = b.op("Add", [values, zeroOrFail(b, less(b, values, b.scalar("int64", 0)))]);
  const target = where(b, isOutside, size, checked);
  const bins = b.op("Reshape", [b.op("Add", [size, b.scalar("int64", 1)]), b.ints([1])]);
  const dtype = n.outDtype();
  const updates = hasWeights && !isBinary ? n.x(2) : filled(b, shapeOf(b, values), dtype, 1);
  const sizeAt = b.op("Reshape", [size, b.ints([1])]);
  const reduction = isBinary ? "none" : "add";
  if (!isMatrix) {
    const flat = b.op("Reshape", [updates, b.ints([-1])]);
    return slice(b, scatterND(n, filled(b, bins, dtype, 0), column(n, target), flat, reduction), [0], sizeAt);
  }
  const rowCount = slice(b, shapeOf(b, values), [0], [1]);
  const row = b.op("Range", [b.scalar("int64", 0), asScalar(b, rowCount), b.scalar("int64", 1)]);
  const rows = b.op("Expand", [b.op("Unsqueeze", [row, b.ints([1])]), shapeOf(b, values)]);
  const indices = concat(
    b,
    [rows, target].map((value) => b.op("Unsqueeze", [value, b.ints([-1])])),
    -1,
  );
  const base = filled(b, boundedShape(b, concat(b, [rowCount, bins])), dtype, 0);
  return slice(b, scatterND(n, base, indices, updates, reduction), [0], sizeAt, [1]);
};

/** A longer list would make each element many times larger on the way; the host searches instead. */
const BOUNDARIES_MAX = 64;

/** Number of boundaries that are not above the value; NaN is above all, as std::upper_bound has it. */
const bucketize: Lower = (n) => {
  const { b } = n;
  const boundaries = n.attrs.floats("boundaries");
  if (boundaries.length > BOUNDARIES_MAX) n.fail(`more than ${BOUNDARIES_MAX} boundaries`);
  if (boundaries.length === 0) return filled(b, shapeOf(b, n.x(0)), "int32", 0);
  const dtype = n.dtype(0) === "float64" ? "float64" : "float32";
  const value = b.op("Unsqueeze", [cast(b, n.x(0), dtype), b.ints([-1])]);
  const list = b.constant(numbers(dtype, [boundaries.length], boundaries.map(Math.fround)));
  const isReached = not(b, less(b, value, list));
  // ONNX Runtime leaves the axis there when there is nothing to add up.
  const count = b.op("ReduceSum", [cast(b, isReached, "int32"), b.ints([-1])], { keepdims: 0 });
  return b.op("Reshape", [count, shapeOf(b, n.x(0))], { allowzero: 1 });
};

export const scatters: LoweringTable = {
  ScatterNd: scatterNd,
  TensorScatterUpdate: tensorScatter("none"),
  TensorScatterAdd: tensorScatter("add"),
  TensorScatterSub: tensorScatter("add", true),
  TensorScatterMax: tensorScatter("max"),
  TensorScatterMin: tensorScatter("min"),
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
  SparseTensorDenseMatMul: sparseDenseMatmul,
  DynamicPartition: dynamicPartition,
  DynamicStitch: dynamicStitch,
  ParallelDynamicStitch: dynamicStitch,
  Bincount: bincount,
  DenseBincount: bincount,
  Bucketize: bucketize,
};
