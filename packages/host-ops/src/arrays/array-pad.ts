/** Ops that put a tensor between other elements, or turn it around on itself. */
import { elementCount, isNumeric, type NumericDType, type Tensor, zeroedArray } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { appender, build, forEachOffset, stridesOf, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { paddingOf, placeRuns } from "../call/padding.js";
import { countOf, integersOf, normalAxis, printElement } from "../call/shapes.js";

function pad(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const rank = value.shape.length;
  const given = op.tensor(1);
  check(
    given.shape.length === 2 && given.shape[1] === 2,
    () => `paddings must be a matrix with 2 columns: ${printShape(given.shape)}`,
  );
  check(
    given.shape[0] === rank,
    () =>
      `The first dimension of paddings must be the rank of inputs${printShape(given.shape)} ${printShape(value.shape)}`,
  );
  const amounts = integersOf(given);
  const filler = op.inputCount > 2 ? op.tensor(2) : zeroTensor(value.dtype, []);
  check(filler.shape.length === 0, () => `constant_values must be a scalar. Found: ${printShape(filler.shape)}`);
  const shape = value.shape.map((dim, d) => {
    const before = amounts[2 * d]!;
    const after = amounts[2 * d + 1]!;
    check(
      before >= 0 && after >= 0,
      () => `Paddings must be non-negative: ${printElement(given, 2 * d)} ${printElement(given, 2 * d + 1)}`,
    );
    return before + dim + after;
  });
  const total = checkedCount(value.dtype, shape);
  if (isNumeric(value.dtype) && rank > 0) return [padNumbers(value, shape, total, amounts, filler)];
  const out = appender(value.dtype, total);
  const padding = broadcastTo(filler, [elementCount(shape) - elementCount(value.shape)]);
  const strides = stridesOf(value.shape);
  const addPadding = (count: number) => out.append(padding.data, 0, count);
  const addDim = (d: number, start: number): void => {
    if (d === rank) return out.append(value.data, start, 1);
    const slab = countOf(shape, d + 1);
    addPadding(amounts[2 * d]! * slab);
    if (d === rank - 1) out.append(value.data, start, value.shape[d]!);
    else for (let i = 0; i < value.shape[d]!; i++) addDim(d + 1, start + i * strides[d]!);
    addPadding(amounts[2 * d + 1]! * slab);
  };
  addDim(0, 0);
  return [build(value.dtype, shape, out)];
}

/** Rows of the innermost dimension lie between padding. */
function padNumbers(
  value: Tensor,
  shape: readonly number[],
  total: number,
  amounts: ArrayLike<number>,
  filler: Tensor,
): Tensor {
  const out = paddingOf(value.dtype as NumericDType, total, filler);
  const strides = stridesOf(shape);
  let first = 0;
  for (let d = 0; d < shape.length; d++) first += amounts[2 * d]! * strides[d]!;
  const rows = value.shape.slice(0, -1);
  const starts = zeroedArray(Float64Array, elementCount(rows));
  let row = 0;
  forEachOffset(rows, strides, first, (start) => {
    starts[row++] = start;
  });
  placeRuns(out, value, starts, value.shape.at(-1)!);
  return withData(value.dtype, shape, out);
}

function mirrorPad(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const amounts = integersOf(op.tensor(1));
  // REFLECT leaves the border element out, SYMMETRIC repeats it.
  const skip = op.attrs.text("mode") === "REFLECT" ? 1 : 0;
  let result = value;
  for (let d = 0; d < value.shape.length; d++) {
    const dim = value.shape[d]!;
    const before = amounts[2 * d]!;
    const after = amounts[2 * d + 1]!;
    check(before >= 0 && after >= 0, () => `paddings must be non-negative: ${before} ${after}`);
    check(
      before <= dim - skip && after <= dim - skip,
      () =>
        `paddings must be no greater than the dimension size${skip ? " minus 1" : ""}: ${before}, ${after} greater than ${dim}`,
    );
    const outer = countOf(result.shape, 0, d);
    const inner = countOf(result.shape, d + 1);
    const shape = result.shape.with(d, before + dim + after);
    const out = appender(value.dtype, checkedCount(value.dtype, shape));
    const starts = new Float64Array(before + dim + after);
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < starts.length; i++) {
        let from = i - before;
        if (from < 0) from = skip - from - 1;
        else if (from >= dim) from = 2 * dim - 1 - from - skip;
        starts[i] = (o * dim + from) * inner;
      }
      out.appendRuns(result.data, starts, inner);
    }
    result = build(value.dtype, shape, out);
  }
  return [result];
}

function roll(op: OpCall): Tensor[] {
  let value = op.tensor(0);
  const shifts = integersOf(op.tensor(1));
  const axes = integersOf(op.tensor(2));
  check(shifts.length === axes.length, () => "shift and axis must have the same size");
  check(value.shape.length > 0, () => "input must be 1-D or higher");
  for (let i = 0; i < axes.length; i++) {
    const axis = normalAxis(axes[i]!, value.shape.length, () => `axis ${axes[i]} is out of range`);
    const dim = value.shape[axis]!;
    if (dim === 0) continue;
    const shift = ((shifts[i]! % dim) + dim) % dim;
    const outer = countOf(value.shape, 0, axis);
    const inner = countOf(value.shape, axis + 1);
    const out = appender(value.dtype, elementCount(value.shape));
    for (let o = 0; o < outer; o++) {
      out.append(value.data, (o * dim + dim - shift) * inner, shift * inner);
      out.append(value.data, o * dim * inner, (dim - shift) * inner);
    }
    value = build(value.dtype, value.shape, out);
  }
  return [value];
}

export const PAD_KERNELS: Readonly<Record<string, Kernel>> = {
  Pad: pad,
  PadV2: pad,
  MirrorPad: mirrorPad,
  Roll: roll,
};
