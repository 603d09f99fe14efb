/** Rows that take the place of others, or are added to them or taken from them. What TensorFlow changes in place is copied. */
import type { Tensor } from "@shardserve/tensor";
import { appender, build, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { is64Bit, numberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, integersOf } from "../call/shapes.js";

interface Rows {
  readonly target: Tensor;
  /** Rows of the target that the rows of `values` go to, in order. */
  readonly ids: Float64Array;
  readonly values: Tensor;
  /** Elements of a row. */
  readonly run: number;
}

function rowsOf(op: OpCall): Rows {
  const [target, index, values] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(index.shape.length === 1, () => `i must be a vector. ${printShape(index.shape)}`);
  check(
    target.shape.length === values.shape.length && target.shape.every((dim, d) => d === 0 || dim === values.shape[d]),
    () => `x and v shape doesn't match: ${printShape(target.shape)} vs ${printShape(values.shape)}`,
  );
  check(
    index.shape[0] === values.shape[0],
    () => `i and x shape doesn't match at index 0: ${index.shape[0]} vs. ${values.shape[0]}`,
  );
  const rows = target.shape[0] ?? 0;
  check(rows > 0 || values.shape[0] === 0, () => "x has no rows to put v into");
  // Ids count round, as TensorFlow's do.
  const ids = Float64Array.from(integersOf(index), (id) => ((id % rows) + rows) % rows);
  return { target, ids, values, run: countOf(target.shape, 1) };
}

/** The last of several values for a row stays. */
function update(op: OpCall): Tensor[] {
  const { target, ids, values, run } = rowsOf(op);
  const rows = target.shape[0]!;
  const from = new Int32Array(rows).fill(-1);
  for (const [i, id] of ids.entries()) from[id] = i;
  const out = appender(target.dtype, target.data.length);
  for (const [row, i] of from.entries()) {
    out.appendRuns(i < 0 ? target.data : values.data, [(i < 0 ? row : i) * run], run);
  }
  return [build(target.dtype, target.shape, out)];
}

function sum(sign: 1 | -1): Kernel {
  return (op) => {
    const { target, ids, values, run } = rowsOf(op);
    const { dtype, shape } = target;
    if (is64Bit(dtype)) {
      const data = (target.data as BigInt64Array).slice();
      const added = values.data as BigInt64Array;
      for (const [i, id] of ids.entries()) {
        for (let k = 0; k < run; k++) data[id * run + k]! += BigInt(sign) * added[i * run + k]!;
      }
      return [withData(dtype, shape, data)];
    }
    const out = numberArray(dtype, target.data.length);
    out.set(numbersOf(target));
    const added = numbersOf(values);
    const round = roundingOf(dtype);
    for (const [i, id] of ids.entries()) {
      for (let k = 0; k < run; k++) out[id * run + k] = round(out[id * run + k]! + sign * added[i * run + k]!);
    }
    return [numbersTensor(dtype, shape, out)];
  };
}

export const INPLACE_KERNELS: Readonly<Record<string, Kernel>> = {
  InplaceUpdate: update,
  InplaceAdd: sum(1),
  InplaceSub: sum(-1),
};
