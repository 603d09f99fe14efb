/** Elements that move along an axis: slices, padding, windows, reversed and rotated order. */
import { toNumbers } from "@shardserve/tensor";
import { numbers } from "../../proto/numbers.js";
import type { Value } from "../../proto/value.js";
import { beside } from "../convolution/channels.js";
import {
  boundedShape,
  cast,
  concat,
  dtypes,
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
  unchangedUnless,
  zeroOrFail,
} from "../../proto/emit.js";
import { mirrorPad } from "./mirror-pad.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

const PAD_KERNELS = dtypes("float32 uint8 int8 int32 int64 bool float16 float64 uint32 uint64");

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
  const value = rank === undefined ? unchangedUnless(n.b, n.x(0), isFlat()) : n.x(0);
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

export const moves: LoweringTable = {
  Slice: sliceNode,
  Pad: pad,
  PadV2: pad,
  MirrorPad: mirrorPad,
  XlaDynamicSlice: windowOf,
  XlaDynamicUpdateSlice: updateWindow,
  ReverseV2: reverse,
  ReverseSequence: reverseSequence,
  Roll: roll,
};
