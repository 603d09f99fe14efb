/** Convolutions whose groups of channels only a run can count: one group after another. */
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import type { OnnxAttr } from "../../proto/model-proto.js";
import { concat, less, shapeOf, slice, transpose, zeroOrFail } from "../../proto/emit.js";
import { axes } from "./conv-layout.js";

/** The kernels of all groups: [groups, outputs of one, inputs of one, ...lengths]. */
interface KernelGroups {
  readonly kernels: Value;
  readonly spatial: number;
}

/**
 * @param value   channels second
 * @param kernel  [...lengths, inputs of a group, outputs of all]
 */
export function kernelGroups(b: OnnxBuilder, value: Value, kernel: Value, spatial: number): KernelGroups {
  const shape = shapeOf(b, kernel);
  const lengthAt = (of: Value, axis: number): Value => slice(b, of, [axis], [axis + 1]);
  const inputs = lengthAt(shape, spatial);
  // Of no inputs the engine would divide by zero.
  const groups = b.op("Div", [lengthAt(shapeOf(b, value), 1), b.op("Max", [inputs, b.ints([1])])]);
  const split = b.op("Reshape", [kernel, concat(b, [slice(b, shape, [0], [spatial + 1]), groups, b.ints([-1])])], {});
  return { kernels: transpose(b, split, [spatial + 1, spatial + 2, spatial, ...axes(0, spatial)]), spatial };
}

/** @param kernel  [height, width, channels, multiplier] */
export function depthwiseGroups(b: OnnxBuilder, kernel: Value): KernelGroups {
  const moved = transpose(b, kernel, [2, 3, 0, 1]);
  return { kernels: b.op("Unsqueeze", [moved, b.ints([2])]), spatial: 2 };
}

/**
 * @param value  channels second; those of a group stand together
 * @param attrs  of ONNX's Conv
 */
export function convolvedByGroups(
  b: OnnxBuilder,
  value: Value,
  { kernels, spatial }: KernelGroups,
  attrs: Readonly<Record<string, OnnxAttr>>,
): Value {
  const [shape, kernelShape] = [shapeOf(b, value), shapeOf(b, kernels)];
  const counted = slice(b, kernelShape, [0], [1]);
  // Of no group nobody would know the lengths of the result.
  const groups = b.op("Add", [counted, zeroOrFail(b, less(b, counted, b.scalar("int64", 1)))]);
  const parts = concat(b, [
    slice(b, shape, [0], [1]),
    groups,
    slice(b, kernelShape, [2], [3]),
    slice(b, shape, [2], [2 + spatial]),
  ]);
  const grouped = transpose(b, b.op("Reshape", [value, parts], { allowzero: 1 }), [1, 0, 2, ...axes(3, spatial)]);
  const one = b.scalar("int64", 1);
  const unknown = Array.from({ length: spatial + 2 }, () => -1);
  const [, results] = b.loop(
    b.op("Squeeze", [groups]),
    b.scalar("bool", 1),
    [{ value: b.scalar("int64", 0), shape: [] }],
    ([at]) => {
      const [part, kernel] = [grouped, kernels].map((all) => b.op("Gather", [all, at], { axis: 0 }));
      return [b.scalar("bool", 1), b.op("Add", [at!, one]), b.op("Conv", [part, kernel], attrs)];
    },
    [{ dtype: value.dtype, shape: unknown }],
  );
  const made = transpose(b, results!, [1, 0, 2, ...axes(3, spatial)]);
  const [batch, lengths] = [slice(b, shapeOf(b, made), [0], [1]), slice(b, shapeOf(b, made), [3], [3 + spatial])];
  const outputs = b.op("Mul", [groups, slice(b, kernelShape, [1], [2])]);
  return b.op("Reshape", [made, concat(b, [batch, outputs, lengths])], { allowzero: 1 });
}
