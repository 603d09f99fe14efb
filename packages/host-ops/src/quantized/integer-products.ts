/** Convolutions of integers in any number of dimensions, none being a matrix product: exact, in int32 that wraps around. */
import { elementCount } from "@shardserve/tensor";
import { forEachOffset, stridesOf } from "../call/elements.js";
import { allocate } from "../call/limits.js";
import type { Pieces } from "../call/turns.js";
import { type ConvolutionNumbers, dilated } from "./convolution-numbers.js";

/** An array in an order of its dimensions that its user chose. */
export interface Volume<A> {
  readonly data: A;
  readonly shape: readonly number[];
}

/** The elements of `data` with its dimensions in another order: `order[i]` is which one of `shape` comes at i. */
export function ordered<A extends Int32Array | Float32Array>(
  data: ArrayLike<number>,
  shape: readonly number[],
  order: readonly number[],
  out: A,
): Volume<A> {
  const strides = stridesOf(shape);
  const dims = order.map((axis) => shape[axis]!);
  let i = 0;
  forEachOffset(
    dims,
    order.map((axis) => strides[axis]!),
    0,
    (at) => {
      out[i++] = data[at]!;
    },
  );
  return { data: out, shape: dims };
}

/** Multiplications between yields, which would cost as much as small sums. */
const WORK_PER_PIECE = 2 ** 17;

/**
 * All sums of products of `lhs` [batch, features, ...spatial] with `rhs` [out features, features of a group, ...spatial].
 *
 * @param emit  gets each sum with where it belongs in the output, whose shape it is, the image of `lhs` and the out feature
 */
export function* convolved(
  lhs: Volume<Int32Array>,
  rhs: Volume<Int32Array>,
  numbers: ConvolutionNumbers,
  emit: (sum: number, at: number, image: number, feature: number) => void,
): Pieces<void> {
  const padded = paddedVolume(lhs, numbers);
  const [features, spatial] = [padded.shape[1]!, padded.shape.slice(2)];
  const steps = stridesOf(spatial);
  const size = elementCount(spatial);
  const [outFeatures, inFeatures, ...window] = rhs.shape as [number, number, ...number[]];
  const taps = offsetsOf(
    window,
    numbers.rhsDilation.map((dilation, i) => dilation * steps[i]!),
  );
  const outShape = outputShape(lhs.shape, rhs.shape, numbers);
  const places = offsetsOf(
    outShape.slice(2),
    numbers.strides.map((stride, i) => stride * steps[i]!),
  );
  // Where the sums of an image and feature go, in the order of the output's own dimensions.
  const target = stridesOf(ownOrder(outShape, numbers.out));
  const targets = offsetsOf(
    outShape.slice(2),
    numbers.out.slice(2).map((axis) => target[axis]!),
  );
  const [perFeatureGroup, perBatchGroup] = [outFeatures / numbers.featureGroups, outFeatures / numbers.batchGroups];
  const products = inFeatures * taps.length;
  let work = 0;
  for (let n = 0; n < outShape[0]!; n++) {
    for (let o = 0; o < outFeatures; o++) {
      const image = Math.floor(o / perBatchGroup) * outShape[0]! + n;
      const first = (image * features + Math.floor(o / perFeatureGroup) * inFeatures) * size;
      const at = n * target[numbers.out[0]!]! + o * target[numbers.out[1]!]!;
      for (let p = 0; p < places.length; p++) {
        const sum = windowSum(padded.data, first + places[p]!, size, taps, rhs.data, o * products, (o + 1) * products);
        emit(sum, at + targets[p]!, image, o);
        work += products;
        if (work < WORK_PER_PIECE) continue;
        yield work;
        work = 0;
      }
    }
  }
}

/** Products of a kernel's numbers [k, end) with what the window at `start` sees, feature by feature, which are `size` apart. */
function windowSum(
  x: Int32Array,
  start: number,
  size: number,
  taps: Int32Array,
  w: Int32Array,
  k: number,
  end: number,
): number {
  let sum = 0;
  for (let base = start; k < end; base += size) {
    for (let t = 0; t < taps.length; t++) sum = (sum + Math.imul(x[base + taps[t]!]!, w[k++]!)) | 0;
  }
  return sum;
}

/** Batch, out features and spatial lengths of a convolution's output. */
export function outputShape(
  lhs: readonly number[],
  rhs: readonly number[],
  { strides, padding, lhsDilation, rhsDilation, batchGroups }: ConvolutionNumbers,
): number[] {
  const spatial = strides.map((stride, i) => {
    const length = dilated(lhs[i + 2]!, lhsDilation[i]!) + padding[i]![0] + padding[i]![1];
    return Math.max(Math.floor((length - dilated(rhs[i + 2]!, rhsDilation[i]!)) / stride) + 1, 0);
  });
  return [lhs[0]! / batchGroups, rhs[0]!, ...spatial];
}

/** A shape with each length where its dimension belongs. */
export function ownOrder(shape: readonly number[], order: readonly number[]): number[] {
  const own = shape.slice();
  for (const [i, axis] of order.entries()) own[axis] = shape[i]!;
  return own;
}

/** Zeros around the images and between their elements. */
function paddedVolume(
  { data, shape }: Volume<Int32Array>,
  { padding, lhsDilation }: ConvolutionNumbers,
): Volume<Int32Array> {
  const spatial = padding.map(([before, after], i) => dilated(shape[i + 2]!, lhsDilation[i]!) + before + after);
  if (spatial.every((length, i) => length === shape[i + 2])) return { data, shape };
  const whole = [shape[0]!, shape[1]!, ...spatial];
  const strides = stridesOf(whole);
  const out = allocate("int32", elementCount(whole));
  const steps = strides.map((stride, i) => stride * (i < 2 ? 1 : lhsDilation[i - 2]!));
  const start = padding.reduce((sum, [before], i) => sum + before * strides[i + 2]!, 0);
  let i = 0;
  forEachOffset(shape, steps, start, (at) => {
    out[at] = data[i++]!;
  });
  return { data: out, shape: whole };
}

function offsetsOf(dims: readonly number[], steps: readonly number[]): Int32Array {
  const offsets = allocate("int32", elementCount(dims));
  let i = 0;
  forEachOffset(dims, steps, 0, (at) => {
    offsets[i++] = at;
  });
  return offsets;
}
