/** What the integers of a uniformly quantised tensor mean: (integer - zero point) * scale, for the whole tensor or by the channel. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import type { OpCall } from "../call/op-call.js";
import { countOf, sameShape } from "../call/shapes.js";

export interface Scheme {
  readonly scales: Float32Array;
  readonly zeroPoints: Int32Array;
  /** The axis that has a scale for each of its elements; -1 = there is one for the tensor. */
  readonly axis: number;
}

/**
 * The scheme of a tensor of `shape`: scales are input `at`, zero points the next.
 *
 * @throws ServingError INVALID_ARGUMENT where they do not fit
 */
export function schemeOf(op: OpCall, at: number, axis: number, shape: readonly number[]): Scheme {
  const [scales, zeroPoints] = [op.tensor(at), op.tensor(at + 1)];
  check(
    sameShape(scales.shape, zeroPoints.shape),
    () =>
      `scales and zero_points shape must be same, but given scales shape ${printShape(scales.shape)} and zero_points shape ${printShape(zeroPoints.shape)}`,
  );
  check(
    axis >= -1 && axis < shape.length,
    () => `quantization_axis must be -1 or in range [0, input.rank), but given ${axis}`,
  );
  check(
    sameShape(scales.shape, axis < 0 ? [] : [shape[axis]!]),
    () => `scales of shape ${printShape(scales.shape)} do not fit quantization_axis ${axis} of ${printShape(shape)}`,
  );
  return { scales: scales.data as Float32Array, zeroPoints: zeroPoints.data as Int32Array, axis };
}

/** @throws ServingError INVALID_ARGUMENT for a scale that is not positive */
export function checkPositive(...schemes: readonly Scheme[]): void {
  for (const { scales } of schemes) {
    check(
      scales.every((scale) => scale > 0),
      () => "scales elements must be all positive.",
    );
  }
}

/** Calls back for every run of elements that share a channel of `axis`, in order; once for -1. */
export function forEachChannel(
  { shape }: Pick<Tensor, "shape">,
  axis: number,
  visit: (channel: number, start: number, end: number) => void,
): void {
  const total = elementCount(shape);
  if (axis < 0) {
    visit(0, 0, total);
    return;
  }
  const [channels, run] = [shape[axis]!, countOf(shape, axis + 1)];
  for (let start = 0, channel = 0; start < total; start += run, channel++) {
    visit(channel % channels, start, start + run);
  }
}
