/** How TensorFlow pads convolutions and pooling, said to ONNX. */
import type { OnnxBuilder } from "../proto/builder.js";
import type { Value } from "../proto/value.js";
import { concat, shapeOf, slice } from "../proto/emit.js";
import type { Layout } from "./conv-layout.js";
import type { NodeLowering } from "./node-lowering.js";
import { samePads } from "./windows.js";

/** What stands around an input: attributes of ONNX's op, or, where the run has to compute it, zeros around the value itself. */
export interface Padding {
  readonly attrs: { readonly pads?: readonly number[]; readonly auto_pad?: string };
  /** @param value  channels second */
  readonly around?: (value: Value) => Value;
}

/** SAME is TensorFlow's: the odd element goes to the end. */
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
    return { attrs: {}, around: (value) => zerosAround(n.b, value, strides, extents) };
  }
  const starts = totals.map((total) => Math.floor(total / 2));
  return { attrs: { pads: [...starts, ...totals.map((total, i) => total - starts[i]!)] } };
}

function zerosAround(b: OnnxBuilder, value: Value, strides: readonly number[], extents: readonly number[]): Value {
  const { before, after } = samePads(b, slice(b, shapeOf(b, value), [2], [2 + strides.length]), strides, extents);
  const none = b.ints([0, 0]);
  return b.op("Pad", [value, concat(b, [none, before, none, after])]);
}
