import { numbers, type OnnxBuilder, type Value } from "../proto/builder.js";
import { boundedLength, cast, concat, less, shapeOf, slice } from "../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "./node-lowering.js";

/**
 * Image resizing, as gathers of rows and columns with TensorFlow's own coordinates in float32. ONNX's Resize divides by the
 * scale where TensorFlow multiplies, which rounds otherwise; only where both are exact do bilinear samples come from it.
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
  const length = cast(b, b.op("Gather", [shapeOf(b, n.x(0)), b.scalar("int64", axis)]), "float32");
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

/** How many times as high and wide the result is, where both are known powers of two: then no coordinate is rounded. */
function exactScales(n: NodeLowering): readonly number[] | undefined {
  const scales = n.numbers(1)?.map((wanted, i) => wanted / (n.dim(0, i + 1) ?? 0));
  return scales?.length === 2 && scales.every((scale) => Number.isInteger(Math.log2(scale))) ? scales : undefined;
}

const bilinear: Lower = (n) => {
  const { b } = n;
  const isHalf = n.attrs.bool("half_pixel_centers");
  const start = cast(b, n.x(0), "float32");
  if (hasWantedSize(n)) return start;
  const scales = b.kernels.resizesChannelsLast && !n.attrs.bool("align_corners") ? exactScales(n) : undefined;
  if (scales) {
    const coordinates = isHalf ? "half_pixel" : "asymmetric";
    const attrs = { mode: "linear", coordinate_transformation_mode: coordinates };
    const factors = b.constant(numbers("float32", [4], [1, ...scales, 1]));
    return b.op("Resize", [start, undefined, factors], attrs);
  }
  const count = n.dim(0, 3);
  const channels = count === undefined ? slice(b, shapeOf(b, start), [3], [4]) : b.ints([count]);
  return ([1, 2] as const).reduce((image: Value, axis) => {
    const at = axisOf(n, axis, isHalf ? "half" : "none", n.attrs.bool("align_corners"));
    const position = isHalf ? b.op("Sub", [at.position, b.scalar("float32", 0.5)]) : at.position;
    const low = b.op("Floor", [position]);
    const pick = (index: Value) => b.op("Gather", [image, cast(b, clamped(n, index, at.length), "int64")], { axis });
    const weight = b.op("Sub", [position, low]);
    // Broadcasts along the axis: [n, 1, 1] for rows. For columns [n, channels]: the engine is slow to repeat a number a few times.
    const shaped = b.op("Reshape", [weight, b.ints(axis === 1 ? [-1, 1, 1] : [-1, 1])]);
    const factors = axis === 1 ? shaped : b.op("Expand", [shaped, concat(b, [b.ints([1]), channels])]);
    const before = pick(low);
    const after = pick(b.op("Add", [low, b.scalar("float32", 1)]));
    return b.op("Add", [before, b.op("Mul", [b.op("Sub", [after, before]), factors])]);
  }, start);
};

export const images: LoweringTable = { ResizeNearestNeighbor: nearest, ResizeBilinear: bilinear };
