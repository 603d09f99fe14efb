/** Element by element, on integers that stand for a range of floats: QuantizedBiasAdd, QuantizedRelu and their kin. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, type NumberArray, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape } from "../call/shapes.js";
import {
  checkWidth,
  floatOf,
  heldIntegerFor,
  integerFor,
  productRange,
  type Range,
  rangeOf,
  rescaler,
  sumRange,
} from "./range.js";

const { fround } = Math;

/** A tensor of quantised integers with the ends of its range. */
export function ranged(shape: readonly number[], out: NumberArray, { dtype, low, high }: Range): Tensor[] {
  return [withData(dtype, shape, out), ...endsOf(low, high)];
}

function endsOf(low: number, high: number): Tensor[] {
  return [tensor("float32", [], Float32Array.of(low)), tensor("float32", [], Float32Array.of(high))];
}

function biasAdd(op: OpCall): Tensor[] {
  const [input, bias] = [op.tensor(0), op.tensor(1)];
  const [a, b] = [rangeOf(op, 2, input.dtype), rangeOf(op, 4, bias.dtype)];
  check(input.shape.length >= 2, () => `Input tensor must be at least 2D: ${printShape(input.shape)}`);
  check(bias.shape.length === 1, () => `Biases must be 1D: ${printShape(bias.shape)}`);
  check(
    bias.shape[0] === input.shape.at(-1),
    () =>
      `Must provide as many biases as the last dimension of the input tensor: ${printShape(bias.shape)} vs. ${printShape(input.shape)}`,
  );
  const sum = sumRange(a, b, op.attrs.dtype("out_type"), 17);
  const zero = heldIntegerFor(0, sum);
  const biases = Array.from(numbersOf(bias), rescaler(b, sum));
  const rescaled = rescaler(a, sum);
  const values = numbersOf(input);
  const out = numberArray(sum.dtype, checkedCount(sum.dtype, input.shape));
  for (let i = 0; i < out.length; i++) out[i] = rescaled(values[i]!) + biases[i % biases.length]! + zero;
  return ranged(input.shape, out, sum);
}

/** Numbers below 0 become 0, those above `most` that. */
function relu(most: number): Kernel {
  return (op) => {
    const input = op.tensor(0);
    const range = rangeOf(op, 1, input.dtype);
    const least = heldIntegerFor(0, range);
    const bound = most === Number.POSITIVE_INFINITY ? most : heldIntegerFor(most, range);
    const values = numbersOf(input);
    const out = numberArray(input.dtype, values.length);
    for (let i = 0; i < out.length; i++) out[i] = Math.min(Math.max(values[i]!, least), bound);
    return ranged(input.shape, out, range);
  };
}

/** Two operands brought to the shape of their result: a way to read each by the position there. */
function operandsOf(op: OpCall): {
  readonly shape: readonly number[];
  readonly at: (which: 0 | 1, i: number) => number;
} {
  const [x, y] = [op.tensor(0), op.tensor(1)];
  const shape = broadcastShape(x.shape, y.shape);
  check(elementCount(shape) > 0, () => "quantized operands must have elements");
  const operands = [x, y].map((value) => {
    const { value: spread, step } = operand(value, shape);
    return { values: numbersOf(spread), step };
  });
  return { shape, at: (which, i) => operands[which]!.values[i * operands[which]!.step]! };
}

function multiply(op: OpCall): Tensor[] {
  const [a, b] = [rangeOf(op, 2, op.tensor(0).dtype), rangeOf(op, 4, op.tensor(1).dtype)];
  const { shape, at } = operandsOf(op);
  checkWidth(a, "x");
  checkWidth(b, "y");
  const product = productRange(a, b, op.attrs.dtype("Toutput"));
  const [zeroA, zeroB] = [integerFor(0, a), integerFor(0, b)];
  const out = numberArray(product.dtype, checkedCount(product.dtype, shape));
  for (let i = 0; i < out.length; i++) out[i] = Math.imul(at(0, i) - zeroA, at(1, i) - zeroB);
  return ranged(shape, out, product);
}

function add(op: OpCall): Tensor[] {
  const [x, y] = [op.tensor(0), op.tensor(1)];
  const [a, b] = [rangeOf(op, 2, x.dtype), rangeOf(op, 4, y.dtype)];
  checkWidth(a, "x");
  checkWidth(b, "y");
  const { shape, at } = operandsOf(op);
  const sum = sumRange(a, b, op.attrs.dtype("Toutput"), 14);
  // One number is rescaled by itself, of others only the first two are: the rest lie as far apart.
  const isScalar = (value: Tensor): boolean => elementCount(value.shape) === 1 && shape.length <= 1;
  const xIsScalar = isScalar(x);
  const tables = [
    xIsScalar ? singles(a, sum) : evenly(a, sum),
    !xIsScalar && isScalar(y) ? singles(b, sum) : evenly(b, sum),
  ] as const;
  const out = numberArray(sum.dtype, checkedCount(sum.dtype, shape));
  for (let i = 0; i < out.length; i++) out[i] = tables[0](at(0, i)) + tables[1](at(1, i));
  return ranged(shape, out, sum);
}

function singles(from: Range, to: Range): (integer: number) => number {
  return (integer) => heldIntegerFor(floatOf(integer, from), to);
}

function evenly(from: Range, to: Range): (integer: number) => number {
  const [first, second] = [0, 1].map((integer) => integerFor(floatOf(integer, from), to)) as [number, number];
  const step = (second - first) | 0;
  return (integer) => Math.min(Math.max(first + integer * step, -(2 ** 31)), 2 ** 31 - 1);
}

/** The floats of the least and greatest integer that there is, 0 among them. */
function actualRange(input: Tensor, range: Range): { readonly low: number; readonly high: number } {
  let [least, most] = [2 ** 31 - 1, -(2 ** 31)];
  for (const value of numbersOf(input)) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return { low: Math.min(0, floatOf(least, range)), high: floatOf(most, range) };
}

/** int32 of one range as uint8 of another: in fixed point, with 16 bits behind the point. */
function narrowed(input: Tensor, from: Range, to: Range): Uint8Array {
  const values = numbersOf(input);
  const out = new Uint8Array(values.length);
  const [width, wanted] = [fround(from.high - from.low), fround(to.high - to.low)];
  const one = 2 ** 16;
  const inverse = wanted === 0 ? 0 : fround(255 / wanted);
  const middle = fround(fround(from.low + from.high) / 2);
  const scale = wanted === 0 ? 0 : Math.trunc((255 * one * width) / wanted);
  const offset =
    Math.trunc(fround(fround(middle * inverse) * one)) -
    (wanted === 0 ? 0 : Math.trunc((one * (to.low * 255)) / wanted));
  // The product of an int32 and the scale, of up to 2^48, by halves of the scale's lower word.
  const upper = Math.floor(scale / 2 ** 32);
  const lower = scale - upper * 2 ** 32;
  const [high, low] = [Math.floor(lower / one), lower % one];
  for (let i = 0; i < out.length; i++) {
    const value = values[i]!;
    // The upper word of 64 bits, beyond which it wraps around.
    const product = (value * upper + Math.floor((value * high + Math.floor((value * low) / one)) / one)) | 0;
    out[i] = Math.min(Math.max(Math.floor((product + offset + one / 2) / one), 0), 255);
  }
  return out;
}

function requantizedTo(op: OpCall, low: number, high: number): Tensor[] {
  const input = op.tensor(0);
  const [from, to] = [rangeOf(op, 1, input.dtype), { dtype: op.attrs.dtype("out_type"), low, high }];
  if (to.dtype === "quint8") return ranged(input.shape, narrowed(input, from, to), to);
  const out = numberArray(to.dtype, checkedCount(to.dtype, input.shape));
  const rescaled = rescaler(from, to);
  for (const [i, value] of numbersOf(input).entries()) out[i] = rescaled(value);
  return ranged(input.shape, out, to);
}

function requantize(op: OpCall): Tensor[] {
  const { low, high } = rangeOf(op, 3, "quint8");
  check(low <= 0, () => `requested_output_min must be <= 0, but got ${low}`);
  check(high >= low, () => `requested_output_max must be >= requested_output_min, but got ${high} and ${low}`);
  return requantizedTo(op, low, high);
}

function shrink(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const { low, high } = actualRange(input, rangeOf(op, 1, input.dtype));
  return requantizedTo(op, low, high);
}

function requantizationRange(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const { low, high } = actualRange(input, rangeOf(op, 1, input.dtype));
  return endsOf(low, high);
}

export const RANGED_ELEMENT_KERNELS: Readonly<Record<string, Kernel>> = {
  QuantizedBiasAdd: biasAdd,
  QuantizedRelu: relu(Number.POSITIVE_INFINITY),
  QuantizedRelu6: relu(6),
  QuantizedMul: multiply,
  QuantizedAdd: add,
  Requantize: requantize,
  RequantizationRange: requantizationRange,
  QuantizeDownAndShrinkRange: shrink,
};
