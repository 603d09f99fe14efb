/** Parts of variables that a serving signature writes: rows by index, elements by index tuple, strided slices. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { scattered, type ScatterKind } from "../arrays/array-gather.js";
import { assignStridedSlice } from "../arrays/array-more.js";
import { broadcastTo } from "../call/broadcast.js";
import { reshaped } from "../call/elements.js";
import type { Kernel, OpCall } from "../call/op-call.js";

function write(op: OpCall, change: (old: Tensor) => Tensor): [] {
  const target = op.handle(0);
  op.state.variables.set(target.key, change(op.variable(target)));
  return [];
}

/** Rows: indices of any shape, and updates [...indices, ...row], or a scalar for every row. */
function rows(kind: ScatterKind): Kernel {
  return (op) =>
    write(op, (old) => {
      const [indices, updates] = [op.tensor(1), op.tensor(2)];
      const wanted = [...indices.shape, ...old.shape.slice(1)];
      const full = updates.shape.length === 0 ? broadcastTo(updates, wanted) : updates;
      if (elementCount(indices.shape) === 0) return old;
      return scattered(old, reshaped(indices, [...indices.shape, 1]), full, kind);
    });
}

/** Elements or slices by index tuples, as ScatterNd has them. */
function tuples(kind: ScatterKind): Kernel {
  return (op) => write(op, (old) => scattered(old, op.tensor(1), op.tensor(2), kind));
}

export const VARIABLE_SCATTER_KERNELS: Readonly<Record<string, Kernel>> = {
  ResourceScatterUpdate: rows("update"),
  ResourceScatterAdd: rows("add"),
  ResourceScatterSub: rows("sub"),
  ResourceScatterMul: rows("mul"),
  ResourceScatterDiv: rows("div"),
  ResourceScatterMax: rows("max"),
  ResourceScatterMin: rows("min"),
  ResourceScatterNdUpdate: tuples("update"),
  ResourceScatterNdAdd: tuples("add"),
  ResourceScatterNdSub: tuples("sub"),
  ResourceScatterNdMax: tuples("max"),
  ResourceScatterNdMin: tuples("min"),
  ResourceStridedSliceAssign: (op) => write(op, (old) => assignStridedSlice(op, old)),
};
