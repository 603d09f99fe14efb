/** Windows that slide over images: where they begin, and what lies in them. */
import { check } from "../call/errors.js";
import type { NumberArray } from "../call/numeric.js";
import type { OpCall } from "../call/op-call.js";

/** The windows along one dimension. */
export interface Slide {
  /** Number of windows. */
  readonly count: number;
  readonly stride: number;
  /** Elements missing in front of the first. */
  readonly before: number;
  readonly size: number;
  /** Distance of the window's elements. */
  readonly rate: number;
}

/** Elements missing in front of a dimension and behind it. */
export type Around = readonly [before: number, after: number];

/**
 * What padding VALID or EXPLICIT says of dimension `axis` of images [batch, height, width, channels]; undefined for SAME.
 *
 * @throws ServingError INVALID_ARGUMENT where attribute explicit_paddings is not as TensorFlow has it
 */
function paddingAround(op: OpCall, axis: number): Around | undefined {
  const padding = op.attrs.text("padding");
  if (padding !== "EXPLICIT") return padding === "VALID" ? [0, 0] : undefined;
  const given = op.attrs.ints("explicit_paddings");
  check(given.length === 8, () => `explicit_paddings attribute must contain 8 values, but got: ${given.length}`);
  check(
    given.every((count) => count >= 0),
    () => "All elements of explicit_paddings must be nonnegative",
  );
  check(
    [0, 1, 6, 7].every((i) => given[i] === 0),
    () => "Nonzero explicit padding in the batch or depth dimensions is not supported",
  );
  return [given[2 * axis]!, given[2 * axis + 1]!];
}

/**
 * The windows along dimension `axis` of images.
 *
 * @throws ServingError INVALID_ARGUMENT where no window fits
 */
export function slideAlong(op: OpCall, axis: 1 | 2, length: number, size: number, stride: number, rate = 1): Slide {
  return slide(op, length, size, stride, rate, paddingAround(op, axis));
}

/** @throws ServingError INVALID_ARGUMENT where no window fits */
export function slide(op: OpCall, length: number, size: number, stride: number, rate = 1, given?: Around): Slide {
  const padding = op.attrs.text("padding");
  check(
    size > 0 && stride > 0 && rate > 0,
    () => `Sliding window ksize, strides and rates must be positive, got ${size}, ${stride} and ${rate}`,
  );
  const extent = (size - 1) * rate + 1;
  const around = given ?? (padding === "VALID" ? [0, 0] : undefined);
  if (around) {
    const [before, after] = around;
    const padded = before + length + after;
    check(
      padded >= extent - stride,
      () =>
        `Computed output size would be negative: ${padded - extent} [input_size: ${length}, effective_filter_size: ${extent}, stride: ${stride}]`,
    );
    return { count: Math.floor((padded - extent + stride) / stride), stride, before, size, rate };
  }
  const count = Math.ceil(length / stride);
  const missing = Math.max(0, (count - 1) * stride + extent - length);
  return { count, stride, before: Math.floor(missing / 2), size, rate };
}

/** [batch, height, width, channels] */
export type ImagesShape = readonly [batch: number, height: number, width: number, channels: number];

/** The windows over a batch of images, in the order of the results: row by row, one image after the other. */
export class ImageWindows {
  /** Number of windows. */
  readonly count: number;
  /** The image of the window that was moved to. */
  image = 0;
  /** Its first row and column; negative in front of the image. */
  top = 0;
  left = 0;
  readonly rows: Slide;
  readonly columns: Slide;
  readonly #shape: ImagesShape;

  constructor(shape: ImagesShape, rows: Slide, columns: Slide) {
    this.#shape = shape;
    this.rows = rows;
    this.columns = columns;
    this.count = shape[0] * rows.count * columns.count;
  }

  /** Of a result with as many channels for each window. */
  resultShape(channels: number): number[] {
    return [this.#shape[0], this.rows.count, this.columns.count, channels];
  }

  moveTo(window: number): void {
    const { rows, columns } = this;
    const row = Math.floor(window / columns.count);
    this.left = (window % columns.count) * columns.stride - columns.before;
    this.top = (row % rows.count) * rows.stride - rows.before;
    this.image = Math.floor(row / rows.count);
  }

  /** Position of the first of the largest elements of one channel in the window, NaN left out; -1 where it has none. Only for a rate of 1. */
  largest(numbers: NumberArray, channel: number): number {
    const [, height, width, channels] = this.#shape;
    const [bottom, right] = [
      Math.min(height, this.top + this.rows.size),
      Math.min(width, this.left + this.columns.size),
    ];
    let best = -1;
    for (let y = Math.max(0, this.top); y < bottom; y++) {
      for (let x = Math.max(0, this.left); x < right; x++) {
        const at = ((this.image * height + y) * width + x) * channels + channel;
        if (best < 0 || numbers[best]! < numbers[at]!) best = at;
      }
    }
    return best;
  }
}

/** The windows of a pooling op: its attributes ksize, strides and padding. */
export function poolWindows(op: OpCall, shape: ImagesShape): ImageWindows {
  const [sizes, strides] = [op.attrs.ints("ksize"), op.attrs.ints("strides")];
  const [rows, columns] = ([1, 2] as const).map((axis) => {
    const most = Math.max(...(paddingAround(op, axis) ?? [0]));
    const size = sizes[axis]!;
    check(size <= 0 || most < size, () => `Padding ${most} needs to be smaller than the window size ${size}`);
    return slideAlong(op, axis, shape[axis], size, strides[axis]!);
  }) as [Slide, Slide];
  return new ImageWindows(shape, rows, columns);
}
