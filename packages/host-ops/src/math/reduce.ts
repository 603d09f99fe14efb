/** Reductions over axes. */
import { ServingError } from "@shardserve/core";
import { DTYPES, elementCount, lanesOf, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { copyStrided, stridesOf, withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import { isSafeAt, signedAt } from "../call/int64.js";
import { allocate, checkedCount } from "../call/limits.js";
import {
  extremeOf,
  is64Bit,
  isFloating,
  numberArray,
  numbersOf,
  numbersTensor,
  packNumbers,
  roundingOf,
} from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";

/** Input rearranged so that each output element reduces one contiguous run. */
export interface Reduction {
  /** Same elements as the input, kept dims first. */
  readonly value: Tensor;
  readonly outputCount: number;
  readonly run: number;
  readonly shape: readonly number[];
}

/**
 * Rearranges `value` for a reduction over `axes`.
 *
 * @throws ServingError INVALID_ARGUMENT for an axis outside [-rank, rank) or given twice
 */
export function arrange(value: Tensor, axes: ArrayLike<number>, keepDims: boolean): Reduction {
  const rank = value.shape.length;
  const isReduced: boolean[] = [];
  for (let d = 0; d < rank; d++) isReduced.push(false);
  for (let i = 0; i < axes.length; i++) {
    const given = axes[i]!;
    check(
      given >= -rank && given < rank,
      () => `Invalid reduction dimension (${given} for input with ${rank} dimension(s)`,
    );
    const axis = given < 0 ? given + rank : given;
    check(!isReduced[axis], () => `Invalid reduction arguments: Axes contains duplicate dimension: ${axis}`);
    isReduced[axis] = true;
  }
  if (!isReduced.includes(false)) {
    const shape = keepDims ? value.shape.map(() => 1) : [];
    return { value, outputCount: 1, run: elementCount(value.shape), shape };
  }
  const dims = value.shape.map((_, d) => d);
  const kept = dims.filter((d) => !isReduced[d]);
  const order = [...kept, ...dims.filter((d) => isReduced[d])];
  const strides = stridesOf(value.shape);
  const arranged = order.every((d, i) => d === i)
    ? value
    : copyStrided(
        value,
        0,
        order.map((d) => value.shape[d]!),
        order.map((d) => strides[d]!),
      );
  const keptShape = kept.map((d) => value.shape[d]!);
  return {
    value: arranged,
    outputCount: elementCount(keptShape),
    run: elementCount(dims.filter((d) => isReduced[d]).map((d) => value.shape[d]!)),
    shape: keepDims ? value.shape.map((dim, d) => (isReduced[d] ? 1 : dim)) : keptShape,
  };
}

interface Fold {
  /** Where numbers start; undefined = the dtype's smallest or largest value, by `sign`. */
  readonly start: number | undefined;
  readonly sign?: 1 | -1;
  readonly step: (sum: number, x: number) => number;
  readonly bigStep: (sum: bigint, x: bigint) => bigint;
  /** Integers of up to 32 bits multiply modulo 2^32. */
  readonly narrowStep?: (sum: number, x: number) => number;
  readonly finish?: (sum: number, count: number) => number;
}

const SUM: Fold = { start: 0, step: (sum, x) => sum + x, bigStep: (sum, x) => sum + x };
const PROD: Fold = { start: 1, step: (sum, x) => sum * x, bigStep: (sum, x) => sum * x, narrowStep: Math.imul };
const MAX: Fold = {
  start: undefined,
  sign: -1,
  step: (best, x) => (x > best || Number.isNaN(x) ? x : best),
  bigStep: (best, x) => (x > best ? x : best),
};
const MIN: Fold = {
  start: undefined,
  sign: 1,
  step: (best, x) => (x < best || Number.isNaN(x) ? x : best),
  bigStep: (best, x) => (x < best ? x : best),
};

function fold(value: Tensor, axes: ArrayLike<number>, keepDims: boolean, rule: Fold): Tensor {
  const { value: arranged, outputCount, run, shape } = arrange(value, axes, keepDims);
  const { dtype } = value;
  checkedCount(dtype, shape);
  if (is64Bit(dtype)) return withData(dtype, shape, fold64(arranged, dtype, outputCount, run, rule));
  const numbers = numbersOf(arranged);
  const out = numberArray(dtype, outputCount);
  const step = isFloating(dtype) ? rule.step : (rule.narrowStep ?? rule.step);
  const start = rule.start ?? (extremeOf(dtype, rule.sign!) as number);
  for (let o = 0; o < outputCount; o++) {
    let sum = start;
    for (let i = o * run; i < (o + 1) * run; i++) sum = step(sum, numbers[i]!);
    out[o] = sum;
  }
  return numbersTensor(dtype, shape, out);
}

function fold64(value: Tensor, dtype: "int64" | "uint64", outputCount: number, run: number, rule: Fold) {
  const data = value.data as BigInt64Array;
  const lanes = lanesOf(data);
  const out = allocate(dtype, outputCount);
  for (let o = 0; o < outputCount; o++) {
    const from = o * run;
    let sum = rule.start ?? (run > 0 && isSafeAt(lanes, from) ? signedAt(lanes, from) : Number.NaN);
    let i = from;
    // As numbers while all stays exact, then on with BigInt from where it stopped.
    for (; i < from + run && isSafeAt(lanes, i) && Number.isSafeInteger(sum); i++) {
      const x = signedAt(lanes, i);
      if (dtype === "uint64" && x < 0) break;
      const next = rule.step(sum, x);
      if (!Number.isSafeInteger(next)) break;
      sum = next;
    }
    let big = Number.isSafeInteger(sum) ? BigInt(sum) : BigInt(extremeOf(dtype, rule.sign ?? 1));
    for (; i < from + run; i++) big = BigInt.asIntN(64, rule.bigStep(big, data[i]!));
    out[o] = big;
  }
  return out;
}

function mean(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const keepDims = op.attrs.bool("keep_dims");
  const reduction = arrange(value, integersOf(op.tensor(1)), keepDims);
  const { value: arranged, outputCount, run, shape } = reduction;
  const numbers = numbersOf(arranged);
  const out = numberArray(value.dtype, outputCount);
  const isFloat = isFloating(value.dtype);
  for (let o = 0; o < outputCount; o++) {
    let sum = 0;
    for (let i = o * run; i < (o + 1) * run; i++) sum += numbers[i]!;
    out[o] = isFloat ? sum / run : Math.trunc(sum / (run || 1));
  }
  return [numbersTensor(value.dtype, shape, out)];
}

function reduction(rule: Fold): Kernel {
  return (op) => [fold(op.tensor(0), integersOf(op.tensor(1)), op.attrs.bool("keep_dims"), rule)];
}

function logical(start: 0 | 1): Kernel {
  return (op) => {
    const { value, outputCount, run, shape } = arrange(
      op.tensor(0),
      integersOf(op.tensor(1)),
      op.attrs.bool("keep_dims"),
    );
    const bits = value.data as Uint8Array;
    const out = new Uint8Array(outputCount);
    for (let o = 0; o < outputCount; o++) {
      let result: number = start;
      for (let i = o * run; i < (o + 1) * run && result === start; i++) result = bits[i]! ? 1 : 0;
      out[o] = result;
    }
    return [tensor("bool", shape, out)];
  };
}

function euclideanNorm(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const {
    value: arranged,
    outputCount,
    run,
    shape,
  } = arrange(value, integersOf(op.tensor(1)), op.attrs.bool("keep_dims"));
  if (!isFloating(value.dtype)) return [withData(value.dtype, shape, integerNorms(arranged, outputCount, run))];
  const numbers = numbersOf(arranged);
  const out = numberArray(value.dtype, outputCount);
  for (let o = 0; o < outputCount; o++) {
    let sum = 0;
    for (let i = o * run; i < (o + 1) * run; i++) sum += numbers[i]! ** 2;
    out[o] = Math.sqrt(sum);
  }
  return [numbersTensor(value.dtype, shape, out)];
}

/** Squares and sums wrap; the root is cut to an integer. */
function integerNorms(value: Tensor, outputCount: number, run: number): ReturnType<typeof packNumbers> {
  const bits = DTYPES[value.dtype].bytes * 8;
  const isSigned = value.dtype.startsWith("int");
  const data = value.data as Iterable<number | bigint>;
  const elements = Array.from(data, BigInt);
  const out = numberArray(value.dtype, outputCount);
  for (let o = 0; o < outputCount; o++) {
    let sum = 0n;
    for (let i = o * run; i < (o + 1) * run; i++) sum += elements[i]! * elements[i]!;
    out[o] = Math.trunc(Math.sqrt(Number(isSigned ? BigInt.asIntN(bits, sum) : BigInt.asUintN(bits, sum))));
  }
  return packNumbers(value.dtype, out);
}

function cumulative(
  start: number,
  step: (sum: number, x: number) => number,
  bigStep: (sum: bigint, x: bigint) => bigint,
  narrowStep = step,
): Kernel {
  return (op) => {
    const value = op.tensor(0);
    const rank = value.shape.length;
    check(op.tensor(1).shape.length === 0, () => "ScanOp: axis must be a scalar");
    const given = integersOf(op.tensor(1))[0]!;
    const axis = given < 0 ? given + rank : given;
    check(
      axis >= 0 && axis < rank,
      () => `ScanOp: Expected scan axis in the range [${-rank}, ${rank}), but got ${given}`,
    );
    const isExclusive = op.attrs.bool("exclusive");
    const isReverse = op.attrs.bool("reverse");
    const dim = value.shape[axis]!;
    const inner = stridesOf(value.shape)[axis]!;
    const count = elementCount(value.shape);
    const at = (line: number, i: number) =>
      (Math.floor(line / inner) * dim + (isReverse ? dim - 1 - i : i)) * inner + (line % inner);
    const lines = dim === 0 ? 0 : count / dim;
    if (is64Bit(value.dtype)) {
      const data = value.data as BigInt64Array;
      const out = allocate(value.dtype, count);
      for (let line = 0; line < lines; line++) {
        let sum = BigInt(start);
        for (let i = 0; i < dim; i++) {
          const next = BigInt.asIntN(64, bigStep(sum, data[at(line, i)]!));
          out[at(line, i)] = isExclusive ? sum : next;
          sum = next;
        }
      }
      return [withData(value.dtype, value.shape, out)];
    }
    const numbers = numbersOf(value);
    const out = numberArray(value.dtype, count);
    const round = roundingOf(value.dtype);
    const advance = isFloating(value.dtype) ? step : narrowStep;
    for (let line = 0; line < lines; line++) {
      let sum = start;
      for (let i = 0; i < dim; i++) {
        const next = round(advance(sum, numbers[at(line, i)]!));
        out[at(line, i)] = isExclusive ? sum : next;
        sum = next;
      }
    }
    return [numbersTensor(value.dtype, value.shape, out)];
  };
}

function reduceJoin(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const axes = integersOf(op.tensor(1));
  const separator = op.attrs.bytes("separator");
  const rank = value.shape.length;
  // The axis given first varies fastest.
  const order = Array.from(axes, (given) => {
    if (!(given >= -rank && given < rank)) {
      throw new ServingError(
        "OUT_OF_RANGE",
        `Invalid reduction dimension ${given} for input with ${rank} dimension(s)`,
      );
    }
    return given < 0 ? given + rank : given;
  }).reverse();
  check(
    new Set(order).size === order.length,
    () => `Duplicate reduction dimension ${order.find((d, i) => order.indexOf(d) !== i)}`,
  );
  const kept = value.shape.map((_, d) => d).filter((d) => !order.includes(d));
  const strides = stridesOf(value.shape);
  const dims = [...kept, ...order];
  const arranged = copyStrided(
    value,
    0,
    dims.map((d) => value.shape[d]!),
    dims.map((d) => strides[d]!),
  );
  const run = elementCount(order.map((d) => value.shape[d]!));
  const keptShape = kept.map((d) => value.shape[d]!);
  const shape = op.attrs.bool("keep_dims") ? value.shape.map((dim, d) => (order.includes(d) ? 1 : dim)) : keptShape;
  if (rank === 0) return [value];
  return [joinRuns(arranged, run, elementCount(keptShape), shape, separator)];
}

/** Joins each run of `run` strings with `separator`. */
export function joinRuns(
  value: Tensor,
  run: number,
  count: number,
  shape: readonly number[],
  separator: Uint8Array,
): Tensor {
  const column = value.data as StringColumn;
  const offsets = new Uint32Array(count + 1);
  const bytes = new Uint8Array(column.bytes.length + separator.length * Math.max(0, run - 1) * count);
  let at = 0;
  for (let o = 0; o < count; o++) {
    for (let i = o * run; i < (o + 1) * run; i++) {
      if (i > o * run) {
        bytes.set(separator, at);
        at += separator.length;
      }
      const text = column.at(i);
      bytes.set(text, at);
      at += text.length;
    }
    offsets[o + 1] = at;
  }
  return withData("string", shape, new StringColumn(bytes.subarray(0, at), offsets));
}

/** log(e^sum + e^x). Of a NaN TensorFlow's minimum and maximum take the other number, so it counts as that once more. */
function logSumExp(sum: number, x: number): number {
  const other = Number.isNaN(x) ? sum : x;
  const [low, high] = sum < other ? [sum, other] : [other, sum];
  return high === Number.NEGATIVE_INFINITY ? high : Math.log1p(Math.exp(low - high)) + high;
}

export const REDUCE_KERNELS: Readonly<Record<string, Kernel>> = {
  Sum: reduction(SUM),
  Prod: reduction(PROD),
  Max: reduction(MAX),
  Min: reduction(MIN),
  Mean: mean,
  All: logical(1),
  Any: logical(0),
  EuclideanNorm: euclideanNorm,
  Cumsum: cumulative(
    0,
    (sum, x) => sum + x,
    (sum, x) => sum + x,
  ),
  Cumprod: cumulative(
    1,
    (sum, x) => sum * x,
    (sum, x) => sum * x,
    Math.imul,
  ),
  CumulativeLogsumexp: cumulative(Number.NEGATIVE_INFINITY, logSumExp, (sum) => sum),
  ReduceJoin: reduceJoin,
};
