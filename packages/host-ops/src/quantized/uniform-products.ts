/** Matrix products and convolutions of uniformly quantised tensors, and of floats, which are quantised first, with such ones. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { extremeOf, numberArray, type NumberArray, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { type Pieces, inTurns } from "../call/turns.js";
import { type ConvolutionNumbers, convolutionNumbers } from "./convolution-numbers.js";
import { fixedPointOf, multiplied } from "./fixed-point.js";
import { convolved, ordered, outputShape, ownOrder, type Volume } from "./integer-products.js";
import { type Bounds, boundsOf, quantizeRun } from "./uniform-elements.js";
import { checkPositive, type Scheme, schemeOf } from "./uniform-scheme.js";

const { fround } = Math;

type Numbers = (op: OpCall, lhs: readonly number[], rhs: readonly number[]) => ConvolutionNumbers;

/** A product of matrices is a convolution without spatial dimensions. */
const dotNumbers: Numbers = (_, lhs, rhs) => {
  check(lhs.length === 2, () => `lhs rank must be 2, but given lhs shape ${printShape(lhs)}`);
  check(rhs.length === 2, () => `rhs rank must be 2, but given rhs shape ${printShape(rhs)}`);
  check(
    lhs[1] === rhs[0],
    () =>
      `lhs.dim_size(1) and rhs.dim_size(0) must be equal, but given lhs shape ${printShape(lhs)} and rhs shape ${printShape(rhs)}`,
  );
  const none = { strides: [], lhsDilation: [], rhsDilation: [], padding: [], featureGroups: 1, batchGroups: 1 };
  return { lhs: [0, 1], rhs: [1, 0], out: [0, 1], ...none };
};

/** The kernel, [out features, ...], less its zero points. */
function kernelOf(rhs: Tensor, { zeroPoints }: Scheme, order: readonly number[]): Volume<Int32Array> {
  const values = numbersOf(rhs);
  const kernel = ordered(values, rhs.shape, order, new Int32Array(values.length));
  const run = elementCount(kernel.shape.slice(1));
  for (let i = 0; i < values.length; i++) {
    kernel.data[i]! -= zeroPoints[zeroPoints.length === 1 ? 0 : Math.floor(i / run)]!;
  }
  return kernel;
}

function outputOf(
  numbers: ConvolutionNumbers,
  lhs: Volume<unknown>,
  rhs: Volume<unknown>,
): { readonly shape: readonly number[]; readonly count: number } {
  const shape = ownOrder(outputShape(lhs.shape, rhs.shape, numbers), numbers.out);
  return { shape, count: checkedCount("int32", shape) };
}

/** The axis that the kernel is quantised along: that of its out features, or none. */
function kernelScheme(op: OpCall, at: number, rhs: Tensor, { rhs: [outFeature] }: ConvolutionNumbers): Scheme {
  const axis = op.attrs.int("rhs_quantization_axis");
  check(
    axis === -1 || axis === outFeature,
    () => `rhs_quantization_axis Attr must be -1 or ${outFeature}, not ${axis}`,
  );
  const scheme = schemeOf(op, at, axis, rhs.shape);
  checkPositive(scheme);
  return scheme;
}

function quantizedProduct(numbersFor: Numbers): Kernel {
  return inTurns(function* (op: OpCall): Pieces<readonly Tensor[]> {
    const [lhs, rhs] = [op.tensor(0), op.tensor(1)];
    const numbers = numbersFor(op, lhs.shape, rhs.shape);
    check(op.attrs.int("lhs_quantization_axis") === -1, () => "lhs_quantization_axis Attr must be -1 (per-tensor).");
    const left = schemeOf(op, 2, -1, lhs.shape);
    const right = kernelScheme(op, 4, rhs, numbers);
    const values = numbersOf(lhs);
    const images = ordered(values, lhs.shape, numbers.lhs, new Int32Array(values.length));
    for (let i = 0; i < images.data.length; i++) images.data[i]! -= left.zeroPoints[0]!;
    const kernel = kernelOf(rhs, right, numbers.rhs);
    const { shape, count } = outputOf(numbers, images, kernel);
    const axis = op.attrs.int("output_quantization_axis");
    check(
      axis === -1 || axis === numbers.out[1],
      () => `output_quantization_axis Attr must be -1 or ${numbers.out[1]}`,
    );
    check(axis === -1 || right.axis !== -1, () => "output may be quantised per channel only where rhs is");
    const result = schemeOf(op, 6, axis, shape);
    checkPositive(left, result);
    const of = <A extends ArrayLike<number>>(data: A, i: number): number => data[data.length === 1 ? 0 : i]!;
    const factors = Array.from({ length: kernel.shape[0]! }, (_, i) =>
      fixedPointOf((left.scales[0]! * of(right.scales, i)) / of(result.scales, i)),
    );
    const bounds = boundsOf(op, "output_");
    const dtype = op.attrs.dtype("Tout");
    const out = numberArray(dtype, count);
    yield* convolved(images, kernel, numbers, (sum, at, _, feature) => {
      const value = (multiplied(sum, factors[feature]!) + of(result.zeroPoints, feature)) | 0;
      out[at] = Math.max(Math.min(value, bounds.most), bounds.least);
    });
    return [withData(dtype, shape, out)];
  });
}

/** Floats with quantised kernels: each image is quantised by its own range, the products are floats again. */
function hybridProduct(numbersFor: Numbers): Kernel {
  return inTurns(function* (op: OpCall): Pieces<readonly Tensor[]> {
    const [lhs, rhs] = [op.tensor(0), op.tensor(1)];
    const numbers = numbersFor(op, lhs.shape, rhs.shape);
    const right = kernelScheme(op, 2, rhs, numbers);
    const values = numbersOf(lhs);
    const floats = ordered(values, lhs.shape, numbers.lhs, new Float32Array(values.length));
    const bounds = { least: Number(extremeOf(rhs.dtype, -1)), most: Number(extremeOf(rhs.dtype, 1)) };
    const { data, scales } = quantizedImages(floats, bounds);
    const kernel = kernelOf(rhs, right, numbers.rhs);
    const images = { data, shape: floats.shape };
    const { shape, count } = outputOf(numbers, images, kernel);
    const out = new Float32Array(count);
    const isOne = right.scales.length === 1;
    yield* convolved(images, kernel, numbers, (sum, at, image, feature) => {
      out[at] = fround(fround(sum) * scales[image]!) * right.scales[isOne ? 0 : feature]!;
    });
    return [tensor("float32", shape, out)];
  });
}

/** Every image by its own scale, less its zero point. */
function quantizedImages(
  { data, shape }: Volume<Float32Array>,
  bounds: Bounds,
): { readonly data: Int32Array; readonly scales: Float32Array } {
  const run = elementCount(shape.slice(1));
  const out = new Int32Array(data.length);
  const scales = new Float32Array(shape[0]!);
  for (let image = 0; image < scales.length; image++) {
    const range: readonly [number, number] = [image * run, (image + 1) * run];
    const found = asymmetric(data.subarray(...range), bounds);
    scales[image] = found?.scale ?? 1;
    if (!found) continue;
    const { inverse, zeroPoint } = found;
    quantizeRun(data, range, inverse, zeroPoint, bounds, out as NumberArray);
    for (let i = range[0]; i < range[1]; i++) out[i]! -= zeroPoint;
  }
  return { data: out, scales };
}

/** Scale and zero point for the range of some floats, which 0 is made part of; undefined where it has no width. */
function asymmetric(
  values: Float32Array,
  { least, most }: Bounds,
): { readonly scale: number; readonly inverse: number; readonly zeroPoint: number } | undefined {
  let [low, high] = [0, 0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const scale = fround((high - low) / (most - least));
  const inverse = high === low ? 0 : fround((most - least) / (high - low));
  if (scale === 0 || !Number.isFinite(inverse)) return undefined;
  const [steps, stepsUp] = [low / scale, high / scale];
  const isByLow = Math.abs(least) + Math.abs(steps) < Math.abs(most) + Math.abs(stepsUp);
  const zero = isByLow ? least - steps : most - stepsUp;
  // Infinities leave no number.
  const rounded = Number.isNaN(zero) ? 0 : zero < 0 ? -Math.round(-zero) : Math.round(zero);
  return { scale, inverse, zeroPoint: Math.max(least, Math.min(most, rounded)) };
}

export const UNIFORM_PRODUCT_KERNELS: Readonly<Record<string, Kernel>> = {
  UniformQuantizedDot: quantizedProduct(dotNumbers),
  UniformQuantizedDotHybrid: hybridProduct(dotNumbers),
  UniformQuantizedConvolution: quantizedProduct(convolutionNumbers),
  UniformQuantizedConvolutionHybrid: hybridProduct(convolutionNumbers),
};
