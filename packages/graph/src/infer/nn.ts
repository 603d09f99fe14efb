import type { Shape } from "../ir/attrs.js";
import { broadcast, each, same, type ShapeCall, type ShapeFunction, UNKNOWN, unknowns } from "./shapes.js";

/** Shapes of convolutions, pooling, normalisation and images. */
export const NN_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  Conv2D: (call) => [conv(call, 2, (filter) => filter.at(-1)!)],
  Conv3D: (call) => [conv(call, 3, (filter) => filter.at(-1)!)],
  _FusedConv2D: (call) => [conv(call, 2, (filter) => filter.at(-1)!)],
  DepthwiseConv2dNative: (call) => [conv(call, 2, (filter) => times(filter.at(-1)!, filter.at(-2)!))],
  ...each("Conv2DBackpropInput Conv3DBackpropInputV2 DepthwiseConv2dNativeBackpropInput", (call) => [
    given(call, 0) ?? alike(call, 2),
  ]),
  ...each("Conv2DBackpropFilter Conv3DBackpropFilterV2 DepthwiseConv2dNativeBackpropFilter", (call) => [
    given(call, 1) ?? alike(call, 0),
  ]),
  ...each("AvgPoolGrad AvgPool3DGrad", (call) => [given(call, 0) ?? alike(call, 1)]),
  ...each("MaxPoolGrad MaxPoolGradV2 MaxPoolGradWithArgmax MaxPool3DGrad", (call) => [call.shape(0)]),
  ...each("ResizeBilinearGrad ResizeBicubicGrad ScaleAndTranslateGrad", (call) => [call.shape(1)]),
  ...each("MaxPool AvgPool", (call) => [pool(call, 2)]),
  ...each("MaxPool3D AvgPool3D", (call) => [pool(call, 3)]),
  MaxPoolWithArgmax: (call) => [pool(call, 2), pool(call, 2)],
  ...each("FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3", (call) => {
    const channels = call.shape(1);
    return [call.shape(0), channels, channels, channels, channels, undefined];
  }),
  ...quantized(),
  ...each("LRN LRNGrad", same()),
  // Every output has the shape of the state, by the step where there is a sequence.
  LSTMBlockCell: (call) => Array<Shape>(7).fill(call.shape(1)),
  ...each("BlockLSTM BlockLSTMV2", (call) => {
    const state = call.shape(2);
    return Array<Shape>(7).fill(state ? [call.shape(1)?.[0] ?? UNKNOWN, ...state] : unknowns(3));
  }),
  GRUBlockCell: (call) => Array<Shape>(4).fill(call.shape(1)),
  ...each("ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea", (call) => {
    const input = call.shape(0);
    const size = call.value(1)?.values;
    return [[input?.[0] ?? UNKNOWN, size?.[0] ?? UNKNOWN, size?.[1] ?? UNKNOWN, input?.[3] ?? UNKNOWN]];
  }),
  CropAndResize: (call) => {
    const size = call.value(3)?.values;
    return [[call.shape(1)?.[0] ?? UNKNOWN, size?.[0] ?? UNKNOWN, size?.[1] ?? UNKNOWN, call.shape(0)?.[3] ?? UNKNOWN]];
  },
  ...each("NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionWithOverlaps", () => [[UNKNOWN]]),
  NonMaxSuppressionV4: () => [[UNKNOWN], []],
  NonMaxSuppressionV5: () => [[UNKNOWN], [UNKNOWN], []],
  EncodePng: (call) => [call.shape(0)?.slice(0, -3)],
  ...each("EncodeJpeg EncodeJpegVariableQuality", () => [[]]),
  ExtractJpegShape: () => [[3]],
  ...each("DecodeJpeg DecodePng DecodeBmp", (call) => [[UNKNOWN, UNKNOWN, call.attrs.int("channels") || UNKNOWN]]),
  ...each(
    "AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV HSVToRGB DrawBoundingBoxes DrawBoundingBoxesV2 StatelessShuffle",
    same(),
  ),
};

/** The shape that input i holds. */
function given(call: ShapeCall, i: number): Shape {
  return call.value(i)?.values.map((size) => size ?? UNKNOWN);
}

/** A shape of the rank of input i. */
function alike(call: ShapeCall, i: number): Shape {
  const shape = call.shape(i);
  return shape && unknowns(shape.length);
}

/** The outputs of an op and the scalars of their range. */
function withRange(shapes: ShapeFunction): ShapeFunction {
  return (call) => [...shapes(call), [], []];
}

/** Ops on quantised integers. */
function quantized(): Record<string, ShapeFunction> {
  return {
    ...each("UniformQuantize UniformDequantize UniformRequantize UniformQuantizedClipByValue", same()),
    UniformQuantizedAdd: (call) => [broadcast(call.shape(0), call.shape(1))],
    ...each("QuantizedRelu QuantizedRelu6 Requantize QuantizeDownAndShrinkRange QuantizedBiasAdd", withRange(same())),
    ...each(
      "QuantizedAdd QuantizedMul",
      withRange((call) => [broadcast(call.shape(0), call.shape(1))]),
    ),
    ...each(
      "QuantizedMaxPool QuantizedAvgPool",
      withRange((call) => [pool(call, 2)]),
    ),
    QuantizedConv2D: withRange((call) => [conv(call, 2, (filter) => filter.at(-1)!)]),
    QuantizedMatMul: withRange((call) => [
      [
        call.shape(0)?.[call.attrs.bool("transpose_a") ? 1 : 0] ?? UNKNOWN,
        call.shape(1)?.[call.attrs.bool("transpose_b") ? 0 : 1] ?? UNKNOWN,
      ],
    ]),
    RequantizationRange: () => [[], []],
    ...each("UniformQuantizedDot UniformQuantizedDotHybrid", (call) => [
      [call.shape(0)?.[0] ?? UNKNOWN, call.shape(1)?.[1] ?? UNKNOWN],
    ]),
    ...each("UniformQuantizedConvolution UniformQuantizedConvolutionHybrid", (call) => {
      const rank = call.shape(0)?.length ?? call.shape(1)?.length;
      return [rank === undefined ? undefined : unknowns(rank)];
    }),
  };
}

function times(a: number, b: number): number {
  return a === UNKNOWN || b === UNKNOWN ? UNKNOWN : a * b;
}

function conv(call: ShapeCall, spatial: number, outChannels: (filter: readonly number[]) => number): Shape {
  const [input, filter] = [call.shape(0), call.shape(1)];
  const rank = spatial + 2;
  if (input?.length !== rank || filter?.length !== rank) return unknowns(rank);
  const strides = call.attrs.ints("strides");
  const dilations = call.attrs.ints("dilations");
  return spatialShape(call, input, spatial, strides, outChannels(filter), (axis, i) => {
    const size = filter[i]!;
    return size === UNKNOWN ? UNKNOWN : (size - 1) * (dilations[axis] ?? 1) + 1;
  });
}

function pool(call: ShapeCall, spatial: number): Shape {
  const input = call.shape(0);
  if (input?.length !== spatial + 2) return unknowns(spatial + 2);
  const window = call.attrs.ints("ksize");
  const first = channelsFirst(call);
  const channels = input[first ? 1 : input.length - 1]!;
  return spatialShape(call, input, spatial, call.attrs.ints("strides"), channels, (axis) => window[axis]!);
}

function channelsFirst(call: ShapeCall): boolean {
  return call.attrs.has("data_format") && call.attrs.text("data_format").startsWith("NC");
}

function spatialShape(
  call: ShapeCall,
  input: readonly number[],
  spatial: number,
  strides: readonly number[],
  channels: number,
  window: (axis: number, spatialIndex: number) => number,
): Shape {
  const first = channelsFirst(call);
  const start = first ? 2 : 1;
  const padding = call.attrs.text("padding");
  const pads = padding === "EXPLICIT" ? call.attrs.ints("explicit_paddings") : [];
  const output = [...input];
  output[first ? 1 : input.length - 1] = channels;
  for (let i = 0; i < spatial; i++) {
    const axis = start + i;
    const [dim, size, stride] = [input[axis]!, window(axis, i), strides[axis] ?? 1];
    if (dim === UNKNOWN || size === UNKNOWN) output[axis] = UNKNOWN;
    else if (padding === "SAME") output[axis] = Math.ceil(dim / stride);
    else {
      const padded = dim + (pads[2 * axis] ?? 0) + (pads[2 * axis + 1] ?? 0);
      output[axis] = Math.max(0, Math.floor((padded - size) / stride) + 1);
    }
  }
  return output;
}
