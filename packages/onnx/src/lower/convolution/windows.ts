/**
 * Convolutions and pooling of numbers that ONNX Runtime's own kernels do not take (doubles, integers). Channels last: each element of the
 * window is one strided slice of the padded input, so a convolution is the matrix product of all slices, side by side, with the kernel.
 */
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { concat, filled, less, shapeOf, slice, zeroOrFail } from "../../proto/emit.js";

/** A window and how it moves; one entry per spatial dimension. */
export interface Windows {
  readonly lengths: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** "SAME", or what stands before and behind each dimension. */
  readonly padding: "SAME" | { readonly before: readonly number[]; readonly after: readonly number[] };
}

/** @param kernel  [...lengths, inputs, outputs], in as many rows as there are inputs to one output */
export function convolved(
  b: OnnxBuilder,
  value: Value,
  kernel: Value,
  windows: Windows,
  channels: readonly number[],
): Value {
  const [inputs, outputs] = channels as [number, number];
  const slices = slicesOf(b, value, windows, 0);
  const columns = concat(b, slices, -1);
  return b.op("MatMul", [columns, b.op("Reshape", [kernel, b.ints([slices.length * inputs, outputs])])]);
}

/** Each channel by `multiplier` kernels of its own. @param kernel  [...lengths, channels, multiplier] */
export function convolvedDepthwise(
  b: OnnxBuilder,
  value: Value,
  kernel: Value,
  windows: Windows,
  [channels, multiplier]: readonly [number, number],
): Value {
  const slices = slicesOf(b, value, windows, 0);
  const rows = b.op("Reshape", [kernel, b.ints([slices.length, channels, multiplier])]);
  const products = slices.map((part, i) => {
    const row = b.op("Gather", [rows, b.scalar("int64", i)], { axis: 0 });
    return b.op("Mul", [b.op("Unsqueeze", [part, b.ints([-1])]), row]);
  });
  const kept = windows.lengths.map(() => 0);
  return b.op("Reshape", [sum(b, products), b.ints([0, ...kept, channels * multiplier])]);
}

/** @param least  what no element is less than */
export function maxPooled(b: OnnxBuilder, value: Value, windows: Windows, least: number | bigint): Value {
  const slices = slicesOf(b, value, windows, least);
  return slices.length === 1 ? slices[0]! : b.op("Max", slices);
}

/** Means of the elements that lie in the input. */
export function averagePooled(b: OnnxBuilder, value: Value, windows: Windows): Value {
  const total = sum(b, slicesOf(b, value, windows, 0));
  const spatial = slice(b, shapeOf(b, value), [1], [1 + windows.lengths.length]);
  const ones = filled(b, concat(b, [b.ints([1]), spatial, b.ints([1])]), value.dtype, 1);
  return b.op("Div", [total, sum(b, slicesOf(b, ones, windows, 0))]);
}

function sum(b: OnnxBuilder, values: readonly Value[]): Value {
  return values.reduce((total, value) => b.op("Add", [total, value]));
}

/** The elements of all windows: one value for each place in the window, row-major. */
function slicesOf(b: OnnxBuilder, value: Value, windows: Windows, fill: number | bigint): Value[] {
  const { lengths, strides, dilations } = windows;
  const spatial = lengths.length;
  const extents = lengths.map((length, i) => (length - 1) * dilations[i]! + 1);
  const padded = paddedBy(b, value, windows, extents, fill);
  const axes = b.ints(lengths.map((_, i) => i + 1));
  const steps = b.ints(strides);
  // How far windows can start: one that does not fit makes the run fail, as in TensorFlow.
  const room = b.op("Sub", [slice(b, shapeOf(b, padded), [1], [1 + spatial]), b.ints(extents)]);
  const checked = b.op("Add", [room, zeroOrFail(b, less(b, b.op("Add", [room, steps]), b.scalar("int64", 0)))]);
  const behindLast = b.op("Max", [b.op("Add", [checked, b.ints([1])]), b.ints([0])]);
  const count = lengths.reduce((product, length) => product * length, 1);
  return Array.from({ length: count }, (_, position) => {
    let rest = position;
    const starts: number[] = [];
    for (let d = spatial - 1; d >= 0; d--) {
      starts[d] = (rest % lengths[d]!) * dilations[d]!;
      rest = Math.floor(rest / lengths[d]!);
    }
    const ends = b.op("Add", [behindLast, b.ints(starts)]);
    return b.op("Slice", [padded, b.ints(starts), ends, axes, steps]);
  });
}

function paddedBy(
  b: OnnxBuilder,
  value: Value,
  windows: Windows,
  extents: readonly number[],
  fill: number | bigint,
): Value {
  const { before, after } = padsOf(b, value, windows, extents);
  if (!before) return value;
  const zero = b.ints([0]);
  const pads = concat(b, [zero, before, zero, zero, after, zero]);
  return b.op("Pad", [value, pads, b.scalar(value.dtype, fill)]);
}

/** int64 vectors, none where nothing is padded. */
function padsOf(
  b: OnnxBuilder,
  value: Value,
  { padding, strides }: Windows,
  extents: readonly number[],
): { readonly before: Value; readonly after: Value } | { readonly before: undefined; readonly after: undefined } {
  if (padding !== "SAME") {
    const isNone = [...padding.before, ...padding.after].every((length) => length === 0);
    return isNone
      ? { before: undefined, after: undefined }
      : { before: b.ints(padding.before), after: b.ints(padding.after) };
  }
  return samePads(b, slice(b, shapeOf(b, value), [1], [1 + strides.length]), strides, b.ints(extents));
}

/**
 * Zeros before and behind each dimension for padding SAME, as int64 vectors: as many windows as strides begun; what they lack is split, the odd
 * element behind.
 *
 * @param lengths  int64[d] of the input
 * @param extents  int64[d] of the window, dilations included
 */
export function samePads(
  b: OnnxBuilder,
  lengths: Value,
  strides: readonly number[],
  extents: Value,
): { readonly before: Value; readonly after: Value } {
  const steps = b.ints(strides);
  const last = b.op("Div", [b.op("Sub", [lengths, b.ints([1])]), steps]);
  const wanted = b.op("Add", [b.op("Mul", [last, steps]), extents]);
  const lacked = b.op("Max", [b.op("Sub", [wanted, lengths]), b.ints([0])]);
  // Around nothing there is no window.
  const total = b.op("Mul", [lacked, b.op("Min", [lengths, b.ints([1])])]);
  const before = b.op("Div", [total, b.ints([2])]);
  return { before, after: b.op("Sub", [total, before]) };
}
