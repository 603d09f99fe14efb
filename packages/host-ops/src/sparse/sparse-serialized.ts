/** Sparse tensors as elements of others: three TensorProto messages, or variants that hold a tensor (indices, values, dense shape), each. */
import { ServingError } from "@shardserve/core";
import {
  decodeTensorProto,
  elementCount,
  encodeTensorProto,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { appender, build } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { indicesTensor, pick, type Sparse, shapeTensor, sparseAt } from "./sparse.js";

const PARTS = 3;

function bytesOf(value: Tensor): Uint8Array {
  return encodeTensorProto(value, { asContent: true });
}

function partsOf({ indices, values, shape }: Sparse): Tensor[] {
  return [indicesTensor(indices, shape.length), values, shapeTensor(shape)];
}

/** The parts of sparse tensors in the form that the op is asked for. */
function serialized(op: OpCall, shape: readonly number[], parts: readonly Tensor[]): Tensor {
  if (op.attrs.dtype("out_type") === "variant") return tensor("variant", shape, parts);
  return tensor("string", shape, StringColumn.from(parts.map(bytesOf)));
}

function serializeSparse(op: OpCall): Tensor[] {
  const sparse = sparseAt(op, 0, 1, 2);
  return [serialized(op, [PARTS], [op.tensor(0), sparse.values, op.tensor(2)])];
}

/** One sparse tensor for each row of a batch; rows without values are empty ones. */
function serializeMany(op: OpCall): Tensor[] {
  const { indices, values, shape, count } = sparseAt(op, 0, 1, 2);
  const rank = shape.length;
  check(rank > 1, () => `Rank of input SparseTensor should be > 1, but saw rank: ${rank}`);
  const rows = shape[0]!;
  const parts: Tensor[] = [];
  const inner = shape.slice(1);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    const start = at;
    while (at < count && indices[at * rank] === row) at++;
    const own: number[] = [];
    for (let i = start; i < at; i++) for (let d = 1; d < rank; d++) own.push(indices[i * rank + d]!);
    const members = Int32Array.from({ length: at - start }, (_, i) => start + i);
    parts.push(...partsOf({ indices: own, values: pick(values, members), shape: inner, count: at - start }));
  }
  check(at === count, () => `Received an index that is out of order or not within [0, ${rows}) in its first column`);
  return [serialized(op, [rows, PARTS], parts)];
}

function parse(bytes: Uint8Array, what: string): Tensor {
  try {
    return decodeTensorProto(bytes);
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    throw invalid(`Could not parse serialized proto of ${what}: ${error.message}`);
  }
}

/** One part of a sparse tensor. */
function partAt({ data }: Tensor, i: number): Tensor {
  const what = `serialized[${Math.floor(i / PARTS)}, ${i % PARTS}]`;
  if (data instanceof StringColumn) return parse(data.at(i), what);
  const element = (data as readonly object[])[i]!;
  if ("dtype" in element) return element as Tensor;
  throw invalid(`Could not get a tensor from ${what}`);
}

function parsed(from: Tensor, i: number, dtype: Tensor["dtype"]): Sparse {
  const [indices, values, shape] = [0, 1, 2].map((k) => partAt(from, i * PARTS + k)) as [Tensor, Tensor, Tensor];
  check(
    indices.dtype === "int64" && indices.shape.length === 2,
    () => `Expected serialized[${i}, 0] to represent an index matrix but received shape ${printShape(indices.shape)}`,
  );
  check(
    values.shape.length === 1 && values.dtype === dtype,
    () =>
      `Expected serialized[${i}, 1] to represent a values vector of ${dtype} but received ${values.dtype} of shape ${printShape(values.shape)}`,
  );
  check(
    shape.dtype === "int64" && shape.shape.length === 1,
    () => `Expected serialized[${i}, 2] to be a shape vector but its shape is ${printShape(shape.shape)}`,
  );
  const [count, rank] = indices.shape as [number, number];
  check(
    values.shape[0] === count && shape.shape[0] === rank,
    () =>
      `Expected row counts of SparseTensor.indices and SparseTensor.values to match, and its rank that of its shape`,
  );
  return { indices: integersOf(indices), values, shape: Array.from(integersOf(shape)), count };
}

/** Sparse tensors of a batch one behind another, as one of the batch's dimensions and theirs. */
function joined(batch: readonly number[], parts: readonly Sparse[], dtype: Tensor["dtype"]): Tensor[] {
  const first = parts[0];
  if (!first) throw invalid("Must have at least 1 serialized SparseTensor, but input matrix has 0 rows");
  const rank = first.shape.length;
  const shape = first.shape.slice();
  const total = parts.reduce((sum, { count }) => sum + count, 0);
  const indices = new Float64Array(total * (batch.length + rank));
  const out = appender(dtype, total);
  let to = 0;
  for (const [i, part] of parts.entries()) {
    check(
      part.shape.length === rank,
      () =>
        `Inconsistent rank across SparseTensors: rank prior to SparseTensor[${i}] was: ${rank} but rank of it is: ${part.shape.length}`,
    );
    part.shape.forEach((dim, d) => (shape[d] = Math.max(shape[d]!, dim)));
    for (let k = 0; k < part.count; k++) {
      for (let d = batch.length - 1, rest = i; d >= 0; d--) {
        indices[to + d] = rest % batch[d]!;
        rest = Math.floor(rest / batch[d]!);
      }
      to += batch.length;
      for (let d = 0; d < rank; d++) indices[to++] = part.indices[k * rank + d]!;
    }
    out.appendRuns(
      part.values.data,
      Int32Array.from({ length: part.count }, (_, k) => k),
      1,
    );
  }
  const full = [...batch, ...shape];
  return [indicesTensor(indices, full.length), build(dtype, [total], out), shapeTensor(full)].map((value, i) =>
    i === 0 && total === 0 ? tensor("int64", [0, full.length], fromIntegers([])) : value,
  );
}

function deserializeSparse(op: OpCall): Tensor[] {
  const from = op.tensor(0);
  const { shape } = from;
  check(
    shape.length > 0 && shape.at(-1) === PARTS,
    () => `Serialized sparse should have non-zero rank and 3 as the last dimension but got shape ${printShape(shape)}`,
  );
  const batch = shape.slice(0, -1);
  const dtype = op.attrs.dtype("dtype");
  const parts = Array.from({ length: elementCount(batch) }, (_, i) => parsed(from, i, dtype));
  return joined(batch, parts, dtype);
}

export const SPARSE_SERIALIZED_KERNELS: Readonly<Record<string, Kernel>> = {
  SerializeSparse: serializeSparse,
  SerializeManySparse: serializeMany,
  DeserializeSparse: deserializeSparse,
  DeserializeManySparse: deserializeSparse,
};
