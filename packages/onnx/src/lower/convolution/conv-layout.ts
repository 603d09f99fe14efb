/** How the attributes of convolutions and pooling name the dimensions of their operands. */
import { channelsFirst, channelsLast } from "./channels.js";
import type { Value } from "../../proto/value.js";
import type { NodeLowering } from "../node-lowering.js";

export interface Layout {
  /** Spatial dimensions. */
  readonly spatial: number;
  readonly isChannelsLast: boolean;
}

export function layoutOf(n: NodeLowering, spatial: number): Layout {
  const format = n.attrs.text("data_format");
  return { spatial, isChannelsLast: !format.startsWith("NC") };
}

/** A rank-sized attribute (strides, ksize, dilations): its spatial part; batch and channel parts must be 1. */
export function spatialInts(n: NodeLowering, layout: Layout, attr: string): number[] {
  return spatialPart(n, layout, attr, n.attrs.ints(attr));
}

/** Window and strides of pooling: attributes, or constant inputs of MaxPoolV2. */
export function poolingInts(n: NodeLowering, layout: Layout): [kernel: number[], strides: number[]] {
  if (n.inputs.length === 1) return [spatialInts(n, layout, "ksize"), spatialInts(n, layout, "strides")];
  return [spatialPart(n, layout, "ksize", n.needNumbers(1)), spatialPart(n, layout, "strides", n.needNumbers(2))];
}

function spatialPart(n: NodeLowering, layout: Layout, attr: string, values: readonly number[]): number[] {
  if (values.length !== layout.spatial + 2) n.fail(`${attr} has ${values.length} entries`);
  const channel = layout.isChannelsLast ? values.at(-1) : values[1];
  if (values[0] !== 1 || channel !== 1) n.fail(`${attr} over batch or channels`);
  return layout.isChannelsLast ? values.slice(1, -1) : values.slice(2);
}

export function toChannelsFirst(n: NodeLowering, layout: Layout, value: Value): Value {
  return layout.isChannelsLast ? channelsFirst(n.b, value, layout.spatial + 2) : value;
}

export function fromChannelsFirst(n: NodeLowering, layout: Layout, value: Value): Value {
  return layout.isChannelsLast ? channelsLast(n.b, value, layout.spatial + 2) : value;
}

export function axes(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

/** Lengths of a kernel's dimensions, -1 where only a run knows them. */
export function partialKernelShape(n: NodeLowering, input: number, layout: Layout): readonly number[] {
  return n.shape(input) ?? Array.from({ length: layout.spatial + 2 }, () => -1);
}

/** What ONNX is told of a kernel's lengths, where all are known. */
export function lengthsOf(kernel: readonly number[], spatial: number): { readonly kernel_shape?: readonly number[] } {
  const lengths = kernel.slice(0, spatial);
  return lengths.includes(-1) ? {} : { kernel_shape: lengths };
}

/** Lengths of a kernel's dimensions; all must be known. */
export function kernelShape(n: NodeLowering, input: number): readonly number[] {
  const shape = n.shape(input);
  return shape && !shape.includes(-1) ? shape : n.fail("the kernel's shape is unknown");
}

/** The kernel permuted to `shape`, all of it known: at load when it is a weight, else in every run. */
export function permutedKernel(
  n: NodeLowering,
  input: number,
  perm: readonly number[],
  shape: readonly number[],
): Value {
  const value = n.x(input);
  return (
    n.b.permuted(value, perm, shape) ??
    n.b.op("Reshape", [n.b.op("Transpose", [value], { perm }), n.b.ints(shape)], { allowzero: 1 })
  );
}

/** The kernel with its two dimensions of channels before those of space, outputs first. */
export function outputsFirst(n: NodeLowering, input: number, kernel: readonly number[]): Value {
  const spatial = kernel.length - 2;
  const perm = [spatial + 1, spatial, ...axes(0, spatial)];
  if (kernel.includes(-1)) return n.b.op("Transpose", [n.x(input)], { perm });
  return permutedKernel(
    n,
    input,
    perm,
    perm.map((axis) => kernel[axis]!),
  );
}
