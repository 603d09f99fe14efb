/** XLA's op that puts one tensor over a window of another, which Keras 3 writes caches with. */
import { lanesPerElement, type NumericData, type NumericDType, type Tensor } from "@shardserve/tensor";
import { forEachOffset, stridesOf, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";

/** Starts are moved so far that the window lies inside, as XLA does. */
function updateWindow(op: OpCall): Tensor[] {
  const [target, update, indices] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const rank = target.shape.length;
  check(
    update.shape.length === rank && indices.shape.length === 1 && indices.shape[0] === rank,
    () =>
      `an update of shape ${printShape(update.shape)} and indices of shape ${printShape(indices.shape)} do not fit an input of shape ${printShape(target.shape)}`,
  );
  const room = target.shape.map((dim, d) => dim - update.shape[d]!);
  check(
    room.every((free) => free >= 0),
    () => `an update of shape ${printShape(update.shape)} is larger than the input, ${printShape(target.shape)}`,
  );
  if (rank === 0) return [update];
  const strides = stridesOf(target.shape);
  const starts = integersOf(indices);
  let first = 0;
  for (let d = 0; d < rank; d++) first += Math.min(Math.max(starts[d]!, 0), room[d]!) * strides[d]!;
  const lanes = lanesPerElement(target.dtype as NumericDType);
  const run = update.shape[rank - 1]! * lanes;
  const source = update.data as Float32Array;
  const data = (target.data as NumericData).slice() as Float32Array;
  let from = 0;
  forEachOffset(update.shape.slice(0, -1), strides, first, (start) => {
    data.set(source.subarray(from, from + run), start * lanes);
    from += run;
  });
  return [withData(target.dtype, target.shape, data)];
}

export const WINDOW_UPDATE_KERNELS: Readonly<Record<string, Kernel>> = { XlaDynamicUpdateSlice: updateWindow };
