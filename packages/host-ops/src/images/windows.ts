/** What slides a window over images or volumes and no engine has: maxima with their positions, dilation, patches of volumes. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { appender, build, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, extremeOf, numberArray, packNumbers } from "../call/numeric.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { indexData } from "../call/shapes.js";

/** The windows along one dimension. */
interface Slide {
  /** Number of windows. */
  readonly count: number;
  readonly stride: number;
  /** Elements missing in front of the first. */
  readonly before: number;
  readonly size: number;
  /** Distance of the window's elements. */
  readonly rate: number;
}

/** @throws ServingError INVALID_ARGUMENT where no window fits */
export function slide(op: OpCall, length: number, size: number, stride: number, rate = 1): Slide {
  const padding = op.attrs.text("padding");
  check(
    size > 0 && stride > 0 && rate > 0,
    () => `Sliding window ksize, strides and rates must be positive, got ${size}, ${stride} and ${rate}`,
  );
  const extent = (size - 1) * rate + 1;
  if (padding === "VALID") {
    check(
      length >= extent - stride,
      () =>
        `Computed output size would be negative: ${length - extent} [input_size: ${length}, effective_filter_size: ${extent}, stride: ${stride}]`,
    );
    return { count: Math.floor((length - extent + stride) / stride), stride, before: 0, size, rate };
  }
  const count = Math.ceil(length / stride);
  const missing = Math.max(0, (count - 1) * stride + extent - length);
  return { count, stride, before: Math.floor(missing / 2), size, rate };
}

function shapeOfRank(value: Tensor, rank: number): readonly number[] {
  check(value.shape.length === rank, () => `input must be ${rank}-dimensional${printShape(value.shape)}`);
  return value.shape;
}

function maxPoolWithArgmax(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const [batch, height, width, channels] = shapeOfRank(input, 4) as [number, number, number, number];
  const [sizes, strides] = [op.attrs.ints("ksize"), op.attrs.ints("strides")];
  const rows = slide(op, height, sizes[1]!, strides[1]!);
  const columns = slide(op, width, sizes[2]!, strides[2]!);
  const shape = [batch, rows.count, columns.count, channels];
  check(elementCount(input.shape) > 0, () => "tensor_in must not be empty");
  const total = checkedCount(input.dtype, shape);
  const numbers = exactNumbersOf(input, "MaxPoolWithArgmax");
  const out = numberArray(input.dtype, total);
  const positions = new Float64Array(total);
  const hasBatch = op.attrs.bool("include_batch_in_index");
  const perImage = height * width * channels;
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let r = 0; r < rows.count; r++) {
      const top = r * rows.stride - rows.before;
      for (let k = 0; k < columns.count; k++) {
        const left = k * columns.stride - columns.before;
        for (let c = 0; c < channels; c++, at++) {
          let best = -1;
          for (let y = Math.max(0, top); y < Math.min(height, top + rows.size); y++) {
            for (let x = Math.max(0, left); x < Math.min(width, left + columns.size); x++) {
              const position = (y * width + x) * channels + c;
              if (best < 0 || numbers[b * perImage + best]! < numbers[b * perImage + position]!) best = position;
            }
          }
          out[at] = numbers[b * perImage + best]!;
          positions[at] = hasBatch ? b * perImage + best : best;
        }
      }
    }
  }
  const dtype = op.attrs.dtype("Targmax");
  return [
    withData(input.dtype, shape, packNumbers(input.dtype, out)),
    withData(dtype, shape, indexData(dtype, positions)),
  ];
}

/** Maxima of sums with a filter. */
function dilation(op: OpCall): Tensor[] {
  const [input, filter] = [op.tensor(0), op.tensor(1)];
  const [batch, height, width, channels] = shapeOfRank(input, 4) as [number, number, number, number];
  check(filter.shape.length === 3, () => `filter must be 3-dimensional: ${printShape(filter.shape)}`);
  check(
    channels === filter.shape[2],
    () => `input and filter must have the same depth: ${channels} vs ${filter.shape[2]}`,
  );
  const [strides, rates] = [op.attrs.ints("strides"), op.attrs.ints("rates")];
  const rows = slide(op, height, filter.shape[0]!, strides[1]!, rates[1]!);
  const columns = slide(op, width, filter.shape[1]!, strides[2]!, rates[2]!);
  const shape = [batch, rows.count, columns.count, channels];
  const { dtype } = input;
  const [numbers, weights] = [exactNumbersOf(input, "Dilation2D"), exactNumbersOf(filter, "Dilation2D")];
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const least = Number(extremeOf(dtype, -1));
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let r = 0; r < rows.count; r++) {
      for (let k = 0; k < columns.count; k++) {
        for (let c = 0; c < channels; c++) {
          let most = least;
          for (let i = 0; i < rows.size; i++) {
            const y = r * rows.stride - rows.before + i * rows.rate;
            if (y < 0 || y >= height) continue;
            for (let j = 0; j < columns.size; j++) {
              const x = k * columns.stride - columns.before + j * columns.rate;
              if (x < 0 || x >= width) continue;
              const sum =
                numbers[((b * height + y) * width + x) * channels + c]! +
                weights[(i * columns.size + j) * channels + c]!;
              if (sum > most) most = sum;
            }
          }
          out[at++] = most;
        }
      }
    }
  }
  return [withData(dtype, shape, packNumbers(dtype, out))];
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
  MaxPoolWithArgmax: maxPoolWithArgmax,
  Dilation2D: dilation,
  ExtractVolumePatches: volumePatches,
};
