/** Sparse tensors meeting dense ones. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { appender, build } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { exactNumbersOf, isFloating, numberArray, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf, shapeOf } from "../call/shapes.js";
import { sparseAt } from "./sparse.js";

function sparseToDense(op: OpCall): Tensor[] {
  const indices = op.tensor(0);
  check(
    indices.shape.length <= 2,
    () => `sparse_indices should be a scalar, vector, or matrix, got shape ${printShape(indices.shape)}`,
  );
  const count = indices.shape.length > 0 ? indices.shape[0]! : 1;
  const depth = indices.shape.length > 1 ? indices.shape[1]! : 1;
  check(
    op.tensor(1).shape.length === 1,
    () => `output_shape must be rank 1, got shape ${printShape(op.tensor(1).shape)}`,
  );
  const shape = shapeOf(op.tensor(1), "output_shape");
  check(
    shape.length === depth,
    () => `output_shape has incorrect number of elements: ${shape.length} should be: ${depth}`,
  );
  const values = op.tensor(2);
  const isScalar = values.shape.length === 0;
  check(
    isScalar || (values.shape.length === 1 && values.shape[0] === count),
    () => `sparse_values has incorrect shape ${printShape(values.shape)}, should be [] or [${count}]`,
  );
  const filler = op.tensor(3);
  check(elementCount(filler.shape) === 1 && filler.shape.length === 0, () => "default_value should be a scalar.");
  const total = checkedCount(values.dtype, shape);
  const ids = integersOf(indices);
  const validates = op.attrs.bool("validate_indices");
  const from = new Int32Array(total).fill(-1);
  let previous = -1;
  for (let i = 0; i < count; i++) {
    let at = 0;
    for (let d = 0; d < depth; d++) {
      const id = ids[i * depth + d]!;
      if (!(id >= 0 && id < shape[d]!))
        throw invalid(
          `indices[${i}] = ${printRow(ids, i, depth)} is out of bounds: need 0 <= index < [${shape.join(",")}]`,
        );
      at = at * shape[d]! + id;
    }
    if (validates && at <= previous) throw disorder(ids, i, depth, at === previous);
    previous = at;
    from[at] = i;
  }
  const out = appender(values.dtype, total);
  // Stretches of one kind move together.
  for (let i = 0; i < total; ) {
    const isFilled = from[i]! >= 0;
    let end = i + 1;
    while (end < total && from[end]! >= 0 === isFilled) end++;
    if (!isFilled) out.appendRuns(filler.data, new Uint8Array(end - i), 1);
    else out.appendRuns(values.data, isScalar ? new Uint8Array(end - i) : from.subarray(i, end), 1);
    i = end;
  }
  return [build(values.dtype, shape, out)];
}

function printRow(ids: ArrayLike<number>, i: number, depth: number): string {
  return `[${Array.from({ length: depth }, (_, d) => ids[i * depth + d]).join(",")}]`;
}

function disorder(ids: ArrayLike<number>, i: number, depth: number, isRepeated: boolean) {
  return invalid(
    isRepeated
      ? `indices[${i}] = ${printRow(ids, i, depth)} is repeated`
      : `indices[${i}] = ${printRow(ids, i, depth)} is out of order. Many sparse ops require sorted indices.\n    Use \`tf.sparse.reorder\` to create a correctly ordered copy.\n\n`,
  );
}

function sparseTensorDenseMatMul(op: OpCall): Tensor[] {
  const { indices, values, shape, count } = sparseAt(op, 0, 1, 2);
  const dense = op.tensor(3);
  check(dense.shape.length === 2, () => `Tensor 'b' is not a matrix`);
  check(shape.length === 2, () => "Tensor 'a_shape' must have 2 elements");
  const [isLeftTurned, isRightTurned] = [op.attrs.bool("adjoint_a"), op.attrs.bool("adjoint_b")];
  const [rows, inner] = isLeftTurned ? [shape[1]!, shape[0]!] : [shape[0]!, shape[1]!];
  const [innerB, columns] = isRightTurned ? [dense.shape[1]!, dense.shape[0]!] : [dense.shape[0]!, dense.shape[1]!];
  check(
    inner === innerB,
    () =>
      `Cannot multiply A and B because inner dimension does not match: ${inner} vs. ${innerB}.  Did you forget a transpose?  Dimensions of A: [${shape.join(", ")}).  Dimensions of B: ${printShape(dense.shape)}`,
  );
  const [a, b] = [exactNumbersOf(values, op.node.op), exactNumbersOf(dense, op.node.op)];
  const isFloat = isFloating(values.dtype);
  const out = numberArray(values.dtype, checkedCount(values.dtype, [rows, columns]));
  for (let i = 0; i < count; i++) {
    const row = indices[2 * i + (isLeftTurned ? 1 : 0)]!;
    const k = indices[2 * i + (isLeftTurned ? 0 : 1)]!;
    check(k >= 0 && k < inner, () => `k (${k}) from index[${i},1] out of bounds (>=${inner})`);
    check(row >= 0 && row < rows, () => `m (${row}) from index[${i},0] out of bounds (>=${rows})`);
    for (let c = 0; c < columns; c++) {
      const at = row * columns + c;
      const factor = b[isRightTurned ? c * inner + k : k * columns + c]!;
      out[at] = isFloat ? out[at]! + a[i]! * factor : (out[at]! + Math.imul(a[i]!, factor)) | 0;
    }
  }
  return [numbersTensor(values.dtype, [rows, columns], out)];
}

export const SPARSE_DENSE_KERNELS: Readonly<Record<string, Kernel>> = {
  SparseToDense: sparseToDense,
  SparseTensorDenseMatMul: sparseTensorDenseMatMul,
};
