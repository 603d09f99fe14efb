/** Floats to quantised integers and back, by ranges. */
import { ServingError } from "@shardserve/core";
import { type DType, elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { check, invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { extremeOf, FINITE_MAX, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf } from "../call/shapes.js";
import { dequantizer, quantizer, roundAway } from "../quantized/range.js";
import { roundHalfToEven } from "./unary.js";

const { fround } = Math;

/** A scale that would be infinite is the largest float. */
const SCALE_MAX = FINITE_MAX.float32;

/** Range of a quantised type; it is signed where its least value is below 0. */
function limitsOf(dtype: DType): { least: number; most: number; half: number } {
  const [least, most] = [Number(extremeOf(dtype, -1)), Number(extremeOf(dtype, 1))];
  return { least, most, half: least < 0 ? (most - least + 1) / 2 : 0 };
}

/** Elements before, on, and behind the axis; -1 = the whole tensor has one range. */
function slicesOf(shape: readonly number[], axis: number): { slices: number; inner: number } {
  check(axis < shape.length, () => `Axis must be less than input dimension(${shape.length}), got ${axis}`);
  return axis < 0
    ? { slices: 1, inner: elementCount(shape) }
    : { slices: shape[axis]!, inner: countOf(shape, axis + 1) };
}

/** @throws ServingError UNIMPLEMENTED for slices with ranges of their own in the mode that knows none */
function checkSlices({ node, attrs }: OpCall): void {
  if (attrs.text("mode") !== "MIN_FIRST" || attrs.int("axis") === -1) return;
  throw new ServingError("UNIMPLEMENTED", `MIN_FIRST mode is not implemented for ${node.op} with axis != -1.`);
}

function rangesOf(op: OpCall, slices: number): { lows: ArrayLike<number>; highs: ArrayLike<number> } {
  const [lows, highs] = [numbersOf(op.tensor(1)), numbersOf(op.tensor(2))];
  check(
    lows.length === slices && highs.length === slices,
    () =>
      `min_range and max_range must have as many elements as input on the axis, got ${lows.length} and ${highs.length}, expected ${slices}`,
  );
  return { lows, highs };
}

function dequantize(op: OpCall): Tensor[] {
  checkSlices(op);
  const input = op.tensor(0);
  const mode = op.attrs.text("mode");
  const { slices, inner } = slicesOf(input.shape, op.attrs.int("axis"));
  const { lows, highs } = rangesOf(op, slices);
  const { least, most, half } = limitsOf(input.dtype);
  const dtype = op.attrs.dtype("dtype");
  const numbers = numbersOf(input);
  const out = numberArray(dtype, checkedCount(dtype, input.shape));
  const isNarrow = op.attrs.bool("narrow_range");
  const byFirst = dequantizer({ dtype: input.dtype, low: lows[0]!, high: highs[0]! });
  for (let i = 0; i < out.length; i++) {
    const slice = slices === 1 ? 0 : Math.floor(i / inner) % slices;
    const [low, high] = [lows[slice]!, highs[slice]!];
    if (mode === "MIN_FIRST") out[i] = byFirst(numbers[i]!);
    else if (mode === "MIN_COMBINED") {
      const scale = fround(fround(high - low) / fround(most - least));
      out[i] = fround(fround(fround(numbers[i]! + half) * scale) + low);
    } else if (mode === "SCALED") {
      const scale =
        least === 0 ? fround(high / most) : Math.max(fround(low / (least + (isNarrow ? 1 : 0))), fround(high / most));
      out[i] = fround(numbers[i]! * scale);
    } else {
      throw invalid(`Dequantize with mode ${mode} is not supported`);
    }
  }
  return [numbersTensor(dtype, input.shape, out)];
}

function quantize(op: OpCall): Tensor[] {
  checkSlices(op);
  const input = op.tensor(0);
  const mode = op.attrs.text("mode");
  const { slices, inner } = slicesOf(input.shape, op.attrs.int("axis"));
  const { lows, highs } = rangesOf(op, slices);
  const dtype = op.attrs.dtype("T");
  const { least, most, half } = limitsOf(dtype);
  const isNarrow = op.attrs.bool("narrow_range");
  const nudge = op.attrs.float("ensure_minimum_range");
  const isEven = op.attrs.text("round_mode") === "HALF_TO_EVEN";
  check(
    !isEven || mode === "SCALED",
    () => "Round mode 'HALF_TO_EVEN' only supported for mode 'SCALED', but mode is '" + `${mode}'.`,
  );
  const round = isEven ? roundHalfToEven : roundAway;
  const outLows = new Float32Array(slices);
  const outHighs = new Float32Array(slices);
  const scales = new Float32Array(slices);
  const lowest = least + (isNarrow ? 1 : 0);
  for (let s = 0; s < slices; s++) {
    check(!(highs[s]! < lows[s]!), () => "input_max_range must be larger than input_min_range.");
    // Zero lies in the range, and its ends are apart.
    const low = Math.min(0, lows[s]!);
    const apart = fround(Math.max(1, fround(Math.max(Math.abs(lows[s]!), Math.abs(highs[s]!)))) * nudge);
    const high = Math.max(0, Math.max(highs[s]!, fround(low + apart)));
    [outLows[s], outHighs[s]] = [low, high];
    if (mode === "MIN_FIRST") continue;
    if (mode === "MIN_COMBINED") scales[s] = fround((most - least) / fround(high - low));
    else if (mode === "SCALED") {
      const byLow = lowest === 0 || low === 0 ? SCALE_MAX : fround(lowest / low);
      scales[s] = Math.min(least === 0 ? SCALE_MAX : byLow, fround(most / high), SCALE_MAX);
      outLows[s] = fround(lowest / scales[s]!);
      outHighs[s] = fround(most / scales[s]!);
    } else throw invalid(`QuantizeV2 with mode ${mode} is not supported`);
  }
  const numbers = numbersOf(input);
  const out = numberArray(dtype, checkedCount(dtype, input.shape));
  const byFirst = quantizer({ dtype, low: outLows[0]!, high: outHighs[0]! });
  for (let i = 0; i < out.length; i++) {
    if (mode === "MIN_FIRST") {
      out[i] = byFirst(numbers[i]!);
      continue;
    }
    const s = slices === 1 ? 0 : Math.floor(i / inner) % slices;
    const clipped = Math.max(outLows[s]!, Math.min(outHighs[s]!, numbers[i]!));
    if (mode === "SCALED") out[i] = Math.min(most, Math.max(lowest, round(fround(clipped * scales[s]!))));
    else out[i] = round(fround(fround(fround(clipped - outLows[s]!) * scales[s]!) - half));
  }
  const shape = op.attrs.int("axis") < 0 ? [] : [slices];
  return [
    numbersTensor(dtype, input.shape, out),
    tensor("float32", shape, outLows),
    tensor("float32", shape, outHighs),
  ];
}

export const QUANTIZE_KERNELS: Readonly<Record<string, Kernel>> = { Dequantize: dequantize, QuantizeV2: quantize };
