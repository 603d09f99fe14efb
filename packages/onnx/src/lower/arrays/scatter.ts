/** Rows written by index: scatters, partitions and their inverse. All rest on ScatterND. */
import type { Value } from "../../proto/value.js";
import {
  boundedLength,
  boundedShape,
  cast,
  concat,
  equal,
  filled,
  guardedIndices,
  INT64_MAX,
  less,
  not,
  shapeOf,
  slice,
  zeroOrFail,
} from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

export type Reduction = "none" | "add" | "mul" | "max" | "min";

/** ScatterND; sums, products and extremes of float16 in float32, as ONNX Runtime has no kernel for them. */
export function scatterND(n: NodeLowering, base: Value, indices: Value, updates: Value, reduction: Reduction): Value {
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
export function innerShape(n: NodeLowering, data: Value, ids: Value): Value {
  const { b } = n;
  const idsRank = b.op("Size", [shapeOf(b, ids)], {}, "int64");
  const start = b.op("Reshape", [idsRank, b.ints([1])]);
  return slice(b, shapeOf(b, data), start, [INT64_MAX]);
}

/** Number of elements, as an int64 vector of one. */
export function sizeVector(n: NodeLowering, value: Value): Value {
  return n.b.op("Reshape", [n.b.op("Size", [value], {}, "int64"), n.b.ints([1])]);
}

/** Elements of `data` as rows [number of ids, ...inner]. */
export function rowsOf(n: NodeLowering, data: Value, ids: Value, inner: Value): Value {
  return n.b.op("Reshape", [data, concat(n.b, [sizeVector(n, ids), inner])], { allowzero: 1 });
}

/** Ids of any shape as index tuples [ids, 1]. */
export function column(n: NodeLowering, ids: Value): Value {
  return n.b.op("Reshape", [ids, n.b.ints([-1, 1])]);
}

/** Largest id + 1; 0 when there are none. */
export function countOf(n: NodeLowering, ids: Value): Value {
  const { b } = n;
  const largest = b.op("ReduceMax", [concat(b, [b.ints([-1]), ids])], { keepdims: 1 });
  return boundedLength(b, b.op("Add", [largest, b.ints([1])]));
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

export const scatters: LoweringTable = {
  ScatterNd: scatterNd,
  TensorScatterUpdate: tensorScatter("none"),
  TensorScatterAdd: tensorScatter("add"),
  TensorScatterSub: tensorScatter("add", true),
  TensorScatterMax: tensorScatter("max"),
  TensorScatterMin: tensorScatter("min"),
  SparseTensorDenseMatMul: sparseDenseMatmul,
  DynamicPartition: dynamicPartition,
  DynamicStitch: dynamicStitch,
  ParallelDynamicStitch: dynamicStitch,
};
