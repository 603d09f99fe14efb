/**
 * Gradients of convolutions by their filters, and of pooling over volumes: signatures that train a model, or tell how much weights matter,
 * carry them. Images are volumes of depth 1. Sums are in double precision.
 */
import type { Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, numbersOf } from "../call/numeric.js";
import { rounded } from "../call/rounded.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf, shapeOf } from "../call/shapes.js";
import { inRanges, inTurns, type Pieces } from "../call/turns.js";
import { type Slide, slide, slideAlong } from "./sliding.js";

const { abs, fround } = Math;

/** [batch, depth, height, width, channels] */
type VolumesShape = readonly [batch: number, depth: number, height: number, width: number, channels: number];

/** Three numbers for the dimensions that windows slide along. */
type Triple = readonly [number, number, number];

/** Images as volumes of depth 1. */
function volumesShape(shape: readonly number[], rank: number): VolumesShape {
  check(shape.length === rank, () => `input must be ${rank}-dimensional, got ${printShape(shape)}`);
  const [batch, ...rest] = shape as [number, ...number[]];
  return (rank === 4 ? [batch, 1, ...rest] : shape) as VolumesShape;
}

/** What an attribute such as strides says of the dimensions that windows slide along. */
function inner(op: OpCall, values: readonly number[], rank: number): Triple {
  const format = op.attrs.has("data_format") ? op.attrs.text("data_format") : "NHWC";
  check(format.endsWith("C"), () => `${op.node.op} only supports channels at the end on CPU`);
  return (rank === 4 ? [1, values[1]!, values[2]!] : values.slice(1, 4)) as unknown as Triple;
}

/** The windows along depth, height and width; images may have explicit paddings. */
function slidesOf(
  op: OpCall,
  shape: VolumesShape,
  sizes: readonly number[],
  strides: Triple,
  rates: Triple,
  rank: 4 | 5,
): Slide[] {
  if (rank === 5) return sizes.map((size, i) => slide(op, shape[i + 1]!, size, strides[i]!, rates[i]!));
  const along = (axis: 1 | 2): Slide =>
    slideAlong(op, axis, shape[axis + 1]!, sizes[axis]!, strides[axis], rates[axis]);
  return [ONE_PLANE, along(1), along(2)];
}

/** The windows along the depth of images. */
const ONE_PLANE: Slide = { count: 1, stride: 1, before: 0, size: 1, rate: 1 };

/** Calls `visit` for every element of every window that lies in its volume: the window, the element of the window, the place in the volumes. */
function* eachElement(
  [batch, depth, height, width]: VolumesShape,
  slides: readonly Slide[],
  workPerElement: number,
  visit: (window: number, element: number, place: number) => void,
): Pieces<void> {
  const [planes, rows, columns] = slides as [Slide, Slide, Slide];
  const elements = planes.size * rows.size * columns.size;
  let window = 0;
  for (let b = 0; b < batch; b++) {
    for (let p = 0; p < planes.count; p++) {
      for (let r = 0; r < rows.count; r++) {
        yield columns.count * elements * workPerElement;
        for (let c = 0; c < columns.count; c++, window++) {
          for (let k = 0; k < elements; k++) {
            const z = p * planes.stride - planes.before + Math.floor(k / (rows.size * columns.size)) * planes.rate;
            const y = r * rows.stride - rows.before + (Math.floor(k / columns.size) % rows.size) * rows.rate;
            const x = c * columns.stride - columns.before + (k % columns.size) * columns.rate;
            if (z < 0 || z >= depth || y < 0 || y >= height || x < 0 || x >= width) continue;
            visit(window, k, ((b * depth + z) * height + y) * width + x);
          }
        }
      }
    }
  }
}

function checkGradient(gradient: Tensor, batch: number, slides: readonly Slide[], channels: number): void {
  const counts = slides.slice(gradient.shape.length === 4 ? 1 : 0).map(({ count }) => count);
  const shape = [batch, ...counts, channels];
  check(
    printShape(gradient.shape) === printShape(shape),
    () => `${printShape(gradient.shape)} is not the shape of the gradient, which is ${printShape(shape)}`,
  );
}

/** What becomes of a window's input channels: each with every filter, or each with those of its own. */
type Rule = "all" | "own";

/** The groups of channels that a convolution keeps apart, each with its share of the filters. */
function groupsOf(op: OpCall, depth: number, channels: number, filters: number): number {
  if (depth === channels) return 1;
  check(
    op.node.op === "Conv2DBackpropFilter" && op.tensor(0).dtype !== "float64",
    () =>
      `Gradients of grouped convolutions are not supported on CPU. Computed input depth ${depth} doesn't match filter input depth ${channels}`,
  );
  check(depth % channels === 0, () => `input depth must be evenly divisible by filter depth: ${depth} vs ${channels}`);
  const groups = depth / channels;
  check(
    filters % groups === 0,
    () => `output depth must be evenly divisible by number of groups: ${filters} vs ${groups}`,
  );
  return groups;
}

/** Input, shape of the filter, gradient -> gradient by the filter. */
function filterGrad(rank: 4 | 5, rule: Rule): Kernel {
  return inTurns(function* (op: OpCall): Pieces<Tensor[]> {
    const [input, gradient] = [op.tensor(0), op.tensor(2)];
    const filterShape = shapeOf(op.tensor(1));
    const shape = volumesShape(input.shape, rank);
    const depth = shape[4];
    check(filterShape.length === rank, () => `filter must be ${rank}-dimensional, got ${printShape(filterShape)}`);
    const sizes = rank === 4 ? [1, ...filterShape.slice(0, 2)] : filterShape.slice(0, 3);
    const [strides, rates] = ["strides", "dilations"].map((name) => inner(op, op.attrs.ints(name), rank)) as [
      Triple,
      Triple,
    ];
    const slides = slidesOf(op, shape, sizes, strides, rates, rank);
    const [channels, filters] = [filterShape.at(-2)!, filterShape.at(-1)!];
    const groups = groupsOf(op, depth, channels, filters);
    const perGroup = filters / groups;
    const results = rule === "own" ? channels * filters : filters;
    checkGradient(gradient, shape[0], slides, results);
    const [x, by] = [numbersOf(input), numbersOf(gradient)];
    const sums = new Float64Array(checkedCount(input.dtype, filterShape));
    yield* eachElement(shape, slides, channels * filters, (window, element, place) => {
      for (let k = 0; k < depth; k++) {
        const c = k % channels;
        const first = Math.floor(k / channels) * perGroup;
        for (let f = first; f < first + perGroup; f++) {
          const result = rule === "own" ? c * filters + f : f;
          sums[(element * channels + c) * filters + f]! += x[place * depth + k]! * by[window * results + result]!;
        }
      }
    });
    return [yield* rounded(input.dtype, filterShape, sums)];
  });
}

function poolSlides(
  op: OpCall,
  shape: VolumesShape,
  sizes: readonly number[],
  steps: readonly number[],
  rank: 4 | 5,
): Slide[] {
  return slidesOf(op, shape, inner(op, sizes, rank), inner(op, steps, rank), [1, 1, 1], rank);
}

/** How near to the largest of its window an element of a volume counts as it, in TensorFlow's kernel. */
const NEAR = fround(1e-5);

/** To all elements of each window that are the largest, or near it. */
function* maxPool3dGrad(op: OpCall): Pieces<Tensor[]> {
  const [input, output, gradient] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const shape = volumesShape(input.shape, 5);
  const channels = shape[4];
  const slides = poolSlides(op, shape, op.attrs.ints("ksize"), op.attrs.ints("strides"), 5);
  for (const value of [output, gradient]) checkGradient(value, shape[0], slides, channels);
  const [x, most, by] = [numbersOf(input), numbersOf(output), numbersOf(gradient)];
  const sums = new Float64Array(checkedCount(input.dtype, input.shape));
  yield* eachElement(shape, slides, channels, (window, _, place) => {
    for (let c = 0; c < channels; c++) {
      const [at, from] = [place * channels + c, window * channels + c];
      if (abs(fround(x[at]! - most[from]!)) < NEAR) sums[at]! += by[from]!;
    }
  });
  return [yield* rounded(input.dtype, input.shape, sums)];
}

/** To the first of the largest elements of each window. */
function* maxPoolGrad(op: OpCall, sizes: readonly number[], strides: readonly number[]): Pieces<Tensor[]> {
  const [input, gradient] = [op.tensor(0), op.tensor(2)];
  const shape = volumesShape(input.shape, 4);
  const channels = shape[4];
  const slides = poolSlides(op, shape, sizes, strides, 4);
  checkGradient(gradient, shape[0], slides, channels);
  const [x, by] = [exactNumbersOf(input, op.node.op), exactNumbersOf(gradient, op.node.op)];
  const best = new Int32Array(by.length).fill(-1);
  yield* eachElement(shape, slides, channels, (window, _, place) => {
    for (let c = 0; c < channels; c++) {
      const [at, to] = [place * channels + c, window * channels + c];
      if (best[to]! < 0 || x[best[to]!]! < x[at]!) best[to] = at;
    }
  });
  const sums = new Float64Array(checkedCount(input.dtype, input.shape));
  yield* inRanges(best.length, 2, (from, end) => {
    for (let i = from; i < end; i++) if (best[i]! >= 0) sums[best[i]!]! += by[i]!;
  });
  return [yield* rounded(input.dtype, input.shape, sums)];
}

/** Evenly to the elements of each window that lie in the volume. */
function* avgPool3dGrad(op: OpCall): Pieces<Tensor[]> {
  const gradient = op.tensor(1);
  const inputShape = shapeOf(op.tensor(0));
  const shape = volumesShape(inputShape, 5);
  const channels = shape[4];
  const slides = poolSlides(op, shape, op.attrs.ints("ksize"), op.attrs.ints("strides"), 5);
  checkGradient(gradient, shape[0], slides, channels);
  const by = numbersOf(gradient);
  const counts = new Int32Array(by.length / Math.max(1, channels));
  yield* eachElement(shape, slides, 1, (window) => {
    counts[window]!++;
  });
  const sums = new Float64Array(checkedCount(gradient.dtype, inputShape));
  yield* eachElement(shape, slides, channels, (window, _, place) => {
    for (let c = 0; c < channels; c++) sums[place * channels + c]! += by[window * channels + c]! / counts[window]!;
  });
  return [yield* rounded(gradient.dtype, inputShape, sums)];
}

/** To the elements that the forward op named. */
function* maxPoolGradWithArgmax(op: OpCall): Pieces<Tensor[]> {
  const [input, gradient, argmax] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const shape = volumesShape(input.shape, 4);
  const slides = poolSlides(op, shape, op.attrs.ints("ksize"), op.attrs.ints("strides"), 4);
  for (const value of [gradient, argmax]) checkGradient(value, shape[0], slides, shape[4]);
  const perImage = input.shape.slice(1).reduce((a, b) => a * b, 1);
  const [by, at] = [exactNumbersOf(gradient, op.node.op), integersOf(argmax)];
  const perGradient = by.length / Math.max(1, shape[0]);
  const hasBatch = op.attrs.bool("include_batch_in_index");
  const sums = new Float64Array(checkedCount(input.dtype, input.shape));
  yield* inRanges(by.length, 4, (from, end) => {
    for (let i = from; i < end; i++) {
      const to = at[i]! + (hasBatch ? 0 : Math.floor(i / perGradient) * perImage);
      check(to >= 0 && to < sums.length, () => `Invalid input index: ${to}, limit: ${sums.length}`);
      sums[to]! += by[i]!;
    }
  });
  return [yield* rounded(input.dtype, input.shape, sums)];
}

export const FILTER_GRADIENT_KERNELS: Readonly<Record<string, Kernel>> = {
  Conv2DBackpropFilter: filterGrad(4, "all"),
  Conv3DBackpropFilterV2: filterGrad(5, "all"),
  DepthwiseConv2dNativeBackpropFilter: filterGrad(4, "own"),
  AvgPool3DGrad: inTurns(avgPool3dGrad),
  MaxPool3DGrad: inTurns(maxPool3dGrad),
  MaxPoolGradV2: inTurns((op) =>
    maxPoolGrad(op, Array.from(integersOf(op.tensor(3))), Array.from(integersOf(op.tensor(4)))),
  ),
  MaxPoolGradWithArgmax: inTurns(maxPoolGradWithArgmax),
};
