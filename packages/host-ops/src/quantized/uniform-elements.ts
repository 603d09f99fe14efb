/** Ops that quantise uniformly, element by element: TensorFlow's UniformQuantize and its kin. */
import { type DType, type Tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { extremeOf, numberArray, type NumberArray, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, sameShape } from "../call/shapes.js";
import { fixedPointOf, multiplied } from "./fixed-point.js";
import { checkPositive, forEachChannel, type Scheme, schemeOf } from "./uniform-scheme.js";

const { fround } = Math;

/** Bounds of the quantised values. */
export interface Bounds {
  readonly least: number;
  readonly most: number;
}

export function boundsOf({ attrs }: OpCall, prefix = ""): Bounds {
  return { least: attrs.int(`${prefix}quantization_min_val`), most: attrs.int(`${prefix}quantization_max_val`) };
}

function held(value: number, { least, most }: Bounds): number {
  return Math.max(Math.min(value, most), least);
}

/** What an x86 CPU makes of a float that is no int32. */
function toInt32(value: number): number {
  return value >= -(2 ** 31) && value < 2 ** 31 ? value : -(2 ** 31);
}

/** An integer as TensorFlow's kernels requantise it where it is a qint32: by way of a float32, before and after. */
function throughFloat(value: number): number {
  return toInt32(fround(value));
}

/** floor(value / scale + 1/2) + zero point in float32, held to the bounds: elements [start, end) of `values` into `out`. */
export function quantizeRun(
  values: NumberArray,
  [start, end]: readonly [number, number],
  inverse: number,
  zeroPoint: number,
  bounds: Bounds,
  out: NumberArray,
): void {
  for (let i = start; i < end; i++) {
    const steps = Math.floor(fround(fround(values[i]! * inverse) + 0.5));
    out[i] = held((toInt32(steps) + zeroPoint) | 0, bounds);
  }
}

function quantize(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const { scales, zeroPoints, axis } = schemeOf(op, 1, op.attrs.int("quantization_axis"), input.shape);
  const values = numbersOf(input);
  const bounds = boundsOf(op);
  const [dtype, out] = outputOf(op, "Tout", input.shape);
  forEachChannel(input, axis, (channel, start, end) => {
    quantizeRun(values, [start, end], fround(1 / scales[channel]!), zeroPoints[channel]!, bounds, out);
  });
  return [withData(dtype, input.shape, out)];
}

function dequantize(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const { scales, zeroPoints, axis } = schemeOf(op, 1, op.attrs.int("quantization_axis"), input.shape);
  checkPositive({ scales, zeroPoints, axis });
  const values = numbersOf(input);
  const [dtype, out] = outputOf(op, "Tout", input.shape);
  forEachChannel(input, axis, (channel, start, end) => {
    const [scale, zeroPoint] = [scales[channel]!, zeroPoints[channel]!];
    for (let i = start; i < end; i++) out[i] = fround(fround((throughFloat(values[i]!) - zeroPoint) | 0) * scale);
  });
  return [withData(dtype, input.shape, out)];
}

function outputOf({ attrs }: OpCall, name: string, shape: readonly number[]): [DType, NumberArray] {
  const dtype = attrs.dtype(name);
  return [dtype, numberArray(dtype, checkedCount(dtype, shape))];
}

/** Integers of one scheme as those of another. */
function requantized(input: Tensor, from: Scheme, to: Scheme, bounds: Bounds, out: NumberArray): void {
  const values = numbersOf(input);
  const of = (data: ArrayLike<number>, channel: number): number => data[data.length === 1 ? 0 : channel]!;
  forEachChannel(input, from.axis >= 0 ? from.axis : to.axis, (channel, start, end) => {
    const factor = fixedPointOf(of(from.scales, channel) / of(to.scales, channel));
    const [before, after] = [of(from.zeroPoints, channel), of(to.zeroPoints, channel)];
    for (let i = start; i < end; i++) {
      const value = (throughFloat(values[i]!) - before) | 0;
      out[i] = throughFloat(held((multiplied(value, factor) + after) | 0, bounds));
    }
  });
}

function requantize(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const axes = [op.attrs.int("input_quantization_axis"), op.attrs.int("output_quantization_axis")] as const;
  check(
    axes[0] < 0 || axes[1] < 0 || axes[0] === axes[1],
    () => "If input and output is both per-axis quantized, the quantization axis must be same.",
  );
  const [from, to] = [schemeOf(op, 1, axes[0], input.shape), schemeOf(op, 3, axes[1], input.shape)];
  checkPositive(from, to);
  const [dtype, out] = outputOf(op, "Tout", input.shape);
  requantized(input, from, to, boundsOf(op, "output_"), out);
  return [withData(dtype, input.shape, out)];
}

/** The sum of two tensors, each brought to the scale of the result first. */
function add(op: OpCall): Tensor[] {
  const [lhs, rhs] = [op.tensor(0), op.tensor(1)];
  const shape = broadcastShape(lhs.shape, rhs.shape);
  const axis = (of: string): number => op.attrs.int(`${of}_quantization_axis`);
  const [left, right] = [schemeOf(op, 2, axis("lhs"), lhs.shape), schemeOf(op, 4, axis("rhs"), rhs.shape)];
  const result = schemeOf(op, 6, axis("output"), shape);
  checkPositive(left, right, result);
  const dtype = op.attrs.dtype("T");
  const operands = [lhs, rhs].map((value, i) => {
    const scheme = [left, right][i]!;
    const behind = shape.length - value.shape.length;
    check(
      scheme.axis < 0 || result.axis < 0 || scheme.axis + behind === result.axis,
      () => `If ${["lhs", "rhs"][i]} and output is both per-axis quantized, the quantization axis must match.`,
    );
    const out = numberArray(dtype, checkedCount(dtype, value.shape));
    const to: Scheme = {
      scales: result.scales,
      zeroPoints: new Int32Array(result.zeroPoints.length),
      axis: result.axis < 0 ? -1 : result.axis - behind,
    };
    requantized(value, scheme, to, { least: Number(extremeOf(dtype, -1)), most: Number(extremeOf(dtype, 1)) }, out);
    return numbersOf(broadcastTo(withData(dtype, value.shape, out), shape));
  }) as [NumberArray, NumberArray];
  const bounds = boundsOf(op, "output_");
  const out = numberArray(dtype, checkedCount(dtype, shape));
  forEachChannel({ shape }, result.axis, (channel, start, end) => {
    const zeroPoint = result.zeroPoints[channel]!;
    for (let i = start; i < end; i++) out[i] = held((operands[0][i]! + operands[1][i]! + zeroPoint) | 0, bounds);
  });
  return [withData(dtype, shape, out)];
}

function clip(op: OpCall): Tensor[] {
  const [operand, low, high] = op.tensors(0, 3) as [Tensor, Tensor, Tensor];
  const { axis } = schemeOf(op, 3, op.attrs.int("quantization_axis"), operand.shape);
  const scales = op.tensor(3).shape;
  check(sameShape(low.shape, scales), () => "Input min shape must be same as scales/zero_points.");
  check(sameShape(high.shape, scales), () => "Input max shape must be same as scales/zero_points.");
  const [values, lows, highs] = [numbersOf(operand), numbersOf(low), numbersOf(high)];
  const [dtype, out] = outputOf(op, "T", operand.shape);
  forEachChannel(operand, axis, (channel, start, end) => {
    // Where they are the wrong way around, the upper bound wins.
    for (let i = start; i < end; i++) out[i] = Math.min(Math.max(values[i]!, lows[channel]!), highs[channel]!);
  });
  return [withData(dtype, operand.shape, out)];
}

export const UNIFORM_ELEMENT_KERNELS: Readonly<Record<string, Kernel>> = {
  UniformQuantize: quantize,
  UniformDequantize: dequantize,
  UniformRequantize: requantize,
  UniformQuantizedAdd: add,
  UniformQuantizedClipByValue: clip,
};
