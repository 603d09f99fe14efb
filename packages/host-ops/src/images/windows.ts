/** What slides a window over images or volumes and no engine has: maxima with their positions, dilation, patches of volumes. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { appender, build, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, extremeOf, numberArray, numbersTensor } from "../call/numeric.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { indexData } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { type ImagesShape, ImageWindows, poolWindows, type Slide, slide } from "./sliding.js";

function shapeOfRank(value: Tensor, rank: number): readonly number[] {
  check(value.shape.length === rank, () => `input must be ${rank}-dimensional${printShape(value.shape)}`);
  return value.shape;
}

function* maxPoolWithArgmax(op: OpCall): Pieces<Tensor[]> {
  const input = op.tensor(0);
  const [batch, height, width, channels] = shapeOfRank(input, 4) as ImagesShape;
  const windows = poolWindows(op, [batch, height, width, channels]);
  check(elementCount(input.shape) > 0, () => "tensor_in must not be empty");
  const shape = windows.resultShape(channels);
  const total = checkedCount(input.dtype, shape);
  const numbers = exactNumbersOf(input, "MaxPoolWithArgmax");
  const out = numberArray(input.dtype, total);
  const positions = new Float64Array(total);
  const hasBatch = op.attrs.bool("include_batch_in_index");
  let at = 0;
  for (let w = 0; w < windows.count; w++) {
    yield windows.rows.size * windows.columns.size * channels;
    windows.moveTo(w);
    const first = hasBatch ? 0 : windows.image * height * width * channels;
    for (let c = 0; c < channels; c++, at++) {
      const best = windows.largest(numbers, c);
      out[at] = numbers[best]!;
      positions[at] = best - first;
    }
  }
  const dtype = op.attrs.dtype("Targmax");
  return [numbersTensor(input.dtype, shape, out), withData(dtype, shape, indexData(dtype, positions))];
}

/** Maxima of sums with a filter. */
function* dilation(op: OpCall): Pieces<Tensor[]> {
  const [input, filter] = [op.tensor(0), op.tensor(1)];
  const images = shapeOfRank(input, 4) as ImagesShape;
  const [, height, width, channels] = images;
  check(filter.shape.length === 3, () => `filter must be 3-dimensional: ${printShape(filter.shape)}`);
  check(
    channels === filter.shape[2],
    () => `input and filter must have the same depth: ${channels} vs ${filter.shape[2]}`,
  );
  const [strides, rates] = [op.attrs.ints("strides"), op.attrs.ints("rates")];
  const rows = slide(op, height, filter.shape[0]!, strides[1]!, rates[1]!);
  const columns = slide(op, width, filter.shape[1]!, strides[2]!, rates[2]!);
  const windows = new ImageWindows(images, rows, columns);
  const { dtype } = input;
  const [numbers, weights] = [exactNumbersOf(input, "Dilation2D"), exactNumbersOf(filter, "Dilation2D")];
  const shape = windows.resultShape(channels);
  const out = numberArray(dtype, checkedCount(dtype, shape));
  out.fill(Number(extremeOf(dtype, -1)));
  for (let w = 0; w < windows.count; w++) {
    yield rows.size * columns.size * channels;
    windows.moveTo(w);
    const to = w * channels;
    for (let k = 0; k < rows.size * columns.size; k++) {
      const y = windows.top + Math.floor(k / columns.size) * rows.rate;
      const x = windows.left + (k % columns.size) * columns.rate;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      const from = ((windows.image * height + y) * width + x) * channels;
      for (let c = 0; c < channels; c++) {
        const sum = numbers[from + c]! + weights[k * channels + c]!;
        if (sum > out[to + c]!) out[to + c] = sum;
      }
    }
  }
  return [numbersTensor(dtype, shape, out)];
}

/** Every window's elements as the channels of one place; zeros outside. */
function volumePatches(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const [batch, planes, height, width, channels] = shapeOfRank(input, 5) as [number, number, number, number, number];
  const [sizes, strides] = [op.attrs.ints("ksizes"), op.attrs.ints("strides")];
  const [z, y, x] = [planes, height, width].map((length, d) => slide(op, length, sizes[d + 1]!, strides[d + 1]!)) as [
    Slide,
    Slide,
    Slide,
  ];
  const shape = [batch, z.count, y.count, x.count, z.size * y.size * x.size * channels];
  const out = appender(input.dtype, checkedCount(input.dtype, shape));
  const nothing = zeroTensor(input.dtype, [channels]);
  const windows = elementCount(shape.slice(0, 4));
  for (let w = 0; w < windows; w++) {
    const left = (w % x.count) * x.stride - x.before;
    const top = (Math.floor(w / x.count) % y.count) * y.stride - y.before;
    const front = (Math.floor(w / (x.count * y.count)) % z.count) * z.stride - z.before;
    const b = Math.floor(w / (x.count * y.count * z.count));
    for (let i = 0; i < z.size * y.size * x.size; i++) {
      const [p, r, c] = [
        front + Math.floor(i / (y.size * x.size)),
        top + (Math.floor(i / x.size) % y.size),
        left + (i % x.size),
      ];
      const isInside = p >= 0 && p < planes && r >= 0 && r < height && c >= 0 && c < width;
      if (isInside) out.append(input.data, (((b * planes + p) * height + r) * width + c) * channels, channels);
      else out.append(nothing.data, 0, channels);
    }
  }
  return [build(input.dtype, shape, out)];
}

export const WINDOW_KERNELS: Readonly<Record<string, Kernel>> = {
  MaxPoolWithArgmax: inTurns(maxPoolWithArgmax),
  Dilation2D: inTurns(dilation),
  ExtractVolumePatches: volumePatches,
};
