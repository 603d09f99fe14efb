/** TensorList ops: lists as values, see TensorList of @shardserve/graph. Texts are those of TensorFlow's list_kernels. */
import { type Shape, TensorList } from "@shardserve/graph";
import { elementCount, type Tensor, tensor, tfDTypeName } from "@shardserve/tensor";
import { appender, build } from "../call/elements.js";
import { check, invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { indexData, integerOf, integersOf, sameShape } from "../call/shapes.js";
import {
  checkLength,
  highestOf,
  listOf,
  fullShape,
  unset,
  partsOf,
  checkElement,
  resized,
  stacked,
} from "./list-values.js";
import { printPartial, partialShape, isCompatible, mergedShape, isFull } from "./partial-shape.js";

function checkDType(op: OpCall, list: TensorList, verb = "Invalid data types"): void {
  const wanted = op.attrs.dtype("element_dtype");
  check(
    wanted === list.elementDType,
    () => `${verb}; op elements ${tfDTypeName(wanted)} but list elements ${tfDTypeName(list.elementDType)}`,
  );
}

/** The shape that elements of a list must have by the list's own word and the op's input. */
function requestedShape(op: OpCall, list: TensorList, input: number): Shape {
  const given = partialShape(op.tensor(input));
  const merged = mergedShape(given, list.elementShape);
  if (merged) return merged.shape;
  throw invalid(
    `Tried to stack elements with incompatible shapes: ${printPartial(given)} vs. ${printPartial(list.elementShape)}`,
  );
}

function reserve(op: OpCall): TensorList[] {
  const count = integerOf(op.tensor(1));
  check(count >= 0, () => `The num_elements to reserve must be a non negative number, but got ${count}`);
  checkLength(count);
  const shape = partialShape(op.tensor(0));
  return [new TensorList(op.attrs.dtype("element_dtype"), shape, unset(count))];
}

function fromTensor(op: OpCall): TensorList[] {
  const value = op.tensor(0);
  const shape = partialShape(op.tensor(1));
  check(value.shape.length > 0, () => "Tensor must be at least a vector, but saw shape: []");
  check(
    isCompatible(shape, value.shape.slice(1)),
    () =>
      `Specified a list with shape ${printPartial(shape)} from a tensor with shape ${printPartial(value.shape.slice(1))}`,
  );
  checkLength(value.shape[0]!);
  return [new TensorList(value.dtype, shape, partsOf(value, undefined))];
}

function getItem(op: OpCall): Tensor[] {
  const list = listOf(op, 0);
  checkDType(op, list);
  const index = integerOf(op.tensor(1));
  check(
    index >= 0 && index < list.length,
    () => `Trying to access element ${index} in a list with ${list.length} elements.`,
  );
  const item = list.items[index];
  if (item) return [item];
  const shape = fullShape(
    requestedShape(op, list, 2),
    list.items,
    (partial) =>
      `Trying to read an uninitialized element but element_shape is not fully defined: ${printPartial(partial)} and no uninitialized element.`,
  );
  return [zeroTensor(list.elementDType, shape)];
}

function setItem(op: OpCall): TensorList[] {
  let list = listOf(op, 0);
  checkDType(op, list);
  const index = integerOf(op.tensor(1));
  if (index >= list.length && op.attrs.bool("resize_if_index_out_of_bounds")) {
    checkLength(index + 1);
    list = resized(list, index + 1);
  }
  check(
    index >= 0 && index < list.length,
    () => `Trying to modify element ${index} in a list with ${list.length} elements.`,
  );
  const value = op.tensor(2);
  checkElement(list, value);
  return [list.with(index, value)];
}

function stack(op: OpCall): Tensor[] {
  const list = listOf(op, 0);
  checkDType(op, list);
  const wanted = op.attrs.int("num_elements");
  check(
    wanted === -1 || wanted === list.length,
    () => `Operation expected a list with ${wanted} elements but got a list with ${list.length} elements.`,
  );
  const requested = requestedShape(op, list, 1);
  const shape = fullShape(requested, list.items, (partial) =>
    list.length === 0
      ? `Tried to stack elements of an empty list with non-fully-defined element_shape: ${printPartial(partial)}`
      : `Tried to stack list which only contains uninitialized tensors and has a non-fully-defined element shape: ${printPartial(partial)}`,
  );
  return [stacked(list.elementDType, shape, list.items)];
}

function gather(op: OpCall): Tensor[] {
  const list = listOf(op, 0);
  checkDType(op, list);
  const indices = Array.from(integersOf(op.tensor(1)));
  for (const index of indices) {
    check(
      index >= 0 && index < list.length,
      () => `Trying to gather element ${index} in a list with ${list.length} elements.`,
    );
  }
  const { items } = list;
  const shape = fullShape(
    requestedShape(op, list, 2),
    items,
    (partial) => `Tried to gather elements with a non-fully-defined element_shape: ${printPartial(partial)}`,
  );
  return [
    stacked(
      list.elementDType,
      shape,
      indices.map((index) => items[index]),
    ),
  ];
}

/** Rows of a tensor go to the elements that `indices` name. */
function scatterInto(op: OpCall, value: Tensor, indicesInput: number, list: TensorList): TensorList {
  const indices = Array.from(integersOf(op.tensor(indicesInput)));
  check(
    value.shape.length > 0 && indices.length === value.shape[0],
    () => `Specified ${indices.length} indices to scatter ${value.shape[0] ?? 0} elements`,
  );
  const items = list.items.slice();
  const rows = partsOf(value, undefined);
  for (const [i, index] of indices.entries()) {
    check(index >= 0, () => `Indices in TensorListScatter must all be non-negative.`);
    checkLength(index + 1);
    while (items.length <= index) items.push(undefined);
    checkElement(list, rows[i]!);
    items[index] = rows[i];
  }
  return new TensorList(list.elementDType, list.elementShape, items);
}

function scatter(op: OpCall, count: number): TensorList[] {
  const value = op.tensor(0);
  const shape = partialShape(op.tensor(2));
  check(count >= -1, () => `TensorListScatter expects num_elements >= -1, found: ${count}`);
  const highest = highestOf(integersOf(op.tensor(1)));
  check(
    count === -1 || highest < count,
    () => `TensorListScatter: Trying to scatter at index ${highest} in list with size ${count}`,
  );
  checkLength(Math.max(count, highest + 1));
  const empty = new TensorList(value.dtype, shape, unset(count === -1 ? highest + 1 : count));
  return [scatterInto(op, value, 1, empty)];
}

function split(op: OpCall): TensorList[] {
  const value = op.tensor(0);
  const shape = partialShape(op.tensor(1));
  const lengths = Array.from(integersOf(op.tensor(2)));
  check(value.shape.length > 0, () => "Tensor must be at least a vector, but saw shape: []");
  for (const length of lengths) check(length >= 0, () => `Invalid value in lengths: ${length}`);
  const total = lengths.reduce((a, b) => a + b, 0);
  check(
    total === value.shape[0],
    () =>
      `Expected sum of lengths to be equal to values.shape[0], but sum of lengths is ${total} and value's shape is: ${printPartial(value.shape)}`,
  );
  checkLength(lengths.length);
  return [new TensorList(value.dtype, shape, partsOf(value, lengths))];
}

/** Elements one after the other along their first dimension, and the length of each. */
function concat(op: OpCall, given: Shape, leading: readonly number[]): Tensor[] {
  const list = listOf(op, 0);
  checkDType(op, list);
  const { items } = list;
  const inner = (shape: Shape): Shape => shape?.slice(1);
  const merged = mergedShape(inner(given), inner(list.elementShape));
  if (!merged)
    throw invalid(`Incompatible element shapes: ${printPartial(given)} vs. ${printPartial(list.elementShape)}`);
  let rest = merged.shape;
  for (const item of items) if (item && !isFull(rest)) rest = mergedShape(rest, item.shape.slice(1))?.shape;
  check(
    isFull(rest),
    () =>
      `All except the first dimension must be fully defined when concating an empty tensor list. element_shape: ${printPartial(given)}`,
  );
  const shape = rest as readonly number[];
  const first = given?.[0] ?? list.elementShape?.[0] ?? -1;
  const lengths = items.map((item, i) => {
    if (item) {
      check(item.shape.length > 0, () => "Concat saw a scalar shape at index " + `${i} but requires at least vectors.`);
      check(
        sameShape(item.shape.slice(1), shape),
        () =>
          `Tried to concat tensors with unequal shapes: ${printPartial(item.shape.slice(1))} vs ${printPartial(shape)}`,
      );
      return item.shape[0]!;
    }
    const length = leading[i] ?? first;
    check(
      length >= 0,
      () =>
        `Concating lists with uninitialized tensors is not supported in this version of TF without leading_dims. Uninitialized element at index ${i}`,
    );
    return length;
  });
  const run = elementCount(shape);
  const result = [lengths.reduce((a, b) => a + b, 0), ...shape];
  const out = appender(list.elementDType, checkedCount(list.elementDType, result));
  for (const [i, item] of items.entries()) {
    const value = item ?? zeroTensor(list.elementDType, [lengths[i]!, ...shape]);
    out.append(value.data, 0, lengths[i]! * run);
  }
  const sizes = tensor("int64", [lengths.length], BigInt64Array.from(lengths, BigInt));
  return [build(list.elementDType, result, out), sizes];
}

function pushBack(op: OpCall): TensorList[] {
  const list = listOf(op, 0);
  checkDType(op, list);
  const value = op.tensor(1);
  checkElement(list, value);
  checkLength(list.length + 1);
  return [new TensorList(list.elementDType, list.elementShape, [...list.items, value])];
}

function popBack(op: OpCall): readonly (TensorList | Tensor)[] {
  const list = listOf(op, 0);
  checkDType(op, list);
  check(list.length > 0, () => "Trying to pop from an empty list.");
  const items = list.items.slice();
  const last = items.pop();
  const value =
    last ??
    zeroTensor(
      list.elementDType,
      fullShape(
        requestedShape(op, list, 1),
        items,
        (partial) =>
          `Trying to read an uninitialized element but element_shape is not fully defined: ${printPartial(partial)}`,
      ),
    );
  return [new TensorList(list.elementDType, list.elementShape, items), value];
}

/** The lists that a tensor of variants holds. */
function listsOf(op: OpCall, i: number): readonly TensorList[] {
  const value = op.tensor(i);
  const items = value.dtype === "variant" ? (value.data as readonly object[]) : [];
  return items.map((item) => {
    if (item instanceof TensorList) return item;
    throw invalid(`input_handles element of ${op.node.op} ${op.node.name} is not a list`);
  });
}

/** Row i of a tensor goes to the end of list i. */
function pushBackBatch(op: OpCall): Tensor[] {
  const lists = listsOf(op, 0);
  const value = op.tensor(1);
  const batch = op.tensor(0).shape;
  check(value.shape.length > 0, () => "Expected tensor to be at least a vector, but saw shape: []");
  check(
    batch.length === 1 && batch[0] === value.shape[0],
    () =>
      `Expected handles.shape to be a prefix of tensor.shape, but saw ${printPartial(batch)} and ${printPartial(value.shape)}`,
  );
  const rows = partsOf(value, undefined);
  const longer = lists.map((list, i) => {
    checkDType(op, list);
    checkElement(list, rows[i]!);
    checkLength(list.length + 1);
    return new TensorList(list.elementDType, list.elementShape, [...list.items, rows[i]]);
  });
  return [tensor("variant", batch, longer)];
}

/** The elements of one list behind those of another: of two lists, or of two tensors of lists, pair by pair. */
function concatLists(op: OpCall): readonly (Tensor | TensorList)[] {
  const [a, b] = [listsOf(op, 0), listsOf(op, 1)];
  const { shape } = op.tensor(0);
  check(
    sameShape(shape, op.tensor(1).shape),
    () =>
      `input_a and input_b must be the same shape, but saw ${printPartial(shape)} and ${printPartial(op.tensor(1).shape)}`,
  );
  const joined = a.map((left, i) => {
    checkDType(op, left);
    checkDType(op, b[i]!);
    const [one, other] = [left, b[i]!].map((list) => printPartial(list.elementShape));
    check(
      one === other,
      () => `input_a and input_b TensorList element shapes are not identical at index ${i}.  Saw ${one} vs. ${other}`,
    );
    const items = left.items.slice();
    checkLength(items.length + b[i]!.length);
    return new TensorList(left.elementDType, left.elementShape, [...items, ...b[i]!.items]);
  });
  return shape.length === 0 ? joined : [tensor("variant", shape, joined)];
}

function elementShape(op: OpCall): Tensor[] {
  const { elementShape: shape } = listOf(op, 0);
  const dtype = op.attrs.dtype("shape_type");
  const dims = shape ?? [-1];
  return [tensor(dtype, shape ? [dims.length] : [], indexData(dtype, dims) as never)];
}

export const LIST_KERNELS: Readonly<Record<string, Kernel>> = {
  TensorListReserve: reserve,
  EmptyTensorList: (op) => [new TensorList(op.attrs.dtype("element_dtype"), partialShape(op.tensor(0)), [])],
  TensorListFromTensor: fromTensor,
  TensorListGetItem: getItem,
  TensorListSetItem: setItem,
  TensorListStack: stack,
  TensorListGather: gather,
  TensorListScatter: (op) => scatter(op, -1),
  TensorListScatterV2: (op) => scatter(op, integerOf(op.tensor(3))),
  TensorListScatterIntoExistingList: (op) => [scatterInto(op, op.tensor(1), 2, listOf(op, 0))],
  TensorListSplit: split,
  TensorListConcat: (op) => concat(op, op.attrs.shape("element_shape"), []),
  TensorListConcatV2: (op) => concat(op, partialShape(op.tensor(1)), Array.from(integersOf(op.tensor(2)))),
  TensorListLength: (op) => [tensor("int32", [], Int32Array.of(listOf(op, 0).length))],
  TensorListElementShape: elementShape,
  TensorListResize: (op) => {
    const size = integerOf(op.tensor(1));
    check(size >= 0, () => `TensorListSlice expects size to be non-negative. Got: ${size}`);
    checkLength(size);
    return [resized(listOf(op, 0), size)];
  },
  TensorListPushBack: pushBack,
  TensorListPushBackBatch: pushBackBatch,
  TensorListConcatLists: concatLists,
  TensorListPopBack: popBack,
};
