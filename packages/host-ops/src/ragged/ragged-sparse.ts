/** Ragged tensors turned into sparse ones, and filled. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { appender, build, reshaped, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { checkOutput } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, integerOf, integersOf } from "../call/shapes.js";

function raggedTensorToSparse(op: OpCall): Tensor[] {
  const depth = op.attrs.int("RAGGED_RANK");
  const values = op.tensor(depth);
  const splits = op.tensors(0, depth).map(integersOf);
  splits.forEach((list, k) => {
    check(list.length > 0, () => "Ragged splits may not be empty.");
    check(list[0] === 0, () => "First value of ragged splits must be 0.");
    for (let i = 1; i < list.length; i++)
      check(list[i]! >= list[i - 1]!, () => "Ragged splits should be non decreasing.");
    const size = k + 1 < depth ? splits[k + 1]!.length - 1 : values.shape[0]!;
    check(
      list[list.length - 1] === size,
      () => `Final value of ragged splits must match the length the corresponding ragged array.`,
    );
  });
  const total = elementCount(values.shape);
  const inner = values.shape.slice(1);
  const rank = depth + 1 + inner.length;
  checkOutput("int64", total * rank);
  const out = new Float64Array(total * rank);
  const run = countOf(values.shape, 1);
  // Index of every row of the values, level by level.
  const at = Array.from({ length: depth + 1 }, () => 0);
  const parents = Array.from({ length: depth }, () => 0);
  const widest = splits.map((list) => {
    let most = 0;
    for (let i = 1; i < list.length; i++) most = Math.max(most, list[i]! - list[i - 1]!);
    return most;
  });
  for (let row = 0; row < (run === 0 ? 0 : values.shape[0]!); row++) {
    for (let k = depth - 1, child = row; k >= 0; k--) {
      const list = splits[k]!;
      // Rows come in order, so each level moves forward only.
      let parent = parents[k]!;
      while (list[parent + 1]! <= child) parent++;
      parents[k] = parent;
      at[k + 1] = child - list[parent]!;
      at[0] = parent;
      child = parent;
    }
    for (let e = 0; e < run; e++) {
      const to = (row * run + e) * rank;
      for (let d = 0; d <= depth; d++) out[to + d] = at[d]!;
      let rest = e;
      for (let d = inner.length - 1; d >= 0; d--) {
        out[to + depth + 1 + d] = rest % inner[d]!;
        rest = Math.floor(rest / inner[d]!);
      }
    }
  }
  const shape = [splits[0]!.length - 1, ...widest, ...inner];
  return [
    tensor("int64", [total, rank], fromIntegers(out)),
    reshaped(values, [total]),
    tensor("int64", [rank], fromIntegers(shape)),
  ];
}

function raggedFillEmptyRows(op: OpCall): Tensor[] {
  const [rowIds, values, filler] = [op.tensor(0), op.tensor(1), op.tensor(3)];
  const rows = integerOf(op.tensor(2));
  check(rowIds.shape.length === 1, () => `value_rowids must be a vector, saw: ${printShape(rowIds.shape)}`);
  check(values.shape.length === 1, () => `values must be a vector, saw: ${printShape(values.shape)}`);
  check(filler.shape.length === 0, () => `default_value must be a scalar, saw: ${printShape(filler.shape)}`);
  check(
    rowIds.shape[0] === values.shape[0],
    () => `Number of elements in value_rowids (${rowIds.shape[0]}) and values (${values.shape[0]}) must match.`,
  );
  const ids = integersOf(rowIds);
  checkOutput("int64", rows + ids.length);
  const counts = new Int32Array(rows);
  for (let i = 0; i < ids.length; i++) {
    check(ids[i]! >= 0 && ids[i]! < rows, () => `value_rowids(${i}) is invalid: ${ids[i]} is not in [0, ${rows})`);
    counts[ids[i]!] = counts[ids[i]!]! + 1;
  }
  const isEmpty = Uint8Array.from(counts, (count) => (count === 0 ? 1 : 0));
  const next = new Float64Array(rows);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    next[row] = total;
    total += Math.max(1, counts[row]!);
  }
  const from = new Int32Array(total).fill(-1);
  const outIds = new Float64Array(total);
  for (let row = 0; row < rows; row++) outIds.fill(row, next[row], next[row + 1] ?? total);
  const moved = new Float64Array(ids.length);
  for (let i = 0; i < ids.length; i++) {
    const to = next[ids[i]!]!;
    next[ids[i]!] = to + 1;
    from[to] = i;
    moved[i] = to;
  }
  const out = appender(values.dtype, total);
  for (const i of from) {
    if (i < 0) out.append(filler.data, 0, 1);
    else out.append(values.data, i, 1);
  }
  return [
    tensor("int64", [total], fromIntegers(outIds)),
    build(values.dtype, [total], out),
    withData("bool", [rows], isEmpty),
    tensor("int64", [ids.length], fromIntegers(moved)),
  ];
}

export const RAGGED_SPARSE_KERNELS: Readonly<Record<string, Kernel>> = {
  RaggedTensorToSparse: raggedTensorToSparse,
  RaggedFillEmptyRows: raggedFillEmptyRows,
};
