/** Images sampled anew: resizing, crops, patches, warps. Weights are TensorFlow's; sums are in double precision. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { ServingError } from "@shardserve/core";
import { check, checkVector, invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, packNumbers } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { resampled, type Tap } from "./weighted-samples.js";

const { fround } = Math;

interface ImageShape {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

function imageShape(images: Tensor): ImageShape {
  check(images.shape.length === 4, () => `input must be 4-dimensional [${images.shape.join(",")}]`);
  const [batch, height, width, channels] = images.shape as [number, number, number, number];
  return { batch, height, width, channels };
}

/** Input 1: height and width of the result. */
function targetSize(op: OpCall, at = 1): [number, number] {
  const size = op.tensor(at);
  checkVector(size, "size");
  const [height, width] = numbersOf(size);
  check(size.shape[0] === 2, () => `shape_t must have two elements [${size.shape.join(",")}]`);
  check(height! > 0 && width! > 0, () => "output dimensions must be positive");
  return [height!, width!];
}

function scaleOf(inSize: number, outSize: number, alignCorners: boolean): number {
  return alignCorners && outSize > 1 ? fround((inSize - 1) / (outSize - 1)) : fround(inSize / outSize);
}

/** Steps of the table that TensorFlow rounds cubic weights to. */
const CUBIC_STEPS = 1024;

function cubicTap(at: number, scale: number, limit: number, halfPixel: boolean): Tap {
  const a = halfPixel ? -0.5 : -0.75;
  const position = halfPixel ? fround(fround(fround(at + 0.5) * scale) - 0.5) : fround(at * scale);
  const first = Math.floor(position);
  const step = Math.round(fround(position - first) * CUBIC_STEPS);
  const near = (x: number): number => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x: number): number => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  const x = step / CUBIC_STEPS;
  const weights = [far(x + 1), near(x), near(1 - x), far(2 - x)];
  const indices = [-1, 0, 1, 2].map((offset) => Math.min(Math.max(first + offset, 0), limit - 1));
  if (!halfPixel) return { indices, weights };
  // Samples outside the image count for nothing; the rest is scaled up.
  const inside = weights.map((weight, i) => (indices[i] === first + i - 1 ? weight : 0));
  const sum = inside.reduce((total, weight) => total + weight, 0);
  return { indices, weights: Math.abs(sum) < WEIGHT_SUM_MIN ? inside : inside.map((weight) => weight / sum) };
}

/** 1000 times the least normal float: below it weights are not scaled to a sum of 1. */
const WEIGHT_SUM_MIN = 1000 * 1.1754943508222875e-38;

const resizeBicubic: Kernel = (op) => {
  const images = op.tensor(0);
  const { height, width } = imageShape(images);
  const [outHeight, outWidth] = targetSize(op);
  const align = op.attrs.bool("align_corners");
  const half = op.attrs.bool("half_pixel_centers");
  const taps = (inSize: number, outSize: number): Tap[] => {
    const scale = scaleOf(inSize, outSize, align);
    return Array.from({ length: outSize }, (_, at) => cubicTap(at, scale, inSize, half));
  };
  return [resampled(images, taps(height, outHeight), taps(width, outWidth))];
};

const resizeArea: Kernel = (op) => {
  const images = op.tensor(0);
  const { height, width } = imageShape(images);
  const [outHeight, outWidth] = targetSize(op);
  const align = op.attrs.bool("align_corners");
  const taps = (inSize: number, outSize: number): Tap[] => {
    const scale = scaleOf(inSize, outSize, align);
    return Array.from({ length: outSize }, (_, at): Tap => {
      const [from, to] = [fround(at * scale), fround((at + 1) * scale)];
      const indices: number[] = [];
      const weights: number[] = [];
      for (let i = Math.floor(from); i < Math.ceil(to); i++) {
        const covered = i < from ? (i + 1 > to ? scale : i + 1 - from) : i + 1 > to ? to - i : 1;
        indices.push(Math.min(Math.max(i, 0), inSize - 1));
        weights.push(covered / scale);
      }
      return { indices, weights };
    });
  };
  return [resampled(images, taps(height, outHeight), taps(width, outWidth))];
};

interface SampleKernel {
  readonly radius: number;
  readonly at: (distance: number) => number;
}

function lanczos(radius: number): SampleKernel {
  const at = (x: number): number => {
    if (x > radius) return 0;
    if (x <= 1e-3) return 1;
    return (radius * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / radius)) / (Math.PI * Math.PI * x * x);
  };
  return { radius, at };
}

/** tensorflow/core/kernels/image/sampling_kernels.h */
const SAMPLE_KERNELS: Readonly<Record<string, SampleKernel>> = {
  lanczos1: lanczos(1),
  lanczos3: lanczos(3),
  lanczos5: lanczos(5),
  gaussian: { radius: 1.5, at: (x) => (x >= 1.5 ? 0 : Math.exp((-x * x) / (2 * 0.5 * 0.5))) },
  box: { radius: 0.5, at: (x) => (x < 0.5 ? 1 : x === 0.5 ? 0.5 : 0) },
  triangle: { radius: 1, at: (x) => (x < 1 ? 1 - x : 0) },
  keyscubic: {
    radius: 2,
    at: (x) => (x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1),
  },
  mitchellcubic: {
    radius: 2,
    at: (x) =>
      x >= 2 ? 0 : x >= 1 ? (((-7 / 18) * x + 2) * x - 10 / 3) * x + 16 / 9 : ((7 / 6) * x - 2) * x * x + 8 / 9,
  },
};

function spanTaps(
  inSize: number,
  outSize: number,
  scale: number,
  translation: number,
  kernel: SampleKernel,
  antialias: boolean,
): Tap[] {
  const inverse = fround(1 / scale);
  const shift = fround(-inverse * translation);
  const stretch = antialias ? Math.max(inverse, 1) : 1;
  const clamp = (at: number): number => Math.min(Math.max(at, 0), inSize - 1);
  return Array.from({ length: outSize }, (_, at): Tap => {
    const centre = fround(fround((at + 0.5) * inverse) + shift);
    if (centre < 0 || centre > inSize) return { indices: [], weights: [] };
    const reach = fround(kernel.radius * stretch);
    const first = clamp(Math.ceil(fround(centre - reach - 0.5)));
    const last = clamp(Math.floor(fround(centre + reach - 0.5)));
    const indices: number[] = [];
    const weights: number[] = [];
    for (let i = first; i <= last; i++) {
      indices.push(i);
      weights.push(kernel.at(Math.abs(i + 0.5 - centre) / stretch));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { indices, weights: Math.abs(sum) < WEIGHT_SUM_MIN ? weights.map(() => 0) : weights.map((w) => w / sum) };
  });
}

const scaleAndTranslate: Kernel = (op) => {
  const images = op.tensor(0);
  const { height, width } = imageShape(images);
  const [outHeight, outWidth] = targetSize(op);
  const [scales, shifts] = [numbersOf(op.tensor(2)), numbersOf(op.tensor(3))];
  check(scales.length === 2 && shifts.length === 2, () => "scale and translation must have two elements");
  check(scales[0]! > 0 && scales[1]! > 0, () => "Scale must be greater than zero.");
  const name = op.attrs.text("kernel_type");
  const kernel = SAMPLE_KERNELS[name.toLowerCase()];
  if (!kernel) throw invalid(`Unrecognized kernel type: ${name}`);
  const antialias = op.attrs.bool("antialias");
  const rows = spanTaps(height, outHeight, scales[0]!, shifts[0]!, kernel, antialias);
  return [resampled(images, rows, spanTaps(width, outWidth, scales[1]!, shifts[1]!, kernel, antialias))];
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
  return [tensor(images.dtype, shape, packNumbers(images.dtype, out) as never)];
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
  return [tensor(images.dtype, shape, packNumbers(images.dtype, out) as never)];
};

/** From `first` the given part of the way to `second`, in float32. */
function slid(first: number, second: number, part: number): number {
  return fround(first + fround(fround(second - first) * fround(part)));
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
  const place = (from: number, to: number, at: number, crop: number, size: number): number =>
    crop > 1
      ? fround(fround(from * (size - 1)) + fround(at * fround(fround((to - from) * (size - 1)) / (crop - 1))))
      : fround(0.5 * fround(from + to) * (size - 1));
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
      const y = place(y1, y2, row, cropHeight, height);
      for (let column = 0; column < cropWidth; column++) {
        const x = place(x1, x2, column, cropWidth, width);
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
  return [tensor("float32", shape, packNumbers("float32", out) as never)];
};

export const RESAMPLE_KERNELS: Readonly<Record<string, Kernel>> = {
  ResizeBicubic: resizeBicubic,
  ResizeArea: resizeArea,
  ScaleAndTranslate: scaleAndTranslate,
  ExtractImagePatches: extractPatches,
  ImageProjectiveTransformV2: projectiveTransform,
  ImageProjectiveTransformV3: projectiveTransform,
  CropAndResize: cropAndResize,
};
