import { attr } from "@shardserve/savedmodel";
import { dynamicallyPadded, padded, spreadOut } from "./arrays.js";
import type { Ref } from "./function-builder.js";
import { axesOf, checkedAxes, type OpTranslation, type Translate } from "./translation.js";

/** Convolutions: of images and kernels as TensorFlow has them, [batch, spatial..., channels] and [spatial..., channels, features]. */

/** A list of the spatial dimensions, or what it is when it is left out. */
export function spatialInts(t: OpTranslation, name: string, count: number, otherwise: number): number[] {
  const given = t.attrs.get(name) === undefined ? [] : t.attrs.ints(name);
  if (given.length === 0) return Array.from({ length: count }, () => otherwise);
  return given.length === count ? given : t.fail(`${name} has ${given.length} entries instead of ${count}`);
}

const convolution: Translate = (t) => {
  const spatial = t.rank(0) - 2;
  const pads = spatialInts(t, "padding", 2 * spatial, 0);
  const [low, high] = [0, 1].map((side) => [0, ...axesOf(spatial).map((i) => pads[2 * i + side]!), 0]);
  return [general(t, (image, zero) => padded(t, image, low!, high!, zero))];
};

/** The paddings are computed: [spatial, 2]. */
const dynamicConvolution: Translate = (t) => [
  general(t, (image, zero) => {
    const none = t.reshape(t.b.ints([0, 0]), [1, 2]);
    const pads = [none, t.b.cast(t.in(2), "int32"), none];
    return dynamicallyPadded(t, image, t.emit("ConcatV2", [...pads, t.b.scalar("int32", 0)]), zero);
  }),
];

function general(t: OpTranslation, pad: (image: Ref, zero: Ref) => Ref): Ref {
  const rank = t.rank(0);
  const spatial = rank - 2;
  if (spatial < 0 || spatial > 3 || t.rank(1) !== rank) t.fail(`${spatial} spatial dimensions`);
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
  const reversed = spatialInts(t, "window_reversal", spatial, 0);

  const dtype = t.resultDType();
  const zero = t.b.scalar(dtype, 0);
  let image = t.transpose(t.b.cast(t.in(0), dtype), lhs);
  const imageType = { ...t.type(0), shape: lhs.map((axis) => t.type(0).shape[axis]!) };
  image = spreadOut(t, image, imageType, [0, ...stretch.map((factor) => factor - 1), 0], zero);
  image = pad(image, zero);
  let kernel = t.transpose(t.b.cast(t.in(1), dtype), rhs);
  const flipped = reversed.flatMap((isReversed, i) => (isReversed ? [i] : []));
  if (flipped.length > 0) kernel = t.emit("ReverseV2", [kernel, t.b.ints(flipped)]);
  const c = { spatial, strides, dilations };
  const batchGroups = int("batch_group_count");
  const result =
    batchGroups > 1 ? ofBatchGroups(t, image, kernel, batchGroups, c) : ofGroups(t, image, kernel, groups, c);
  return t.transpose(
    result,
    axesOf(rank).map((axis) => out.indexOf(axis)),
  );
}

interface Convolution {
  readonly spatial: number;
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
}

/** Each part of the batch with its own part of the features, whose results stand side by side. */
function ofBatchGroups(t: OpTranslation, image: Ref, kernel: Ref, groups: number, c: Convolution): Ref {
  const features = c.spatial + 1;
  const images = split(t, image, groups, 0);
  const kernels = split(t, kernel, groups, features);
  const parts = images.map((part, i) => convolved(t, part, kernels[i]!, c));
  return t.emit("ConcatV2", [...parts, t.b.scalar("int32", features)]);
}

/** TensorFlow's Conv2D tells the number of groups from the channels; other convolutions have none. */
function ofGroups(t: OpTranslation, image: Ref, kernel: Ref, groups: number, c: Convolution): Ref {
  const isFlat = c.spatial === 1 || c.spatial === 2;
  if (groups === 1 || (isFlat && image.dtype.includes("float"))) return convolved(t, image, kernel, c);
  const features = c.spatial + 1;
  const images = split(t, image, groups, features);
  const kernels = split(t, kernel, groups, features);
  const parts = images.map((part, i) => convolved(t, part, kernels[i]!, c));
  return t.emit("ConcatV2", [...parts, t.b.scalar("int32", features)]);
}

function split(t: OpTranslation, value: Ref, parts: number, axis: number): Ref[] {
  return t.b.emitAll("Split", [t.b.scalar("int32", axis), value], { num_split: attr.int(parts) });
}

/** @param image  [batch, spatial..., channels] @param kernel  [spatial..., channels of a group, features] */
function convolved(t: OpTranslation, image: Ref, kernel: Ref, c: Convolution): Ref {
  if (c.spatial === 0) return t.emit("MatMul", [image, kernel]);
  if (/complex/.test(image.dtype)) return ofComplex(t, image, kernel, c);
  if (/int/.test(image.dtype)) return ofIntegers(t, image, kernel, c);
  const list = (values: readonly number[]) => attr.ints([1, ...values, 1]);
  const valid = { padding: attr.text("VALID") };
  if (c.spatial === 3) {
    return t.emit("Conv3D", [image, kernel], { ...valid, strides: list(c.strides), dilations: list(c.dilations) });
  }
  const isLine = c.spatial === 1;
  const [x, w] = isLine ? [t.expand(image, 1), t.expand(kernel, 0)] : [image, kernel];
  const [strides, dilations] = [c.strides, c.dilations].map((values) => (isLine ? [1, ...values] : values));
  const attrs = { ...valid, strides: list(strides!), dilations: list(dilations!) };
  const made = t.emit("Conv2D", [x, w], attrs);
  return isLine ? t.emit("Squeeze", [made], { squeeze_dims: attr.ints([1]) }) : made;
}

/** In float64, which is exact for the products and sums that integers of up to 32 bits make below 2^53. */
function ofIntegers(t: OpTranslation, image: Ref, kernel: Ref, c: Convolution): Ref {
  const [x, w] = [t.b.cast(image, "float64"), t.b.cast(kernel, "float64")];
  return t.b.cast(convolved(t, x, w, c), image.dtype);
}

function ofComplex(t: OpTranslation, image: Ref, kernel: Ref, c: Convolution): Ref {
  const dtype = image.dtype === "complex64" ? "float32" : "float64";
  const part = (value: Ref, op: string): Ref => t.emit(op, [value], { Tout: attr.type(dtype) });
  const [a, b] = ["Real", "Imag"].map((op) => part(image, op));
  const [u, v] = ["Real", "Imag"].map((op) => part(kernel, op));
  const product = (x: Ref, w: Ref): Ref => convolved(t, x, w, c);
  const real = t.emit("Sub", [product(a!, u!), product(b!, v!)]);
  const imag = t.emit("AddV2", [product(a!, v!), product(b!, u!)]);
  return t.emit("Complex", [real, imag], { Tout: attr.type(image.dtype) });
}

export const CONVOLUTIONS: Readonly<Record<string, Translate>> = {
  convolution,
  dynamic_conv: dynamicConvolution,
};
