import type { HloRegion } from "@shardserve/savedmodel";
import { attr } from "@shardserve/savedmodel";
import { dynamicallyPadded, padded, shaped, spreadOut } from "./arrays.js";
import { freeValues } from "./control.js";
import { spatialInts } from "./convolution.js";
import type { Ref } from "./function-builder.js";
import { type Combiner, combinerOf, isIdentity, type Join, joinOf } from "./monoids.js";
import { axesOf, constantElements, OpTranslation, type Translate } from "./translation.js";

/** Reductions over windows: pooling, cumulative sums, and by any body in steps that double what a value covers. */

interface Windows {
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
}

const reduceWindow: Translate = (t) => {
  const rank = t.rank(0);
  const windows = {
    sizes: spatialInts(t, "window_dimensions", rank, 1),
    strides: spatialInts(t, "window_strides", rank, 1),
    dilations: spatialInts(t, "window_dilations", rank, 1),
  };
  const stretch = spatialInts(t, "base_dilations", rank, 1);
  const pads = spatialInts(t, "padding", 2 * rank, 0);
  const region = t.region(0);
  const along = cumulativeAxis(t, windows, stretch, pads);
  const whole = along && cumulative(t, region, along.axis, along.isForward);
  if (whole) return whole;
  const [low, high] = [0, 1].map((side) => axesOf(rank).map((i) => pads[2 * i + side]!));
  const pad = (value: Ref, filler: Ref): Ref => padded(t, value, low!, high!, filler);
  return reduced(t, region, windows, stretch, pad);
};

/** @param pad  puts a filler around a value, or cuts it */
function reduced(
  t: OpTranslation,
  region: HloRegion,
  windows: Windows,
  stretch: readonly number[],
  pad: (value: Ref, filler: Ref) => Ref,
): Ref[] {
  const join = joinOf(t, region) ?? t.fail("its body does more than compute with scalars");
  const count = t.op.results.length;
  const combiner = combinerOf(region);
  const isNeutral = combiner !== undefined && isIdentity(t, 1, combiner);
  const gaps = stretch.map((factor) => factor - 1);
  const images = t
    .ins(0, count)
    .map((value, i) => pad(spreadOut(t, value, t.type(i), gaps, t.in(count + i)), t.in(count + i)));
  const pooled = isNeutral ? pool(t, combiner, images[0]!, windows) : undefined;
  if (pooled) return [pooled];
  const made = slid(t, join, images, windows);
  const results = isNeutral ? made : join(t, t.ins(count, 2 * count), made);
  return results.map((value, i) => shaped(t, value, t.resultType(i)));
}

/** The axis along which each window reaches from one end to its place: what all that comes before, or after, makes. */
function cumulativeAxis(
  t: OpTranslation,
  w: Windows,
  stretch: readonly number[],
  pads: readonly number[],
): { readonly axis: number; readonly isForward: boolean } | undefined {
  const long = w.sizes.flatMap((size, axis) => (size > 1 ? [axis] : []));
  const [axis] = long;
  if (long.length !== 1 || axis === undefined || w.sizes[axis] !== t.type(0).shape[axis]) return undefined;
  if ([...w.strides, ...w.dilations, ...stretch].some((value) => value !== 1)) return undefined;
  const before = w.sizes[axis]! - 1;
  const isElsewhere = pads.some((value, i) => Math.floor(i / 2) !== axis && value !== 0);
  const [low, high] = [pads[2 * axis], pads[2 * axis + 1]];
  const isForward = low === before && high === 0;
  if (isElsewhere || !(isForward || (low === 0 && high === before))) return undefined;
  return { axis, isForward };
}

/** A cumulative sum or product, for which TensorFlow has an op. */
function cumulative(t: OpTranslation, region: HloRegion, axis: number, isForward: boolean): Ref[] | undefined {
  const combiner = combinerOf(region);
  const op = combiner === "add" ? "Cumsum" : combiner === "multiply" ? "Cumprod" : undefined;
  if (!op || !isIdentity(t, 1, combiner!) || t.dtype(0) === "bool") return undefined;
  return [t.emit(op, [t.in(0), t.b.scalar("int32", axis)], { reverse: attr.bool(!isForward) })];
}

/** Pooling over two spatial dimensions of images [batch, height, width, channels]. */
function pool(t: OpTranslation, combiner: Combiner, image: Ref, w: Windows): Ref | undefined {
  const isSpatial =
    w.sizes.length === 4 && w.sizes[0] === 1 && w.sizes[3] === 1 && w.strides[0] === 1 && w.strides[3] === 1;
  if (!isSpatial || image.dtype !== "float32" || w.dilations.some((value) => value !== 1)) return undefined;
  const attrs = { ksize: attr.ints(w.sizes), strides: attr.ints(w.strides), padding: attr.text("VALID") };
  if (combiner === "maximum") return t.emit("MaxPool", [image], attrs);
  if (combiner !== "add") return undefined;
  const mean = t.emit("AvgPool", [image], attrs);
  return t.emit("Mul", [mean, t.b.scalar(image.dtype, w.sizes[1]! * w.sizes[2]!)]);
}

/**
 * Windows of any rank and body, axis by axis. What covers n elements and what covers n after them make what covers 2n, and of
 * those a window is put together as its size is of powers of two: a handful of joins, however long it is.
 */
function slid(t: OpTranslation, join: Join, images: readonly Ref[], w: Windows): readonly Ref[] {
  return w.sizes.reduce<readonly Ref[]>((values, size, axis) => {
    const stride = w.strides[axis]!;
    const gap = w.dilations[axis]!;
    const reach = (size - 1) * gap;
    let result: readonly Ref[] | undefined;
    let [covering, covered, done] = [values, 1, 0];
    for (;;) {
      if (size & covered) {
        // What stands `done` elements into a window, of every window.
        const left = reach - (covered - 1) * gap - done * gap;
        const piece = covering.map((value) => cut(t, value, axis, done * gap, left, stride));
        result = result ? join(t, result, piece) : piece;
        done += covered;
      }
      if (done === size) return result!;
      const step = covered * gap;
      covering = join(
        t,
        covering.map((value) => cut(t, value, axis, 0, step, 1)),
        covering.map((value) => cut(t, value, axis, step, 0, 1)),
      );
      covered *= 2;
    }
  }, images);
}

/** Every `stride`-th element of an axis, without the first `before` and the last `after` ones. */
function cut(t: OpTranslation, value: Ref, axis: number, before: number, after: number, stride: number): Ref {
  if (before === 0 && after === 0 && stride === 1) return value;
  const at = (place: number): Ref => t.b.ints(axesOf(axis + 1).map((i) => (i === axis ? place : 0)));
  const others = 2 ** axis - 1;
  return t.emit(
    "StridedSlice",
    [value, at(before), at(-after), t.b.ints(axesOf(axis + 1).map((i) => (i === axis ? stride : 1)))],
    { begin_mask: attr.int(others), end_mask: attr.int(after === 0 ? others + 2 ** axis : others) },
  );
}

/** The function that a custom call has in the place of a region. */
export function calledComputation(t: OpTranslation): HloRegion {
  const called = t.attrs.get("called_computations");
  const [body] = called?.kind === "array" ? called.items : [];
  return t.around.calledBody(body?.kind === "string" ? body.value : t.fail("it has no body"));
}

/**
 * Windows whose sizes or paddings follow from the sizes of inputs (a custom call of jax.export): operands, starts, and then
 * sizes, strides, dilations of the base and of the window, and paddings as tensors.
 */
export const dynamicReduceWindow: Translate = (t) => {
  const region = calledComputation(t);
  const count = t.op.results.length;
  const [sizes, strides, stretch, dilations, pads] = axesOf(5).map((i) => constantElements(t, 2 * count + i));
  const known = (values: readonly (number | undefined)[], what: string): number[] =>
    values.map((value) => value ?? t.fail(`${what} that are not known`));
  const open = axesOf(sizes!.length).filter((axis) => sizes![axis] === undefined);
  if (open.length === 0) {
    const windows = {
      sizes: known(sizes!, "sizes"),
      strides: known(strides!, "strides"),
      dilations: known(dilations!, "dilations"),
    };
    const pairs = t.b.cast(t.in(2 * count + 4), "int32");
    const pad = (value: Ref, filler: Ref): Ref => dynamicallyPadded(t, value, pairs, filler);
    return reduced(t, region, windows, known(stretch!, "dilations"), pad);
  }
  const [axis] = open as [number, ...number[]];
  const isPlain = [...strides!, ...stretch!, ...dilations!].every((value) => value === 1);
  const isAlone = open.length === 1 && sizes!.every((size, i) => i === axis || size === 1);
  const isTight = pads!.every((value, i) => Math.floor(i / 2) === axis || value === 0);
  const [low, high] = [pads![2 * axis], pads![2 * axis + 1]];
  if (!isPlain || !isAlone || !isTight || (low !== 0 && high !== 0)) t.fail("windows of a size that is not known");
  const size = t.at(t.b.cast(t.in(2 * count), "int32"), axis);
  t.b.effect("Assert", [
    t.emit("Equal", [size, t.dim(0, axis)]),
    t.b.text("a window of a computed size that is not a whole dimension"),
  ]);
  const isForward = high === 0;
  return cumulative(t, region, axis, isForward) ?? cumulativeInTurns(t, region, axis, isForward);
};

/** In turn i each place joins what 2^i places before it, or behind it, have. */
function cumulativeInTurns(t: OpTranslation, region: HloRegion, axis: number, isForward: boolean): Ref[] {
  const join = joinOf(t, region) ?? t.fail("its body does more than compute with scalars");
  const captures = freeValues([region]);
  const order = [axis, ...axesOf(t.rank(0)).filter((other) => other !== axis)];
  const values = t.ins(0, t.op.results.length).map((value) => t.transpose(value, order));
  const dtypes = ["int32" as const, ...values.map(({ dtype }) => dtype)];
  const length = (inner: OpTranslation, value: Ref): Ref => inner.at(inner.emit("Shape", [value]), 0);
  const cond = t.around.writtenFunction(dtypes, captures, (around, [step, first]) => {
    const inner = new OpTranslation(t.op, around);
    return [inner.emit("Less", [step!, length(inner, first!)])];
  });
  const body = t.around.writtenFunction(dtypes, captures, (around, [step, ...rows]) => {
    const inner = new OpTranslation(t.op, around);
    const size = length(inner, rows[0]!);
    const zero = inner.b.scalar("int32", 0);
    const rest = inner.emit("Sub", [size, step!]);
    const part = (from: Ref, to: Ref) => (value: Ref) =>
      inner.emit("StridedSlice", [value, inner.stack([from]), inner.stack([to]), inner.b.ints([1])]);
    const joined = join(inner, rows.map(part(zero, rest)), rows.map(part(step!, size)));
    const alone = rows.map(isForward ? part(zero, step!) : part(rest, size));
    const next = joined.map((made, i) =>
      inner.emit("ConcatV2", [...(isForward ? [alone[i]!, made] : [made, alone[i]!]), zero]),
    );
    const twice = inner.emit("AddV2", [step!, step!]);
    return [twice, ...next, ...captures.map((value) => around.translated(value).full())];
  });
  const captured = captures.map((value) => t.around.translated(value).full());
  const done = t.b.emitAll("StatelessWhile", [t.b.scalar("int32", 1), ...values, ...captured], {
    cond: attr.func(cond),
    body: attr.func(body),
  });
  const back = order.map((_, i) => order.indexOf(i));
  return values.map((_, i) => shaped(t, t.transpose(done[i + 1]!, back), t.resultType(i)));
}

export const WINDOWS: Readonly<Record<string, Translate>> = { reduce_window: reduceWindow };
