import { numbers } from "../../proto/numbers.js";
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { transpose } from "../../proto/emit.js";
import { type Layout, permutedKernel, spatialInts } from "./conv-layout.js";
import type { NodeLowering } from "../node-lowering.js";
import { paddingOf } from "./padding.js";
import { type Planes, planesOfVolumes, volumeOfPlanes, volumesOf } from "./planes.js";

/** ONNX Runtime's kernels for images work on so many channels at once, and others are no faster than for volumes. */
const BLOCK = 16;

/** Fewer places of a kernel in each plane do not pay for the copies of the planes. */
const PLACES_MIN = 9;

/** Of one volume, the copies of planes that windows reach take no more: they exist, twice, of a whole batch at once. */
const NEIGHBOUR_BYTES_MAX = 8 * 2 ** 20;

/** Planes of input 0, a volume with channels last; undefined where a length is unknown or 0. */
function planesOf(n: NodeLowering): Planes | undefined {
  const { b } = n;
  const { planes, channelsFirst } = n.x(0);
  if (planes) return planes;
  const [depth = 0, height = 0, width = 0, channels = 0] = [1, 2, 3, 4].map((axis) => n.dim(0, axis));
  if (Math.min(depth, height, width, channels) < 1) return undefined;
  const volumes = channelsFirst
    ? transpose(b, channelsFirst.value, [0, 2, 1, 3, 4])
    : transpose(b, n.x(0), [0, 1, 4, 2, 3]);
  return planesOfVolumes(b, volumes, [depth, height, width, channels]);
}

/**
 * A convolution of volumes; undefined where that of planes is not known to be the same, or not to be faster.
 *
 * @param kernel  lengths of TensorFlow's: [depth, height, width, inputs, outputs]
 */
export function planeConvolution(n: NodeLowering, layout: Layout, kernel: readonly number[]): Value | undefined {
  const { b } = n;
  if (!b.kernels.prefersPlanes || !layout.isChannelsLast || n.dtype(0) !== "float32") return undefined;
  const [length, height, width, inputs, outputs] = kernel as [number, number, number, number, number];
  if (height * width < PLACES_MIN || inputs % BLOCK !== 0 || outputs % BLOCK !== 0) return undefined;
  const strides = spatialInts(n, layout, "strides");
  if (strides.some((stride) => stride > 1)) return undefined;
  const dilations = spatialInts(n, layout, "dilations");
  const { pads = [0, 0, 0, 0, 0, 0] } = paddingOf(n, layout, kernel, strides, dilations).attrs;
  const planes = planesOf(n);
  // Another number of channels is that of groups.
  if (planes?.shape[3] !== inputs) return undefined;
  const [depth, rows, columns] = [0, 1, 2].map(
    (axis) => planes.shape[axis]! + pads[axis]! + pads[axis + 3]! - (kernel[axis]! - 1) * dilations[axis]!,
  ) as [number, number, number];
  if (Math.min(depth, rows, columns, outputs) < 1) return undefined;
  const isAlone = length === 1 && depth === planes.shape[0];
  const neighbourBytes = depth * length * inputs * planes.shape[1] * planes.shape[2] * 4;
  if (!isAlone && neighbourBytes > NEIGHBOUR_BYTES_MAX) return undefined;
  const reach = Array.from({ length: depth }, (_, start) =>
    Array.from({ length }, (_, place) => start + place * dilations[0]!),
  );
  const images = isAlone ? planes.value : neighbours(b, planes, [pads[0]!, pads[3]!], reach);
  const weights = permutedKernel(n, 1, [4, 0, 3, 1, 2], [outputs, length * inputs, height, width]);
  const value = b.op("Conv", [images, weights], {
    strides: strides.slice(1),
    dilations: dilations.slice(1),
    kernel_shape: [height, width],
    pads: [pads[1]!, pads[2]!, pads[4]!, pads[5]!],
  });
  return volumeOfPlanes(b, { value, shape: [depth, rows, columns, outputs] });
}

/**
 * The planes that each window reaches, as channels of one image.
 *
 * @param pads   planes of zeros before and behind each volume
 * @param reach  of each window, the planes among those
 */
function neighbours(
  b: OnnxBuilder,
  planes: Planes,
  [before, after]: readonly [number, number],
  reach: readonly (readonly number[])[],
): Value {
  const [, height, width, channels] = planes.shape;
  const volumes = volumesOf(b, planes);
  const isPadded = before + after > 0;
  const padded = isPadded ? b.op("Pad", [volumes, b.ints([0, before, 0, 0, 0, 0, after, 0, 0, 0])]) : volumes;
  const length = reach[0]!.length;
  const indexes = b.constant(numbers("int64", [reach.length, length], reach.flat()));
  const chosen = b.op("Gather", [padded, indexes], { axis: 1 });
  return b.op("Reshape", [chosen, b.ints([-1, length * channels, height, width])]);
}
