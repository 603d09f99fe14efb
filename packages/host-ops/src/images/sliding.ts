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

/** @throws ServingError INVALID_ARGUMENT where no window fits */
export function slide(op: OpCall, length: number, size: number, stride: number, rate = 1): Slide {
  const padding = op.attrs.text("padding");
  check(
    size > 0 && stride > 0 && rate > 0,
    () => `Sliding window ksize, strides and rates must be positive, got ${size}, ${stride} and ${rate}`,
  );
  const extent = (size - 1) * rate + 1;
  if (padding === "VALID") {
    check(
      length >= extent - stride,
      () =>
        `Computed output size would be negative: ${length - extent} [input_size: ${length}, effective_filter_size: ${extent}, stride: ${stride}]`,
    );
    return { count: Math.floor((length - extent + stride) / stride), stride, before: 0, size, rate };
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
  const rows = slide(op, shape[1], sizes[1]!, strides[1]!);
  return new ImageWindows(shape, rows, slide(op, shape[2], sizes[2]!, strides[2]!));
}
