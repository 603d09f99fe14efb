/** Which inputs make a row or column of a resized image, with their weights: TensorFlow's, in float32 as its kernels compute them. */
import type { Tensor } from "@shardserve/tensor";
import { check, invalid } from "../call/errors.js";
import { numbersOf } from "../call/numeric.js";
import type { OpCall } from "../call/op-call.js";
import type { Tap } from "./weighted-samples.js";

const { fround } = Math;

export interface ImageShape {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

export function imageShape(images: Tensor): ImageShape {
  check(images.shape.length === 4, () => `input must be 4-dimensional [${images.shape.join(",")}]`);
  const [batch, height, width, channels] = images.shape as [number, number, number, number];
  return { batch, height, width, channels };
}

function scaleOf(inSize: number, outSize: number, alignCorners: boolean): number {
  return alignCorners && outSize > 1 ? fround((inSize - 1) / (outSize - 1)) : fround(inSize / outSize);
}

/** The scale that attribute align_corners asks for. */
function scaleFor(op: OpCall, inSize: number, outSize: number): number {
  return scaleOf(inSize, outSize, op.attrs.bool("align_corners"));
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

/** Of ResizeBicubic. */
export function cubicTaps(op: OpCall, inSize: number, outSize: number): Tap[] {
  const scale = scaleFor(op, inSize, outSize);
  const half = op.attrs.bool("half_pixel_centers");
  return Array.from({ length: outSize }, (_, at) => cubicTap(at, scale, inSize, half));
}

/** Of ResizeBilinear. */
export function slopeTaps(op: OpCall, inSize: number, outSize: number): Tap[] {
  const scale = scaleFor(op, inSize, outSize);
  const half = op.attrs.bool("half_pixel_centers");
  return Array.from({ length: outSize }, (_, at): Tap => {
    const position = half ? fround(fround(fround(at + 0.5) * scale) - 0.5) : fround(at * scale);
    const first = Math.floor(position);
    const share = fround(position - first);
    return {
      indices: [Math.max(first, 0), Math.min(Math.ceil(position), inSize - 1)],
      weights: [fround(1 - share), share],
    };
  });
}

/** Of ResizeNearestNeighbor. */
export function nearestTaps(op: OpCall, inSize: number, outSize: number): Tap[] {
  const scale = scaleFor(op, inSize, outSize);
  const [isAligned, half] = [op.attrs.bool("align_corners"), op.attrs.bool("half_pixel_centers")];
  return Array.from({ length: outSize }, (_, at): Tap => {
    const position = fround((half ? at + 0.5 : at) * scale);
    const nearest = isAligned ? Math.floor(position + 0.5) : Math.floor(position);
    return { indices: [Math.min(nearest, inSize - 1)], weights: [1] };
  });
}

/** Of ResizeArea. */
export function areaTaps(op: OpCall, inSize: number, outSize: number): Tap[] {
  const scale = scaleFor(op, inSize, outSize);
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
}

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

function spanTapsAlong(
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

/** Of ScaleAndTranslate: rows and columns. Inputs 2 and 3 are the scales and translations. */
export function spanTaps(
  op: OpCall,
  inSizes: readonly number[],
  outSizes: readonly number[],
): [rows: Tap[], columns: Tap[]] {
  const [scales, shifts] = [numbersOf(op.tensor(2)), numbersOf(op.tensor(3))];
  check(scales.length === 2 && shifts.length === 2, () => "scale and translation must have two elements");
  check(scales[0]! > 0 && scales[1]! > 0, () => "Scale must be greater than zero.");
  const name = op.attrs.text("kernel_type");
  const kernel = SAMPLE_KERNELS[name.toLowerCase()];
  if (!kernel) throw invalid(`Unrecognized kernel type: ${name}`);
  const antialias = op.attrs.bool("antialias");
  const along = (i: number): Tap[] =>
    spanTapsAlong(inSizes[i]!, outSizes[i]!, scales[i]!, shifts[i]!, kernel, antialias);
  return [along(0), along(1)];
}
