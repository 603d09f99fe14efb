/** Ops that look for equal elements: Unique and set differences. */
import {
  type DType,
  elementCount,
  lanesOf,
  type StringColumn,
  type Tensor,
  tensor,
  zeroedArray,
} from "@shardserve/tensor";
import { takeRuns } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { BytesIndex, Int64Index } from "../call/key-index.js";
import { is64Bit, numbersOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, indexData, integersOf } from "../call/shapes.js";

/** Gives each distinct element an ordinal in order of first appearance. */
export interface ElementIndex {
  readonly count: number;
  /** Ordinal of element i of `source`, added when it is new. */
  add(i: number): number;
  /** Ordinal of element i of another tensor of the same dtype, or -1. */
  findIn(other: Tensor): (i: number) => number;
}

const bits = new Float64Array(1);
const bitLanes = new Int32Array(bits.buffer);

function elementIndex(source: Tensor): ElementIndex {
  return source.dtype === "string" ? bytesElements(source) : numericElements(source);
}

function bytesElements(source: Tensor): ElementIndex {
  const column = source.data as StringColumn;
  const index = new BytesIndex(Math.min(column.length, 1 << 16), Math.min(column.bytes.length, 1 << 20));
  return {
    get count() {
      return index.count;
    },
    add: (i) => index.add(column.bytes, column.offsets[i]!, column.offsets[i + 1]!),
    findIn: (other) => {
      const { bytes, offsets } = other.data as StringColumn;
      return (i) => index.find(bytes, offsets[i]!, offsets[i + 1]!);
    },
  };
}

function numericElements(source: Tensor): ElementIndex {
  const index = new Int64Index(Math.min(elementCount(source.shape), 1 << 16));
  const lanes = keyLanes(source);
  const isNan = nanTest(source.dtype);
  return {
    get count() {
      return index.count;
    },
    add: (i) => {
      const [low, high] = [lanes[2 * i]!, lanes[2 * i + 1]!];
      // NaN equals nothing, itself included.
      return isNan(low, high) ? index.append(low, high) : index.add(low, high);
    },
    findIn: (other) => {
      const otherLanes = keyLanes(other);
      return (i) => {
        const [low, high] = [otherLanes[2 * i]!, otherLanes[2 * i + 1]!];
        return isNan(low, high) ? -1 : index.find(low, high);
      };
    },
  };
}

/** Elements as 64-bit keys that are equal when the elements are: -0 becomes 0. */
function keyLanes(value: Tensor): Int32Array {
  if (is64Bit(value.dtype)) return lanesOf(value.data as BigInt64Array);
  const numbers = numbersOf(value);
  const lanes = new Int32Array(numbers.length * 2);
  for (let i = 0; i < numbers.length; i++) {
    bits[0] = numbers[i]! + 0;
    lanes[2 * i] = bitLanes[0]!;
    lanes[2 * i + 1] = bitLanes[1]!;
  }
  return lanes;
}

function nanTest(dtype: DType): (low: number, high: number) => boolean {
  if (is64Bit(dtype)) return () => false;
  return (low, high) => (high & 0x7ff0_0000) === 0x7ff0_0000 && ((high & 0xf_ffff) !== 0 || low !== 0);
}

interface Distinct {
  /** First position of each distinct element. */
  readonly firsts: number[];
  /** Ordinal of every element. */
  readonly ordinals: Int32Array;
}

export function distinct(value: Tensor): Distinct {
  const count = elementCount(value.shape);
  const index = elementIndex(value);
  const ordinals = zeroedArray(Int32Array, count);
  const firsts: number[] = [];
  for (let i = 0; i < count; i++) {
    const ordinal = index.add(i);
    if (ordinal === firsts.length) firsts.push(i);
    ordinals[i] = ordinal;
  }
  return { firsts, ordinals };
}

function counts({ firsts, ordinals }: Distinct): Int32Array {
  const out = zeroedArray(Int32Array, firsts.length);
  for (let i = 0; i < ordinals.length; i++) out[ordinals[i]!] = out[ordinals[i]!]! + 1;
  return out;
}

function unique(op: OpCall, withCounts: boolean): Tensor[] {
  const value = op.tensor(0);
  const dtype = op.attrs.dtype("out_idx");
  const axes = op.inputCount > 1 ? integersOf(op.tensor(1)) : [];
  check(axes.length <= 1, () => `axis does not support input tensors larger than 1 elements`);
  if (axes.length === 0) {
    check(value.shape.length === 1, () => "unique expects a 1D vector.");
    return outputs(value, distinct(value), dtype, withCounts, 0);
  }
  const rank = value.shape.length;
  const axis = axes[0]! < 0 ? axes[0]! + rank : axes[0]!;
  check(axis >= 0 && axis < rank, () => `axis has to be between [0, ${rank})`);
  if (rank === 1) return outputs(value, distinct(value), dtype, withCounts, 0);
  throw invalid(`Unique over an axis of a tensor of shape ${printShape(value.shape)} is not supported`);
}

function outputs(value: Tensor, found: Distinct, dtype: DType, withCounts: boolean, axis: number): Tensor[] {
  const run = countOf(value.shape, axis + 1);
  const y = takeRuns(
    value,
    found.firsts.map((i) => i * run),
    run,
    value.shape.with(axis, found.firsts.length),
  );
  const idx = tensor(dtype, [found.ordinals.length], indexData(dtype, found.ordinals) as never);
  if (!withCounts) return [y, idx];
  return [y, idx, tensor(dtype, [found.firsts.length], indexData(dtype, counts(found)) as never)];
}

function listDiff(op: OpCall): Tensor[] {
  const [x, y] = [op.tensor(0), op.tensor(1)];
  const dtype = op.attrs.dtype("out_idx");
  check(x.shape.length === 1, () => `x should be a 1D vector.`);
  check(y.shape.length === 1, () => `y should be a 1D vector.`);
  const index = elementIndex(y);
  for (let i = 0; i < y.shape[0]!; i++) index.add(i);
  const find = index.findIn(x);
  const kept: number[] = [];
  for (let i = 0; i < x.shape[0]!; i++) if (find(i) < 0) kept.push(i);
  return [takeRuns(x, kept, 1, [kept.length]), tensor(dtype, [kept.length], indexData(dtype, kept) as never)];
}

export const UNIQUE_KERNELS: Readonly<Record<string, Kernel>> = {
  Unique: (op) => unique(op, false),
  UniqueV2: (op) => unique(op, false),
  UniqueWithCounts: (op) => unique(op, true),
  UniqueWithCountsV2: (op) => unique(op, true),
  ListDiff: listDiff,
};
