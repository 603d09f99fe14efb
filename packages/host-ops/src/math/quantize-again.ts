/** Floats as they would be after quantising and back; and counts of floats by equal bins. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, checkScalar, printShape } from "../call/errors.js";
import { checkOutput } from "../call/limits.js";
import { FINITE_MAX, numberArray, type NumberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, indexData, integerOf } from "../call/shapes.js";
import { roundHalfToEven } from "./unary.js";

interface Range {
  readonly low: number;
  readonly high: number;
  readonly scale: number;
  readonly inverse: number;
}

/** Widens one end of [low, high], so that both are whole steps of the quantised type. */
function rangeOf(
  low: number,
  high: number,
  [least, most]: readonly [number, number],
  round: (x: number) => number,
): Range {
  const byLow = least * low > 0 ? round(least / low) : Number.POSITIVE_INFINITY;
  const byHigh = most * high > 0 ? round(most / high) : Number.POSITIVE_INFINITY;
  if (byLow < byHigh) {
    const inverse = round(low / least);
    return { low, high: round(most * inverse), scale: byLow, inverse };
  }
  const inverse = round(high / most);
  return { low: round(least * inverse), high, scale: Math.min(byHigh, FINITE_MAX.float32), inverse };
}

interface Version {
  /** Whether the range is attributes, of one tensor as a whole. */
  readonly isFirst?: boolean;
  /** The width of the quantised type. */
  readonly bitsOf: (op: OpCall) => number;
  readonly roundModeOf: (op: OpCall) => string;
  /** Whether ranges that are given may be one a slice. */
  readonly hasRanges: boolean;
}

function quantizeAndDequantize({ isFirst = false, bitsOf, roundModeOf, hasRanges }: Version): Kernel {
  return (op) => {
    const input = op.tensor(0);
    const [isSigned, isGiven] = [op.attrs.bool("signed_input"), op.attrs.bool("range_given")];
    const bits = bitsOf(op);
    check(
      bits > 0 && bits < (isSigned ? 62 : 63),
      () => `num_bits is out of range: ${bits} with signed_input_ ${isSigned ? 1 : 0}`,
    );
    const axis = isFirst ? -1 : op.attrs.int("axis");
    const { shape } = input;
    check(axis >= -1, () => `Axis must be at least -1. Found ${axis}`);
    check(
      axis === -1 || axis < shape.length,
      () => `Shape must be at least rank ${axis + 1} but is rank ${shape.length}`,
    );
    const slices = axis === -1 ? 1 : shape[axis]!;
    const inner = axis === -1 ? elementCount(shape) : countOf(shape, axis + 1);
    if (isGiven && !hasRanges && !isFirst)
      for (const i of [1, 2]) checkScalar(op.tensor(i), i === 1 ? "input_min" : "input_max");
    const numbers = numbersOf(input);
    const round = roundingOf(input.dtype);
    const most = 2 ** (isSigned ? bits - 1 : bits) - 1;
    const least = isSigned ? -most - (!isFirst && op.attrs.bool("narrow_range") ? 0 : 1) : 0;
    const ranges = (isGiven ? givenRanges(op, slices) : ownRanges(numbers, slices, inner)).map(([low, high]) =>
      rangeOf(low, high, [least, most], round),
    );
    const isEven = roundModeOf(op) !== "HALF_UP";
    const out = numberArray(input.dtype, numbers.length);
    for (let i = 0; i < out.length; i++) {
      const range = ranges[slices === 1 ? 0 : Math.floor(i / inner) % slices]!;
      const value = isGiven ? Math.max(range.low, Math.min(range.high, numbers[i]!)) : numbers[i]!;
      const steps = round(value * range.scale);
      out[i] = (isEven ? roundHalfToEven(steps) : Math.floor(round(steps + 0.5))) * range.inverse;
    }
    return [numbersTensor(input.dtype, shape, out)];
  };
}

type Ends = readonly [low: number, high: number];

function givenRanges(op: OpCall, slices: number): Ends[] {
  const endOf = (name: string, input: number): ArrayLike<number> =>
    op.inputCount === 1 ? [Math.fround(op.attrs.float(name))] : numbersOf(op.tensor(input));
  const [lows, highs] = [endOf("input_min", 1), endOf("input_max", 2)];
  return Array.from({ length: slices }, (_, s): Ends => {
    check(
      lows.length === slices && highs.length === slices,
      () => `input_min has incorrect size, was ${lows.length} expected ${slices}`,
    );
    check(lows[s]! <= highs[s]!, () => `Invalid range: input_min ${lows[s]} > input_max ${highs[s]}`);
    return [lows[s]!, highs[s]!];
  });
}

function ownRanges(numbers: NumberArray, slices: number, inner: number): Ends[] {
  const lows = new Float64Array(slices).fill(Number.POSITIVE_INFINITY);
  const highs = new Float64Array(slices).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < numbers.length; i++) {
    const s = slices === 1 ? 0 : Math.floor(i / inner) % slices;
    lows[s] = Math.min(lows[s]!, numbers[i]!);
    highs[s] = Math.max(highs[s]!, numbers[i]!);
  }
  return Array.from(lows, (low, s): Ends => [low, highs[s]!]);
}

function histogram(op: OpCall): Tensor[] {
  const [values, span, bins] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(
    span.shape.length === 1 && span.shape[0] === 2,
    () => `value_range should be a vector of 2 elements, got ${printShape(span.shape)}`,
  );
  checkScalar(bins, "nbins");
  const [low, high] = numbersOf(span) as unknown as [number, number];
  const count = integerOf(bins);
  check(low < high, () => `value_range should satisfy value_range[0] < value_range[1], but got '[${low}, ${high}]'`);
  check(count > 0, () => `nbins should be a positive number, but got '${count}'`);
  const dtype = op.attrs.dtype("dtype");
  checkOutput(dtype, count);
  const step = (high - low) / count;
  const numbers = numbersOf(values);
  const counts = new Float64Array(count);
  for (let i = 0; i < numbers.length; i++) {
    const value = numbers[i]!;
    check(!Number.isNaN(value), () => "values must not contain NaN");
    const bin = Math.min(count - 1, Math.floor((Math.max(value, low) - low) / step));
    counts[bin]!++;
  }
  return [withData(dtype, [count], indexData(dtype, counts))];
}

const byAttributes = quantizeAndDequantize({
  bitsOf: (op) => op.attrs.int("num_bits"),
  roundModeOf: (op) => op.attrs.text("round_mode"),
  hasRanges: false,
});

export const QUANTIZE_AGAIN_KERNELS: Readonly<Record<string, Kernel>> = {
  QuantizeAndDequantize: quantizeAndDequantize({
    isFirst: true,
    bitsOf: (op) => op.attrs.int("num_bits"),
    roundModeOf: () => "HALF_TO_EVEN",
    hasRanges: false,
  }),
  QuantizeAndDequantizeV2: byAttributes,
  QuantizeAndDequantizeV3: quantizeAndDequantize({
    bitsOf: (op) => integerOf(op.tensor(3)),
    roundModeOf: () => "HALF_TO_EVEN",
    hasRanges: true,
  }),
  QuantizeAndDequantizeV4: byAttributes,
  HistogramFixedWidth: histogram,
};
