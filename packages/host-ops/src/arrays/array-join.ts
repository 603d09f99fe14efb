/** Ops that put several tensors together, or choose between them. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { appender, build, takeRuns } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, countOf, integerOf, normalAxis, sameShape } from "../call/shapes.js";

function concat(values: readonly Tensor[], given: number): Tensor {
  const first = values[0]!;
  const rank = first.shape.length;
  const axis = normalAxis(
    given,
    rank,
    () => `ConcatOp : Expected concatenating dimensions in the range [${-rank}, ${rank}), but got ${given}`,
  );
  let size = 0;
  values.forEach((value, k) => {
    check(
      value.shape.length === rank,
      () =>
        `ConcatOp : Ranks of all input tensors should match: shape[0] = ${printShape(first.shape)} vs. shape[${k}] = ${printShape(value.shape)}`,
    );
    check(
      value.shape.every((dim, d) => d === axis || dim === first.shape[d]),
      () =>
        `ConcatOp : Dimension ${value.shape.findIndex((dim, d) => d !== axis && dim !== first.shape[d])} in both shapes must be equal: shape[0] = ${printShape(first.shape)} vs. shape[${k}] = ${printShape(value.shape)}`,
    );
    size += value.shape[axis]!;
  });
  const shape = first.shape.with(axis, size);
  const out = appender(first.dtype, checkedCount(first.dtype, shape));
  const outer = countOf(shape, 0, axis);
  const runs = values.map((value) => countOf(value.shape, axis));
  for (let o = 0; o < outer; o++) values.forEach((value, k) => out.append(value.data, o * runs[k]!, runs[k]!));
  return build(first.dtype, shape, out);
}

function pack(op: OpCall): Tensor[] {
  const values = op.tensors();
  const first = values[0]!;
  const rank = first.shape.length + 1;
  const axis = normalAxis(op.attrs.int("axis"), rank, (given) => `axis = ${given} not in [${-rank}, ${rank})`);
  values.forEach((value, k) =>
    check(
      sameShape(value.shape, first.shape),
      () =>
        `Shapes of all inputs must match: values[0].shape = ${printShape(first.shape)} != values[${k}].shape = ${printShape(value.shape)}`,
    ),
  );
  const shape = first.shape.toSpliced(axis, 0, values.length);
  const out = appender(first.dtype, checkedCount(first.dtype, shape));
  const outer = countOf(shape, 0, axis);
  const run = countOf(shape, axis + 1);
  for (let o = 0; o < outer; o++) for (const value of values) out.append(value.data, o * run, run);
  return [build(first.dtype, shape, out)];
}

function selectV2(op: OpCall): Tensor[] {
  const [condition, yes, no] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const shape = broadcastShape(broadcastShape(condition.shape, yes.shape), no.shape);
  return [select(condition, yes, no, shape)];
}

/** The first form of Select: one condition for all, one per row, or one per element. */
function selectV1(op: OpCall): Tensor[] {
  const [condition, yes, no] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  check(
    sameShape(yes.shape, no.shape),
    () =>
      `'then' and 'else' must have the same size.  but received: ${printShape(yes.shape)} vs. ${printShape(no.shape)}`,
  );
  if (condition.shape.length === 0) return [condition.data[0 as never] ? yes : no];
  if (sameShape(condition.shape, yes.shape)) return [select(condition, yes, no, yes.shape)];
  if (condition.shape.length !== 1) {
    throw invalid(`'cond' must be a vector, but saw shape: ${printShape(condition.shape)}`);
  }
  const rows = condition.shape[0]!;
  check(
    yes.shape.length > 0 && yes.shape[0] === rows,
    () => `Number of batches of 'then' must match size of 'cond', but saw: ${yes.shape[0]} vs. ${rows}`,
  );
  const run = countOf(yes.shape, 1);
  const out = appender(yes.dtype, elementCount(yes.shape));
  const picks = condition.data as Uint8Array;
  for (let r = 0; r < rows; r++) out.append((picks[r] ? yes : no).data, r * run, run);
  return [build(yes.dtype, yes.shape, out)];
}

function select(condition: Tensor, yes: Tensor, no: Tensor, shape: readonly number[]): Tensor {
  const count = checkedCount(yes.dtype, shape);
  const [c, y, n] = [operand(condition, shape), operand(yes, shape), operand(no, shape)];
  const picks = c.value.data as Uint8Array;
  if (c.step === 0) {
    const chosen = picks[0] ? y : n;
    if (chosen.step === 1) return build(yes.dtype, shape, appendAll(yes.dtype, count, chosen.value));
    return takeRuns(chosen.value, new Uint8Array(count), 1, shape);
  }
  const out = appender(yes.dtype, count);
  // Stretches of equal choices move together.
  for (let i = 0; i < count; ) {
    let end = i + 1;
    while (end < count && picks[end] === picks[i]) end++;
    const chosen = picks[i] ? y : n;
    if (chosen.step === 1) out.append(chosen.value.data, i, end - i);
    else out.appendRuns(chosen.value.data, new Uint8Array(end - i), 1);
    i = end;
  }
  return build(yes.dtype, shape, out);
}

function appendAll(dtype: Tensor["dtype"], count: number, value: Tensor) {
  const out = appender(dtype, count);
  out.append(value.data, 0, count);
  return out;
}

export const JOIN_KERNELS: Readonly<Record<string, Kernel>> = {
  ParallelConcat: (op) => [concat(op.tensors(), 0)],
  ConcatV2: (op) => {
    const axis = op.tensor(op.inputCount - 1);
    check(
      elementCount(axis.shape) === 1,
      () => `Concat axis tensor should be a scalar, but got shape ${printShape(axis.shape)}`,
    );
    return [concat(op.tensors(0, op.inputCount - 1), integerOf(axis))];
  },
  Concat: (op) => [concat(op.tensors(1), integerOf(op.tensor(0)))],
  Pack: pack,
  Select: selectV1,
  SelectV2: selectV2,
};
