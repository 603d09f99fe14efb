/** Gradients of fake quantisation, which pass where the value lies in the range, and of local response normalisation. */
import type { Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numbersOf, roundedTensor } from "../call/numeric.js";
import { rounded } from "../call/rounded.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { inRanges, inTurns, type Pieces } from "../call/turns.js";

const { fround } = Math;

interface Range {
  readonly low: number;
  readonly high: number;
}

/** The range that is a whole number of steps from 0, in float32 as TensorFlow's fake_quant_ops_functor has it. */
function nudged(op: OpCall, low: number, high: number): Range {
  const least = op.attrs.bool("narrow_range") ? 1 : 0;
  const most = 2 ** op.attrs.int("num_bits") - 1;
  const scale = fround(fround(high - low) / (most - least));
  const zero = fround(least - fround(low / scale));
  const point = zero < least ? least : zero > most ? most : Math.floor(zero + 0.5);
  return { low: fround((least - point) * scale), high: fround((most - point) * scale) };
}

interface Backprops {
  readonly byInput: Tensor;
  readonly byLow: Float64Array;
  readonly byHigh: Float64Array;
}

/** What the masks of an element, and a term of a normalisation, take in multiplications. */
const [MASK_WORK, TERM_WORK] = [16, 8];

/** @param passesAll  whether an empty range, as it is before training, lets every gradient pass */
function* backprops(
  op: OpCall,
  lows: ArrayLike<number>,
  highs: ArrayLike<number>,
  passesAll: boolean,
): Pieces<Backprops> {
  const [gradient, input] = [op.tensor(0), op.tensor(1)];
  check(sameShape(gradient.shape, input.shape), () => "gradient and input must be the same size");
  const channels = lows.length;
  const ranges = Array.from(lows, (low, c) => (low === 0 && highs[c] === 0 ? undefined : nudged(op, low, highs[c]!)));
  const [by, x] = [numbersOf(gradient), numbersOf(input)];
  const passed = new Float64Array(checkedCount("float32", input.shape));
  const [byLow, byHigh] = [new Float64Array(channels), new Float64Array(channels)];
  yield* inRanges(x.length, MASK_WORK, (from, end) => {
    for (let i = from; i < end; i++) {
      const c = i % channels;
      const range = ranges[c];
      if (!range) {
        if (passesAll) passed[i] = by[i]!;
        continue;
      }
      // Masks that are multiplied with, which make NaN of a gradient that is not finite.
      const [isBelow, isAbove] = [x[i]! < range.low, x[i]! > range.high];
      passed[i] = by[i]! * (x[i]! >= range.low && !isAbove ? 1 : 0);
      byLow[c]! += by[i]! * (isBelow ? 1 : 0);
      byHigh[c]! += by[i]! * (isAbove ? 1 : 0);
    }
  });
  return { byInput: yield* rounded("float32", input.shape, passed), byLow, byHigh };
}

const byArgs: Kernel = inTurns(function* (op) {
  const { byInput } = yield* backprops(op, [op.attrs.float("min")], [op.attrs.float("max")], false);
  return [byInput];
});

/** By input and by both ends of the range, which inputs 2 and 3 hold. */
function byVars(isPerChannel: boolean): Kernel {
  return inTurns(function* (op) {
    const [low, high] = [op.tensor(2), op.tensor(3)];
    const channels = isPerChannel ? op.tensor(1).shape.at(-1)! : 1;
    const shape = isPerChannel ? [channels] : [];
    for (const end of [low, high]) {
      check(
        sameShape(end.shape, shape),
        () => `min and max must have shape ${printShape(shape)}: ${printShape(end.shape)}`,
      );
    }
    const { byInput, byLow, byHigh } = yield* backprops(op, numbersOf(low), numbersOf(high), true);
    return [byInput, roundedTensor("float32", shape, byLow), roundedTensor("float32", shape, byHigh)];
  });
}

/** Of LRN, whose every channel is divided by what lies around it: gradient, input, output -> gradient by the input. */
const lrnGrad: Kernel = inTurns(function* (op) {
  const [gradient, input, output] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(
    input.shape.length === 4 && sameShape(gradient.shape, input.shape) && sameShape(output.shape, input.shape),
    () => "input_grads, input_image, and out_image should have the same shape",
  );
  const channels = input.shape[3]!;
  const radius = op.attrs.int("depth_radius");
  const [bias, alpha, beta] = ["bias", "alpha", "beta"].map((name) => op.attrs.float(name)) as [number, number, number];
  const [by, x, y] = [numbersOf(gradient), numbersOf(input), numbersOf(output)];
  const sums = new Float64Array(checkedCount(input.dtype, input.shape));
  const around = Math.min(channels, 2 * radius + 1);
  for (let row = 0; row < x.length; row += channels) {
    yield channels * around * TERM_WORK;
    for (let c = 0; c < channels; c++) {
      const [first, end] = [Math.max(0, c - radius), Math.min(channels, c + radius + 1)];
      let squares = 0;
      for (let k = first; k < end; k++) squares += x[row + k]! ** 2;
      const norm = alpha * squares + bias;
      for (let k = first; k < end; k++) {
        const own = k === c ? norm ** -beta : 0;
        sums[row + k]! += (own - (2 * alpha * beta * x[row + k]! * y[row + c]!) / norm) * by[row + c]!;
      }
    }
  }
  return [yield* rounded(input.dtype, input.shape, sums)];
});

export const CLAMPED_GRADIENT_KERNELS: Readonly<Record<string, Kernel>> = {
  FakeQuantWithMinMaxArgsGradient: byArgs,
  FakeQuantWithMinMaxVarsGradient: byVars(false),
  FakeQuantWithMinMaxVarsPerChannelGradient: byVars(true),
  LRNGrad: lrnGrad,
};
