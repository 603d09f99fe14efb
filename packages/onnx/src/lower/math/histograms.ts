/** How many values there are of each kind, and of which kind a value is. */
import { numbers } from "../../proto/numbers.js";
import {
  asScalar,
  boundedLength,
  boundedShape,
  cast,
  concat,
  filled,
  less,
  not,
  shapeOf,
  slice,
  where,
  zeroOrFail,
} from "../../proto/emit.js";
import type { Lower, LoweringTable } from "../node-lowering.js";
import { scatterND, column } from "../arrays/scatter.js";

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

export const histograms: LoweringTable = {
  Bincount: bincount,
  DenseBincount: bincount,
  Bucketize: bucketize,
};
