/** Gradients of layers, which signatures that explain an answer (saliency, Grad-CAM) or give forces carry. Sums are in double precision. */
import type { Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, numbersOf, roundedTensor } from "../call/numeric.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { countOf, integersOf, shapeOf } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { assignStridedSlice } from "../arrays/slice-update.js";
import { type ImagesShape, ImageWindows, poolWindows, slideAlong } from "../images/sliding.js";

function imagesShape(shape: readonly number[]): ImagesShape {
  check(shape.length === 4, () => `input must be 4-dimensional, got ${printShape(shape)}`);
  return shape as unknown as ImagesShape;
}

function checkGradient(gradient: Tensor, shape: readonly number[]): void {
  check(printShape(gradient.shape) === printShape(shape), () => `Expected grad shape to be ${printShape(shape)}`);
}

/** TensorFlow's kernels of these ops have no other order on the CPU. */
function checkChannelsLast(op: OpCall): void {
  check(
    !op.attrs.has("data_format") || op.attrs.text("data_format") === "NHWC",
    () => `${op.node.op} only supports NHWC on CPU`,
  );
}

function sumsOf(dtype: Tensor["dtype"], shape: readonly number[]): Float64Array {
  return new Float64Array(checkedCount(dtype, shape));
}

function* biasAddGrad(op: OpCall): Pieces<Tensor[]> {
  const { dtype, shape } = op.tensor(0);
  check(shape.length >= 2, () => `Input tensor must be at least 2D: ${printShape(shape)}`);
  const numbers = exactNumbersOf(op.tensor(0), op.node.op);
  const axis = op.attrs.text("data_format").startsWith("NC") ? 1 : shape.length - 1;
  const [channels, inner] = [shape[axis]!, countOf(shape, axis + 1)];
  const sums = sumsOf(dtype, [channels]);
  yield numbers.length;
  for (let i = 0; i < numbers.length; i++) sums[Math.floor(i / inner) % channels]! += numbers[i]!;
  return [roundedTensor(dtype, [channels], sums)];
}

function stridedSliceGrad(op: OpCall): Tensor[] {
  const shape = shapeOf(op.tensor(0));
  const zeros = zeroTensor(op.tensor(4).dtype, shape);
  const inputs = [zeros, ...op.tensors(1)];
  return [assignStridedSlice(op.withInputs(inputs), zeros)];
}

/** To the first of the largest elements of each window. */
function* maxPoolGrad(op: OpCall): Pieces<Tensor[]> {
  checkChannelsLast(op);
  const [input, gradient] = [op.tensor(0), op.tensor(2)];
  const images = imagesShape(input.shape);
  const channels = images[3];
  const windows = poolWindows(op, images);
  checkGradient(gradient, windows.resultShape(channels));
  const [numbers, by] = [exactNumbersOf(input, op.node.op), exactNumbersOf(gradient, op.node.op)];
  const sums = sumsOf(input.dtype, input.shape);
  for (let w = 0; w < windows.count; w++) {
    yield windows.rows.size * windows.columns.size * channels;
    windows.moveTo(w);
    for (let c = 0; c < channels; c++) {
      const best = windows.largest(numbers, c);
      if (best >= 0) sums[best]! += by[w * channels + c]!;
    }
  }
  return [roundedTensor(input.dtype, input.shape, sums)];
}

/** Evenly to the elements of each window that lie in the image. */
function* avgPoolGrad(op: OpCall): Pieces<Tensor[]> {
  checkChannelsLast(op);
  const inputShape = shapeOf(op.tensor(0));
  const gradient = op.tensor(1);
  const images = imagesShape(inputShape);
  const [, height, width, channels] = images;
  const windows = poolWindows(op, images);
  const { rows, columns } = windows;
  checkGradient(gradient, windows.resultShape(channels));
  const by = numbersOf(gradient);
  const sums = sumsOf(gradient.dtype, inputShape);
  for (let w = 0; w < windows.count; w++) {
    yield rows.size * columns.size * channels;
    windows.moveTo(w);
    const { top, left, image } = windows;
    const [y0, y1] = [Math.max(0, top), Math.min(height, top + rows.size)];
    const [x0, x1] = [Math.max(0, left), Math.min(width, left + columns.size)];
    const share = 1 / ((y1 - y0) * (x1 - x0));
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        const at = ((image * height + y) * width + x) * channels;
        for (let c = 0; c < channels; c++) sums[at + c]! += by[w * channels + c]! * share;
      }
    }
  }
  return [roundedTensor(gradient.dtype, inputShape, sums)];
}

/** By input, scale and offset; the last two outputs stand for what the forward op gives as well. */
function* fusedBatchNormGrad(op: OpCall): Pieces<Tensor[]> {
  const [gradient, input, scales, means, variances] = op.tensors(0, 5) as [Tensor, Tensor, Tensor, Tensor, Tensor];
  const { shape } = input;
  const isFirst = op.attrs.text("data_format").startsWith("NC");
  const channels = isFirst ? shape[1]! : shape.at(-1)!;
  const inner = isFirst ? countOf(shape, 2) : 1;
  const [by, x, scale, mean, variance] = [gradient, input, scales, means, variances].map(numbersOf) as ReturnType<
    typeof numbersOf
  >[];
  const count = x!.length / channels;
  const epsilon = op.attrs.float("epsilon");
  const factor = Float64Array.from(variance!, (value) => 1 / Math.sqrt(value + epsilon));
  const [offsetSums, scaleSums] = [new Float64Array(channels), new Float64Array(channels)];
  yield 2 * x!.length;
  for (let i = 0; i < x!.length; i++) {
    const c = Math.floor(i / inner) % channels;
    offsetSums[c]! += by![i]!;
    scaleSums[c]! += by![i]! * (x![i]! - mean![c]!) * factor[c]!;
  }
  const isTraining = op.attrs.bool("is_training");
  const sums = sumsOf(input.dtype, shape);
  yield 2 * x!.length;
  for (let i = 0; i < sums.length; i++) {
    const c = Math.floor(i / inner) % channels;
    const centred = (x![i]! - mean![c]!) * factor[c]!;
    const own = isTraining ? by![i]! - offsetSums[c]! / count - (centred * scaleSums[c]!) / count : by![i]!;
    sums[i] = scale![c]! * factor[c]! * own;
  }
  const nothing = zeroTensor(scales.dtype, []);
  return [
    roundedTensor(input.dtype, shape, sums),
    roundedTensor(scales.dtype, [channels], scaleSums),
    roundedTensor(scales.dtype, [channels], offsetSums),
    nothing,
    nothing,
  ];
}

function* depthwiseInputGrad(op: OpCall): Pieces<Tensor[]> {
  checkChannelsLast(op);
  const inputShape = shapeOf(op.tensor(0));
  const [filter, gradient] = [op.tensor(1), op.tensor(2)];
  const images = imagesShape(inputShape);
  const [, height, width, channels] = images;
  const multiplier = imagesShape(filter.shape)[3];
  const [strides, rates] = [op.attrs.ints("strides"), op.attrs.ints("dilations")];
  const rows = slideAlong(op, 1, height, filter.shape[0]!, strides[1]!, rates[1]!);
  const columns = slideAlong(op, 2, width, filter.shape[1]!, strides[2]!, rates[2]!);
  const windows = new ImageWindows(images, rows, columns);
  const shape = windows.resultShape(channels * multiplier);
  check(
    printShape(gradient.shape) === printShape(shape),
    () => `Expected out_backprop shape to be ${printShape(shape)}`,
  );
  const [weights, by] = [numbersOf(filter), numbersOf(gradient)];
  const sums = sumsOf(gradient.dtype, inputShape);
  for (let w = 0; w < windows.count; w++) {
    yield rows.size * columns.size * channels * multiplier;
    windows.moveTo(w);
    for (let k = 0; k < rows.size * columns.size; k++) {
      const y = windows.top + Math.floor(k / columns.size) * rows.rate;
      const x = windows.left + (k % columns.size) * columns.rate;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const to = ((windows.image * height + y) * width + x) * channels;
      for (let i = 0; i < channels * multiplier; i++) {
        sums[to + Math.floor(i / multiplier)]! +=
          weights[k * channels * multiplier + i]! * by[w * channels * multiplier + i]!;
      }
    }
  }
  return [roundedTensor(gradient.dtype, inputShape, sums)];
}

/** Folds what was mirrored around the edges back in. */
function* mirrorPadGrad(op: OpCall): Pieces<Tensor[]> {
  const { dtype, shape } = op.tensor(0);
  const paddings = integersOf(op.tensor(1));
  const isSymmetric = op.attrs.text("mode") === "SYMMETRIC";
  let numbers = Float64Array.from(numbersOf(op.tensor(0)));
  const lengths = shape.slice();
  for (let axis = 0; axis < shape.length; axis++) {
    const [before, after] = [paddings[2 * axis]!, paddings[2 * axis + 1]!];
    const [padded, length] = [lengths[axis]!, lengths[axis]! - before - after];
    const most = isSymmetric ? length : length - 1;
    check(
      before >= 0 && after >= 0 && before <= most && after <= most,
      () => `paddings must be non-negative and no greater than the output dimension size: ${before}, ${after}`,
    );
    const [outer, inner] = [countOf(lengths, 0, axis), countOf(lengths, axis + 1)];
    const folded = new Float64Array(outer * length * inner);
    const shift = isSymmetric ? 1 : 0;
    yield numbers.length;
    for (let i = 0; i < numbers.length; i++) {
      const at = (Math.floor(i / inner) % padded) - before;
      const inside = at < 0 ? -at - shift : at >= length ? 2 * (length - 1) - at + shift : at;
      folded[(Math.floor(i / (inner * padded)) * length + inside) * inner + (i % inner)]! += numbers[i]!;
    }
    numbers = folded;
    lengths[axis] = length;
  }
  return [roundedTensor(dtype, lengths, numbers)];
}

export const LAYER_GRADIENT_KERNELS: Readonly<Record<string, Kernel>> = {
  BiasAddGrad: inTurns(biasAddGrad),
  StridedSliceGrad: stridedSliceGrad,
  MaxPoolGrad: inTurns(maxPoolGrad),
  AvgPoolGrad: inTurns(avgPoolGrad),
  FusedBatchNormGrad: inTurns(fusedBatchNormGrad),
  FusedBatchNormGradV2: inTurns(fusedBatchNormGrad),
  FusedBatchNormGradV3: inTurns(fusedBatchNormGrad),
  DepthwiseConv2dNativeBackpropInput: inTurns(depthwiseInputGrad),
  MirrorPadGrad: inTurns(mirrorPadGrad),
};
