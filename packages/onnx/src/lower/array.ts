import { toNumbers } from "@shardserve/tensor";
import { numbers, type Value } from "../proto/builder.js";
import { beside, lineOfRow } from "./channels.js";
import {
  asScalar,
  boundedLength,
  boundedShape,
  cast,
  concat,
  dtypes,
  ELEMENTS_MAX,
  equal,
  filled,
  INT64_MAX,
  INT64_MIN,
  intVector,
  less,
  rankOf,
  shapeOf,
  slice,
  where,
  widened,
  zeroOrFail,
} from "../proto/emit.js";
import { mirrorPad } from "./mirror-pad.js";
import type { Lower, LoweringTable, NodeLowering } from "./node-lowering.js";

/** Shapes, layout and joining: no arithmetic on the values. */

const PAD_KERNELS = dtypes("float32 uint8 int8 int32 int64 bool float16 float64 uint32 uint64");
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

/** Joins values along an axis. Ranks that differ kill the process inside ONNX Runtime, so they are checked before. */
function join(from: number, to: number | undefined, axisAt: (n: NodeLowering) => number): Lower {
  return (n) => concat(n.b, ofOneRank(n, from, to), n.needNumber(axisAt(n)));
}

/** Inputs `from` to `to`, which must have the same rank. */
function ofOneRank(n: NodeLowering, from: number, to: number | undefined): Value[] {
  const { b } = n;
  const values = n.inputs.slice(from, to);
  if (values.length === 1) return values;
  const ranks = values.map((_, i) => n.rank(from + i));
  const known = ranks.find((rank) => rank !== undefined);
  if (ranks.some((rank) => rank !== undefined && rank !== known)) n.fail("inputs of different ranks");
  const wanted = known === undefined ? rankOf(b, values[0]!) : b.ints([known]);
  return values.map((value, i) => {
    if (ranks[i] !== undefined || (known === undefined && i === 0)) return value;
    return reshapedUnless(n, value, b.op("Not", [equal(b, rankOf(b, value), wanted)]));
  });
}

/** The value as it is; the run fails where `isBad` (one element) holds. */
function reshapedUnless(n: NodeLowering, value: Value, isBad: Value): Value {
  const shape = n.b.op("Add", [shapeOf(n.b, value), zeroOrFail(n.b, isBad)]);
  return n.b.op("Reshape", [value, shape], { allowzero: 1 });
}

const pack: Lower = (n) => {
  const axis = n.attrs.int("axis");
  const axes = n.b.ints([axis]);
  return concat(
    n.b,
    ofOneRank(n, 0, undefined).map((value) => n.b.op("Unsqueeze", [value, axes])),
    axis,
  );
};

const unpack: Lower = (n) => {
  const count = n.attrs.int("num");
  const axis = n.attrs.int("axis");
  if (count === 0) return [];
  const sizes = n.b.ints(Array.from({ length: count }, () => 1));
  const parts = n.b.ops("Split", [n.x(0), sizes], Array(count).fill(n.dtype(0)), { axis });
  return parts.map((part) => n.b.op("Squeeze", [part, n.b.ints([axis])]));
};

/** Equal parts; the sizes are computed, because ONNX would silently make the last part smaller. */
const split: Lower = (n) => {
  const count = n.attrs.int("num_split");
  const axis = n.needNumber(0);
  const rank = n.rank(1);
  if (count === 1) return rank !== undefined && axis < rank && axis >= -rank ? n.x(1) : n.fail("axis out of range");
  const length = n.dim(1, axis);
  const sizes =
    length === undefined
      ? n.b.op("Expand", [
          n.b.op("Div", [n.b.op("Gather", [shapeOf(n.b, n.x(1)), n.b.ints([axis])]), n.b.ints([count])]),
          n.b.ints([count]),
        ])
      : n.b.ints(Array.from({ length: count }, () => Math.floor(length / count)));
  return n.b.ops("Split", [n.x(1), sizes], Array(count).fill(n.dtype(1)), { axis });
};

const splitV: Lower = (n) => {
  const axis = n.needNumber(2);
  const known = n.numbers(1);
  let sizes = intVector(n.b, n.x(1));
  if (!known || known.includes(-1)) {
    const length = n.b.op("Gather", [shapeOf(n.b, n.x(0)), n.b.ints([axis])]);
    const minusOne = n.b.scalar("int64", -1);
    // The -1 entry counts in the sum, so the rest is length - sum - 1.
    const rest = n.b.op("Add", [n.b.op("Sub", [length, n.b.op("ReduceSum", [sizes], { keepdims: 1 })]), minusOne]);
    sizes = where(n.b, equal(n.b, sizes, minusOne), rest, sizes);
  }
  return n.b.ops("Split", [n.x(0), sizes], Array(n.outputCount).fill(n.dtype(0)), { axis });
};

/** Slice: what lies outside is an error, where ONNX would clip. The Reshape that says so costs no copy. */
const sliceNode: Lower = (n) => {
  const { b } = n;
  const begin = n.numbers(1);
  const size = n.numbers(2);
  const zero = b.scalar("int64", 0);
  if (begin && size) {
    if (begin.length !== n.needRank(0)) n.fail("a slice of another rank");
    if (begin.some((start) => start < 0)) n.fail("a negative start");
    const ends = size.map((length, i) => (length === -1 ? INT64_MAX : begin[i]! + length));
    const part = b.op("Slice", [n.x(0), b.ints(begin), b.ints(ends)]);
    const isInside = size.every((length, i) => length === -1 || begin[i]! + length <= (n.dim(0, i) ?? -1));
    // In Reshape without allowzero, 0 stands for "as it is".
    return isInside ? part : b.op("Reshape", [part, b.ints(size.map((length) => Math.max(length, 0)))]);
  }
  const starts = intVector(b, n.x(1));
  const lengths = intVector(b, n.x(2));
  const isRest = equal(b, lengths, b.scalar("int64", -1));
  const ends = where(b, isRest, b.scalar("int64", INT64_MAX), b.op("Add", [starts, lengths]));
  const part = b.op("Slice", [n.x(0), starts, ends]);
  const kept = b.op("Max", [lengths, zero]);
  return b.op("Reshape", [part, b.op("Add", [kept, zeroOrFail(b, less(b, starts, zero))])]);
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

/**
 * TensorFlow's paddings [[before, after], ...] as ONNX has them: all befores, then all afters; of constants, in the order of `dims`, where
 * null stands for an axis that is not TensorFlow's.
 */
function pads(n: NodeLowering, dims?: readonly (number | null)[]): Value {
  const known = n.constant(1);
  if (known) {
    const flat = toNumbers(known);
    if (flat.some((count) => count < 0)) n.fail("a negative padding");
    const order = dims ?? Array.from({ length: flat.length / 2 }, (_, d) => d);
    const side = (at: 0 | 1): number[] => order.map((d) => (d === null ? 0 : flat[2 * d + at]!));
    return n.b.ints([...side(0), ...side(1)]);
  }
  const { b } = n;
  const flat = b.op("Reshape", [b.op("Transpose", [cast(b, n.x(1), "int64")], { perm: [1, 0] }), b.ints([-1])]);
  return boundedShape(b, b.op("Add", [flat, zeroOrFail(b, less(b, flat, b.scalar("int64", 0)))]));
}

const pad: Lower = (n) => {
  if (n.needRank(0) === 0) return n.x(0);
  const padding = n.inputs[2] ?? n.b.constant(numbers(n.dtype(0), [], [0]));
  const padded = (source: Value, counts: Value): Value =>
    widened(n.b, PAD_KERNELS, "order", [source, padding], ([x, value]) => n.b.op("Pad", [x!, counts, value!]));
  const last = padded(n.x(0), pads(n));
  const { row, channelsFirst: first } = n.x(0);
  if (!first || !n.constant(1)) return last;
  const dims = [0, first.rank - 1, ...Array.from({ length: first.rank - 2 }, (_, i) => i + 1)];
  const moved = beside(last, padded(first.value, pads(n, dims)), first.rank);
  return row && first.rank === 3 ? { ...moved, row: padded(row, pads(n, [0, 2, null, 1])) } : moved;
};

/** A tensor over a window of another, whose start is moved so far that the window lies inside: the window with padding, where it is. */
const updateWindow: Lower = (n) => {
  const { b } = n;
  const [target, update] = [n.x(0), n.x(1)];
  if (n.needRank(0) !== n.needRank(1)) n.fail("an update of another rank");
  if (n.rank(0) === 0) return update;
  const size = shapeOf(b, update);
  const room = b.op("Sub", [shapeOf(b, target), size]);
  const isLarger = less(b, room, b.scalar("int64", 0));
  const start = b.op("Max", [b.op("Min", [intVector(b, n.x(2)), room]), b.scalar("int64", 0)]);
  const after = b.op("Add", [b.op("Sub", [room, start]), zeroOrFail(b, isLarger)]);
  const counts = concat(b, [start, after], 0);
  const padded = (value: Value): Value =>
    widened(b, PAD_KERNELS, "order", [value, b.constant(numbers(value.dtype, [], [0]))], ([x, zero]) =>
      b.op("Pad", [x!, counts, zero!]),
    );
  return where(b, padded(filled(b, size, "bool", 1)), padded(update), target);
};

/** XlaDynamicSlice: a window whose start is moved so far that it lies inside. */
const windowOf: Lower = (n) => {
  const { b } = n;
  const rank = n.needRank(0);
  if (n.needRank(1) !== 1 || n.needRank(2) !== 1) n.fail("a start or a size that is no vector");
  if (rank === 0) return n.x(0);
  const [start, size] = [1, 2].map((i) => b.op("Reshape", [cast(b, n.x(i), "int64"), b.ints([rank])])) as [
    Value,
    Value,
  ];
  const room = b.op("Sub", [shapeOf(b, n.x(0)), size]);
  const isOutside = less(b, b.op("Min", [room, size]), b.scalar("int64", 0));
  const inside = b.op("Max", [b.op("Min", [start, room]), b.scalar("int64", 0)]);
  const first = b.op("Add", [inside, zeroOrFail(b, isOutside)]);
  return b.op("Slice", [n.x(0), first, b.op("Add", [first, size]), b.ints(Array.from({ length: rank }, (_, i) => i))]);
};

const reverse: Lower = (n) => {
  const axes = n.needNumbers(1);
  if (axes.length === 0) return n.x(0);
  const all = (value: number | bigint) => n.b.ints(axes.map(() => value));
  return n.b.op("Slice", [n.x(0), all(-1), all(INT64_MIN), n.b.ints(axes), all(-1)]);
};

const reverseSequence: Lower = (n) => {
  const attrs = { time_axis: n.attrs.int("seq_dim"), batch_axis: n.attrs.int("batch_dim") };
  if (attrs.time_axis + attrs.batch_axis !== 1) n.fail("a sequence that is not in the first two dimensions");
  const rank = n.rank(0);
  if (rank !== undefined && rank < 2) n.fail("a sequence without a batch");
  const isFlat = () => less(n.b, rankOf(n.b, n.x(0)), n.b.ints([2]));
  const value = rank === undefined ? reshapedUnless(n, n.x(0), isFlat()) : n.x(0);
  return n.b.op("ReverseSequence", [value, cast(n.b, n.x(1), "int64")], attrs);
};

/** Rotates along each axis by `shift` modulo the length. */
const roll: Lower = (n) => {
  const { b } = n;
  const axes = n.needNumbers(2);
  const shifts = n.needNumbers(1);
  return axes.reduce((value, axis, i) => {
    const length = b.op("Gather", [shapeOf(b, value), b.ints([axis])]);
    const moved = b.op("Mod", [b.ints([shifts[i]!]), b.op("Max", [length, b.ints([1])])]);
    const cut = b.op("Sub", [length, moved]);
    return concat(b, [slice(b, value, cut, [INT64_MAX], [axis]), slice(b, value, [0], cut, [axis])], axis);
  }, n.x(0));
};

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
  ConcatV2: join(0, -1, (n) => n.inputs.length - 1),
  Concat: join(1, undefined, () => 0),
  Pack: pack,
  Unpack: unpack,
  Split: split,
  SplitV: splitV,
  Slice: sliceNode,
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
  Pad: pad,
  PadV2: pad,
  MirrorPad: mirrorPad,
  XlaDynamicSlice: windowOf,
  XlaDynamicUpdateSlice: updateWindow,
  ReverseV2: reverse,
  ReverseSequence: reverseSequence,
  Roll: roll,
  EnsureShape: ensureShape,
};
