import type { OnnxAttr } from "../../proto/model-proto.js";
import type { Value } from "../../proto/value.js";
import { channelsLast, columnOfRow, rowOfColumn } from "./channels.js";
import {
  axes,
  fromChannelsFirst,
  type Layout,
  layoutOf,
  lengthsOf,
  outputsFirst,
  partialKernelShape,
  permutedKernel,
  poolingInts,
  spatialInts,
  toChannelsFirst,
} from "./conv-layout.js";
import { cast, concat, equal, shapeOf, slice } from "../../proto/emit.js";
import { isNarrow, narrowConvolution } from "./narrow-conv.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";
import { type Padding, paddedInput, paddingOf } from "./padding.js";
import { planeConvolution } from "./plane-conv.js";
import { volumeOfPlanes } from "./planes.js";
import { transposedConvolution } from "./transposed-conv.js";
import { convolvedByGroups, depthwiseGroups, kernelGroups } from "./unknown-groups.js";
import { hasWindowKernel, windowConvolution, windowDepthwise, windowPooling } from "./window-lowering.js";

/**
 * Convolutions and pooling in two and three spatial dimensions. TensorFlow's channels stand last (NHWC) unless
 * data_format says otherwise, ONNX's second (NCHW): values are transposed in and out, once for a chain of such ops
 * (channels.ts). Kernels are transposed once, at load.
 */

/** Pixels of each image of input 0; undefined where its size is open. */
function pixelsOf(n: NodeLowering, layout: Layout): number | undefined {
  const [height, width] = layout.isChannelsLast ? [n.dim(0, 1), n.dim(0, 2)] : [n.dim(0, 2), n.dim(0, 3)];
  return height === undefined || width === undefined ? undefined : height * width;
}

function convolution(spatial: number): Lower {
  return (n) => {
    if (!hasWindowKernel(n.dtype(0))) return windowConvolution(n, spatial);
    const layout = layoutOf(n, spatial);
    const kernel = partialKernelShape(n, 1, layout);
    const inPerGroup = kernel[spatial]!;
    const isWhole = !kernel.includes(-1);
    const channels = n.dim(0, layout.isChannelsLast ? -1 : 1);
    const volume = spatial === 3 && isWhole ? planeConvolution(n, layout, kernel) : undefined;
    if (volume) return volume;
    const strides = spatialInts(n, layout, "strides");
    const dilations = spatialInts(n, layout, "dilations");
    const padding = paddingOf(n, layout, kernel, strides, dilations);
    const isPlain = isWhole && [...strides, ...dilations].every((step) => step === 1);
    const points = isPlain && channels === inPerGroup ? pointProduct(n, layout, kernel) : undefined;
    if (points) return points;
    const attrs = { strides, dilations, ...lengthsOf(kernel, spatial), ...padding.attrs };
    const ofOneGroup = (): Value =>
      (isPlain ? narrow(n, layout, kernel, padding) : undefined) ?? convolved(n, layout, kernel, padding, attrs);
    if (channels === inPerGroup && inPerGroup >= 0) return fromChannelsFirst(n, layout, ofOneGroup());
    if (inPerGroup >= 0 && channels !== undefined) {
      const grouped = convolved(n, layout, kernel, padding, { ...attrs, group: channels / inPerGroup });
      return fromChannelsFirst(n, layout, grouped);
    }
    const value = paddedInput(n, layout, kernel, padding);
    const inGroups = (): Value => convolvedByGroups(n.b, value, kernelGroups(n.b, value, n.x(1), spatial), attrs);
    if (inPerGroup < 0) return fromChannelsFirst(n, layout, inGroups());
    const isOne = equal(n.b, slice(n.b, shapeOf(n.b, value), [1], [2]), n.b.ints([inPerGroup]));
    const [result] = n.b.choose(
      isOne,
      [value.dtype],
      () => [ofOneGroup()],
      () => [inGroups()],
    );
    return fromChannelsFirst(n, layout, result!);
  };
}

/**
 * A convolution of lines place by place, as layers have it that look along a line of features or steps: the channels stand last already,
 * so that a product of matrices needs no transposing before and behind it. Undefined where a chain has them second.
 */
function pointProduct(n: NodeLowering, layout: Layout, kernel: readonly number[]): Value | undefined {
  const [height, width, inputs, outputs] = kernel as [number, number, number, number];
  const isPoint = layout.spatial === 2 && layout.isChannelsLast && height === 1 && width === 1;
  if (!isPoint || n.dtype(0) !== "float32" || n.attrs.text("padding") === "EXPLICIT") return undefined;
  const isLine = n.dim(0, 1) === 1 || n.dim(0, 2) === 1;
  const value = n.x(0);
  if (!isLine || value.channelsFirst || value.row) return undefined;
  return n.b.op("MatMul", [value, permutedKernel(n, 1, axes(0, 4), [inputs, outputs])]);
}

function convolved(
  n: NodeLowering,
  layout: Layout,
  kernel: readonly number[],
  padding: Padding,
  attrs: Readonly<Record<string, OnnxAttr>>,
): Value {
  return n.b.op("Conv", [paddedInput(n, layout, kernel, padding), outputsFirst(n, 1, kernel)], attrs);
}

/** A convolution with steps of 1 on small images; undefined where another way is as fast. */
function narrow(n: NodeLowering, layout: Layout, kernel: readonly number[], padding: Padding): Value | undefined {
  if (layout.spatial !== 2 || n.dtype(0) !== "float32" || !isNarrow(kernel, pixelsOf(n, layout))) return undefined;
  const [height, width, inputs, outputs] = kernel as [number, number, number, number];
  const lengths = [height, width] as const;
  const { pads = [0, 0, 0, 0] } = padding.attrs;
  if (!pads.every((pad, side) => pad < lengths[side % 2]!)) return undefined;
  const weights = permutedKernel(n, 1, [2, 3, 0, 1], [inputs, outputs, height, width]);
  return narrowConvolution(n.b, toChannelsFirst(n, layout, n.x(0)), weights, lengths, pads);
}

const depthwise: Lower = (n) => {
  if (!hasWindowKernel(n.dtype(0))) return windowDepthwise(n);
  const layout = layoutOf(n, 2);
  const kernel = partialKernelShape(n, 1, layout);
  const [height, width, channels, multiplier] = kernel as [number, number, number, number];
  const strides = spatialInts(n, layout, "strides");
  const dilations = spatialInts(n, layout, "dilations");
  const padding = paddingOf(n, layout, kernel, strides, dilations);
  const attrs = { strides, dilations, ...lengthsOf(kernel, 2), ...padding.attrs };
  const value = paddedInput(n, layout, kernel, padding);
  if (kernel.includes(-1)) {
    return fromChannelsFirst(n, layout, convolvedByGroups(n.b, value, depthwiseGroups(n.b, n.x(1)), attrs));
  }
  const weights = permutedKernel(n, 1, [2, 3, 0, 1], [channels * multiplier, 1, height, width]);
  return fromChannelsFirst(n, layout, n.b.op("Conv", [value, weights], { ...attrs, group: channels }));
};

function pooling(op: "MaxPool" | "AveragePool", spatial: number): Lower {
  return (n) => {
    if (!hasWindowKernel(n.dtype(0))) return windowPooling(n, op, spatial);
    const layout = layoutOf(n, spatial);
    const [kernel, strides] = poolingInts(n, layout);
    const ones = kernel.map(() => 1);
    // Of a window that does not fit there are no values, where ONNX Runtime finds one.
    const fits = kernel.every((size, i) => size <= (n.dim(0, layout.isChannelsLast ? i + 1 : i + 2) ?? size));
    if (!fits && n.attrs.text("padding") === "VALID") n.fail("a window larger than its input");
    const isLine = isColumn(n, layout, kernel);
    // Of one element there is one window, whatever the stride.
    const steps = isLine ? [strides[0]!, 1] : strides;
    const padding = paddingOf(n, layout, kernel, steps, ones);
    const around = op === "MaxPool" ? namedPadding(n, steps, padding.attrs) : padding.attrs;
    // Zeros are neither the least element nor left out of means.
    if (padding.around || !around) return windowPooling(n, op, spatial);
    if (isLine) return pooledColumn(n, op, kernel, steps, around);
    const attrs = { kernel_shape: kernel, strides, ...around };
    return fromChannelsFirst(n, layout, n.b.op(op, [toChannelsFirst(n, layout, n.x(0))], attrs));
  };
}

/**
 * A maximum's padding by name; undefined where it has none. Into a MaxPool whose padding is given in numbers ONNX Runtime takes a Pad
 * with zeros that stands before it, but MaxPool's own padding is less than any value: of values below zero the maximum came out too low.
 */
function namedPadding(
  n: NodeLowering,
  strides: readonly number[],
  attrs: Padding["attrs"],
): Padding["attrs"] | undefined {
  const { pads = [], auto_pad: name = "VALID" } = attrs;
  if (pads.every((count) => count === 0)) return { auto_pad: name };
  const isDense = strides.every((stride) => stride === 1);
  return isDense && n.attrs.text("padding") === "SAME" ? { auto_pad: "SAME_UPPER" } : undefined;
}

/** Whether images [n, l, 1, c] are pooled along l: what pools in one dimension are in TensorFlow. */
function isColumn(n: NodeLowering, layout: Layout, kernel: readonly number[]): boolean {
  const isPlane = layout.isChannelsLast && layout.spatial === 2 && n.attrs.text("padding") !== "EXPLICIT";
  return isPlane && n.dim(0, 2) === 1 && kernel[1] === 1;
}

/** Pools images [n, l, 1, c] as images of one row. */
function pooledColumn(
  n: NodeLowering,
  op: "MaxPool" | "AveragePool",
  kernel: readonly number[],
  strides: readonly number[],
  { pads, ...rest }: Padding["attrs"],
): Value {
  const turned = pads && { pads: [pads[1]!, pads[0]!, pads[3]!, pads[2]!] };
  const attrs = { kernel_shape: kernel.toReversed(), strides: strides.toReversed(), ...rest, ...turned };
  return columnOfRow(n.b, n.b.op(op, [rowOfColumn(n.b, n.x(0))], attrs));
}

/**
 * (x - mean) * scale / sqrt(variance + epsilon) + offset per channel. In training mode, which Keras's LayerNormalization
 * uses, mean and variance are those of the batch. The outputs behind the third are for gradients.
 */
const batchNorm: Lower = (n) => {
  const { b } = n;
  const isChannelsLast = !n.attrs.text("data_format").startsWith("NC");
  const rank = n.rank(0) ?? 4;
  const perChannel = (value: Value): Value =>
    isChannelsLast ? value : b.op("Reshape", [value, b.ints([-1, ...Array.from({ length: rank - 2 }, () => 1)])]);
  const [scale, offset] = [n.x(1), n.x(2)];
  const wide = cast(b, n.x(0), scale.dtype);
  const isTraining = n.attrs.bool("is_training");
  const { channelsFirst: first, planes } = n.x(0);
  if (isChannelsLast && !isTraining && first?.rank === rank && [0, 1, 2, 3, 4].every((i) => n.dtype(i) === "float32")) {
    const operands = [planes?.value ?? first.value, scale, offset, n.x(3), n.x(4)];
    const y = b.op("BatchNormalization", operands, { epsilon: { float: n.attrs.float("epsilon") } });
    const normal = planes ? volumeOfPlanes(b, { ...planes, value: y }) : channelsLast(b, y, rank);
    return [normal, n.x(3), n.x(4), n.x(3), n.x(4), n.x(3)].slice(0, n.outputCount);
  }
  const batch = isTraining
    ? batchStatistics(n, wide, isChannelsLast ? axes(0, rank - 1) : [0, ...axes(2, rank - 2)])
    : undefined;
  const mean = batch?.mean ?? n.x(3);
  const variance = batch?.variance ?? n.x(4);
  const epsilon = b.scalar(variance.dtype, n.attrs.float("epsilon"));
  const factor = b.op("Div", [scale, b.op("Sqrt", [b.op("Add", [variance, epsilon])])]);
  const centred = b.op("Mul", [b.op("Sub", [wide, perChannel(mean)]), perChannel(factor)]);
  const y = cast(b, b.op("Add", [centred, perChannel(offset)]), n.dtype(0));
  const [nextMean, nextVariance] = batch?.observed.map((value, i) => movingAverage(n, 3 + i, value)) ?? [
    mean,
    variance,
  ];
  return [y, nextMean!, nextVariance!, mean, variance, mean].slice(0, n.outputCount);
};

/**
 * A moving average, input `input`, after a batch: what a layer in training mode writes back to its variable. A factor of 1, the only
 * one of the op's first forms, leaves nothing of the average, which may then be empty.
 */
function movingAverage(n: NodeLowering, input: number, ofBatch: Value): Value {
  const factor = n.attrs.has("exponential_avg_factor") ? n.attrs.float("exponential_avg_factor") : 1;
  if (factor === 1) return ofBatch;
  const part = (value: Value, weight: number): Value => n.b.op("Mul", [value, n.b.scalar(value.dtype, weight)]);
  return n.b.op("Add", [part(n.x(input), 1 - factor), part(ofBatch, factor)]);
}

/**
 * Mean and variance per channel, and as `observed` what the moving averages learn of them: the variance with Bessel's correction, and
 * NaN, for which ONNX Runtime has 0, where there are no values.
 */
function batchStatistics(n: NodeLowering, value: Value, over: readonly number[]) {
  const { b } = n;
  const kept = b.op("ReduceMean", [value, b.ints(over)], { keepdims: 1 });
  const difference = b.op("Sub", [value, kept]);
  const variance = b.op("ReduceMean", [b.op("Mul", [difference, difference]), b.ints(over)], { keepdims: 0 });
  const lengths = b.op("Gather", [shapeOf(b, value), b.ints(over)]);
  const count = b.op("ReduceProd", [lengths], { keepdims: 0 });
  const lessOne = b.op("Max", [b.op("Sub", [count, b.scalar("int64", 1)]), b.scalar("int64", 1)]);
  const values = cast(b, count, value.dtype);
  const correction = b.op("Div", [values, cast(b, lessOne, value.dtype)]);
  const mean = b.op("Reshape", [kept, b.ints([-1])]);
  const zeroOrNaN = b.op("Div", [b.scalar(value.dtype, 0), values]);
  const observed = [mean, b.op("Mul", [variance, correction])].map((x) => b.op("Add", [x, zeroOrNaN]));
  return { mean, variance, observed };
}

function depthAndSpace(op: "DepthToSpace" | "SpaceToDepth"): Lower {
  return (n) => {
    const layout = layoutOf(n, 2);
    if (n.attrs.text("data_format") === "NCHW_VECT_C") n.fail("NCHW_VECT_C");
    const value = toChannelsFirst(n, layout, n.x(0));
    const blocksize = n.attrs.int("block_size");
    const attrs = { blocksize, ...(op === "DepthToSpace" && { mode: "DCR" }) };
    const hasKernel = n.dtype(0) === "float32" || n.dtype(0) === "float64";
    return fromChannelsFirst(n, layout, hasKernel ? n.b.op(op, [value], attrs) : blocksMoved(n, op, value, blocksize));
  };
}

/** DepthToSpace or SpaceToDepth of [N, C, H, W] without a kernel. */
function blocksMoved(n: NodeLowering, op: "DepthToSpace" | "SpaceToDepth", value: Value, block: number): Value {
  const { b } = n;
  const shape = shapeOf(b, value);
  const [batch, depth, height, width] = [0, 1, 2, 3].map((at) => slice(b, shape, [at], [at + 1])) as [
    Value,
    Value,
    Value,
    Value,
  ];
  const [size, area] = [b.ints([block]), b.ints([block * block])];
  const divided = (length: Value, by: Value): Value => b.op("Div", [length, by]);
  const times = (length: Value, by: Value): Value => b.op("Mul", [length, by]);
  const reshaped = (from: Value, parts: readonly Value[]): Value =>
    b.op("Reshape", [from, concat(b, parts)], { allowzero: 1 });
  if (op === "DepthToSpace") {
    const split = reshaped(value, [batch, size, size, divided(depth, area), height, width]);
    const moved = b.op("Transpose", [split], { perm: [0, 3, 4, 1, 5, 2] });
    return reshaped(moved, [batch, divided(depth, area), times(height, size), times(width, size)]);
  }
  const split = reshaped(value, [batch, depth, divided(height, size), size, divided(width, size), size]);
  const moved = b.op("Transpose", [split], { perm: [0, 3, 5, 1, 2, 4] });
  return reshaped(moved, [batch, times(depth, area), divided(height, size), divided(width, size)]);
}

/**
 * SpaceToBatchND and BatchToSpaceND. Dimensions behind the blocked ones are flattened into one meanwhile, so the rank need
 * not be known.
 */
const spaceToBatch: Lower = (n) => {
  const { b } = n;
  const block = blockOf(n);
  const count = block.length;
  const whole = shapeOf(b, n.x(0));
  const trailing = slice(b, whole, [1 + count], [2 ** 31]);
  const flat = b.op("ReduceProd", [trailing], { keepdims: 1 });
  const rank = n.rank(0);
  const rest = rank === undefined ? 1 : rank - 1 - count;
  const given =
    rank === undefined
      ? b.op("Reshape", [n.x(0), concat(b, [slice(b, whole, [0], [1 + count]), flat])], { allowzero: 1 })
      : n.x(0);
  const zeros = b.ints(Array.from({ length: rest }, () => 0));
  const { starts, ends, isZero } = edges(n, count);
  const pads = concat(b, [b.ints([0]), starts, zeros, b.ints([0]), ends, zeros]);
  const dtype = n.dtype(0);
  // The engine pads no integers of 16 bits.
  const via = dtype === "int16" || dtype === "uint16" ? "int32" : dtype;
  const padded = isZero ? given : cast(b, b.op("Pad", [cast(b, given, via), pads]), dtype);
  const shape = shapeOf(b, padded);
  const batch = slice(b, shape, [0], [1]);
  const blocked = b.op("Div", [slice(b, shape, [1], [1 + count]), b.ints(block)]);
  const each = (at: number) => slice(b, blocked, [at], [at + 1]);
  const inner = block.flatMap((length, i) => [each(i), b.ints([length])]);
  const split = b.op("Reshape", [padded, concat(b, [batch, ...inner, flat])], { allowzero: 1 });
  const perm = [...block.map((_, i) => 2 + 2 * i), 0, ...block.map((_, i) => 1 + 2 * i), 1 + 2 * count];
  const moved = b.op("Transpose", [split], { perm });
  const total = b.op("Mul", [batch, b.ints([block.reduce((product, length) => product * length, 1)])]);
  return b.op("Reshape", [moved, concat(b, [total, blocked, trailing])], { allowzero: 1 });
};

const batchToSpace: Lower = (n) => {
  const { b } = n;
  const block = blockOf(n);
  const count = block.length;
  const { starts, ends: cropped, isZero } = edges(n, count);
  const shape = shapeOf(b, n.x(0));
  const product = block.reduce((all, length) => all * length, 1);
  const batch = b.op("Div", [slice(b, shape, [0], [1]), b.ints([product])]);
  const spatial = slice(b, shape, [1], [1 + count]);
  const trailing = slice(b, shape, [1 + count], [2 ** 31]);
  const flat = b.op("ReduceProd", [trailing], { keepdims: 1 });
  const split = b.op("Reshape", [n.x(0), concat(b, [b.ints(block), batch, spatial, flat])], { allowzero: 1 });
  const perm = [count, ...block.flatMap((_, i) => [count + 1 + i, i]), 1 + 2 * count];
  const moved = b.op("Transpose", [split], { perm });
  const grown = b.op("Mul", [spatial, b.ints(block)]);
  const joined = b.op("Reshape", [moved, concat(b, [batch, grown, trailing])], { allowzero: 1 });
  if (isZero) return joined;
  return b.op("Slice", [joined, starts, b.op("Sub", [grown, cropped]), b.ints(axes(1, count))]);
};

/** Lengths of a block: an input, or an attribute of the first form of these ops, which is of images. */
function blockOf(n: NodeLowering): number[] {
  if (n.inputs.length === 3) return n.needNumbers(1);
  const size = n.attrs.int("block_size");
  return [size, size];
}

/** Paddings or crops [count, 2], the last input: the columns of the matrix. A dilated convolution computes them from its input's lengths. */
function edges(n: NodeLowering, count: number): { starts: Value; ends: Value; isZero: boolean } {
  const { b } = n;
  const input = n.inputs.length - 1;
  const known = n.numbers(input);
  if (known) {
    const column = (at: 0 | 1): Value => b.ints(known.filter((_, i) => i % 2 === at));
    return { starts: column(0), ends: column(1), isZero: known.every((length) => length === 0) };
  }
  const flat = b.op("Reshape", [cast(b, n.x(input), "int64"), b.ints([count, 2])]);
  const column = (at: number): Value => b.op("Gather", [flat, b.scalar("int64", at)], { axis: 1 });
  return { starts: column(0), ends: column(1), isZero: false };
}

export const convolutions: LoweringTable = {
  Conv2D: convolution(2),
  Conv3D: convolution(3),
  DepthwiseConv2dNative: depthwise,
  Conv2DBackpropInput: transposedConvolution(2),
  Conv3DBackpropInputV2: transposedConvolution(3),
  MaxPool: pooling("MaxPool", 2),
  MaxPool3D: pooling("MaxPool", 3),
  AvgPool: pooling("AveragePool", 2),
  AvgPool3D: pooling("AveragePool", 3),
  FusedBatchNorm: batchNorm,
  FusedBatchNormV2: batchNorm,
  FusedBatchNormV3: batchNorm,
  DepthToSpace: depthAndSpace("DepthToSpace"),
  SpaceToDepth: depthAndSpace("SpaceToDepth"),
  MaxPoolV2: pooling("MaxPool", 2),
  SpaceToBatch: spaceToBatch,
  BatchToSpace: batchToSpace,
  SpaceToBatchND: spaceToBatch,
  BatchToSpaceND: batchToSpace,
};
