import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { transpose } from "../../proto/emit.js";

/**
 * Volumes as images. ONNX Runtime computes convolutions of images in blocks of channels, with bias and activation, and
 * those of volumes as products with a matrix that repeats every voxel for each place of the kernel. A convolution of
 * volumes is one of their planes, where the neighbours along the depth that a kernel reaches stand beside one another as
 * channels (plane-conv.ts). What is computed element by element in between keeps that form.
 */

/** [depth, height, width, channels] of a volume, all known. */
type VolumeShape = readonly [depth: number, height: number, width: number, channels: number];

/** The planes of volumes, as images [n * depth, channels, height, width]. */
export interface Planes {
  readonly value: Value;
  readonly shape: VolumeShape;
}

/** [n, d, h, w, c] from its planes, with the other forms beside. */
export function volumeOfPlanes(b: OnnxBuilder, planes: Planes): Value {
  const volumes = volumesOf(b, planes);
  const last = transpose(b, volumes, [0, 1, 3, 4, 2]);
  return { ...last, channelsFirst: { value: transpose(b, volumes, [0, 2, 1, 3, 4]), rank: 5 }, planes };
}

/** [n, d, c, h, w] */
export function volumesOf(b: OnnxBuilder, { value, shape: [depth, height, width, channels] }: Planes): Value {
  return b.op("Reshape", [value, b.ints([-1, depth, channels, height, width])]);
}

/** From [n, d, c, h, w]. */
export function planesOfVolumes(b: OnnxBuilder, volumes: Value, shape: VolumeShape): Planes {
  const [, height, width, channels] = shape;
  return { value: b.op("Reshape", [volumes, b.ints([-1, channels, height, width])]), shape };
}
