import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { cast, less, shapeOf, slice, zeroOrFail } from "../../proto/emit.js";
import {
  axes,
  fromChannelsFirst,
  type Layout,
  layoutOf,
  outputsFirst,
  partialKernelShape,
  spatialInts,
  toChannelsFirst,
} from "./conv-layout.js";
import type { Lower, NodeLowering } from "../node-lowering.js";

/**
 * The gradient of a convolution by its input, which is the transposed convolution. Inputs of several lengths make the same output of a
 * convolution with strides, so the op is told which one is wanted: lengths that TensorFlow refuses fail here too.
 */
export function transposedConvolution(spatial: number): Lower {
  return (n) => {
    const dtype = n.dtype(2);
    if (dtype !== "float32" && dtype !== "float16") n.fail(`no engine kernel for ${dtype}`);
    const layout = layoutOf(n, spatial);
    const { b } = n;
    const kernel = partialKernelShape(n, 1, layout);
    if (kernel.slice(0, spatial).includes(-1)) n.fail("the kernel's lengths are unknown");
    const strides = spatialInts(n, layout, "strides");
    if (spatialInts(n, layout, "dilations").some((dilation) => dilation !== 1)) n.fail("dilations");
    if (n.attrs.text("padding") === "EXPLICIT") n.fail("explicit paddings");
    const wanted = spatialPart(layout, n.outShape());
    const windows = strides.map((stride, i) => windowOf(n, kernel[i]!, stride, wanted?.[i]));
    const weights = outputsFirst(n, 1, kernel);
    const attrs = {
      strides,
      pads: [...windows.map(({ before }) => before), ...windows.map(({ after }) => after)],
      output_padding: windows.map(({ extra }) => extra),
      kernel_shape: kernel.slice(0, spatial),
    };
    const value = toChannelsFirst(n, layout, n.x(2));
    const isSafe = spatial === 2 || spatialPart(layout, n.shape(2))?.every((length) => length > 0) === true;
    const made = b.op("ConvTranspose", [isSafe ? value : filledVolumes(b, value), weights], attrs);
    const given = cast(b, n.x(0), "int64");
    const size = layout.isChannelsLast ? b.op("Gather", [given, b.ints([0, spatial + 1, ...axes(1, spatial)])]) : given;
    const result = windows.some(({ slack }) => slack > 0) ? cut(b, made, size, windows) : made;
    return fromChannelsFirst(n, layout, b.op("Reshape", [result, size], { allowzero: 1 }));
  };
}

function spatialPart(layout: Layout, shape: readonly number[] | undefined): readonly number[] | undefined {
  return shape && (layout.isChannelsLast ? shape.slice(1, -1) : shape.slice(2));
}

/** What is left out before and after, and added behind, of all that the products of one dimension cover: (length - 1) * stride + kernel. */
interface Window {
  readonly before: number;
  readonly after: number;
  readonly extra: number;
  /** How much shorter the wanted length may be than the window's: 0 where it is known. */
  readonly slack: number;
  /** How far neighbours overlap, in so far as the padding takes that away; less than -slack where it takes nothing. */
  readonly overlap: number;
}

/** @param wanted  the length of the result; the window holds the longest possible one where it is unknown */
function windowOf(n: NodeLowering, kernel: number, stride: number, wanted = -1): Window {
  const isSame = n.attrs.text("padding") === "SAME";
  const isOpen = wanted < 0;
  // One product is enough to see what stands around all of them.
  const size = isOpen ? (isSame ? stride : kernel + stride - 1) : wanted;
  const products = isSame ? Math.ceil(size / stride) : Math.floor((size - kernel) / stride) + 1;
  const covered = (products - 1) * stride + kernel;
  const total = isSame ? Math.max(covered - size, 0) : 0;
  const before = Math.floor(total / 2);
  return {
    before,
    after: total - before,
    extra: size - (covered - total),
    slack: isOpen ? stride - 1 : 0,
    overlap: isSame ? kernel - stride : -stride,
  };
}

/**
 * Cuts what has the longest possible lengths, [n, c, ...], to the wanted ones: a shorter length has more padding, half of it before.
 *
 * @param size  the wanted lengths of all dimensions
 */
function cut(b: OnnxBuilder, made: Value, size: Value, windows: readonly Window[]): Value {
  const spatial = (shape: Value): Value => slice(b, shape, [2], [2 + windows.length]);
  const wanted = spatial(size);
  const surplus = b.op("Sub", [spatial(shapeOf(b, made)), wanted]);
  const zero = b.scalar("int64", 0);
  const isBad = b.op("Or", [less(b, surplus, zero), less(b, b.ints(windows.map(({ slack }) => slack)), surplus)]);
  const total = b.op("Max", [b.op("Add", [surplus, b.ints(windows.map(({ overlap }) => overlap))]), zero]);
  const before = b.op("Div", [total, b.scalar("int64", 2)]);
  const leftOut = b.ints(windows.map(({ overlap }) => Math.floor(Math.max(overlap, 0) / 2)));
  const start = b.op("Add", [b.op("Sub", [before, leftOut]), zeroOrFail(b, isBad)]);
  return b.op("Slice", [made, start, b.op("Add", [start, wanted]), b.ints(axes(2, windows.length))]);
}

/** Volumes [n, c, d, h, w]; a run with one of no extent fails, because ONNX Runtime's transposed convolution dies of it. */
function filledVolumes(b: OnnxBuilder, value: Value): Value {
  const shape = shapeOf(b, value);
  const checked = b.op("Add", [shape, zeroOrFail(b, less(b, shape, b.ints([0, 0, 1, 1, 1])))]);
  return b.op("Reshape", [value, checked], { allowzero: 1 });
}
