import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import {
  boundedLength,
  cast,
  concat,
  dtypes,
  equal,
  filled,
  guardedIndices,
  isFloat,
  less,
  not,
  shapeOf,
  where,
  zeroOrFail,
  asScalar,
} from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/** Reading by index. Out of range is an error, and so is a negative index, which ONNX would count from the end. */

/** Gather along `axis` where the first `batchDims` dimensions of values and indices go together. */
function gatherAlong(n: NodeLowering, axis: number, batchDims: number): Value {
  const { b } = n;
  const params = n.x(0);
  if (batchDims === 0) return b.op("Gather", [params, guardedIndices(b, n.x(1))], { axis });
  const indicesRank = batchDims < 0 ? n.needRank(1) : undefined;
  const batch = batchDims < 0 ? indicesRank! + batchDims : batchDims;
  const at = axis < 0 ? n.needRank(0) + axis : axis;
  const indices = b.op("Unsqueeze", [inSameBatch(n, guardedIndices(b, n.x(1), "int64"), batch), b.ints([-1])]);
  if (at === batch) return b.op("GatherND", [params, indices], { batch_dims: batch });
  if (at < batch) n.fail(`axis ${at} is less than batch_dims ${batch}`);
  // Bring the axis next to the batch, gather, and move the gathered dimensions back behind what stood between.
  const rank = n.needRank(0);
  const between = at - batch;
  const picked = n.needRank(1) - batch;
  const front = Array.from({ length: batch }, (_, i) => i);
  const before = Array.from({ length: between }, (_, i) => batch + i);
  const after = Array.from({ length: rank - at - 1 }, (_, i) => at + 1 + i);
  const moved = b.op("Transpose", [params], { perm: [...front, at, ...before, ...after] });
  const gathered = b.op("GatherND", [moved, indices], { batch_dims: batch });
  const perm = [
    ...front,
    ...before.map((_, i) => batch + picked + i),
    ...Array.from({ length: picked }, (_, i) => batch + i),
    ...after.map((_, i) => batch + picked + between + i),
  ];
  return b.op("Transpose", [gathered], { perm });
}

/** The indices, unless their batch dimensions are not those of the values: the engine would read on with what it has. */
function inSameBatch(n: NodeLowering, indices: Value, batch: number): Value {
  const { b } = n;
  const isSurelySame = (axis: number): boolean => n.dim(0, axis) !== undefined && n.dim(0, axis) === n.dim(1, axis);
  if (Array.from({ length: batch }, (_, axis) => axis).every(isSurelySame)) return indices;
  const [ofValues, ofIndices] = [n.x(0), indices].map((value) => b.op("Shape", [value], { end: batch }, "int64"));
  const zeros = zeroOrFail(b, not(b, equal(b, ofValues!, ofIndices!)));
  return b.op("Add", [indices, b.op("ReduceSum", [zeros], { keepdims: 0 })]);
}

function batchDimsOf(n: NodeLowering): number {
  return n.attrs.has("batch_dims") ? n.attrs.int("batch_dims") : 0;
}

const gatherV2: Lower = (n) => gatherAlong(n, n.needNumber(2), batchDimsOf(n));
const gatherRowsByBatch: Lower = (n) => gatherAlong(n, batchDimsOf(n), batchDimsOf(n));

const gatherNd: Lower = (n) => {
  if (n.attrs.has("bad_indices_policy") && !["", "DEFAULT", "ERROR"].includes(n.attrs.text("bad_indices_policy"))) {
    n.fail(`bad_indices_policy ${n.attrs.text("bad_indices_policy")}`);
  }
  const depth = n.dim(1, -1);
  if (depth === undefined || depth === 0) n.fail("the index depth is unknown or 0");
  return n.b.op("GatherND", [n.x(0), guardedIndices(n.b, n.x(1), "int64")]);
};

/** The device end of a cut lookup: the engine has checked the slots. */
const gatherRows: Lower = (n) => n.b.op("Gather", [n.x(0), n.x(1)], { axis: 0 });

const ONEHOT_KERNELS = dtypes("float32 int64");

/** Indices outside [0, depth) give an all-off row; ONNX would count negative ones from the end. */
const oneHot: Lower = (n) => {
  const { b } = n;
  const axis = n.attrs.int("axis");
  const indices = cast(b, n.x(0), "int64");
  let depth = asScalar(b, cast(b, n.x(1), "int64"));
  if (!n.numbers(1)) {
    const size = b.op("Mul", [b.op("Size", [indices], {}, "int64"), depth]);
    depth = b.op("Add", [boundedLength(b, depth), b.op("Sub", [boundedLength(b, size), size])]);
  }
  // The ONNX op wants at least one dimension and one class.
  if (!n.rank(0) || (n.numbers(1)?.[0] ?? 0) === 0) {
    const classes = classesAlong(b, depth, indices, axis);
    return where(b, equal(b, b.op("Unsqueeze", [indices, b.ints([axis])]), classes), n.x(2), n.x(3));
  }
  const safe = where(b, less(b, indices, b.scalar("int64", 0)), depth, indices);
  const [on, off] = [n.x(2), n.x(3)];
  if (ONEHOT_KERNELS.has(on.dtype)) {
    const values = b.op(
      "Concat",
      [off, on].map((value) => b.op("Reshape", [value, b.ints([1])])),
      { axis: 0 },
    );
    return b.op("OneHot", [safe, depth, values], { axis }, on.dtype);
  }
  const isOn = cast(b, b.op("OneHot", [safe, depth, b.ints([0, 1])], { axis }, "int64"), "bool");
  return where(b, isOn, on, off);
};

/** 0 to `depth` - 1 along `axis` of what indices are compared with: [depth, 1, 1, ...], a 1 for each dimension behind it. */
function classesAlong(b: OnnxBuilder, depth: Value, indices: Value, axis: number): Value {
  const classes = b.op("Range", [b.scalar("int64", 0), depth, b.scalar("int64", 1)]);
  if (axis === -1) return classes;
  const behind = b.op("Sub", [b.op("Size", [shapeOf(b, indices)], {}, "int64"), b.scalar("int64", axis)]);
  const ones = filled(b, b.op("Reshape", [behind, b.ints([1])]), "int64", 1);
  return b.op("Reshape", [classes, concat(b, [b.ints([-1]), ones])]);
}

const UNIQUE_KERNELS = dtypes("float32 int8 int64 float64");

/** Values in order of first occurrence, the position of each element among them and, asked for, their counts. */
const unique: Lower = (n) => {
  const { b } = n;
  const axis = n.node.op === "UniqueV2" || n.node.op === "UniqueWithCountsV2" ? n.needNumbers(1) : [];
  if (axis.length > 0 && n.rank(0) !== 1) n.fail("unique slices along an axis");
  if (n.needRank(0) !== 1) n.fail("unique elements of what is no vector");
  const { dtype } = n.x(0);
  if (isFloat(dtype)) n.fail("NaN is unlike itself only for the host");
  const via = isNarrowInt(dtype) ? "int64" : dtype;
  if (!UNIQUE_KERNELS.has(via)) n.fail(`no engine kernel for ${dtype}`);
  const [values, , positions, counts] = b.ops("Unique", [cast(b, n.x(0), via)], [via, "int64", "int64", "int64"], {
    sorted: 0,
  });
  const outputs = [cast(b, values!, dtype), cast(b, positions!, n.outDtype(1))];
  if (n.outputCount > 2) outputs.push(cast(b, counts!, n.outDtype(2)));
  return outputs;
};

function isNarrowInt(dtype: string): boolean {
  return ["int32", "int16", "uint8", "uint16", "uint32", "uint64"].includes(dtype);
}

/** Diagonal matrices: values where row and column agree, else the padding 0. */
const matrixBandPart: Lower = (n) => {
  const { b } = n;
  const kernels = dtypes("float32 float64 int32 int64 bool");
  if (!kernels.has(n.dtype(0))) n.fail(`no engine kernel for ${n.dtype(0)}`);
  const lower = n.needNumber(1);
  const upper = n.needNumber(2);
  let value = n.x(0);
  // More diagonals than rows or columns are an error.
  const checked = (count: number, axis: number) => {
    const length = b.op("Gather", [shapeOf(b, n.x(0)), b.scalar("int64", axis)]);
    return zeroOrFail(b, less(b, length, b.scalar("int64", count)));
  };
  const diagonal = (offset: number, check: Value) => b.op("Add", [b.scalar("int64", offset), check]);
  if (upper >= 0) value = b.op("Trilu", [value, diagonal(upper, checked(upper, -1))], { upper: 0 });
  if (lower >= 0) value = b.op("Trilu", [value, diagonal(-lower, checked(lower, -2))], { upper: 1 });
  return value;
};

const matrixDiag: Lower = (n) => {
  const { b } = n;
  const length = b.op("Gather", [shapeOf(b, n.x(0)), b.scalar("int64", -1)]);
  const index = b.op("Range", [b.scalar("int64", 0), length, b.scalar("int64", 1)]);
  const isDiagonal = equal(b, index, b.op("Unsqueeze", [index, b.ints([1])]));
  const zero = filled(b, b.ints([]), n.dtype(0), 0);
  return where(b, isDiagonal, b.op("Unsqueeze", [n.x(0), b.ints([-1])]), zero);
};

export const gathers: LoweringTable = {
  Gather: gatherRowsByBatch,
  GatherV2: gatherV2,
  ResourceGather: gatherRowsByBatch,
  GatherNd: gatherNd,
  ResourceGatherNd: gatherNd,
  GatherRows: gatherRows,
  OneHot: oneHot,
  Unique: unique,
  UniqueV2: unique,
  UniqueWithCounts: unique,
  UniqueWithCountsV2: unique,
  MatrixBandPart: matrixBandPart,
  MatrixDiag: matrixDiag,
};
