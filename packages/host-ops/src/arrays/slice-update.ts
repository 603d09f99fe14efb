/** Tensors with a slice replaced. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { appender, build, forEachOffset, stridesOf, takeRuns } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, integersOf, sameShape } from "../call/shapes.js";
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

export const SLICE_UPDATE_KERNELS: Readonly<Record<string, Kernel>> = {
  TensorStridedSliceUpdate: (op) => [assignStridedSlice(op, op.tensor(0))],
};
