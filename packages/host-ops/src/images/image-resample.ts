/** Images sampled anew: resizing, crops, patches, warps. Weights are TensorFlow's; sums are in double precision. */
import { elementCount } from "@shardserve/tensor";
import { ServingError } from "@shardserve/core";
import { check, checkVector } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { areaTaps, cubicTaps, imageShape, spanTaps } from "./sample-taps.js";
import { resampled, type Tap } from "./weighted-samples.js";

const { fround } = Math;

/** Input 1: height and width of the result. */
function targetSize(op: OpCall, at = 1): [number, number] {
  const size = op.tensor(at);
  checkVector(size, "size");
  const [height, width] = numbersOf(size);
  check(size.shape[0] === 2, () => `shape_t must have two elements [${size.shape.join(",")}]`);
  check(height! > 0 && width! > 0, () => "output dimensions must be positive");
  return [height!, width!];
}

/** A resize whose rows and columns are made alike. */
function resize(tapsOf: (op: OpCall, inSize: number, outSize: number) => Tap[]): Kernel {
  return (op) => {
    const images = op.tensor(0);
    const { height, width } = imageShape(images);
    const [outHeight, outWidth] = targetSize(op);
    return [resampled(images, tapsOf(op, height, outHeight), tapsOf(op, width, outWidth))];
  };
}

const scaleAndTranslate: Kernel = (op) => {
  const images = op.tensor(0);
  const { height, width } = imageShape(images);
  return [resampled(images, ...spanTaps(op, [height, width], targetSize(op)))];
};

const extractPatches: Kernel = (op) => {
  const images = op.tensor(0);
  const { batch, height, width, channels } = imageShape(images);
  const [, kernelHeight, kernelWidth] = op.attrs.ints("ksizes") as [number, number, number];
  const [, strideY, strideX] = op.attrs.ints("strides") as [number, number, number];
  const [, rateY, rateX] = op.attrs.ints("rates") as [number, number, number];
  const isSame = op.attrs.text("padding") === "SAME";
  const along = (size: number, kernel: number, stride: number, rate: number): [number, number] => {
    const reach = (kernel - 1) * rate + 1;
    const count = isSame ? Math.ceil(size / stride) : Math.max(Math.ceil((size - reach + 1) / stride), 0);
    const padding = isSame ? Math.max((count - 1) * stride + reach - size, 0) : 0;
    return [count, Math.floor(padding / 2)];
  };
  const [rows, top] = along(height, kernelHeight, strideY, rateY);
  const [columns, left] = along(width, kernelWidth, strideX, rateX);
  const shape = [batch, rows, columns, kernelHeight * kernelWidth * channels];
  const input = numbersOf(images);
  const out = numberArray(images.dtype, checkedCount(images.dtype, shape));
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        for (let ky = 0; ky < kernelHeight; ky++) {
          const y = row * strideY - top + ky * rateY;
          for (let kx = 0; kx < kernelWidth; kx++, at += channels) {
            const x = column * strideX - left + kx * rateX;
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            const from = ((b * height + y) * width + x) * channels;
            for (let c = 0; c < channels; c++) out[at + c] = input[from + c]!;
          }
        }
      }
    }
  }
  return [numbersTensor(images.dtype, shape, out)];
};

/** Where a coordinate outside [0, size) is read. */
const FILL_MODES: Readonly<Record<string, (at: number, size: number) => number>> = {
  CONSTANT: (at) => at,
  NEAREST: (at, size) => Math.min(Math.max(at, 0), size - 1),
  REFLECT: (at, size) => {
    if (size <= 1 && (at < 0 || at > size - 1)) return 0;
    const period = 2 * size;
    let to = at;
    if (at < 0) {
      to += period * Math.trunc(-at / period);
      to = to < -size ? to + period : -to - 1;
    } else if (at > size - 1) {
      to -= period * Math.trunc(at / period);
      if (to >= size) to = period - to - 1;
    }
    return Math.min(Math.max(to, 0), size - 1);
  },
  WRAP: (at, size) => {
    if (size <= 1 && (at < 0 || at > size - 1)) return 0;
    let to = at;
    if (at < 0) to = fround(to + size * (Math.trunc(fround(-at / (size - 1))) + 1));
    else if (at > size - 1) to = fround(to - size * Math.trunc(fround(at / (size - 1))));
    return Math.min(Math.max(to, 0), size - 1);
  },
};

/** Between the values at `from` and `from + 1`, in float32 as TensorFlow does it. */
function mixed(at: number, from: number, first: number, second: number): number {
  return fround(fround(fround(from + 1 - at) * first) + fround(fround(at - from) * second));
}

const projectiveTransform: Kernel = (op) => {
  const images = op.tensor(0);
  const { batch, height, width, channels } = imageShape(images);
  const transforms = op.tensor(1);
  const counts = transforms.shape;
  check(
    counts.length === 2 && (counts[0] === batch || counts[0] === 1) && counts[1] === 8,
    () => "Input transform should be num_images x 8 or 1 x 8",
  );
  const [outHeight, outWidth] = targetSize(op, 2);
  const fill = op.inputCount > 3 ? numbersOf(op.tensor(3))[0]! : 0;
  const mapped = FILL_MODES[op.attrs.text("fill_mode")] ?? FILL_MODES["CONSTANT"]!;
  const isNearest = op.attrs.text("interpolation") === "NEAREST";
  const shape = [batch, outHeight, outWidth, channels];
  const [input, t] = [numbersOf(images), numbersOf(transforms)];
  const out = numberArray(images.dtype, checkedCount(images.dtype, shape));
  const read = (b: number, y: number, x: number, c: number): number =>
    y < 0 || y >= height || x < 0 || x >= width ? fill : input[((b * height + y) * width + x) * channels + c]!;
  const away = (value: number): number => Math.sign(value) * Math.round(Math.abs(value));
  let at = 0;
  for (let b = 0; b < batch; b++) {
    const m = counts[0] === 1 ? 0 : b * 8;
    for (let outY = 0; outY < outHeight; outY++) {
      for (let outX = 0; outX < outWidth; outX++) {
        const along = (i: number, last: number): number =>
          fround(fround(fround(t[m + i]! * outX) + fround(t[m + i + 1]! * outY)) + last);
        const depth = along(6, 1);
        const inX = fround(along(0, t[m + 2]!) / depth);
        const inY = fround(along(3, t[m + 5]!) / depth);
        const [x, y] = [mapped(inX, width), mapped(inY, height)];
        const [left, top] = [Math.floor(x), Math.floor(y)];
        for (let c = 0; c < channels; c++) {
          if (depth === 0) out[at++] = fill;
          else if (isNearest) out[at++] = read(b, away(y), away(x), c);
          else {
            const upper = mixed(x, left, read(b, top, left, c), read(b, top, left + 1, c));
            const lower = mixed(x, left, read(b, top + 1, left, c), read(b, top + 1, left + 1, c));
            out[at++] = mixed(y, top, upper, lower);
          }
        }
      }
    }
  }
  return [numbersTensor(images.dtype, shape, out)];
};

/** From `first` the given part of the way to `second`, in float32. */
function slid(first: number, second: number, part: number): number {
  return fround(first + fround(fround(second - first) * fround(part)));
}

/** Where row or column `at` of a crop lies in the image. */
export function cropPlace(from: number, to: number, at: number, crop: number, size: number): number {
  if (crop === 1) return fround(0.5 * fround(from + to) * (size - 1));
  return fround(fround(from * (size - 1)) + fround(at * fround(fround((to - from) * (size - 1)) / (crop - 1))));
}

const cropAndResize: Kernel = (op) => {
  const images = op.tensor(0);
  const { batch, height, width, channels } = imageShape(images);
  const [boxes, of] = [op.tensor(1), op.tensor(2)];
  check(boxes.shape.length === 2 && boxes.shape[1] === 4, () => `boxes must be 2-D [${boxes.shape.join(",")}]`);
  const count = boxes.shape[0]!;
  check(elementCount(of.shape) === count, () => "box_index has incompatible shape");
  const [cropHeight, cropWidth] = targetSize(op, 3);
  const isNearest = op.attrs.text("method") === "nearest";
  const outside = op.attrs.float("extrapolation_value");
  const shape = [count, cropHeight, cropWidth, channels];
  const [input, corners, indexes] = [numbersOf(images), numbersOf(boxes), numbersOf(of)];
  const out = numberArray("float32", checkedCount("float32", shape));
  if (indexes.some((b) => b < 0 || b >= batch)) {
    throw new ServingError("OUT_OF_RANGE", "box_index has values outside [0, batch_size)");
  }
  check(corners.every(Number.isFinite), () => "boxes contains at least one element that is not finite");
  let at = 0;
  for (let box = 0; box < count; box++) {
    const b = indexes[box]!;
    const [y1, x1, y2, x2] = corners.subarray(box * 4, box * 4 + 4) as unknown as [number, number, number, number];
    const pixel = (y: number, x: number, c: number): number => input[((b * height + y) * width + x) * channels + c]!;
    for (let row = 0; row < cropHeight; row++) {
      const y = cropPlace(y1, y2, row, cropHeight, height);
      for (let column = 0; column < cropWidth; column++) {
        const x = cropPlace(x1, x2, column, cropWidth, width);
        const isOutside = y < 0 || y > height - 1 || x < 0 || x > width - 1;
        const [top, left, bottom, right] = [Math.floor(y), Math.floor(x), Math.ceil(y), Math.ceil(x)];
        for (let c = 0; c < channels; c++) {
          if (isOutside) out[at++] = outside;
          else if (isNearest) out[at++] = pixel(Math.round(y), Math.round(x), c);
          else {
            const upper = slid(pixel(top, left, c), pixel(top, right, c), x - left);
            const lower = slid(pixel(bottom, left, c), pixel(bottom, right, c), x - left);
            out[at++] = slid(upper, lower, y - top);
          }
        }
      }
    }
  }
  return [numbersTensor("float32", shape, out)];
};

export const RESAMPLE_KERNELS: Readonly<Record<string, Kernel>> = {
  ResizeBicubic: resize(cubicTaps),
  ResizeArea: resize(areaTaps),
  ScaleAndTranslate: scaleAndTranslate,
  ExtractImagePatches: extractPatches,
  ImageProjectiveTransformV2: projectiveTransform,
  ImageProjectiveTransformV3: projectiveTransform,
  CropAndResize: cropAndResize,
};
