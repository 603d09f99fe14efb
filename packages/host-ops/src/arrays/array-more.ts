/** Rarer array ops: updates of slices, offsets, index arithmetic, membership in the top k. */
import { elementCount, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { appender, build, forEachOffset, stridesOf, takeRuns, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import { numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, indexData, integerOf, integersOf, normalAxis, sameShape } from "../call/shapes.js";
import { resolveStridedSlice } from "./strided-slice.js";

/** `target` with the slice that inputs 1 to 3 name replaced by input 4. */
export function assignStridedSlice(op: OpCall, target: Tensor): Tensor {
  const update = op.tensor(4);
  const [begin, end, steps] = op.tensors(1, 4).map(integersOf);
  const view = resolveStridedSlice(target.shape, begin!, end!, steps!, {
    begin: op.attrs.int("begin_mask"),
    end: op.attrs.int("end_mask"),
    ellipsis: op.attrs.int("ellipsis_mask"),
    newAxis: op.attrs.int("new_axis_mask"),
    shrinkAxis: op.attrs.int("shrink_axis_mask"),
  });
  check(
    sameShape(broadcastShape(view.resultShape, update.shape), view.resultShape),
    () => `Cannot broadcast input shape ${printShape(update.shape)} into final shape ${printShape(view.resultShape)}`,
  );
  const values = broadcastTo(update, view.resultShape);
  const strides = stridesOf(target.shape);
  const total = elementCount(target.shape);
  const count = elementCount(values.shape);
  const at = Float64Array.from({ length: total }, (_, i) => i);
  let n = 0;
  const offset = view.begin.reduce((sum, from, d) => sum + from * strides[d]!, 0);
  const gaps = view.step.map((step, d) => step * strides[d]!);
  forEachOffset(view.size, gaps, offset, (position) => {
    at[position] = total + n++;
  });
  const both = appender(target.dtype, total + count);
  both.append(target.data, 0, total);
  both.append(values.data, 0, count);
  return takeRuns(build(target.dtype, [total + count], both), at, 1, target.shape);
}

function concatOffset(op: OpCall): Tensor[] {
  const shapes = op.tensors(1);
  const first = integersOf(shapes[0]!);
  const rank = first.length;
  check(
    op.tensor(0).shape.length === 0,
    () => `Concat dim tensor should be a scalar, but got shape ${printShape(op.tensor(0).shape)}`,
  );
  const axis = normalAxis(integerOf(op.tensor(0)), rank, (given) => `Concat dim is out of range: ${given} vs. ${rank}`);
  let next = 0;
  return shapes.map((shape, k) => {
    check(shape.shape.length === 1, () => `input ${k} should be a vector, but got shape ${printShape(shape.shape)}`);
    const dims = integersOf(shape);
    check(dims.length === rank, () => `input ${k} should contain ${rank} elements, but got ${dims.length}`);
    for (let d = 0; d < rank; d++) {
      check(
        d === axis || dims[d] === first[d],
        () =>
          `All dimensions except ${axis} must match. Input ${k} has shape ${printShape(Array.from(dims))} and doesn't match input 0 with shape ${printShape(Array.from(first))}.`,
      );
    }
    const offset = new Float64Array(rank);
    offset[axis] = next;
    next += dims[axis]!;
    return withData(shape.dtype, [rank], indexData(shape.dtype, offset));
  });
}

function unravelIndex(op: OpCall): Tensor[] {
  const [indices, dimsInput] = [op.tensor(0), op.tensor(1)];
  check(
    indices.shape.length <= 1,
    () => `The indices can only be scalar or vector, got "${printShape(indices.shape)}"`,
  );
  check(dimsInput.shape.length === 1, () => `The indices can only be 1-D, got "${printShape(dimsInput.shape)}"`);
  check(elementCount(indices.shape) > 0, () => "received empty tensor indices");
  const dims = Array.from(integersOf(dimsInput));
  const ids = integersOf(indices);
  for (const dim of dims) check(dim !== 0, () => "Input dims cannot contain a dim of zero");
  const total = elementCount(dims);
  const out = new Float64Array(dims.length * ids.length);
  for (let i = 0; i < ids.length; i++) {
    check(ids[i]! >= 0 && ids[i]! < total, () => `index is out of bound as with dims`);
    let rest = ids[i]!;
    for (let d = dims.length - 1; d >= 0; d--) {
      out[d * ids.length + i] = rest % dims[d]!;
      rest = Math.floor(rest / dims[d]!);
    }
  }
  const shape = indices.shape.length === 0 ? [dims.length] : [dims.length, ids.length];
  return [withData(indices.dtype, shape, indexData(indices.dtype, out))];
}

/** True for targets whose prediction is among the k largest of its row; ties count for the target. */
function inTopK(op: OpCall, k: number): Tensor[] {
  const [predictions, targets] = [op.tensor(0), op.tensor(1)];
  check(predictions.shape.length === 2, () => "predictions must be 2-dimensional");
  check(targets.shape.length === 1, () => "targets must be 1-dimensional");
  check(
    predictions.shape[0] === targets.shape[0],
    () => `First dimension of predictions ${predictions.shape[0]} must match length of targets ${targets.shape[0]}`,
  );
  const classes = predictions.shape[1]!;
  const numbers = numbersOf(predictions);
  const ids = integersOf(targets);
  const out = allocate("bool", ids.length);
  for (let row = 0; row < ids.length; row++) {
    const target = ids[row]!;
    const value = target >= 0 && target < classes ? numbers[row * classes + target]! : Number.NaN;
    let higher = 0;
    let isBroken = !Number.isFinite(value);
    for (let c = 0; c < classes && !isBroken; c++) {
      const other = numbers[row * classes + c]!;
      if (!Number.isFinite(other)) isBroken = true;
      else if (other > value) higher++;
    }
    out[row] = !isBroken && higher < k ? 1 : 0;
  }
  return [tensor("bool", [ids.length], out)];
}

export const ARRAY_MORE_KERNELS: Readonly<Record<string, Kernel>> = {
  TensorStridedSliceUpdate: (op) => [assignStridedSlice(op, op.tensor(0))],
  Fact: () => [tensor("string", [], StringColumn.from([Buffer.from("0! == 1")]))],
  ConcatOffset: concatOffset,
  UnravelIndex: unravelIndex,
  InTopK: (op) => inTopK(op, op.attrs.int("k")),
  InTopKV2: (op) => {
    check(op.tensor(2).shape.length === 0, () => `k must be 0-D, got shape ${printShape(op.tensor(2).shape)}`);
    return inTopK(op, integerOf(op.tensor(2)));
  },
};
