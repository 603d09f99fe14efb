import { toNumbers } from "@shardserve/tensor";
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import {
  boundedLength,
  asScalar,
  cast,
  concat,
  dtypes,
  equal,
  filled,
  intVector,
  isFloat,
  less,
  rankOf,
  shapeOf,
  slice,
  widened,
} from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/** Reductions along axes, arg-extremes, running sums and the largest k. */

const SUM_KERNELS = dtypes("float32 float64 float16 int32 int64");
const EXTREME_KERNELS = dtypes("float32 float64 float16 int32 int64 uint8 int8");
const ARG_KERNELS = dtypes("float32 uint8 int8 int32 int64 float16 float64");
const TOPK_KERNELS = dtypes("float32 uint8 int8 int16 int32 int64 float16 float64");

/** Reduces `value` over the axes of input 1; no axes means nothing to do. */
function reduceOver(n: NodeLowering, op: string, value: Value): Value {
  const axes = n.needNumbers(1);
  if (axes.length === 0) return value;
  const rank = n.rank(0);
  const distinct = new Set(axes.map((axis) => (axis < 0 && rank !== undefined ? axis + rank : axis)));
  if (distinct.size < axes.length) n.fail("an axis that is named twice");
  const keepdims = Number(n.attrs.bool("keep_dims"));
  return n.b.op(op, [value, axesFromFront(n, value, axes)], { keepdims, noop_with_empty_axes: 1 });
}

/** Axes counted from the front: of an input without elements the engine reduces none that is counted from the back. */
function axesFromFront(n: NodeLowering, value: Value, axes: readonly number[]): Value {
  const { b } = n;
  const rank = n.rank(0);
  if (axes.every((axis) => axis >= 0)) return b.ints(axes);
  if (rank !== undefined) return b.ints(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const isFromBack = b.ints(axes.map((axis) => (axis < 0 ? 1 : 0)));
  return b.op("Add", [b.ints(axes), b.op("Mul", [isFromBack, rankOf(b, value)])]);
}

/**
 * Integer sums, exact modulo the width as TensorFlow's. ONNX Runtime adds integers in float64 and saturates, so they are
 * added as two halves of 32 bits: exact up to 2^21 elements a sum.
 */
function exactSum(n: NodeLowering, value: Value): Value {
  const { b } = n;
  if (isFloat(value.dtype)) return reduceOver(n, "ReduceSum", value);
  const wide = cast(b, value, "int64");
  const isShort = value.dtype !== "int64" && value.dtype !== "uint64";
  if (isShort) return cast(b, reduceOver(n, "ReduceSum", wide), value.dtype);
  const base = b.scalar("int64", 2 ** 32);
  const low = b.op("BitwiseAnd", [wide, b.scalar("int64", 2 ** 32 - 1)]);
  const high = b.op("Div", [b.op("Sub", [wide, low]), base]);
  const sum = b.op("Add", [b.op("Mul", [reduceOver(n, "ReduceSum", high), base]), reduceOver(n, "ReduceSum", low)]);
  return cast(b, sum, value.dtype);
}

/** Longest axis over which integers are multiplied one by one. */
const FACTORS_MAX = 8;
const PRODUCT_KERNELS = dtypes("int32 int64");

const product: Lower = (n) => (isFloat(n.dtype(0)) ? reduceOver(n, "ReduceProd", n.x(0)) : integerProduct(n));

/**
 * Products of few integers, such as lengths out of a shape, exact modulo the width as TensorFlow's. ONNX Runtime's reduction
 * multiplies in float64.
 */
function integerProduct(n: NodeLowering): Value {
  const { b } = n;
  const rank = n.needRank(0);
  const axes = n.needNumbers(1).map((axis) => (axis < 0 ? axis + rank : axis));
  if (new Set(axes).size < axes.length) n.fail("an axis that is named twice");
  return widened(b, PRODUCT_KERNELS, "ring", [n.x(0)], ([factors]) => {
    const kept = axes.reduce((value, axis) => {
      const length = n.dim(0, axis);
      if (!length || length > FACTORS_MAX) n.fail("a product of no integers or of many");
      const parts = Array.from({ length }, (_, i) => slice(b, value, [i], [i + 1], [axis]));
      return parts.reduce((left, right) => b.op("Mul", [left, right]));
    }, factors!);
    return n.attrs.bool("keep_dims") || axes.length === 0 ? kept : b.op("Squeeze", [kept, b.ints(axes)]);
  });
}

const euclideanNorm: Lower = (n) => {
  if (!isFloat(n.dtype(0))) n.fail(`no engine kernel for ${n.dtype(0)}`);
  const square = n.b.op("Mul", [n.x(0), n.x(0)]);
  return n.b.op("Sqrt", [reduceOver(n, "ReduceSum", square)]);
};

function extreme(op: "ReduceMax" | "ReduceMin"): Lower {
  return (n) =>
    widened(n.b, EXTREME_KERNELS, "order", [n.x(0)], ([value]) => {
      const found = reduceOver(n, op, value!);
      if (n.dtype(0) !== "int16" || !hasEmptyBatch(n)) return found;
      // The extreme of nothing is the wider dtype's.
      const isMax = op === "ReduceMax";
      return n.b.op(isMax ? "Max" : "Min", [found, n.b.scalar(found.dtype, isMax ? -(2 ** 15) : 2 ** 15 - 1)]);
    });
}

/** The mean of nothing is NaN in TensorFlow and 0 in ONNX Runtime, so divide by hand unless there is surely something. */
const mean: Lower = (n) => {
  const { b } = n;
  const axes = n.numbers(1);
  if (isFloat(n.dtype(0)) && axes && n.rank(0) !== undefined && axes.every((axis) => (n.dim(0, axis) ?? 0) > 0)) {
    return reduceOver(n, "ReduceMean", n.x(0));
  }
  const value = n.x(0);
  if (!isFloat(value.dtype)) n.fail("a mean of integers");
  const lengths = b.op("Gather", [shapeOf(b, value), intVector(b, n.x(1))]);
  const count = asScalar(b, b.op("ReduceProd", [lengths], { keepdims: 1 }));
  return b.op("Div", [reduceOver(n, "ReduceSum", value), cast(b, count, value.dtype)]);
};

/** Through int32, where ONNX Runtime's extremes of nothing are INT_MAX, hence true, as TensorFlow's. */
const all: Lower = (n) => cast(n.b, reduceOver(n, "ReduceMin", cast(n.b, n.x(0), "int32")), "bool");
const any: Lower = (n) => cast(n.b, reduceOver(n, "ReduceSum", cast(n.b, n.x(0), "int64")), "bool");

/** True when a request may make an input of no elements, or nothing says otherwise. */
function hasEmptyBatch(n: NodeLowering): boolean {
  return n.shape(0)?.every((length) => length > 0) !== true;
}

/** The engine's ArgMax and ArgMin answer an input without elements in the input's own shape. */
function reshapedWithout(n: NodeLowering, found: Value, input: Value, axis: number): Value {
  const { b } = n;
  const before = axis === 0 ? [] : [b.op("Shape", [input], { start: 0, end: axis }, "int64")];
  const after = axis === -1 ? [] : [b.op("Shape", [input], { start: axis + 1 }, "int64")];
  return b.op("Reshape", [found, b.op("Concat", [...before, ...after], { axis: 0 }, "int64")], { allowzero: 1 });
}

function argExtreme(op: "ArgMax" | "ArgMin"): Lower {
  return (n) => {
    const via = { uint16: "int32", int16: "int32", uint32: "int64", bool: "uint8" } as const;
    const { dtype } = n.x(0);
    const value = ARG_KERNELS.has(dtype)
      ? n.x(0)
      : cast(n.b, n.x(0), via[dtype as "bool"] ?? n.fail(`no kernel for ${dtype}`));
    const axis = n.inputs.length > 1 ? n.needNumber(1) : 0;
    const compared = isFloat(value.dtype) ? withoutNaN(n.b, value, op === "ArgMax" ? -Infinity : Infinity) : value;
    const found = n.b.op(op, [compared], { axis, keepdims: 0 }, "int64");
    return cast(n.b, hasEmptyBatch(n) ? reshapedWithout(n, found, value, axis) : found, n.outDtype());
  };
}

/** TensorFlow never finds NaN; the engine finds it where it comes first. */
function withoutNaN(b: OnnxBuilder, value: Value, least: number): Value {
  return b.op("Where", [b.op("IsNaN", [value], {}, "bool"), b.scalar(value.dtype, least), value], {}, value.dtype);
}

const cumsum: Lower = (n) => {
  const attrs = { exclusive: Number(n.attrs.bool("exclusive")), reverse: Number(n.attrs.bool("reverse")) };
  const axis = asScalar(n.b, cast(n.b, n.x(1), "int64"));
  return widened(n.b, SUM_KERNELS, "ring", [n.x(0)], ([value]) => n.b.op("CumSum", [value!, axis], attrs));
};

function isSurelyFilled(n: NodeLowering, input: number): boolean {
  return n.shape(input)?.every((length) => length > 0) ?? false;
}

/** No rows kill the process inside ONNX Runtime's TopK (division by 0), so they never reach it. */
function whereFilled(n: NodeLowering, value: Value, k: Value, compute: () => Value[]): Value[] {
  const { b } = n;
  const size = b.op("Size", [value], {}, "int64");
  const isFilled = less(b, b.scalar("int64", 0), size);
  return b.choose(isFilled, [value.dtype, "int64"], compute, () => {
    const shape = concat(b, [slice(b, shapeOf(b, value), [0], [-1]), k]);
    return [filled(b, shape, value.dtype, 0), filled(b, shape, "int64", 0)];
  });
}

/** Ties: the lower index first, in TensorFlow and in ONNX Runtime. */
const topK: Lower = (n) => {
  const asked = n.inputs.length > 1 ? intVector(n.b, n.x(1)) : n.b.ints([n.attrs.int("k")]);
  const k = asked.tensor ? asked : boundedLength(n.b, asked);
  const count = k.tensor && toNumbers(k.tensor)[0];
  const isOrdered = n.attrs.bool("sorted") || count === 1 || (count !== undefined && count === n.dim(0, -1));
  if (!isOrdered) n.fail("the order in which TensorFlow leaves its heap");
  const via = { uint16: "int32", uint32: "int64" } as const;
  const { dtype } = n.x(0);
  const value = TOPK_KERNELS.has(dtype)
    ? n.x(0)
    : cast(n.b, n.x(0), via[dtype as "uint16"] ?? n.fail(`no kernel for ${dtype}`));
  const attrs = { axis: -1, largest: 1, sorted: 1 };
  const compute = () => n.b.ops("TopK", [value, k], [value.dtype, "int64"], attrs);
  const [values, indices] = isSurelyFilled(n, 0) ? compute() : whereFilled(n, value, k, compute);
  const places = isFloat(value.dtype) && count !== 1 ? inOrderWhereNaN(n.b, values!, indices!, k) : indices!;
  return [cast(n.b, values!, dtype), cast(n.b, places, n.outDtype(1))];
};

/** Of a row that is all NaN, the first in their order, as TensorFlow; ONNX Runtime leaves them as its heap or sort does. */
function inOrderWhereNaN(b: OnnxBuilder, values: Value, indices: Value, k: Value): Value {
  const isNaN = cast(b, b.op("IsNaN", [values], {}, "bool"), "int32");
  const count = b.op("ReduceSum", [isNaN, b.ints([-1])], { keepdims: 1 });
  const order = b.op("Range", [b.scalar("int64", 0), asScalar(b, k), b.scalar("int64", 1)]);
  return b.op("Where", [equal(b, count, cast(b, k, "int32")), order, indices]);
}

const l2Loss: Lower = (n) => {
  const sum = n.b.op("ReduceSumSquare", [n.x(0)], { keepdims: 0 });
  return n.b.op("Div", [sum, n.b.scalar(n.dtype(0), 2)]);
};

export const reductions: LoweringTable = {
  Sum: (n) => exactSum(n, n.x(0)),
  Prod: product,
  Max: extreme("ReduceMax"),
  Min: extreme("ReduceMin"),
  Mean: mean,
  All: all,
  Any: any,
  EuclideanNorm: euclideanNorm,
  L2Loss: l2Loss,
  ArgMax: argExtreme("ArgMax"),
  ArgMin: argExtreme("ArgMin"),
  Cumsum: cumsum,
  TopK: topK,
  TopKV2: topK,
};
