/** Layers on integers that stand for a range of floats: QuantizedConv2D, QuantizedMatMul, pooling, QuantizedConcat. */
import type { Tensor } from "@shardserve/tensor";
import { reshape } from "../arrays/array-shape.js";
import { copyStrided, stridesOf } from "../call/elements.js";
import { check, checkScalar, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { extremeOf, numberArray, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, integerOf, normalAxis } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { type ImagesShape, poolWindows, slide } from "../images/sliding.js";
import type { ConvolutionNumbers } from "./convolution-numbers.js";
import { convolved, ordered, outputShape, ownOrder, type Volume } from "./integer-products.js";
import { checkWidth, integerFor, productRange, type Range, rangeOf, rescaler } from "./range.js";
import { ranged } from "./ranged-elements.js";

/** Sums of products of integers, each less the one that stands for 0. */
function* products(
  [lhs, rhs]: readonly [Tensor, Tensor],
  [a, b]: readonly [Range, Range],
  numbers: ConvolutionNumbers,
  range: Range,
): Pieces<Tensor[]> {
  const lessZero = (value: Tensor, order: readonly number[], of: Range): Volume<Int32Array> => {
    const values = numbersOf(value);
    const volume = ordered(values, value.shape, order, new Int32Array(values.length));
    const zero = integerFor(0, of);
    for (let i = 0; i < values.length; i++) volume.data[i]! -= zero;
    return volume;
  };
  const [images, kernel] = [lessZero(lhs, numbers.lhs, a), lessZero(rhs, numbers.rhs, b)];
  const shape = ownOrder(outputShape(images.shape, kernel.shape, numbers), numbers.out);
  const out = numberArray(range.dtype, checkedCount(range.dtype, shape));
  yield* convolved(images, kernel, numbers, (sum, at) => {
    out[at] = sum;
  });
  return ranged(shape, out, range);
}

const NO_WINDOW = { strides: [], lhsDilation: [], rhsDilation: [], padding: [] };
const ONE_GROUP = { featureGroups: 1, batchGroups: 1 };

function* matMul(op: OpCall): Pieces<Tensor[]> {
  const [lhs, rhs] = [op.tensor(0), op.tensor(1)];
  const [a, b] = [rangeOf(op, 2, lhs.dtype), rangeOf(op, 4, rhs.dtype)];
  checkWidth(a, "a");
  checkWidth(b, "b");
  check(lhs.shape.length === 2, () => "In[0] is not a matrix");
  check(rhs.shape.length === 2, () => "In[1] is not a matrix");
  const numbers = {
    ...NO_WINDOW,
    ...ONE_GROUP,
    lhs: op.attrs.bool("transpose_a") ? [1, 0] : [0, 1],
    rhs: op.attrs.bool("transpose_b") ? [0, 1] : [1, 0],
    out: [0, 1],
  };
  check(
    lhs.shape[numbers.lhs[1]!] === rhs.shape[numbers.rhs[1]!],
    () => `Matrix size-incompatible: In[0]: ${printShape(lhs.shape)}, In[1]: ${printShape(rhs.shape)}`,
  );
  return yield* products([lhs, rhs], [a, b], numbers, productRange(a, b, op.attrs.dtype("Toutput")));
}

function* conv2D(op: OpCall): Pieces<Tensor[]> {
  const [input, filter] = [op.tensor(0), op.tensor(1)];
  const [a, b] = [rangeOf(op, 2, input.dtype), rangeOf(op, 4, filter.dtype)];
  check(input.shape.length === 4, () => `input must be rank 4 but is rank ${input.shape.length}`);
  check(filter.shape.length === 4, () => `filter must be rank 4 but is rank ${filter.shape.length}`);
  check(
    input.shape[3] === filter.shape[2],
    () => `input and filter must have the same depth: ${input.shape[3]} vs ${filter.shape[2]}`,
  );
  const [first, stride, across, last] = op.attrs.ints("strides");
  check(
    first === 1 && last === 1 && stride === across,
    () => "strides must be equal in both dimensions, and 1 over batch and depth",
  );
  check(
    op.attrs.ints("dilations").every((dilation) => dilation === 1),
    () => "QuantizedConv2D has no dilations",
  );
  const windows = [1, 2].map((axis) => {
    const [length, size] = [input.shape[axis]!, filter.shape[axis - 1]!];
    const { count } = slide(op, length, size, stride!);
    const missing = (count - 1) * stride! + size - length;
    // SAME leaves out elements on both sides where the strides go beyond the windows.
    const before = op.attrs.text("padding") === "SAME" ? Math.trunc(missing / 2) : 0;
    return { before, after: missing - before };
  });
  const numbers = {
    ...ONE_GROUP,
    lhs: [0, 3, 1, 2],
    rhs: [3, 2, 0, 1],
    out: [0, 3, 1, 2],
    strides: [stride!, stride!],
    lhsDilation: [1, 1],
    rhsDilation: [1, 1],
    padding: windows.map(({ before, after }) => [Math.max(before, 0), Math.max(after, 0)] as const),
  };
  const trimmed = trim(
    input,
    windows.map(({ before }) => Math.max(-before, 0)),
  );
  return yield* products([trimmed, filter], [a, b], numbers, productRange(a, b, op.attrs.dtype("out_type")));
}

/** Images without some of their first rows and columns. */
function trim(images: Tensor, counts: readonly number[]): Tensor {
  if (counts.every((count) => count === 0)) return images;
  const strides = stridesOf(images.shape);
  const offset = counts.reduce((sum, count, i) => sum + count * strides[i + 1]!, 0);
  const shape = images.shape.map((length, axis) => length - (counts[axis - 1] ?? 0));
  return copyStrided(images, offset, shape, strides);
}

/** The greatest integer of every window, or their mean, rounded towards 0. */
function pool(isMean: boolean): Kernel {
  return inTurns(function* (op: OpCall): Pieces<Tensor[]> {
    const input = op.tensor(0);
    const range = rangeOf(op, 1, input.dtype);
    check(input.shape.length === 4, () => "tensor_in must be 4-dimensional");
    const images = input.shape as unknown as ImagesShape;
    const [, height, width, channels] = images;
    const [sizes, strides] = [op.attrs.ints("ksize"), op.attrs.ints("strides")];
    check(
      [sizes[0], sizes[3], strides[0], strides[3]].every((item) => item === 1),
      () => "Pooling is not yet supported on the batch or depth dimension.",
    );
    const windows = poolWindows(op, images);
    const { rows, columns } = windows;
    const shape = windows.resultShape(channels);
    const values = numbersOf(input);
    const out = numberArray(input.dtype, checkedCount(input.dtype, shape));
    for (let at = 0; at < out.length; at++) {
      const c = at % channels;
      if (c === 0) {
        yield rows.size * columns.size * channels;
        windows.moveTo(at / channels);
      }
      const { top, left, image } = windows;
      let [most, sum, count] = [Number.NEGATIVE_INFINITY, 0, 0];
      for (let y = Math.max(0, top); y < Math.min(height, top + rows.size); y++) {
        for (let x = Math.max(0, left); x < Math.min(width, left + columns.size); x++) {
          const value = values[((image * height + y) * width + x) * channels + c]!;
          most = Math.max(most, value);
          sum += value;
          count++;
        }
      }
      out[at] = isMean ? Math.trunc(sum / count) : most;
    }
    return ranged(shape, out, range);
  });
}

/** Pieces side by side, all in the range that holds each one's. */
function concat(op: OpCall): Tensor[] {
  const count = op.attrs.int("N");
  checkScalar(op.tensor(0), "concat_dim");
  const values = op.tensors(1, 1 + count);
  const { dtype, shape: first } = values[0]!;
  const axis = normalAxis(integerOf(op.tensor(0)), first.length);
  const ranges = values.map(
    (_, i): Range => ({
      dtype,
      low: numbersOf(op.tensor(1 + count + i))[0]!,
      high: numbersOf(op.tensor(1 + 2 * count + i))[0]!,
    }),
  );
  const [lowest, highest] = [Math.min(...ranges.map(({ low }) => low)), Math.max(...ranges.map(({ high }) => high))];
  const widest = Math.max(Math.abs(lowest), Math.abs(highest));
  // Signed integers have 0 in the middle.
  const isSigned = Number(extremeOf(dtype, -1)) < 0;
  const whole = { dtype, low: isSigned ? -widest : lowest, high: isSigned ? widest : highest };
  for (const { shape } of values) {
    check(
      shape.length === first.length && shape.every((length, d) => d === axis || length === first[d]),
      () => `ConcatOp : Dimensions of inputs should match: ${printShape(first)} vs. ${printShape(shape)}`,
    );
  }
  const shape = first.with(
    axis,
    values.reduce((sum, value) => sum + value.shape[axis]!, 0),
  );
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const run = countOf(shape, axis);
  let start = 0;
  for (const [i, value] of values.entries()) {
    const range = ranges[i]!;
    const isSame = range.low === whole.low && range.high === whole.high;
    const rescaled = isSame ? (integer: number) => integer : rescaler(range, whole);
    const piece = countOf(value.shape, axis);
    const numbers = numbersOf(value);
    for (let k = 0; k < numbers.length; k++) {
      out[Math.floor(k / piece) * run + start + (k % piece)] = rescaled(numbers[k]!);
    }
    start += piece;
  }
  return ranged(shape, out, whole);
}

export const RANGED_LAYER_KERNELS: Readonly<Record<string, Kernel>> = {
  QuantizedConv2D: inTurns(conv2D),
  QuantizedMatMul: inTurns(matMul),
  QuantizedMaxPool: pool(false),
  QuantizedAvgPool: pool(true),
  QuantizedConcat: concat,
  QuantizedReshape: (op) => [...reshape(op), op.tensor(2), op.tensor(3)],
};
