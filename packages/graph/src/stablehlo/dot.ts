import { attr } from "@shardserve/savedmodel";
import type { DType } from "@shardserve/tensor";
import type { Ref } from "./function-builder.js";
import { axesOf, checkedAxes, type OpTranslation, type Translate } from "./translation.js";

/** Products of matrices: as MatMul where it is one, as Einsum, and for integers, which Einsum lacks, as sums of products. */

interface Dimensions {
  readonly lhsBatch: readonly number[];
  readonly rhsBatch: readonly number[];
  readonly lhsContracting: readonly number[];
  readonly rhsContracting: readonly number[];
}

const dotGeneral: Translate = (t) => {
  const dims: Dimensions = {
    lhsBatch: t.attrs.ints("lhs_batching_dimensions"),
    rhsBatch: t.attrs.ints("rhs_batching_dimensions"),
    lhsContracting: t.attrs.ints("lhs_contracting_dimensions"),
    rhsContracting: t.attrs.ints("rhs_contracting_dimensions"),
  };
  return [product(t, dims)];
};

const dot: Translate = (t) => [
  product(t, { lhsBatch: [], rhsBatch: [], lhsContracting: [t.rank(0) - 1], rhsContracting: [0] }),
];

function product(t: OpTranslation, dims: Dimensions): Ref {
  const [lhsRank, rhsRank] = [t.rank(0), t.rank(1)];
  checkedAxes(t, [...dims.lhsBatch, ...dims.lhsContracting], lhsRank, "dimensions of the left side");
  checkedAxes(t, [...dims.rhsBatch, ...dims.rhsContracting], rhsRank, "dimensions of the right side");
  if (dims.lhsBatch.length !== dims.rhsBatch.length || dims.lhsContracting.length !== dims.rhsContracting.length) {
    t.fail("its sides have other numbers of dimensions");
  }
  if (t.resultDType() === "bool") {
    const count = worked(t, dims, "int32");
    return t.emit("NotEqual", [count, t.b.scalar("int32", 0)]);
  }
  return worked(t, dims, t.resultDType());
}

/** The product of both sides as `dtype`. */
function worked(t: OpTranslation, dims: Dimensions, dtype: DType): Ref {
  const [lhsRank, rhsRank] = [t.rank(0), t.rank(1)];
  if (lhsRank === 2 && rhsRank === 2 && dims.lhsContracting.length === 1 && dims.lhsBatch.length === 0) {
    const [left, right] = [matrix(t, 0), matrix(t, 1)];
    const isLeftTurned = (dims.lhsContracting[0] === 0) !== left.isTurned;
    const isRightTurned = (dims.rhsContracting[0] === 1) !== right.isTurned;
    return t.emit("MatMul", [t.b.cast(left.value, dtype), t.b.cast(right.value, dtype)], {
      transpose_a: attr.bool(isLeftTurned),
      transpose_b: attr.bool(isRightTurned),
    });
  }
  const [a, b] = [t.b.cast(t.in(0), dtype), t.b.cast(t.in(1), dtype)];
  return dtype.includes("float") ? einsum(t, dims, a, b) : matrices(t, dims, a, b);
}

/** A side of a product, or what it is the transpose of: the product turns it by itself. */
function matrix(t: OpTranslation, i: number): { readonly value: Ref; readonly isTurned: boolean } {
  const op = t.around.definition(t.operand(i));
  const source = op?.name === "transpose" && op.attrs.ints("permutation").join() === "1,0" ? op.operands[0] : undefined;
  const known = source && t.around.known(source);
  return known ? { value: known.full(), isTurned: true } : { value: t.in(i), isTurned: false };
}

function einsum(t: OpTranslation, dims: Dimensions, a: Ref, b: Ref): Ref {
  const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const [lhsRank, rhsRank] = [t.rank(0), t.rank(1)];
  if (lhsRank + rhsRank > letters.length) t.fail("too many dimensions");
  const lhs = axesOf(lhsRank).map((i) => letters[i]!);
  const rhs = axesOf(rhsRank).map((i) => letters[lhsRank + i]!);
  for (const [i, axis] of dims.rhsBatch.entries()) rhs[axis] = lhs[dims.lhsBatch[i]!]!;
  for (const [i, axis] of dims.rhsContracting.entries()) rhs[axis] = lhs[dims.lhsContracting[i]!]!;
  const free = (labels: readonly string[], bound: readonly number[]): string =>
    labels.filter((_, axis) => !bound.includes(axis)).join("");
  const result = [
    dims.lhsBatch.map((axis) => lhs[axis]!).join(""),
    free(lhs, [...dims.lhsBatch, ...dims.lhsContracting]),
    free(rhs, [...dims.rhsBatch, ...dims.rhsContracting]),
  ].join("");
  return t.emit("Einsum", [a, b], { equation: attr.text(`${lhs.join("")},${rhs.join("")}->${result}`) });
}

/** Both sides as [batch..., free..., contracting...] with one dimension each of the last two, and back. */
function matrices(t: OpTranslation, dims: Dimensions, a: Ref, b: Ref): Ref {
  const side = (value: Ref, i: number, batch: readonly number[], contracting: readonly number[]) => {
    const free = axesOf(t.rank(i)).filter((axis) => !batch.includes(axis) && !contracting.includes(axis));
    const size = (axes: readonly number[]): Ref =>
      axes.map((axis) => t.dim(i, axis)).reduce((x, y) => t.emit("Mul", [x, y]), t.b.scalar("int32", 1));
    const shape = t.stack([...batch.map((axis) => t.dim(i, axis)), size(free), size(contracting)]);
    const moved = t.transpose(value, [...batch, ...free, ...contracting]);
    return { matrix: t.emit("Reshape", [moved, shape]), free: free.map((axis) => t.dim(i, axis)) };
  };
  const n = dims.lhsBatch.length;
  const left = side(a, 0, dims.lhsBatch, dims.lhsContracting);
  const right = side(b, 1, dims.rhsBatch, dims.rhsContracting);
  // The adjoint of a complex matrix would be conjugated, too.
  const isComplex = a.dtype.startsWith("complex");
  const turned = isComplex ? t.transpose(right.matrix, [...dims.lhsBatch.keys(), n + 1, n]) : right.matrix;
  const made = t.emit("BatchMatMulV2", [left.matrix, turned], { adj_y: attr.bool(!isComplex) });
  const shape = t.stack([...dims.lhsBatch.map((axis) => t.dim(0, axis)), ...left.free, ...right.free]);
  return t.emit("Reshape", [made, shape]);
}

export const DOT: Readonly<Record<string, Translate>> = { dot, dot_general: dotGeneral };
