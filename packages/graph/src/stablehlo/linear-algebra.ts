import { attr, type HloAttr } from "@shardserve/savedmodel";
import type { Ref } from "./function-builder.js";
import { factored, pivotsOf, product, type Tall } from "./householder.js";
import { axesOf, type OpTranslation, type Translate, type Translated } from "./translation.js";

/** Factors of matrices, by the ops of StableHLO and by the calls of LAPACK that JAX makes for CPUs; JAX looks at what they call info. */

/** Letters that say to LAPACK what to do: "L", "U", "T", ... */
function letter(t: OpTranslation, name: string): string {
  const config = t.attrs.get("mhlo.backend_config");
  const code: HloAttr | undefined = config?.kind === "dictionary" ? config.entries.get(name) : undefined;
  return code?.kind === "integer" ? String.fromCharCode(Number(code.value)) : t.fail(`it does not say "${name}"`);
}

/** A matrix, or a batch of them, with its last two dimensions swapped. */
function turned(t: OpTranslation, value: Ref, rank: number): Ref {
  return t.transpose(value, [...axesOf(rank - 2), rank - 1, rank - 2]);
}

/** The lower factor, or the upper one, of a matrix of which that triangle is given. */
function choleskyOf(t: OpTranslation, isLower: boolean): Ref {
  const [x, rank] = [t.in(0), t.rank(0)];
  if (isLower) return t.emit("Cholesky", [x]);
  return turned(t, t.emit("Cholesky", [turned(t, x, rank)]), rank);
}

const cholesky: Translate = (t) => [choleskyOf(t, t.attrs.bool("lower"))];

/** 1 where a factor has no numbers, else 0: what LAPACK calls info, of which JAX asks whether it is 0. */
function infoOf(t: OpTranslation, factor: Ref): Ref {
  return t.b.cast(t.emit("Any", [t.emit("IsNan", [factor]), t.b.ints([-2, -1])]), "int32");
}

const potrf: Translate = (t) => {
  const factor = choleskyOf(t, letter(t, "uplo") === "L");
  return [factor, infoOf(t, factor)];
};

interface Triangle {
  readonly isLeft: boolean;
  readonly isLower: boolean;
  readonly isUnit: boolean;
  readonly isTransposed: boolean;
}

function solved(t: OpTranslation, { isLeft, isLower, isUnit, isTransposed }: Triangle): Ref {
  let [matrix, right] = [t.in(0), t.in(1)];
  const rank = t.rank(0);
  if (isUnit) {
    const diagonal = t.emit("MatrixDiagPartV3", [matrix, t.b.scalar("int32", 0), t.b.scalar(matrix.dtype, 0)]);
    matrix = t.emit("MatrixSetDiagV3", [matrix, t.emit("OnesLike", [diagonal]), t.b.scalar("int32", 0)]);
  }
  // x A = b is A' x' = b'.
  if (!isLeft) right = turned(t, right, rank);
  const attrs = { lower: attr.bool(isLower), adjoint: attr.bool(isLeft === isTransposed) };
  const found = t.emit("MatrixTriangularSolve", [matrix, right], attrs);
  return isLeft ? found : turned(t, found, rank);
}

const [TRANSPOSE, ADJOINT] = [2, 3];

const triangularSolve: Translate = (t) => {
  const [isLeft, turn] = [t.attrs.bool("left_side"), t.attrs.enum("transpose_a")];
  // TensorFlow's op knows the adjoint alone, and from the right all that is no transpose is solved by way of one.
  if (t.dtype(0).startsWith("complex") && isLeft === (turn === TRANSPOSE))
    t.fail("the conjugate of a complex triangle");
  return [
    solved(t, {
      isLeft,
      isLower: t.attrs.bool("lower"),
      isUnit: t.attrs.bool("unit_diagonal"),
      isTransposed: turn === TRANSPOSE || turn === ADJOINT,
    }),
  ];
};

const trsm: Translate = (t) => [
  solved(t, {
    isLeft: letter(t, "side") === "L",
    isLower: letter(t, "uplo") === "L",
    isUnit: letter(t, "diag") === "U",
    isTransposed: letter(t, "trans_x") !== "N",
  }),
];

const getrf: Translate = (t) => {
  const shape = t.type(0).shape.slice(-2);
  if (shape[0] !== shape[1]) t.fail("factors of a matrix that is not square");
  const [factors, permutation] = t.b.emitAll("Lu", [t.in(0)]) as [Ref, Ref];
  return [factors, pivotsOf(t, permutation), infoOf(t, factors)];
};

/** Of factors that there always are. */
function noInfo(t: OpTranslation): Ref {
  return t.filled(t.b.scalar("int32", 0), t.stack(axesOf(t.rank(0) - 2).map((axis) => t.dim(0, axis))));
}

/** Eigenvectors are those of LAPACK up to their sign. */
const syevd: Translate = (t) => {
  const x = letter(t, "uplo") === "L" ? t.in(0) : turned(t, t.in(0), t.rank(0));
  const hasVectors = letter(t, "mode") === "V";
  const [values, vectors] = t.b.emitAll("SelfAdjointEigV2", [x], { compute_v: attr.bool(hasVectors) });
  return [hasVectors ? vectors! : x, values!, noInfo(t)];
};

/** Singular vectors are those of LAPACK up to their sign. */
const gesdd: Translate = (t) => {
  const mode = letter(t, "mode");
  const attrs = { compute_uv: attr.bool(mode !== "N"), full_matrices: attr.bool(mode === "A") };
  const [values, left, right] = t.b.emitAll("Svd", [t.in(0)], attrs) as [Ref, Ref, Ref];
  const never: Translated = { full: () => t.fail("vectors that it was not asked for") };
  const vectors = mode === "N" ? [never, never] : [left, turned(t, right, t.rank(0))];
  return [t.in(0), values, ...vectors, noInfo(t)];
};

const geqrf: Translate = (t) => factored(t, tall(t));

const orgqr: Translate = (t) => [product(t, tall(t), t.in(1))];

function tall(t: OpTranslation): Tall {
  const [rows, columns] = t.type(0).shape.slice(-2) as [number, number];
  if (rows < 0 || columns < 0) t.fail("a matrix of unknown size");
  return { value: t.in(0), batch: axesOf(t.rank(0) - 2).map((axis) => t.dim(0, axis)), rows, columns };
}

/** Diagonals of full length, of which the lower one begins, and the upper one ends, with an element that is not there. */
const gtsv: Translate = (t) => {
  const last = t.rank(0) - 1;
  const size = t.type(1).shape[last]!;
  const whole = (i: number, isLower: boolean): Ref => {
    const value = t.in(i);
    if (t.type(i).shape[last] === size) return value;
    const pairs = axesOf(last + 1).flatMap((axis) => (axis < last ? [0, 0] : isLower ? [1, 0] : [0, 1]));
    return t.emit("Pad", [value, t.reshape(t.b.ints(pairs), [last + 1, 2])]);
  };
  const diagonals = t.emit("Pack", [whole(2, false), t.in(1), whole(0, true)], { axis: attr.int(last) });
  const found = t.emit("TridiagonalSolve", [diagonals, t.in(3)]);
  return [
    t.in(0),
    t.in(1),
    t.in(2),
    found,
    t.filled(t.b.scalar("int32", 0), t.stack(axesOf(last).map((axis) => t.dim(0, axis)))),
  ];
};

export const LINEAR_ALGEBRA: Readonly<Record<string, Translate>> = { cholesky, triangular_solve: triangularSolve };

const CALLS = { potrf, trsm, getrf, syevd, gesdd, geqrf, orgqr, gtsv };

/** Custom calls of real matrices. */
export const LAPACK: Readonly<Record<string, Translate>> = Object.fromEntries(
  Object.entries(CALLS).flatMap(([name, translate]) =>
    ["s", "d"].map((kind) => [`lapack_${kind}${name}_ffi`, translate] as const),
  ),
);
