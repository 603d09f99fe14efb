import type { Value } from "../proto/builder.js";
import { channelsLast, lineOfRow, perChannel } from "./channels.js";
import { cast, dtypes, isFloat, transpose, widened } from "../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "./node-lowering.js";

/** Matrix products, and the bias that follows one. */

const MATMUL_KERNELS = dtypes("float32 float64 float16 int32 int64 uint32 uint64");

/** The input, which must be a matrix: Gemm would take a vector too. Keeping two dimensions as they are costs no copy. */
function matrix(n: NodeLowering, input: number): Value {
  const rank = n.rank(input);
  if (rank === 2) return n.x(input);
  return rank === undefined ? n.b.op("Reshape", [n.x(input), n.b.ints([0, 0])]) : n.fail(`input ${input} is no matrix`);
}

/** Gemm, because it insists on matrices as TensorFlow does; ONNX's MatMul takes any rank. */
const matmul: Lower = (n) => {
  const transA = Number(n.attrs.bool("transpose_a"));
  const transB = Number(n.attrs.bool("transpose_b"));
  if (isFloat(n.dtype(0)) && n.dtype(0) === n.dtype(1)) {
    return n.b.op("Gemm", [matrix(n, 0), matrix(n, 1)], { transA, transB });
  }
  if (n.dtype(0) !== n.dtype(1)) n.fail("a product of different dtypes");
  return widened(n.b, MATMUL_KERNELS, "ring", [n.x(0), n.x(1)], ([a, b]) =>
    n.b.op("MatMul", [transA ? transpose(n.b, a!, [1, 0]) : a!, transB ? transpose(n.b, b!, [1, 0]) : b!]),
  );
};

/** A product whose factors were told to hold many zeros: of float32 and bfloat16, in float32. */
const sparseMatmul: Lower = (n) => {
  const [transA, transB] = [Number(n.attrs.bool("transpose_a")), Number(n.attrs.bool("transpose_b"))];
  return n.b.op("Gemm", [matrix(n, 0), matrix(n, 1)], { transA, transB });
};

/** Swaps the last two dimensions. */
function swapped(n: NodeLowering, input: number, value: Value): Value {
  const rank = n.needRank(input);
  const perm = Array.from({ length: rank }, (_, i) => i);
  [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
  return n.b.op("Transpose", [value], { perm });
}

/**
 * Both factors in the dtype of the answer. BatchMatMulV3 takes bytes too: two of them make int32 (MatMulInteger would saturate on
 * the way on some CPUs), one beside bfloat16 makes bfloat16, which is float32 here.
 */
function factors(n: NodeLowering): [Value, Value] {
  const [left, right, out] = [n.x(0), n.x(1), n.outDtype()];
  const isByte = ({ dtype }: Value): boolean => dtype === "int8" || dtype === "uint8";
  const bytes = [left, right].filter(isByte).length;
  const isKnown =
    (left.dtype === out && right.dtype === out) ||
    (bytes === 2 && out === "int32") ||
    (bytes === 1 && out === "float32" && (left.dtype === out || right.dtype === out));
  if (!isKnown) n.fail("a product of different dtypes");
  return [cast(n.b, left, out), cast(n.b, right, out)];
}

const batchMatmul: Lower = (n) => {
  const transA = n.attrs.bool("adj_x");
  const transB = n.attrs.bool("adj_y");
  const [left, right] = factors(n);
  if (!transA && !transB) return widened(n.b, MATMUL_KERNELS, "ring", [left, right], (x) => n.b.op("MatMul", x));
  if (left.dtype === "float32" || left.dtype === "float64") {
    return n.b.op("com.microsoft:FusedMatMul", [left, right], { transA: Number(transA), transB: Number(transB) });
  }
  return widened(n.b, MATMUL_KERNELS, "ring", [left, right], ([x, y]) =>
    n.b.op("MatMul", [transA ? swapped(n, 0, x!) : x!, transB ? swapped(n, 1, y!) : y!]),
  );
};

/** x + bias, as part of the Gemm that made x where nothing else reads it. */
function withBias(n: NodeLowering): Value {
  const { row, channelsFirst: first } = n.x(0);
  if (row && first?.rank === 3) {
    return lineOfRow(n.b, n.b.op("Add", [row, perChannel(n.b, n.x(1), n.dim(1, 0), 4)]));
  }
  if (first) {
    const bias = perChannel(n.b, n.x(1), n.dim(1, 0), first.rank);
    return channelsLast(n.b, n.b.op("Add", [first.value, bias]), first.rank);
  }
  return (n.isSoleUse(0) && n.b.addGemmBias(n.x(0), n.x(1))) || n.b.op("Add", [n.x(0), n.x(1)]);
}

const biasAdd: Lower = (n) => {
  if (n.attrs.text("data_format") !== "NCHW") return withBias(n);
  // The channel is dimension 1 whatever the rank: [C, 1, 1, ...].
  const rank = n.needRank(0);
  const shape = n.b.ints([-1, ...Array.from({ length: rank - 2 }, () => 1)]);
  return n.b.op("Add", [n.x(0), n.b.op("Reshape", [n.x(1), shape])]);
};

export const products: LoweringTable = {
  MatMul: matmul,
  SparseMatMul: sparseMatmul,
  BatchMatMul: batchMatmul,
  BatchMatMulV2: batchMatmul,
  BatchMatMulV3: batchMatmul,
  BiasAdd: biasAdd,
  BiasAddV1: withBias,
};
