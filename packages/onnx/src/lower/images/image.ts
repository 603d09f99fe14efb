import type { OnnxBuilder } from "../../proto/builder.js";
import { numbers } from "../../proto/numbers.js";
import type { Value } from "../../proto/value.js";
import { boundedLength, cast, concat, filled, less, shapeOf, slice } from "../../proto/emit.js";
import { beside } from "../convolution/channels.js";
import { agrees, type Coordinates } from "./image-coordinates.js";
import { type ChannelOrder, FEW_CHANNELS_MAX, type Images, mix, type Samples } from "./image-mixing.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/**
 * Image resizing, as gathers of rows and columns with TensorFlow's own coordinates in float32. ONNX's Resize divides by the
 * scale where TensorFlow multiplies, which rounds otherwise; only where that makes no difference do bilinear samples come from it.
 */

/** Longest side of an image that a request may ask for. */
const SIDE_MAX = 2 ** 14;

interface Axis {
  /** Length of the image along the axis, float32 scalar. */
  readonly length: Value;
  /** Position in the image of every output element, float32 vector. */
  readonly position: Value;
}

/** A side that a request asks for: at least 1, or the run fails. */
function boundedSide(b: OnnxBuilder, asked: Value): Value {
  const one = b.scalar("int64", 1);
  return b.op("Add", [boundedLength(b, b.op("Sub", [asked, one]), SIDE_MAX - 1), one]);
}

/** Source positions along axis `axis` for output length `wanted` (int64 scalar). */
function axisOf(n: NodeLowering, axis: 1 | 2, shift: "none" | "half", isCornerAligned: boolean): Axis {
  const { b } = n;
  const one = b.scalar("float32", 1);
  const known = n.dim(0, axis);
  const open = (): Value => cast(b, b.op("Gather", [shapeOf(b, n.x(0)), b.scalar("int64", axis)]), "float32");
  const length = known === undefined ? open() : b.scalar("float32", known);
  const asked = cast(b, b.op("Gather", [n.x(1), b.scalar("int64", axis - 1)]), "int64");
  const wanted = n.numbers(1) ? asked : boundedSide(b, asked);
  const wide = cast(b, wanted, "float32");
  const plain = b.op("Div", [length, wide]);
  const lessOne = (value: Value) => b.op("Sub", [value, one]);
  const scale = isCornerAligned
    ? b.op("Where", [less(b, one, wide), b.op("Div", [lessOne(length), lessOne(wide)]), plain], {}, "float32")
    : plain;
  const index = cast(b, b.op("Range", [b.scalar("int64", 0), wanted, b.scalar("int64", 1)]), "float32");
  if (shift === "none") return { length, position: b.op("Mul", [index, scale]) };
  const centre = b.op("Mul", [b.op("Add", [index, b.scalar("float32", 0.5)]), scale]);
  return { length, position: centre };
}

function clamped(n: NodeLowering, position: Value, length: Value): Value {
  const { b } = n;
  const last = b.op("Sub", [length, b.scalar("float32", 1)]);
  return b.op("Max", [b.op("Min", [position, last]), b.scalar("float32", 0)]);
}

/** Images that have the wanted size already: TensorFlow leaves them as they are, whatever the coordinates. */
function hasWantedSize(n: NodeLowering): boolean {
  const wanted = n.numbers(1);
  return wanted?.length === 2 && wanted.every((length, i) => length > 0 && length === n.dim(0, i + 1));
}

const nearest: Lower = (n) => {
  const { b } = n;
  if (hasWantedSize(n)) return n.x(0);
  const isCornerAligned = n.attrs.bool("align_corners");
  const shift = n.attrs.bool("half_pixel_centers") ? "half" : "none";
  return ([1, 2] as const).reduce((image: Value, axis) => {
    const { length, position } = axisOf(n, axis, shift, isCornerAligned);
    const rounded = isCornerAligned
      ? b.op("Floor", [b.op("Add", [position, b.scalar("float32", 0.5)])])
      : b.op("Floor", [position]);
    return b.op("Gather", [image, cast(b, clamped(n, rounded, length), "int64")], { axis });
  }, n.x(0));
};

/** Bilinear samples by ONNX's Resize; undefined where it would take them elsewhere. */
function sampledAlike(n: NodeLowering, image: Value): Value | undefined {
  const plain = n.attrs.bool("half_pixel_centers") ? "half_pixel" : "asymmetric";
  const coordinates: Coordinates = n.attrs.bool("align_corners") ? "align_corners" : plain;
  const [lengths, wanted] = [[n.dim(0, 1), n.dim(0, 2)], n.numbers(1)];
  const isAlike = wanted?.every((to, i) => to > 0 && !!lengths[i] && agrees(coordinates, lengths[i], to));
  if (!isAlike) return undefined;
  return n.b.op("Resize", [image, undefined, ...resized(n, image, lengths as number[], wanted!)], {
    mode: "linear",
    coordinate_transformation_mode: coordinates,
  });
}

/** The inputs `scales` and `sizes` of a Resize of height and width. */
function resized(
  { b }: NodeLowering,
  image: Value,
  lengths: readonly number[],
  wanted: readonly number[],
): [Value] | [undefined, Value] {
  const scales = wanted.map((to, i) => Math.fround(to / lengths[i]!));
  // Of a scale, ONNX Runtime's inference rounds the result down in float64, which may be a row less than its kernel computes.
  if (scales.every((scale, i) => Math.floor(scale * lengths[i]!) === wanted[i])) {
    return [b.constant(numbers("float32", [4], [1, ...scales, 1]))];
  }
  const shape = shapeOf(b, image);
  return [undefined, concat(b, [slice(b, shape, [0], [1]), b.ints(wanted), slice(b, shape, [3], [4])])];
}

/** From so many bytes of a result on one image is done before the next is begun: every step finds in the cache what the last one left. */
const CACHED_BYTES_MIN = 2 ** 16;

const bilinear: Lower = (n) => {
  const { b } = n;
  if (hasWantedSize(n)) return cast(b, n.x(0), "float32");
  const alike = b.kernels.resizesChannelsLast && sampledAlike(n, cast(b, n.x(0), "float32"));
  if (alike) return alike;
  const samples = [samplesOf(n, 1), samplesOf(n, 2)] as const;
  const channels = n.dim(0, 3);
  const mixed = (order: ChannelOrder): Value =>
    imageByImage(n, order, (image) => mix(b, image, samples, channels, order));
  const last = mixed("last");
  return channels !== undefined && channels <= FEW_CHANNELS_MAX ? beside(last, mixed("first"), 4) : last;
};

function samplesOf(n: NodeLowering, axis: 1 | 2): Samples {
  const { b } = n;
  const isHalf = n.attrs.bool("half_pixel_centers");
  const at = axisOf(n, axis, isHalf ? "half" : "none", n.attrs.bool("align_corners"));
  const position = isHalf ? b.op("Sub", [at.position, b.scalar("float32", 0.5)]) : at.position;
  const low = b.op("Floor", [position]);
  const index = (value: Value): Value => cast(b, clamped(n, value, at.length), "int64");
  const high = b.op("Add", [low, b.scalar("float32", 1)]);
  return { low: index(low), high: index(high), weight: b.op("Sub", [position, low]) };
}

/** @param resized  of one image, [h, w, c], or of all, [n, h, w, c] */
function imageByImage(n: NodeLowering, order: ChannelOrder, resized: (images: Images) => Value): Value {
  const { b } = n;
  const [height, width, channels] = [n.dim(0, 1), n.dim(0, 2), n.dim(0, 3)];
  const [wantedHeight, wantedWidth] = n.numbers(1) ?? [];
  const all = (): Value => resized({ value: n.x(0), lead: 1 });
  if (!b.kernels.worksInTurn || !height || !width || !channels || !wantedHeight || !wantedWidth) return all();
  if (wantedHeight * wantedWidth * channels * 4 < CACHED_BYTES_MIN) return all();
  const wanted = order === "last" ? [wantedHeight, wantedWidth, channels] : [channels, wantedHeight, wantedWidth];
  // ONNX Runtime refuses to take no images in turn.
  return b.choose(
    less(b, b.scalar("int64", 0), slice(b, shapeOf(b, n.x(0)), [0], [1])),
    ["float32"],
    () => [b.perRow(n.x(0), [height, width, channels], wanted, (value) => resized({ value, lead: 0 }))],
    () => [filled(b, b.ints([0, ...wanted]), "float32", 0)],
  )[0]!;
}

export const images: LoweringTable = { ResizeNearestNeighbor: nearest, ResizeBilinear: bilinear };
