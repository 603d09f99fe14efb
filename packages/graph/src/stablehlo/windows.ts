import { attr } from "@shardserve/savedmodel";
import { padded, shaped, spreadOut } from "./arrays.js";
import type { Ref } from "./function-builder.js";
import { type Combiner, combined, combinerOf, isIdentity } from "./reductions.js";
import { axesOf, checkedAxes, type OpTranslation, type Translate } from "./translation.js";

/** Convolutions, and reductions over windows: pooling and cumulative sums. */

/** A list of the spatial dimensions, or what it is when it is left out. */
function spatialInts(t: OpTranslation, name: string, count: number, otherwise: number): number[] {
  const given = t.attrs.get(name) === undefined ? [] : t.attrs.ints(name);
  if (given.length === 0) return Array.from({ length: count }, () => otherwise);
  return given.length === count ? given : t.fail(`${name} has ${given.length} entries instead of ${count}`);
}

const convolution: Translate = (t) => {
  const rank = t.rank(0);
  const spatial = rank - 2;
  if (spatial < 1 || spatial > 3 || t.rank(1) !== rank) t.fail(`${spatial} spatial dimensions`);
  if (t.attrs.int("batch_group_count") !== 1) t.fail("groups of the batch");
  const int = (name: string): number => t.attrs.int(name);
  const places = (side: string): number[] => t.attrs.ints(`${side}_spatial_dimensions`);
  const lhs = [int("input_batch_dimension"), ...places("input"), int("input_feature_dimension")];
  const rhs = [...places("kernel"), int("kernel_input_feature_dimension"), int("kernel_output_feature_dimension")];
  const out = [int("output_batch_dimension"), ...places("output"), int("output_feature_dimension")];
  for (const axes of [lhs, rhs, out])
    if (checkedAxes(t, axes, rank, "dimensions").length !== rank) t.fail("dimensions of another rank");
  const groups = int("feature_group_count");
  const stretch = spatialInts(t, "lhs_dilation", spatial, 1);
  const strides = spatialInts(t, "window_strides", spatial, 1);
  const dilations = spatialInts(t, "rhs_dilation", spatial, 1);
  const pads = spatialInts(t, "padding", 2 * spatial, 0);
  const reversed = spatialInts(t, "window_reversal", spatial, 0);

  const dtype = t.resultDType();
  const zero = t.b.scalar(dtype, 0);
  let image = t.transpose(t.b.cast(t.in(0), dtype), lhs);
  const imageType = { ...t.type(0), shape: lhs.map((axis) => t.type(0).shape[axis]!) };
  image = spreadOut(t, image, imageType, [0, ...stretch.map((factor) => factor - 1), 0], zero);
  const [low, high] = [0, 1].map((side) => [0, ...axesOf(spatial).map((i) => pads[2 * i + side]!), 0]);
  image = padded(t, image, low!, high!, zero);
  let kernel = t.transpose(t.b.cast(t.in(1), dtype), rhs);
  const flipped = reversed.flatMap((isReversed, i) => (isReversed ? [i] : []));
  if (flipped.length > 0) kernel = t.emit("ReverseV2", [kernel, t.b.ints(flipped)]);
  const result = convolved(t, image, kernel, { spatial, groups, strides, dilations });
  return [
    t.transpose(
      result,
      axesOf(rank).map((axis) => out.indexOf(axis)),
    ),
  ];
};

interface Convolution {
  readonly spatial: number;
  readonly groups: number;
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
}

/** @param image  [batch, spatial..., channels] @param kernel  [spatial..., channels of a group, features] */
function convolved(t: OpTranslation, image: Ref, kernel: Ref, c: Convolution): Ref {
  const list = (values: readonly number[]) => attr.ints([1, ...values, 1]);
  const valid = { padding: attr.text("VALID") };
  if (c.spatial === 3) {
    if (c.groups !== 1) t.fail("groups in three dimensions");
    return t.emit("Conv3D", [image, kernel], { ...valid, strides: list(c.strides), dilations: list(c.dilations) });
  }
  const isLine = c.spatial === 1;
  const [x, w] = isLine ? [t.expand(image, 1), t.expand(kernel, 0)] : [image, kernel];
  const [strides, dilations] = [c.strides, c.dilations].map((values) => (isLine ? [1, ...values] : values));
  const attrs = { ...valid, strides: list(strides!), dilations: list(dilations!) };
  // TensorFlow tells the number of groups from the channels.
  const made = t.emit("Conv2D", [x, w], attrs);
  return isLine ? t.emit("Squeeze", [made], { squeeze_dims: attr.ints([1]) }) : made;
}

/** Windows of more elements than this are refused where each becomes a slice. */
const WINDOW_MAX = 1024;

const reduceWindow: Translate = (t) => {
  if (t.op.operands.length !== 2) t.fail(`it reduces ${t.op.operands.length / 2} tensors at once`);
  const rank = t.rank(0);
  const combiner = combinerOf(t.region(0));
  if (!combiner || combiner === "second") return t.fail("its body is none of sum, product, maximum, minimum, and, or");
  const sizes = spatialInts(t, "window_dimensions", rank, 1);
  const strides = spatialInts(t, "window_strides", rank, 1);
  const stretch = spatialInts(t, "base_dilations", rank, 1);
  const dilations = spatialInts(t, "window_dilations", rank, 1);
  const pads = spatialInts(t, "padding", 2 * rank, 0);
  const neutral = isIdentity(t, 1, combiner);
  const cumulative = neutral ? cumulativeAxis(t, combiner, { sizes, strides, stretch, dilations, pads }) : undefined;
  if (cumulative) return [cumulative];
  const filler = t.in(1);
  const spread = spreadOut(
    t,
    t.in(0),
    t.type(0),
    stretch.map((factor) => factor - 1),
    filler,
  );
  const [low, high] = [0, 1].map((side) => axesOf(rank).map((i) => pads[2 * i + side]!));
  const image = padded(t, spread, low!, high!, filler);
  const pooled = neutral ? pool(t, combiner, image, { sizes, strides, dilations }) : undefined;
  return [pooled ?? slid(t, combiner, image, { sizes, strides, dilations }, neutral ? undefined : filler)];
};

interface Windows {
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
}

/** A sum or product of all that comes before, along one axis, forwards or backwards. */
function cumulativeAxis(
  t: OpTranslation,
  combiner: Combiner,
  w: Windows & { readonly stretch: readonly number[]; readonly pads: readonly number[] },
): Ref | undefined {
  const op = combiner === "add" ? "Cumsum" : combiner === "multiply" ? "Cumprod" : undefined;
  const long = w.sizes.flatMap((size, axis) => (size > 1 ? [axis] : []));
  const [axis] = long;
  if (!op || long.length !== 1 || axis === undefined || w.sizes[axis] !== t.type(0).shape[axis]) return undefined;
  if ([...w.strides, ...w.dilations, ...w.stretch].some((value) => value !== 1)) return undefined;
  const before = w.sizes[axis]! - 1;
  const isElsewhere = w.pads.some((value, i) => Math.floor(i / 2) !== axis && value !== 0);
  const [low, high] = [w.pads[2 * axis], w.pads[2 * axis + 1]];
  const isForward = low === before && high === 0;
  if (isElsewhere || !(isForward || (low === 0 && high === before))) return undefined;
  return t.emit(op, [t.in(0), t.b.scalar("int32", axis)], { reverse: attr.bool(!isForward) });
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

/** Windows of any rank: one strided slice for each of their elements, joined one after another. */
function slid(t: OpTranslation, combiner: Combiner, image: Ref, w: Windows, start: Ref | undefined): Ref {
  const count = w.sizes.reduce((a, b) => a * b, 1);
  if (count > WINDOW_MAX) t.fail(`windows of ${count} elements`);
  const shape = t.emit("Shape", [image]);
  const reach = t.b.ints(w.sizes.map((size, axis) => (size - 1) * w.dilations[axis]!));
  const room = t.emit("Sub", [shape, reach]);
  let result = start;
  for (let i = 0; i < count; i++) {
    const from = t.b.ints(placeOf(i, w.sizes).map((place, axis) => place * w.dilations[axis]!));
    const piece = t.emit("StridedSlice", [image, from, t.emit("AddV2", [room, from]), t.b.ints(w.strides)]);
    result = result ? combined(t, combiner, result, piece) : piece;
  }
  return result ? shaped(t, result, t.resultType()) : t.fail("an empty window");
}

/** The row-major place of element `index` of a box. */
function placeOf(index: number, sizes: readonly number[]): number[] {
  let left = index;
  const place = [...sizes].reverse().map((size) => {
    const at = left % size;
    left = Math.floor(left / size);
    return at;
  });
  return place.reverse();
}

export const WINDOWS: Readonly<Record<string, Translate>> = { convolution, reduce_window: reduceWindow };
