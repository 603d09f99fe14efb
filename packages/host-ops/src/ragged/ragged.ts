/** Ragged tensors as values and row splits. */
import { elementCount, isNumeric, type Tensor, zeroedArray } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { appender, build, takeRuns, withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount, checkOutput } from "../call/limits.js";
import { is64Bit, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { paddingOf, placeRows, placeRuns } from "../call/padding.js";
import { countOf, indexData, integersOf, printElement } from "../call/shapes.js";

/** One ragged level: the row of every child, in order. */
interface Level {
  readonly childCount: number;
  /** Of the longest row. */
  readonly longest: number;
  /** Where the rows' children begin, where the level is given so. */
  readonly splits?: ArrayLike<number>;
  /** Row number of every child. */
  rowIds(): ArrayLike<number>;
}

function levelOf(type: string, partition: Tensor): Level {
  const numbers = integersOf(partition);
  if (type === "VALUE_ROWIDS") {
    let longest = 0;
    for (let i = 0, run = 0, before = 0; i < numbers.length; i++) {
      const row = numbers[i]!;
      if (!(row >= before)) throw invalid("row ids must be non-negative and sorted");
      run = row === before ? run + 1 : 1;
      before = row;
      if (run > longest) longest = run;
    }
    return { childCount: numbers.length, longest, rowIds: () => numbers };
  }
  check(type === "ROW_SPLITS", () => `row partition type ${type} is not supported`);
  check(
    numbers.length > 0 && numbers[0] === 0,
    () => "Partition tensor must not be empty and row splits must start at 0",
  );
  let longest = 0;
  for (let row = 0; row + 1 < numbers.length; row++) {
    const size = numbers[row + 1]! - numbers[row]!;
    if (!(size >= 0)) throw invalid("row splits must not decrease");
    if (size > longest) longest = size;
  }
  const childCount = numbers[numbers.length - 1]!;
  return { childCount, longest, splits: numbers, rowIds: () => rowIdsOf(numbers, childCount) };
}

function rowIdsOf(splits: ArrayLike<number>, childCount: number): Float64Array {
  checkOutput("int64", childCount);
  const rowIds = zeroedArray(Float64Array, childCount);
  for (let row = 0; row + 1 < splits.length; row++) rowIds.fill(row, splits[row], splits[row + 1]);
  return rowIds;
}

function raggedTensorToTensor(op: OpCall): Tensor[] {
  const [shapeInput, values, filler] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const types = op.attrs.texts("row_partition_types");
  const partitions = op.tensors(3);
  check(partitions.length > 0 && partitions.length === types.length, () => "at least one row partition is needed");
  const hasFirst = types[0] === "FIRST_DIM_SIZE";
  const first = hasFirst ? integersOf(partitions[0]!)[0]! : partitions[0]!.shape[0]! - 1;
  check(hasFirst || types[0] === "ROW_SPLITS", () => `Cannot handle VALUE_ROWIDS in first dimension.`);
  const levels = types.slice(hasFirst ? 1 : 0).map((type, k) => levelOf(type, partitions[k + (hasFirst ? 1 : 0)]!));
  const rowShape = values.shape.slice(1);
  const shape = denseShape(shapeInput, [first, ...levels.map((level) => level.longest)], values);
  const total = checkedCount(values.dtype, shape);
  const run = elementCount(rowShape);
  const padding = broadcastTo(filler, rowShape);
  const last = levels[levels.length - 1];
  if (last?.splits && isNumeric(values.dtype)) {
    const starts = placesOf(levels.slice(0, -1), first, shape, levels.length);
    checkChildren(values, last.childCount);
    // Only rows without children may be more than their parents.
    for (let row = starts.length; row + 1 < last.splits.length; row++) {
      if (last.splits[row + 1]! > last.splits[row]!) throw outsideRows(row, starts.length);
    }
    const out = paddingOf(values.dtype, total, padding);
    placeRows(out, values, last.splits, starts, shape[levels.length]!, run);
    return [withData(values.dtype, shape, out)];
  }
  const places = placesOf(levels, first, shape, levels.length);
  checkChildren(values, places.length);
  if (!isNumeric(values.dtype)) return [placeTexts(values, places, shape, run, padding)];
  const out = paddingOf(values.dtype, total, padding);
  if (run !== 1) for (let i = 0; i < places.length; i++) if (places[i]! > 0) places[i] = places[i]! * run;
  placeRuns(out, values, places, run);
  return [withData(values.dtype, shape, out)];
}

/**
 * The shape asked for, in its unknown dims that which all rows fit into.
 *
 * @param rowDims  dims of the rows' places: the count of the outermost, then the longest of each level
 */
function denseShape(shapeInput: Tensor, rowDims: readonly number[], values: Tensor): number[] {
  const rowShape = values.shape.slice(1);
  const given = shapeInput.shape.length === 0 ? undefined : Array.from(integersOf(shapeInput));
  if (!given)
    check(
      integersOf(shapeInput)[0] === -1,
      () => "The only valid scalar shape tensor is the fully unknown shape specified as -1.",
    );
  const rank = rowDims.length + rowShape.length;
  check(!given || given.length === rank, () => `shape must have ${rank} dims, got ${given?.length}`);
  const shape = [...rowDims, ...rowShape].map((dim, d) => (given && given[d]! >= 0 ? given[d]! : dim));
  check(
    rowShape.every((dim, d) => dim === shape[rowDims.length + d]),
    () => `shape ${printShape(shape)} does not fit values of shape ${printShape(values.shape)}`,
  );
  return shape;
}

function checkChildren(values: Tensor, count: number): void {
  check(count === values.shape[0], () => `values has ${values.shape[0]} rows, the row partitions say ${count}`);
}

function outsideRows(row: number, count: number): Error {
  return invalid(`row id ${row} is out of range [0, ${count})`);
}

/**
 * The output row of every child of the last of some levels, -1 where it is cut off; of a row with levels below it, the first of them.
 *
 * @param depth  count of all levels
 */
function placesOf(levels: readonly Level[], first: number, shape: readonly number[], depth: number): Float64Array {
  const stepOf = (level: number) => countOf(shape, level + 1, depth + 1);
  let parents = zeroedArray(Float64Array, Math.max(0, first)).fill(-1);
  for (let i = 0, step = stepOf(0); i < Math.min(parents.length, shape[0]!); i++) parents[i] = i * step;
  levels.forEach((level, k) => {
    const rowIds = level.rowIds();
    const children = zeroedArray(Float64Array, rowIds.length);
    const step = stepOf(k + 1);
    const width = shape[k + 1]!;
    for (let i = 0, position = 0, before = -1; i < rowIds.length; i++) {
      const row = rowIds[i]!;
      position = row === before ? position + 1 : 0;
      before = row;
      const parent = parents[row];
      if (parent === undefined) throw outsideRows(row, parents.length);
      children[i] = parent >= 0 && position < width ? parent + position * step : -1;
    }
    parents = children;
  });
  return parents;
}

/** Strings have no place to be put: they are appended in the order of the output, neighbours together. */
function placeTexts(
  values: Tensor,
  places: Float64Array,
  shape: readonly number[],
  run: number,
  padding: Tensor,
): Tensor {
  const rows = countOf(shape, 0, shape.length - (values.shape.length - 1));
  const from = new Int32Array(rows).fill(-1);
  for (let i = 0; i < places.length; i++) if (places[i]! >= 0) from[places[i]!] = i;
  const out = appender(values.dtype, elementCount(shape));
  for (let r = 0; r < rows; ) {
    if (from[r]! < 0) {
      out.append(padding.data, 0, run);
      r++;
      continue;
    }
    let end = r + 1;
    while (end < rows && from[end] === from[r]! + end - r) end++;
    out.append(values.data, from[r]! * run, (end - r) * run);
    r = end;
  }
  return build(values.dtype, shape, out);
}

function raggedRange(op: OpCall): Tensor[] {
  const inputs = op.tensors(0, 3);
  const dtype = inputs[0]!.dtype;
  for (const value of inputs)
    check(value.shape.length <= 1, () => "starts, limits and deltas must be scalars or vectors");
  const sizes = inputs.filter((value) => value.shape.length > 0).map((value) => value.shape[0]!);
  check(
    sizes.every((size) => size === sizes[0]),
    () => "starts, limits, and deltas must have the same shape",
  );
  const rows = sizes[0] ?? 1;
  const [starts, limits, deltas] = inputs.map(numbersOf);
  const at = (k: number, numbers: ArrayLike<number>, row: number) => numbers[inputs[k]!.shape.length === 0 ? 0 : row]!;
  const splits = new Float64Array(rows + 1);
  for (let row = 0; row < rows; row++) {
    const [start, limit, delta] = [at(0, starts!, row), at(1, limits!, row), at(2, deltas!, row)];
    check(delta !== 0, () => "Requires delta != 0");
    const size = Math.max(0, Math.ceil((limit - start) / delta));
    splits[row + 1] = splits[row]! + size;
    check(!Number.isNaN(size), () => "Requires start, limit and delta to be numbers");
    checkOutput(dtype, splits[row + 1]!);
  }
  const total = splits[rows]!;
  const out = numberArray(dtype, total);
  const isFloat = !is64Bit(dtype) && dtype === "float32";
  for (let row = 0; row < rows; row++) {
    let next = at(0, starts!, row);
    const delta = at(2, deltas!, row);
    for (let i = splits[row]!; i < splits[row + 1]!; i++) {
      out[i] = next;
      next = isFloat ? Math.fround(next + delta) : next + delta;
    }
  }
  const splitType = op.attrs.dtype("Tsplits");
  return [withData(splitType, [rows + 1], indexData(splitType, splits)), numbersTensor(dtype, [total], out)];
}

function raggedGather(op: OpCall): Tensor[] {
  const depth = op.attrs.int("PARAMS_RAGGED_RANK");
  const splitTensors = op.tensors(0, depth);
  const values = op.tensor(depth);
  const indices = op.tensor(depth + 1);
  check(indices.shape.length > 0, () => "indices must be at least a vector");
  const ids = integersOf(indices);
  const splits = splitTensors.map(integersOf);
  splits.forEach((list, k) => {
    const limit = k + 1 < depth ? splits[k + 1]!.length - 1 : values.shape[0]!;
    check(list.length > 0 && list[0] === 0, () => "Ragged splits must start from 0");
    for (let i = 1; i < list.length; i++) check(list[i]! >= list[i - 1]!, () => "Ragged splits must be sorted");
    check(list[list.length - 1]! <= limit, () => "Ragged splits must not point past values");
  });
  const rows = splits[0]!.length - 1;
  const out: Tensor[] = [];
  const splitType = splitTensors[0]!.dtype;
  const push = (list: ArrayLike<number>) => out.push(withData(splitType, [list.length], indexData(splitType, list)));
  // The outer dims of the indices become uniform splits.
  for (let d = 1; d < indices.shape.length; d++) {
    const count = countOf(indices.shape, 0, d);
    push(Float64Array.from({ length: count + 1 }, (_, i) => i * indices.shape[d]!));
  }
  let ranges: [number, number][] = Array.from(ids, (id, i): [number, number] => {
    if (!(id >= 0 && id < rows))
      throw invalid(
        `indices${indices.shape.length === 1 ? `[${i}]` : ""} = ${printElement(indices, i)} is not in [0, ${rows})`,
      );
    return [id, id + 1];
  });
  for (const list of splits) {
    const lengths: number[] = [0];
    const next: [number, number][] = [];
    for (const [from, to] of ranges) {
      for (let row = from; row < to; row++) lengths.push(lengths[lengths.length - 1]! + list[row + 1]! - list[row]!);
      next.push([list[from]!, list[to]!]);
    }
    push(lengths);
    ranges = next;
  }
  const run = countOf(values.shape, 1);
  const total = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  checkOutput(values.dtype, total * run);
  const starts = new Float64Array(total);
  let at = 0;
  for (const [from, to] of ranges) for (let row = from; row < to; row++) starts[at++] = row * run;
  out.push(takeRuns(values, starts, run, [total, ...values.shape.slice(1)]));
  return out;
}

export const RAGGED_KERNELS: Readonly<Record<string, Kernel>> = {
  RaggedTensorToTensor: raggedTensorToTensor,
  RaggedRange: raggedRange,
  RaggedGather: raggedGather,
};
