/**
 * TensorArrayV3 ops, which TF1 loops use. Reads and writes are ordered by a flow value that every op takes and gives; here
 * the flow *is* the array (a TensorList), so that arrays are values and need no state. The handle only names the node.
 */
import { ServingError } from "@shardserve/core";
import { TensorList } from "@shardserve/graph";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { appender, build } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { zeroTensor } from "../call/op-call.js";
import { integerOf, integersOf, sameShape } from "../call/shapes.js";
import { checkLength, highestOf, listOf, partsOf, resized, stacked, unset } from "./list-values.js";
import { isCompatible, printPartial } from "./partial-shape.js";

function create(op: OpCall) {
  const size = integerOf(op.tensor(0));
  check(size >= 0, () => `Size should be >= 0.`);
  checkLength(size);
  const array = new TensorList(op.attrs.dtype("dtype"), op.attrs.shape("element_shape"), unset(size));
  return [{ kind: "other" as const, key: op.node.name }, array];
}

function checkElement(array: TensorList, value: Tensor, index: number): void {
  check(
    isCompatible(array.elementShape, value.shape),
    () =>
      `Could not write to TensorArray index ${index} because the value shape is ${printPartial(value.shape)} which is incompatible with the TensorArray's inferred element shape: ${printPartial(array.elementShape)} (consider setting infer_shape=False).`,
  );
}

/** Arrays grow where TF1 made them with dynamic_size; an array of fixed size is never written beyond it by real models. */
function grown(array: TensorList, length: number): TensorList {
  if (length <= array.length) return array;
  checkLength(length);
  return resized(array, length);
}

function write(op: OpCall): TensorList[] {
  const index = integerOf(op.tensor(1));
  const value = op.tensor(2);
  check(index >= 0, () => `Tried to write to index ${index} but array size is: ${listOf(op, 3).length}`);
  const array = grown(listOf(op, 3), index + 1);
  check(
    value.dtype === array.elementDType,
    () => `TensorArray dtype is ${array.elementDType} but Op is trying to write dtype ${value.dtype}.`,
  );
  checkElement(array, value, index);
  return [array.with(index, value)];
}

function elementAt(array: TensorList, index: number): Tensor {
  check(
    index >= 0 && index < array.length,
    () => `Tried to read from index ${index} but array size is: ${array.length}`,
  );
  const item = array.items[index];
  if (item) return item;
  const shape = array.elementShape;
  if (shape?.every((dim) => dim >= 0)) return zeroTensor(array.elementDType, shape);
  throw invalid(
    `Could not read index ${index} twice because it was cleared after a previous read, or it was never written and the element shape is not fully known.`,
  );
}

function gather(op: OpCall): Tensor[] {
  const array = listOf(op, 2);
  const indices = integersOf(op.tensor(1));
  const items = Array.from(indices, (index) => elementAt(array, index));
  const stated = op.attrs.shape("element_shape") ?? array.elementShape;
  const shape = items[0]?.shape ?? stated;
  if (!shape?.every((dim) => dim >= 0)) {
    throw new ServingError(
      "UNIMPLEMENTED",
      `TensorArray has size zero, but element shape ${printPartial(stated)} is not fully defined. Currently only static shapes are supported when packing zero-size TensorArrays.`,
    );
  }
  return [stacked(array.elementDType, shape, items)];
}

function scatter(op: OpCall): TensorList[] {
  const value = op.tensor(2);
  const indices = Array.from(integersOf(op.tensor(1)));
  check(
    value.shape.length > 0 && value.shape[0] === indices.length,
    () => `Expected len(indices) == values.shape[0], but saw: ${indices.length} vs. ${value.shape[0] ?? 0}`,
  );
  const rows = partsOf(value, undefined);
  const array = grown(listOf(op, 3), highestOf(indices) + 1);
  const items = array.items.slice();
  for (const [i, index] of indices.entries()) {
    check(index >= 0, () => `Tried to write to index ${index} but array size is: ${array.length}`);
    checkElement(array, rows[i]!, index);
    items[index] = rows[i];
  }
  return [new TensorList(array.elementDType, array.elementShape, items)];
}

function split(op: OpCall): TensorList[] {
  const value = op.tensor(1);
  const lengths = Array.from(integersOf(op.tensor(2)));
  check(value.shape.length > 0, () => `Expected value to be at least a vector, but received shape: []`);
  const total = lengths.reduce((a, b) => a + b, 0);
  check(
    total === value.shape[0] && lengths.every((length) => length >= 0),
    () =>
      `Expected sum of lengths to be equal to values.shape[0], but sum of lengths is ${total} and value's shape is: ${printPartial(value.shape)}`,
  );
  let array = grown(listOf(op, 3), lengths.length);
  for (const [i, part] of partsOf(value, lengths).entries()) array = array.with(i, part);
  return [array];
}

function concat(op: OpCall): Tensor[] {
  const array = listOf(op, 1);
  const items = Array.from({ length: array.length }, (_, i) => elementAt(array, i));
  const first = items[0];
  const except = op.attrs.shape("element_shape_except0");
  const inner = first?.shape.slice(1) ?? except;
  if (!inner?.every((dim) => dim >= 0)) {
    throw new ServingError(
      "UNIMPLEMENTED",
      "TensorArray has size zero, but element_shape_except0 is not fully defined.",
    );
  }
  for (const [i, item] of items.entries()) {
    check(item.shape.length > 0, () => `Concat saw a scalar shape at index ${i} but requires at least vectors.`);
    check(
      sameShape(item.shape.slice(1), inner),
      () =>
        `TensorArray has inconsistent shapes. Index 0 has (excepting dimension 0) shape: ${printPartial(inner)} but index ${i} has (excepting dimension 0) shape: ${printPartial(item.shape.slice(1))}`,
    );
  }
  const lengths = items.map((item) => item.shape[0]!);
  const shape = [lengths.reduce((a, b) => a + b, 0), ...inner];
  const out = appender(array.elementDType, checkedCount(array.elementDType, shape));
  for (const item of items) out.append(item.data, 0, elementCount(item.shape));
  return [
    build(array.elementDType, shape, out),
    tensor("int64", [lengths.length], BigInt64Array.from(lengths, BigInt)),
  ];
}

export const ARRAY_KERNELS: Readonly<Record<string, Kernel>> = {
  TensorArrayV3: create,
  TensorArrayWriteV3: write,
  TensorArrayReadV3: (op) => [elementAt(listOf(op, 2), integerOf(op.tensor(1)))],
  TensorArrayGatherV3: gather,
  TensorArrayScatterV3: scatter,
  TensorArraySplitV3: split,
  TensorArrayConcatV3: concat,
  TensorArraySizeV3: (op) => [tensor("int32", [], Int32Array.of(listOf(op, 1).length))],
};
