/** Shapes: asked for, changed, filled; no arithmetic on the values. */
import type { Value } from "../../proto/value.js";
import { beside, lineOfRow } from "../convolution/channels.js";
import {
  asScalar,
  boundedLength,
  boundedShape,
  cast,
  dtypes,
  ELEMENTS_MAX,
  equal,
  filled,
  intVector,
  less,
  rankOf,
  shapeOf,
  where,
  zeroOrFail,
} from "../../proto/emit.js";
import type { Lower, LoweringTable } from "../node-lowering.js";

const RANGE_KERNELS = dtypes("float32 int16 int32 int64 float64");

const reshape: Lower = (n) => {
  const asked = n.numbers(1);
  if (asked?.includes(0) && asked.includes(-1)) n.fail("ONNX Runtime cannot tell what -1 is in a shape that has 0");
  return n.b.op("Reshape", [n.x(0), intVector(n.b, n.x(1))], { allowzero: 1 });
};

const expandDims: Lower = (n) => {
  const expanded = n.b.op("Unsqueeze", [n.x(0), intVector(n.b, n.x(1))]);
  const { row, channelsFirst: first } = n.x(0);
  const given = n.numbers(1)?.[0];
  if (!first || given === undefined) return expanded;
  const axis = given < 0 ? given + first.rank + 1 : given;
  if (axis < 1 || axis >= first.rank) return expanded;
  const line = first.rank === 3 ? row : undefined;
  if (line && axis === 1) return beside(expanded, line, 4);
  const images = beside(expanded, n.b.op("Unsqueeze", [first.value, n.b.ints([axis + 1])]), first.rank + 1);
  return line ? { ...images, row: line } : images;
};

const squeeze: Lower = (n) => {
  const given = n.attrs.ints("squeeze_dims");
  const squeezed = n.b.op("Squeeze", given.length === 0 ? [n.x(0)] : [n.x(0), n.b.ints(given)]);
  const { row, channelsFirst: first } = n.x(0);
  if (!first || given.length === 0) return squeezed;
  const axes = given.map((axis) => (axis < 0 ? axis + first.rank : axis));
  if (axes.some((axis) => axis < 1 || axis >= first.rank - 1)) return squeezed;
  const line = first.rank === 4 && axes.length === 1 && (axes[0] === 1 ? first.value : row);
  if (line) return lineOfRow(n.b, line);
  const moved = n.b.op("Squeeze", [first.value, n.b.ints(axes.map((axis) => axis + 1))]);
  return beside(squeezed, moved, first.rank - axes.length);
};

const transposeNode: Lower = (n) => {
  const axes = n.needNumbers(1);
  return n.b.op("Transpose", [n.x(0)], { perm: axes.map((axis) => (axis < 0 ? axis + axes.length : axis)) });
};

const tile: Lower = (n) => {
  const { b } = n;
  const multiples = intVector(b, n.x(1));
  const rank = n.needRank(0);
  if ((n.numbers(1)?.length ?? n.dim(1, 0)) !== rank) n.fail("the number of multiples is unknown or wrong");
  if (n.numbers(1)) return b.op("Tile", [n.x(0), multiples]);
  // The product of the lengths must be bounded, not that of the multiples.
  const shape = b.op("Mul", [shapeOf(b, n.x(0)), multiples]);
  const check = b.op("Sub", [boundedShape(b, shape), shape]);
  return b.op("Tile", [n.x(0), b.op("Add", [multiples, check])]);
};

/** Expand broadcasts the shape too, where TensorFlow refuses: then the Reshape, else without a copy, fails. */
const broadcastTo: Lower = (n) => {
  const shape = boundedShape(n.b, intVector(n.b, n.x(1)));
  const rank = n.numbers(1)?.length ?? n.dim(1, 0);
  if (rank === undefined || n.needRank(0) > rank) n.fail("the rank is unknown or falls");
  return n.b.op("Reshape", [n.b.op("Expand", [n.x(0), shape]), shape], { allowzero: 1 });
};

const fill: Lower = (n) => n.b.op("Expand", [n.x(1), boundedShape(n.b, intVector(n.b, n.x(0)))]);

function like(value: 0 | 1): Lower {
  return (n) => filled(n.b, shapeOf(n.b, n.x(0)), n.dtype(0), value);
}

const range: Lower = (n) => {
  if (!RANGE_KERNELS.has(n.dtype(0))) n.fail(`no engine kernel for ${n.dtype(0)}`);
  const { b } = n;
  const [start, limit, delta] = [n.x(0), n.x(1), n.x(2)];
  const [from, to, by] = [n.numbers(0), n.numbers(1), n.numbers(2)];
  if (from && to && by) {
    if (!((to[0]! - from[0]!) / by[0]! >= 0 && by[0] !== 0)) n.fail("a range that leads away from its end");
    return b.op("Range", [start, limit, delta]);
  }
  const wide = (value: Value) => cast(b, value, "float64");
  const count = b.op("Div", [b.op("Sub", [wide(limit), wide(start)]), wide(delta)]);
  // Also when the count is no number: a step of 0.
  const isInside = b.op("And", [
    less(b, count, b.scalar("float64", ELEMENTS_MAX)),
    b.op("GreaterOrEqual", [count, b.scalar("float64", 0)], {}, "bool"),
  ]);
  const isBad = b.op("Not", [isInside]);
  const check = cast(b, zeroOrFail(b, isBad), delta.dtype);
  return b.op("Range", [start, limit, b.op("Add", [delta, check])]);
};

/** start + i * step, the last element exactly `stop`. */
const linSpace: Lower = (n) => {
  const { b } = n;
  const one = b.scalar("int64", 1);
  const asked = asScalar(b, cast(b, n.x(2), "int64"));
  const count = b.op("Add", [boundedLength(b, b.op("Sub", [asked, one])), one]);
  const index = b.op("Range", [b.scalar("int64", 0), count, one]);
  const last = b.op("Sub", [count, one]);
  const steps = cast(b, b.op("Max", [last, one]), n.dtype(0));
  const step = b.op("Div", [b.op("Sub", [n.x(1), n.x(0)]), steps]);
  const inner = b.op("Add", [n.x(0), b.op("Mul", [cast(b, index, n.dtype(0)), step])]);
  const isEnd = b.op("And", [equal(b, index, last), b.op("Greater", [last, b.scalar("int64", 0)], {}, "bool")]);
  return where(b, isEnd, n.x(1), inner);
};

const shape: Lower = (n) => n.inputs.map((value, i) => cast(n.b, shapeOf(n.b, value), n.outDtype(i)));

const size: Lower = (n) => cast(n.b, n.b.op("Size", [n.x(0)], {}, "int64"), n.outDtype());

const rank: Lower = (n) => asScalar(n.b, cast(n.b, rankOf(n.b, n.x(0)), n.outDtype()));

/** Checks the shape; what is known to fit has gone before. */
const ensureShape: Lower = (n) => {
  const { b } = n;
  const wanted = n.attrs.shape("shape");
  if (!wanted) return n.x(0);
  if (n.needRank(0) !== wanted.length) n.fail("another rank");
  const axes = wanted.flatMap((dim, axis) => (dim === -1 ? [] : [axis]));
  if (axes.length === 0) return n.x(0);
  const lengths = b.op("Gather", [shapeOf(b, n.x(0)), b.ints(axes)]);
  const isOff = b.op("Not", [equal(b, lengths, b.ints(axes.map((axis) => wanted[axis]!)))]);
  const check = b.op("ReduceSum", [zeroOrFail(b, isOff)], { keepdims: 1 });
  return b.op("Reshape", [n.x(0), b.op("Add", [shapeOf(b, n.x(0)), check])], { allowzero: 1 });
};

export const arrays: LoweringTable = {
  Reshape: reshape,
  ExpandDims: expandDims,
  Squeeze: squeeze,
  Transpose: transposeNode,
  ConjugateTranspose: transposeNode,
  Tile: tile,
  BroadcastTo: broadcastTo,
  Fill: fill,
  ZerosLike: like(0),
  OnesLike: like(1),
  Range: range,
  LinSpace: linSpace,
  Shape: shape,
  ShapeN: shape,
  Size: size,
  Rank: rank,
  EnsureShape: ensureShape,
};
