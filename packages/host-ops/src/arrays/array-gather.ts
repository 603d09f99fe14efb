/** Ops that pick rows by index, sort them into parts, and put parts together again. */
import { elementCount, type Tensor, zeroedArray } from "@shardserve/tensor";
import { appender, build, takeRuns } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { countOf, integerOf, integersOf, normalAxis, printElement, printIndex, sameShape } from "../call/shapes.js";
import { printTuple, slicesOf } from "./index-tuples.js";

/**
 * Gathers slices of `params` along `axis`, batched over the first `batchDims` dims.
 *
 * @throws ServingError INVALID_ARGUMENT "indices[i] = X is not in [0, N)"
 */
export function gather(params: Tensor, indices: Tensor, givenAxis: number, givenBatchDims: number): Tensor {
  const rank = params.shape.length;
  check(rank > 0, () => "params must be at least 1 dimensional");
  const axis = normalAxis(
    givenAxis,
    rank,
    () => `Expected params to have rank at least ${givenAxis < 0 ? -givenAxis : givenAxis + 1} but got ${rank}`,
  );
  const indexRank = indices.shape.length;
  check(
    givenBatchDims >= -indexRank && givenBatchDims <= indexRank,
    () => `Expected batch_dims in the range [${-indexRank}, ${indexRank}], but got ${givenBatchDims}`,
  );
  const batchDims = givenBatchDims < 0 ? givenBatchDims + indexRank : givenBatchDims;
  check(batchDims < rank, () => `batch_dims (${batchDims}) must be less than rank(params) (${rank}).`);
  check(axis >= batchDims, () => `batch_dims (${batchDims}) must be less than or equal to axis (${axis}).`);
  for (let d = 0; d < batchDims; d++) {
    check(
      params.shape[d] === indices.shape[d],
      () => `params.shape[${d}]: ${params.shape[d]} should be equal to indices.shape[${d}]: ${indices.shape[d]}`,
    );
  }
  const rows = params.shape[axis]!;
  const batch = countOf(params.shape, 0, batchDims);
  const outer = countOf(params.shape, batchDims, axis);
  const inner = countOf(params.shape, axis + 1);
  const perBatch = countOf(indices.shape, batchDims);
  const ids = integersOf(indices);
  const shape = params.shape.slice(0, axis).concat(indices.shape.slice(batchDims), params.shape.slice(axis + 1));
  checkedCount(params.dtype, shape);
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (!(id >= 0 && id < rows)) {
      throw invalid(`indices${printIndex(indices.shape, i)} = ${printElement(indices, i)} is not in [0, ${rows})`);
    }
  }
  const starts = zeroedArray(Float64Array, batch * outer * perBatch);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let o = 0; o < outer; o++) {
      const base = (b * outer + o) * rows;
      for (let i = 0; i < perBatch; i++) starts[at++] = (base + ids[b * perBatch + i]!) * inner;
    }
  }
  return takeRuns(params, starts, inner, shape);
}

function gatherNd(params: Tensor, indices: Tensor): Tensor {
  check(params.shape.length > 0, () => "params must be at least a vector");
  check(indices.shape.length > 0, () => "indices must be at least a vector");
  const depth = indices.shape[indices.shape.length - 1]!;
  check(
    depth <= params.shape.length,
    () => `index innermost dimension length must be <= params rank; saw: ${depth} vs. ${params.shape.length}`,
  );
  const slices = slicesOf(indices, params.shape);
  const shape = indices.shape.slice(0, -1).concat(slices.shape);
  checkedCount(params.dtype, shape);
  if (elementCount(indices.shape) > 0 || depth === 0) {
    check(
      elementCount(params.shape) > 0 || slices.numbers.length === 0,
      () => "Requested more than 0 entries, but params is empty.  Params shape: " + printShape(params.shape),
    );
  }
  check(
    slices.bad < 0,
    () => `${printTuple(indices, slices.bad)} does not index into param shape ${printShape(params.shape)}`,
  );
  const starts = slices.numbers;
  for (let i = 0; i < starts.length; i++) starts[i] = starts[i]! * slices.size;
  return takeRuns(params, starts, slices.size, shape);
}

function oneHot(op: OpCall): Tensor[] {
  const indices = op.tensor(0);
  check(op.tensor(1).shape.length === 0, () => `depth must be a scalar, but got: ${printShape(op.tensor(1).shape)}`);
  const depth = integerOf(op.tensor(1));
  const [on, off] = [op.tensor(2), op.tensor(3)];
  check(on.shape.length === 0, () => `on_value must be a scalar, but got: ${printShape(on.shape)}`);
  check(off.shape.length === 0, () => `off_value must be a scalar, but got: ${printShape(off.shape)}`);
  const rank = indices.shape.length;
  const given = op.attrs.int("axis");
  check(given >= -1 && given <= rank, () => `Expected axis to be -1 or between [0, ${rank}]. But received: ${given}`);
  check(depth >= 0, () => `depth must be non-negative, got: ${depth}`);
  const axis = given === -1 ? rank : given;
  const shape = indices.shape.toSpliced(axis, 0, depth);
  const count = checkedCount(on.dtype, shape);
  const ids = integersOf(indices);
  const inner = countOf(indices.shape, axis);
  // Elements 0 and 1 of this pair are off and on.
  const pair = appender(on.dtype, 2);
  pair.append(off.data, 0, 1);
  pair.append(on.data, 0, 1);
  const picks = new Uint8Array(count);
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    // Out of range (also negative) is all off; TensorFlow says so, unlike ONNX.
    if (id >= 0 && id < depth) picks[(Math.floor(i / inner) * depth + id) * inner + (i % inner)] = 1;
  }
  const out = appender(on.dtype, count);
  out.appendRuns(pair.build(), picks, 1);
  return [build(on.dtype, shape, out)];
}

function dynamicPartition(op: OpCall): Tensor[] {
  const [data, partitions] = [op.tensor(0), op.tensor(1)];
  const count = op.attrs.int("num_partitions");
  const rank = partitions.shape.length;
  check(
    sameShape(partitions.shape, data.shape.slice(0, rank)),
    () =>
      `data.shape must start with partitions.shape, got data.shape = ${printShape(data.shape)}, partitions.shape = ${printShape(partitions.shape)}`,
  );
  const of = integersOf(partitions);
  const sizes = new Int32Array(count);
  for (let i = 0; i < of.length; i++) {
    const p = of[i]!;
    check(p >= 0 && p < count, () => `partitions${printIndex(partitions.shape, i)} = ${p} is not in [0, ${count})`);
    sizes[p] = sizes[p]! + 1;
  }
  const run = countOf(data.shape, rank);
  const starts = Array.from(sizes, (size) => new Float64Array(size));
  sizes.fill(0);
  for (let i = 0; i < of.length; i++) {
    const p = of[i]!;
    starts[p]![sizes[p]!] = i * run;
    sizes[p] = sizes[p]! + 1;
  }
  return starts.map((list) => takeRuns(data, list, run, [list.length, ...data.shape.slice(rank)]));
}

function dynamicStitch(op: OpCall): Tensor[] {
  const n = op.attrs.int("N");
  const indices = op.tensors(0, n);
  const data = op.tensors(n, 2 * n);
  const ids = indices.map(integersOf);
  let rows = 0;
  for (const list of ids) for (let i = 0; i < list.length; i++) rows = Math.max(rows, list[i]! + 1);
  const rowShape = data[0]!.shape.slice(indices[0]!.shape.length);
  const run = elementCount(rowShape);
  const shape = [rows, ...rowShape];
  const dtype = data[0]!.dtype;
  const count = checkedCount(dtype, shape);
  const fromInput = new Int32Array(rows).fill(-1);
  const fromRow = new Int32Array(rows);
  for (let k = 0; k < n; k++) {
    const leading = indices[k]!.shape;
    check(
      sameShape(data[k]!.shape.slice(0, leading.length), leading),
      () =>
        `data[${k}].shape = ${printShape(data[k]!.shape)} does not start with indices[${k}].shape = ${printShape(leading)}`,
    );
    check(
      sameShape(data[k]!.shape.slice(leading.length), rowShape),
      () =>
        `Need data[0].shape[${indices[0]!.shape.length}:] = data[${k}].shape[${leading.length}:], got data[0].shape = ${printShape(data[0]!.shape)}, data[${k}].shape = ${printShape(data[k]!.shape)}`,
    );
    const list = ids[k]!;
    for (let i = 0; i < list.length; i++) {
      check(list[i]! >= 0, () => `indices[${k}] is out of range`);
      fromInput[list[i]!] = k;
      fromRow[list[i]!] = i;
    }
  }
  const missing = zeroTensor(dtype, rowShape);
  const out = appender(dtype, count);
  for (let r = 0; r < rows; r++) {
    if (fromInput[r]! < 0) out.append(missing.data, 0, run);
    else out.append(data[fromInput[r]!]!.data, fromRow[r]! * run, run);
  }
  return [build(dtype, shape, out)];
}

export const GATHER_KERNELS: Readonly<Record<string, Kernel>> = {
  Gather: (op) => [gather(op.tensor(0), op.tensor(1), 0, 0)],
  ResourceGather: (op) => [gather(op.tensor(0), op.tensor(1), op.attrs.int("batch_dims"), op.attrs.int("batch_dims"))],
  GatherV2: (op) => {
    check(op.tensor(2).shape.length === 0, () => "axis must be scalar");
    return [gather(op.tensor(0), op.tensor(1), integerOf(op.tensor(2)), op.attrs.int("batch_dims"))];
  },
  GatherNd: (op) => [gatherNd(op.tensor(0), op.tensor(1))],
  ResourceGatherNd: (op) => [gatherNd(op.tensor(0), op.tensor(1))],
  OneHot: oneHot,
  DynamicPartition: dynamicPartition,
  DynamicStitch: dynamicStitch,
  ParallelDynamicStitch: dynamicStitch,
};
