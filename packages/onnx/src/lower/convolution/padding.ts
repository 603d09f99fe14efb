/** How TensorFlow pads convolutions and pooling, said to ONNX. */
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { concat, less, shapeOf, slice, zeroOrFail } from "../../proto/emit.js";
import { type Layout, toChannelsFirst } from "./conv-layout.js";
import type { NodeLowering } from "../node-lowering.js";
import { samePads } from "./windows.js";

/** What stands around an input: attributes of ONNX's op, or, where the run has to compute it, zeros around the value itself. */
export interface Padding {
  readonly attrs: { readonly pads?: readonly number[]; readonly auto_pad?: string };
  /** @param value  channels second */
  readonly around?: (value: Value) => Value;
}

/**
 * SAME is TensorFlow's: the odd element goes to the end.
 *
 * @param kernel  lengths, -1 where only a run knows those of input 1
 */
export function paddingOf(
  n: NodeLowering,
  layout: Layout,
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
): Padding {
  const padding = n.attrs.text("padding");
  if (padding === "VALID") return { attrs: {} };
  if (padding === "EXPLICIT") {
    const all = n.attrs.ints("explicit_paddings");
    const flat = layout.isChannelsLast ? all.slice(2, -2) : all.slice(4);
    const [starts, ends] = [flat.filter((_, i) => i % 2 === 0), flat.filter((_, i) => i % 2 === 1)];
    return { attrs: { pads: [...starts, ...ends] } };
  }
  if (strides.some((_, i) => kernel[i]! < 0)) {
    const lengths = slice(n.b, shapeOf(n.b, n.x(1)), [0], [strides.length]);
    return { attrs: {}, around: (value) => zerosAround(n.b, value, strides, extentsOf(n.b, lengths, dilations)) };
  }
  const extents = strides.map((_, i) => (kernel[i]! - 1) * dilations[i]! + 1);
  // A kernel of one element never needs padding.
  if (extents.every((extent) => extent === 1)) return { attrs: {} };
  // ONNX Runtime's auto_pad refuses dilations, and cuts where TensorFlow leaves elements between windows alone.
  const isPlain = strides.every((stride, i) => stride <= kernel[i]!) && dilations.every((dilation) => dilation === 1);
  const isDense = strides.every((stride) => stride === 1);
  if (isPlain && !isDense) return { attrs: { auto_pad: "SAME_UPPER" } };
  const totals = strides.map((stride, i) => {
    // With stride 1 the padding does not depend on the input.
    const length = stride === 1 ? 1 : n.dim(0, layout.isChannelsLast ? i + 1 : i + 2);
    return length === undefined
      ? undefined
      : Math.max((Math.ceil(length / stride) - 1) * stride + extents[i]! - length, 0);
  });
  if (!totals.every((total) => total !== undefined)) {
    return { attrs: {}, around: (value) => zerosAround(n.b, value, strides, n.b.ints(extents)) };
  }
  const starts = totals.map((total) => Math.floor(total / 2));
  return { attrs: { pads: [...starts, ...totals.map((total, i) => total - starts[i]!)] } };
}

/** How far a window of such lengths, int64[d], reaches. */
function extentsOf(b: OnnxBuilder, lengths: Value, dilations: readonly number[]): Value {
  const one = b.ints([1]);
  return b.op("Add", [b.op("Mul", [b.op("Sub", [lengths, one]), b.ints(dilations)]), one]);
}

function zerosAround(b: OnnxBuilder, value: Value, strides: readonly number[], extents: Value): Value {
  const { before, after } = samePads(b, slice(b, shapeOf(b, value), [2], [2 + strides.length]), strides, extents);
  const none = b.ints([0, 0]);
  return b.op("Pad", [value, concat(b, [none, before, none, after])]);
}

/** Input 0, channels second, with what padding the run computes. */
export function paddedInput(n: NodeLowering, layout: Layout, kernel: readonly number[], padding: Padding): Value {
  const { b } = n;
  const given = toChannelsFirst(n, layout, n.x(0));
  const value = padding.around?.(given) ?? given;
  const { spatial } = layout;
  const isKnown = !kernel.slice(0, spatial).includes(-1);
  return isKnown ? value : beforeExtent(b, value, slice(b, shapeOf(b, n.x(1)), [0], [spatial]));
}

/**
 * An input, channels second, of a convolution whose kernel has lengths that only a run knows: it fails where one is 0, because in such
 * a window the engine would search without end.
 *
 * @param lengths  int64[d]
 */
function beforeExtent(b: OnnxBuilder, value: Value, lengths: Value): Value {
  const none = b.ints([0, 0]);
  const zeros = concat(b, [none, zeroOrFail(b, less(b, lengths, b.scalar("int64", 1)))]);
  return b.op("Reshape", [value, b.op("Add", [shapeOf(b, value), zeros])], { allowzero: 1 });
}
