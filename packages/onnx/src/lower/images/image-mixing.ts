import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { cast, concat, shapeOf, slice, transpose } from "../../proto/emit.js";

/** Bilinear samples as sums of neighbours, first of rows, then of columns. */

/** Pixels of fewer than two cache lines cost more to find than to copy. */
export const FEW_CHANNELS_MAX = 31;

export type ChannelOrder = "first" | "last";

/** One image [h, w, c], or, with one dimension before them, many. */
export interface Images {
  readonly value: Value;
  readonly lead: 0 | 1;
}

/** How the samples along one axis are mixed of two neighbours each: indexes, and the weight of the higher one. */
export interface Samples {
  readonly low: Value;
  readonly high: Value;
  readonly weight: Value;
}

/**
 * @param samples   along the height and along the width
 * @param channels  where they are known
 * @param order     of the result, float32; "first" only of few channels
 */
export function mix(
  b: OnnxBuilder,
  images: Images,
  samples: readonly [Samples, Samples],
  channels: number | undefined,
  order: ChannelOrder,
): Value {
  const wide = { ...images, value: cast(b, images.value, "float32") };
  if (channels !== undefined && channels <= FEW_CHANNELS_MAX) return turned(b, wide, samples, order);
  return pixelByPixel(b, wide, samples, channels);
}

function pixelByPixel(
  b: OnnxBuilder,
  { value, lead }: Images,
  [rows, columns]: readonly [Samples, Samples],
  channels: number | undefined,
): Value {
  const perPixel = channels === undefined ? slice(b, shapeOf(b, value), [-1], [2 ** 31]) : b.ints([channels]);
  const mixedRows = mixed(b, value, rows, lead, b.op("Reshape", [rows.weight, b.ints([-1, 1, 1])]));
  // [w, c]: the engine is slow to repeat a number a few times.
  const column = b.op("Reshape", [columns.weight, b.ints([-1, 1])]);
  return mixed(b, mixedRows, columns, lead + 1, b.op("Expand", [column, concat(b, [b.ints([1]), perPixel])]));
}

/** Columns are mixed as the rows of images whose height stands last, [w, c, h]: turning those round is as fast as copying. */
function turned(
  b: OnnxBuilder,
  { value, lead }: Images,
  [rows, columns]: readonly [Samples, Samples],
  order: ChannelOrder,
): Value {
  const weights = ({ weight }: Samples): Value => b.op("Reshape", [weight, b.ints([-1, 1, 1])]);
  const turn = (images: Value, axes: readonly number[]): Value =>
    transpose(b, images, lead === 0 ? axes : [0, ...axes.map((axis) => axis + 1)]);
  const mixedRows = mixed(b, value, rows, lead, weights(rows));
  const both = mixed(b, turn(mixedRows, [1, 2, 0]), columns, lead, weights(columns));
  return turn(both, order === "first" ? [1, 2, 0] : [2, 0, 1]);
}

/** Along one axis, with TensorFlow's own arithmetic. */
function mixed(b: OnnxBuilder, images: Value, { low, high }: Samples, axis: number, weights: Value): Value {
  const before = b.op("Gather", [images, low], { axis });
  const after = b.op("Gather", [images, high], { axis });
  return b.op("Add", [before, b.op("Mul", [b.op("Sub", [after, before]), weights])]);
}
