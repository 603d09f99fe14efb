/** Parts of variables that a serving signature writes: rows by index, elements by index tuple, strided slices. */
import { ServingError } from "@shardserve/core";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { scattered, type ScatterKind } from "../arrays/array-scatter.js";
import { assignStridedSlice } from "../arrays/slice-update.js";
import { broadcastTo } from "../call/broadcast.js";
import { reshaped } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";

/** Changes the variable of input 0; its new value. */
type Write = (op: OpCall) => Tensor;

function write(op: OpCall, change: (old: Tensor) => Tensor): Tensor {
  const target = op.handle(0);
  const value = change(op.variable(target));
  op.state.variables.set(target.key, value);
  return value;
}

/** Rows: indices of any shape, and updates [...indices, ...row], or a scalar for every row. */
function rows(kind: ScatterKind): Write {
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
function tuples(kind: ScatterKind): Write {
  return (op) => write(op, (old) => scattered(old, op.tensor(1), op.tensor(2), kind));
}

/** Counts a variable up by one, as long as it stays below the limit; what it was before. */
const countUp: Kernel = (op) => {
  const target = op.handle(0);
  const old = op.variable(target);
  check(old.shape.length === 0, () => `input is not a scalar: ${printShape(old.shape)}`);
  const limit = op.attrs.bigint("limit");
  const count = BigInt((old.data as Int32Array | BigInt64Array)[0]!);
  if (count >= limit) throw new ServingError("OUT_OF_RANGE", `Reached limit of ${limit}`);
  const next = old.dtype === "int64" ? BigInt64Array.of(count + 1n) : Int32Array.of(Number(count) + 1);
  op.state.variables.set(target.key, tensor(old.dtype, [], next as never));
  return [old];
};

const WRITES: Readonly<Record<string, Write>> = {
  ScatterUpdate: rows("update"),
  ScatterAdd: rows("add"),
  ScatterSub: rows("sub"),
  ScatterMul: rows("mul"),
  ScatterDiv: rows("div"),
  ScatterMax: rows("max"),
  ScatterMin: rows("min"),
  ScatterNdUpdate: tuples("update"),
  ScatterNdAdd: tuples("add"),
  ScatterNdSub: tuples("sub"),
  ScatterNdMax: tuples("max"),
  ScatterNdMin: tuples("min"),
  StridedSliceAssign: (op) => write(op, (old) => assignStridedSlice(op, old)),
};

export const VARIABLE_SCATTER_KERNELS: Readonly<Record<string, Kernel>> = {
  ...Object.fromEntries(
    Object.entries(WRITES).flatMap(([name, change]): [string, Kernel][] => [
      // Of a TF1 reference: the value right after the write stands for the variable.
      [name, (op) => [change(op)]],
      [
        `Resource${name}`,
        (op) => {
          change(op);
          return [];
        },
      ],
    ]),
  ),
  CountUpTo: countUp,
  ResourceCountUpTo: countUp,
};
