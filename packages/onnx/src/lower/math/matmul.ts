import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { channelsLast, lineOfRow, perChannel } from "../convolution/channels.js";
import { axes } from "../convolution/conv-layout.js";
import { cast, dtypes, isFloat, shapeOf, transpose, widened } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

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

/**
 * Factor `input` such that it broadcasts against an empty batch of the other, which ONNX Runtime refuses: where the other's length is open, a batch
 * of one is cut to no more than that. A right factor that is one matrix, behind whatever ones, needs no care: all rows of the left are
 * multiplied with it as one, which they are not where the left is transposed.
 */
function besideEmpty(n: NodeLowering, input: 0 | 1, value: Value): Value {
  const [own, other] = [n.shape(input)?.slice(0, -2), n.shape(1 - input)?.slice(0, -2)];
  if (!own || !other) return value;
  const missing = Math.max(0, other.length - own.length);
  const aligned = [...Array.from({ length: missing }, () => 1), ...own];
  const open = aligned.flatMap((length, i) => {
    const at = i - (aligned.length - other.length);
    return length === 1 && at >= 0 && !(other[at]! > 0) ? [{ axis: i, at }] : [];
  });
  if (open.length === 0) return value;
  const { b } = n;
  const isBehindRows = input === 1 && !n.attrs.bool("adj_x");
  if (isBehindRows && aligned.length === other.length && aligned.every((length) => length === 1)) {
    return own.length === 0 ? value : b.op("Squeeze", [value, b.ints(axes(0, own.length))]);
  }
  const wide = missing === 0 ? value : b.op("Unsqueeze", [value, b.ints(axes(0, missing))]);
  const [from, at] = [b.ints(open.map(() => 0)), b.ints(open.map(({ axis }) => axis))];
  const ends = b.op("Gather", [shapeOf(b, n.x(1 - input)), b.ints(open.map((dim) => dim.at))]);
  return b.op("Slice", [wide, from, ends, at]);
}

type Pair = readonly [Value, Value];

/** Whether ONNX Runtime makes the node behind a factor one with the product: a transposition of its first or last axis, also through a cast. */
function isTurned(b: OnnxBuilder, name: string): boolean {
  const node = b.maker(name);
  if (node?.op === "Cast") return isTurned(b, node.inputs[0]!);
  const perm = node?.op === "Transpose" ? node.attrs.perm : undefined;
  return Array.isArray(perm) && (perm[0] !== 0 || perm.at(-1) !== perm.length - 1);
}

/**
 * FusedMatMul leaves its answer as it finds the memory where k is 0: zeros are right, and what it finds may be another request's. The
 * product stands in a branch of its own also because nothing outside is made one with it there.
 *
 * @param added  the axis of the left factor that is summed over
 */
function orZeros(b: OnnxBuilder, pair: Pair, added: number, product: (pair: Pair) => Value): Value {
  const k = b.op("Gather", [shapeOf(b, pair[0]), b.scalar("int64", added)]);
  const isNothing = b.op("Equal", [k, b.scalar("int64", 0)], {}, "bool");
  const zeros = (): Value => {
    const made = product(pair);
    return b.op("Expand", [b.scalar(made.dtype, 0), shapeOf(b, made)]);
  };
  return b.choose(
    isNothing,
    [pair[0].dtype],
    () => [zeros()],
    () => [product(pair)],
  )[0]!;
}

/**
 * Factors of ranks that nobody knows cannot be made to broadcast against an empty batch (`besideEmpty`). Where one of them holds nothing, the answer is
 * zeros of the shape that both make, or the refusal of factors that do not fit.
 */
function unlessEmpty(b: OnnxBuilder, pair: Pair, adjoint: readonly [boolean, boolean], product: () => Value): Value {
  const [left, right] = [shapeOf(b, pair[0]), shapeOf(b, pair[1])];
  const length = (shape: Value, at: number): Value => b.op("Gather", [shape, b.ints([at])]);
  const batch = (shape: Value): Value => b.op("Slice", [shape, b.ints([0]), b.ints([-2])]);
  const zeros = (of: Value, shape: readonly Value[]): Value => b.op("Expand", [of, b.op("Concat", shape, { axis: 0 })]);
  const none = (): Value => {
    const [rows, leftK] = adjoint[0] ? [-1, -2] : [-2, -1];
    const [rightK, columns] = adjoint[1] ? [-1, -2] : [-2, -1];
    const [zero, nothing, one] = [b.scalar("float32", 0), b.ints([0]), b.ints([1])];
    const fitting = b.op("MatMul", [
      zeros(zero, [nothing, length(left, leftK)]),
      zeros(zero, [length(right, rightK), nothing]),
    ]);
    const sum = cast(b, b.op("ReduceSum", [fitting], { keepdims: 0 }), pair[0].dtype);
    const ofLeft = zeros(sum, [batch(left), length(left, rows), one]);
    return zeros(ofLeft, [batch(right), one, length(right, columns)]);
  };
  const shortest = b.op("ReduceMin", [b.op("Concat", [left, right], { axis: 0 })], { keepdims: 0 });
  const isEmpty = b.op("Equal", [shortest, b.scalar("int64", 0)], {}, "bool");
  return b.choose(
    isEmpty,
    [pair[0].dtype],
    () => [none()],
    () => [product()],
  )[0]!;
}

const batchMatmul: Lower = (n) => {
  const adjoint = [n.attrs.bool("adj_x"), n.attrs.bool("adj_y")] as const;
  const given = factors(n);
  const isFused = (adjoint[0] || adjoint[1]) && (given[0].dtype === "float32" || given[0].dtype === "float64");
  const factor = (input: 0 | 1): Value =>
    besideEmpty(n, input, adjoint[input] && !isFused ? swapped(n, input, given[input]) : given[input]);
  const both: Pair = [factor(0), factor(1)];
  const product = (pair: Pair): Value =>
    isFused
      ? n.b.op("com.microsoft:FusedMatMul", pair, { transA: Number(adjoint[0]), transB: Number(adjoint[1]) })
      : widened(n.b, MATMUL_KERNELS, "ring", pair, (x) => n.b.op("MatMul", x));
  if (!n.shape(0) || !n.shape(1))
    return unlessEmpty(n.b, both, isFused ? adjoint : [false, false], () => product(both));
  const [left, right] = [adjoint[0] ? -2 : -1, adjoint[1] ? -1 : -2];
  const addsSomething = (n.dim(0, left) ?? 0) > 0 || (n.dim(1, right) ?? 0) > 0;
  if (addsSomething || !(isFused || both.some(({ name }) => isTurned(n.b, name)))) return product(both);
  return orZeros(n.b, both, isFused ? left : -1, product);
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
