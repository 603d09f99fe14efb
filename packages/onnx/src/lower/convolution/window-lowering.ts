/** Convolutions and pooling in dtypes that the engine has no kernels for, by slices of their windows. */
import type { DType } from "@shardserve/tensor";
import type { Value } from "../../proto/value.js";
import { kernelShape, type Layout, layoutOf, poolingInts, spatialInts } from "./conv-layout.js";
import { cast, INT64_MIN, isFloat, transpose } from "../../proto/emit.js";
import type { NodeLowering } from "../node-lowering.js";
import { averagePooled, convolved, convolvedDepthwise, maxPooled, type Windows } from "./windows.js";

/** What ONNX Runtime's convolutions and pooling compute in. */
export function hasWindowKernel(dtype: DType): boolean {
  return dtype === "float32" || dtype === "float16";
}

/** Products and sums of these are exact, or as exact as TensorFlow's. */
function needProducts(n: NodeLowering): void {
  const dtype = n.dtype(0);
  if (dtype !== "float64" && dtype !== "int32") n.fail(`no engine kernel for ${dtype}`);
}

function windowsOf(
  n: NodeLowering,
  layout: Layout,
  lengths: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
): Windows {
  const padding = n.attrs.text("padding");
  if (padding === "SAME") return { lengths, strides, dilations, padding };
  const none = lengths.map(() => 0);
  if (padding !== "EXPLICIT") return { lengths, strides, dilations, padding: { before: none, after: none } };
  const all = n.attrs.ints("explicit_paddings");
  const flat = layout.isChannelsLast ? all.slice(2, -2) : all.slice(4);
  const [before, after] = [flat.filter((_, i) => i % 2 === 0), flat.filter((_, i) => i % 2 === 1)];
  return { lengths, strides, dilations, padding: { before, after } };
}

function convolutionWindows(n: NodeLowering, layout: Layout, lengths: readonly number[]): Windows {
  return windowsOf(n, layout, lengths, spatialInts(n, layout, "strides"), spatialInts(n, layout, "dilations"));
}

/** Computes with channels last, whatever the node says. */
function withChannelsLast(n: NodeLowering, layout: Layout, compute: (value: Value) => Value): Value {
  if (layout.isChannelsLast) return compute(n.x(0));
  const inner = Array.from({ length: layout.spatial }, (_, i) => i);
  const value = transpose(n.b, n.x(0), [0, ...inner.map((i) => i + 2), 1]);
  return transpose(n.b, compute(value), [0, layout.spatial + 1, ...inner.map((i) => i + 1)]);
}

export function windowConvolution(n: NodeLowering, spatial: number): Value {
  needProducts(n);
  const layout = layoutOf(n, spatial);
  const kernel = kernelShape(n, 1);
  const channels = kernel.slice(spatial);
  if (n.dim(0, layout.isChannelsLast ? -1 : 1) !== channels[0]) n.fail(`groups of ${n.dtype(0)}`);
  const windows = convolutionWindows(n, layout, kernel.slice(0, spatial));
  return withChannelsLast(n, layout, (value) => convolved(n.b, value, n.x(1), windows, channels));
}

export function windowDepthwise(n: NodeLowering): Value {
  needProducts(n);
  const layout = layoutOf(n, 2);
  const [height, width, channels, multiplier] = kernelShape(n, 1) as [number, number, number, number];
  const windows = convolutionWindows(n, layout, [height, width]);
  return withChannelsLast(n, layout, (value) =>
    convolvedDepthwise(n.b, value, n.x(1), windows, [channels, multiplier]),
  );
}

/** Wider dtype in which the engine has maxima, and the least number of it. */
const MAXIMA: Partial<Record<DType, { readonly via: DType; readonly least: number | bigint }>> = {
  float64: { via: "float64", least: Number.NEGATIVE_INFINITY },
  float32: { via: "float32", least: Number.NEGATIVE_INFINITY },
  float16: { via: "float32", least: Number.NEGATIVE_INFINITY },
  int64: { via: "int64", least: INT64_MIN },
  ...Object.fromEntries(
    ["int8", "int16", "int32", "uint8", "uint16"].map((dtype) => [dtype, { via: "int32", least: -(2 ** 31) }]),
  ),
};

export function windowPooling(n: NodeLowering, op: "MaxPool" | "AveragePool", spatial: number): Value {
  const layout = layoutOf(n, spatial);
  const [lengths, strides] = poolingInts(n, layout);
  const windows = windowsOf(
    n,
    layout,
    lengths,
    strides,
    lengths.map(() => 1),
  );
  const dtype = n.dtype(0);
  const { via, least } = MAXIMA[dtype] ?? n.fail(`no engine kernel for ${dtype}`);
  if (op === "MaxPool") {
    const pooled = (value: Value): Value => cast(n.b, maxPooled(n.b, cast(n.b, value, via), windows, least), dtype);
    return withChannelsLast(n, layout, pooled);
  }
  if (!isFloat(via)) n.fail(`a mean of ${dtype}`);
  return withChannelsLast(n, layout, (value) => cast(n.b, averagePooled(n.b, cast(n.b, value, via), windows), dtype));
}
