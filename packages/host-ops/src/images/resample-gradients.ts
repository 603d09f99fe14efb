/** Gradients of images sampled anew: what each input gave to the results flows back to it by the same weights. */
import type { DType, Tensor } from "@shardserve/tensor";
import { ServingError } from "@shardserve/core";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import { rounded } from "../call/rounded.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { shapeOf } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { cropPlace } from "./image-resample.js";
import { cubicTaps, imageShape, nearestTaps, slopeTaps, spanTaps } from "./sample-taps.js";
import type { Tap } from "./weighted-samples.js";

const { fround } = Math;

/** Images [batch, height, width, channels] to which the gradient of their samples flows back. */
function* flowedBack(
  gradient: Tensor,
  dtype: DType,
  size: readonly [number, number],
  taps: readonly (readonly Tap[])[],
): Pieces<Tensor> {
  const { batch, height: rowCount, width: columnCount, channels } = imageShape(gradient);
  const [height, width] = size;
  const [rows, columns] = taps as [readonly Tap[], readonly Tap[]];
  const shape = [batch, height, width, channels];
  const by = numbersOf(gradient);
  const sums = new Float64Array(checkedCount(dtype, shape));
  // TensorFlow's products are of the gradient's dtype whatever the sums are.
  const round = gradient.dtype === "float32" ? fround : (x: number): number => x;
  const add = (from: number, to: number, down: number, along: number): void => {
    for (let c = 0; c < channels; c++) sums[to + c]! += round(round(by[from + c]! * down) * along);
  };
  const tapsAlong = columns.reduce((sum, { indices }) => sum + indices.length, 0);
  for (let line = 0; line < batch * rowCount; line++) {
    const row = rows[line % rowCount]!;
    const image = Math.floor(line / rowCount) * height;
    yield row.indices.length * tapsAlong * channels * 2;
    for (const [at, column] of columns.entries()) {
      const from = (line * columnCount + at) * channels;
      for (const [i, y] of row.indices.entries()) {
        for (const [k, x] of column.indices.entries()) {
          add(from, ((image + y) * width + x) * channels, fround(row.weights[i]!), fround(column.weights[k]!));
        }
      }
    }
  }
  return yield* rounded(dtype, shape, sums);
}

/** The gradient of a resize; input 1 is the image that was resized. */
function resizeGrad(tapsOf: (op: OpCall, inSize: number, outSize: number) => readonly Tap[]): Kernel {
  return inTurns(function* (op) {
    const [gradient, image] = [op.tensor(0), op.tensor(1)];
    const { height, width } = imageShape(image);
    const from = imageShape(gradient);
    check(height > 0 && width > 0, () => "original dimensions must be positive");
    check(from.height > 0 && from.width > 0, () => "resized dimensions must be positive");
    const taps = [tapsOf(op, height, from.height), tapsOf(op, width, from.width)];
    return [yield* flowedBack(gradient, image.dtype, [height, width], taps)];
  });
}

const resizeNearestGrad: Kernel = inTurns(function* (op) {
  const gradient = op.tensor(0);
  const from = imageShape(gradient);
  const size = shapeOf(op.tensor(1));
  check(size.length === 2, () => `shape_t must have two elements${printShape(op.tensor(1).shape)}`);
  const [height, width] = size as [number, number];
  check(height > 0 && width > 0, () => "shape_t's elements must be positive");
  const taps = [nearestTaps(op, height, from.height), nearestTaps(op, width, from.width)];
  return [yield* flowedBack(gradient, gradient.dtype, [height, width], taps)];
});

const scaleAndTranslateGrad: Kernel = inTurns(function* (op) {
  const [gradient, image] = [op.tensor(0), op.tensor(1)];
  const { height, width } = imageShape(image);
  const from = imageShape(gradient);
  const taps = spanTaps(op, [height, width], [from.height, from.width]);
  return [yield* flowedBack(gradient, image.dtype, [height, width], taps)];
});

/** Where a row or column of a crop lies between two of the image. */
interface Between {
  readonly low: number;
  readonly high: number;
  /** Share of `high`. */
  readonly share: number;
}

/** undefined = outside of the image. */
function between(at: number, size: number): Between | undefined {
  if (at < 0 || at > size - 1) return undefined;
  return { low: Math.floor(at), high: Math.ceil(at), share: fround(at - Math.floor(at)) };
}

interface Crops {
  readonly gradient: Tensor;
  readonly boxes: ArrayLike<number>;
  readonly images: ArrayLike<number>;
}

/** Inputs of the gradients: crops' gradient, boxes and the image of each. */
function cropsOf(op: OpCall, at: { boxes: number; images: number }, batch: number): Crops {
  const [gradient, boxes, images] = [op.tensor(0), op.tensor(at.boxes), op.tensor(at.images)];
  check(gradient.shape.length === 4, () => `grads image must be 4-D${printShape(gradient.shape)}`);
  check(boxes.shape.length === 2 && boxes.shape[1] === 4, () => `boxes must be 2-D${printShape(boxes.shape)}`);
  check(images.shape.length === 1 && images.shape[0] === boxes.shape[0], () => "box_index has incompatible shape");
  check(gradient.shape[0] === boxes.shape[0], () => "boxes and grads have incompatible shape");
  const indexes = numbersOf(images);
  if (indexes.some((image) => image < 0 || image >= batch)) {
    throw new ServingError("OUT_OF_RANGE", "box_index has values outside [0, batch_size)");
  }
  return { gradient, boxes: numbersOf(boxes), images: indexes };
}

/** What a channel of a sample of a crop takes, in multiplications. */
const SAMPLE_WORK = 8;

/** Calls `visit` for every row and column of every crop that lies in its image, with the position of its first channel. */
function* eachSample(
  { gradient, boxes }: Crops,
  [height, width]: readonly [number, number],
  visit: (box: number, y: number, x: number, from: number, row: number, column: number) => void,
): Pieces<void> {
  const [count, cropHeight, cropWidth, channels] = gradient.shape as [number, number, number, number];
  for (let box = 0; box < count; box++) {
    const [y1, x1, y2, x2] = [0, 1, 2, 3].map((k) => boxes[4 * box + k]!) as [number, number, number, number];
    for (let row = 0; row < cropHeight; row++) {
      const y = cropPlace(y1, y2, row, cropHeight, height);
      yield cropWidth * (1 + channels * SAMPLE_WORK);
      if (y < 0 || y > height - 1) continue;
      for (let column = 0; column < cropWidth; column++) {
        const x = cropPlace(x1, x2, column, cropWidth, width);
        if (x < 0 || x > width - 1) continue;
        visit(box, y, x, ((box * cropHeight + row) * cropWidth + column) * channels, row, column);
      }
    }
  }
}

/** By the images: each sample to the pixels that it was mixed of. */
const cropGradImage: Kernel = inTurns(function* (op) {
  const shape = shapeOf(op.tensor(3));
  check(shape.length === 4, () => `image_size must have 4 elements${printShape(shape)}`);
  const [batch, height, width, channels] = shape as [number, number, number, number];
  check(height > 0 && width > 0, () => "image dimensions must be positive");
  const crops = cropsOf(op, { boxes: 1, images: 2 }, batch);
  check(crops.gradient.shape[3] === channels, () => "image_size and grads are incompatible");
  const method = op.attrs.text("method");
  const by = numbersOf(crops.gradient);
  const dtype = op.attrs.dtype("T");
  const sums = new Float64Array(checkedCount(dtype, shape));
  const add = (image: number, y: number, x: number, from: number, down = 1, along = 1): void => {
    const to = ((image * height + y) * width + x) * channels;
    for (let c = 0; c < channels; c++) sums[to + c]! += fround(fround(down * by[from + c]!) * along);
  };
  yield* eachSample(crops, [height, width], (box, y, x, from) => {
    const image = crops.images[box]!;
    if (method === "nearest") return add(image, Math.round(y), Math.round(x), from);
    const [down, along] = [between(y, height)!, between(x, width)!];
    const [up, left] = [fround(1 - down.share), fround(1 - along.share)];
    add(image, down.low, along.low, from, up, left);
    add(image, down.low, along.high, from, up, along.share);
    add(image, down.high, along.low, from, down.share, left);
    add(image, down.high, along.high, from, down.share, along.share);
  });
  return [yield* rounded(dtype, shape, sums)];
});

/** By the corners of the boxes: how the samples change where they move. */
const cropGradBoxes: Kernel = inTurns(function* (op) {
  const image = op.tensor(1);
  const { batch, height, width, channels } = imageShape(image);
  if (op.attrs.text("method") !== "bilinear") throw invalid("method must be 'bilinear'");
  const crops = cropsOf(op, { boxes: 2, images: 3 }, batch);
  const [, cropHeight, cropWidth] = crops.gradient.shape as [number, number, number, number];
  const [pixels, by] = [numbersOf(image), numbersOf(crops.gradient)];
  const shape = op.tensor(2).shape;
  const sums = new Float64Array(checkedCount("float32", shape));
  const ratio = (size: number, crop: number): number => (crop > 1 ? (size - 1) / (crop - 1) : 0);
  const [rowRatio, columnRatio] = [ratio(height, cropHeight), ratio(width, cropWidth)];
  yield* eachSample(crops, [height, width], (box, y, x, from, row, column) => {
    const [down, along] = [between(y, height)!, between(x, width)!];
    const at = (line: number, place: number): number =>
      ((crops.images[box]! * height + line) * width + place) * channels;
    const [upLeft, upRight] = [at(down.low, along.low), at(down.low, along.high)];
    const [downLeft, downRight] = [at(down.high, along.low), at(down.high, along.high)];
    let [byY, byX] = [0, 0];
    for (let c = 0; c < channels; c++) {
      const [a, b] = [pixels[upLeft + c]!, pixels[upRight + c]!];
      const [d, e] = [pixels[downLeft + c]!, pixels[downRight + c]!];
      byY += by[from + c]! * ((1 - along.share) * (d - a) + along.share * (e - b));
      byX += by[from + c]! * ((1 - down.share) * (b - a) + down.share * (e - d));
    }
    const spread = (low: number, size: number, crop: number, scale: number, step: number, change: number): void => {
      sums[4 * box + low]! += change * (crop > 1 ? size - 1 - step * scale : 0.5 * (size - 1));
      sums[4 * box + low + 2]! += change * (crop > 1 ? step * scale : 0.5 * (size - 1));
    };
    spread(0, height, cropHeight, rowRatio, row, byY);
    spread(1, width, cropWidth, columnRatio, column, byX);
  });
  return [yield* rounded("float32", shape, sums)];
});

export const RESAMPLE_GRADIENT_KERNELS: Readonly<Record<string, Kernel>> = {
  ResizeBilinearGrad: resizeGrad(slopeTaps),
  ResizeBicubicGrad: resizeGrad(cubicTaps),
  ResizeNearestNeighborGrad: resizeNearestGrad,
  ScaleAndTranslateGrad: scaleAndTranslateGrad,
  CropAndResizeGradImage: cropGradImage,
  CropAndResizeGradBoxes: cropGradBoxes,
};
