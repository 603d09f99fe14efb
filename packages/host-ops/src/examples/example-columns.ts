/** Columns of parsed examples: what one feature becomes over a whole batch. */
import {
  type DType,
  elementCount,
  lanesOf,
  type StringColumn,
  StringColumnBuilder,
  tfDTypeString,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { allocate, checkedCount } from "../call/limits.js";
import { indexData } from "../call/shapes.js";
import {
  BAD_FEATURE,
  BYTES_FEATURE,
  countFloats,
  countInt64s,
  eachBytes,
  FLOAT_FEATURE,
  INT64_FEATURE,
  list,
  NO_FEATURE,
  openFeature,
  readFloats,
  readInt64s,
  UNKNOWN_FEATURE,
} from "./example-wire.js";

/** One feature of all examples: ranges of Feature messages in the batch's bytes. */
export interface FeatureRanges {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly count: number;
  start(example: number): number;
  end(example: number): number;
  /** Name of an example, as error texts show it. */
  exampleName(example: number): string;
}

const KIND_OF: Partial<Record<DType, number>> = { string: BYTES_FEATURE, float32: FLOAT_FEATURE, int64: INT64_FEATURE };
const DTYPE_OF: Readonly<Record<number, DType>> = {
  [BYTES_FEATURE]: "string",
  [FLOAT_FEATURE]: "float32",
  [INT64_FEATURE]: "int64",
};
const VALUES_NAME: Readonly<Record<string, string>> = { string: "bytes", float32: "float", int64: "int64" };

function exampleError(feature: FeatureRanges, example: number, text: string) {
  return invalid(`Name: ${feature.exampleName(example)}, Key: ${feature.key}, Index: ${example}.  ${text}`);
}

/**
 * Number of values of one example's feature, with {@link list} left at their range; -1 when the example lacks it.
 *
 * @throws ServingError INVALID_ARGUMENT for another kind of values than `dtype`, or malformed bytes
 */
function open(feature: FeatureRanges, example: number, dtype: DType, isDense: boolean): number {
  const { bytes } = feature;
  const kind = openFeature(bytes, feature.start(example), feature.end(example));
  if (kind === NO_FEATURE) return -1;
  if (kind === BAD_FEATURE) throw exampleError(feature, example, "Can't parse serialized Example.");
  if (kind === UNKNOWN_FEATURE) throw invalid("Unsupported datatype.");
  if (kind !== KIND_OF[dtype]) {
    const [actual, expected] = [tfDTypeString(DTYPE_OF[kind]!), tfDTypeString(dtype)];
    throw exampleError(
      feature,
      example,
      isDense
        ? `Data types don't match. Data type: ${actual} but expected type: ${expected}`
        : `Data types don't match. Expected type: ${expected}, Actual type: ${actual}`,
    );
  }
  const { start, end } = list;
  const count =
    kind === FLOAT_FEATURE
      ? countFloats(bytes, start, end)
      : kind === INT64_FEATURE
        ? countInt64s(bytes, start, end)
        : eachBytes(bytes, start, end, undefined);
  if (count < 0) throw exampleError(feature, example, "Can't parse serialized Example.");
  return count;
}

/** Collects values of one dtype; rows are announced before they are read. */
export class Values {
  readonly #dtype: DType;
  readonly #floats: Float32Array | undefined;
  readonly #ints: BigInt64Array | undefined;
  readonly #lanes: Int32Array | undefined;
  readonly #texts: StringColumnBuilder | undefined;
  #at = 0;

  constructor(dtype: DType, count: number) {
    this.#dtype = dtype;
    checkedCount(dtype, [count]);
    if (dtype === "float32") this.#floats = allocate("float32", count);
    else if (dtype === "int64") {
      this.#ints = allocate("int64", count);
      this.#lanes = lanesOf(this.#ints);
    } else this.#texts = new StringColumnBuilder(count);
  }

  /** Appends the `count` values of the list that {@link open} left. */
  read(bytes: Uint8Array, count: number): void {
    if (this.#floats) readFloats(bytes, list.start, list.end, this.#floats, this.#at);
    else if (this.#lanes) readInt64s(bytes, list.start, list.end, this.#lanes, this.#at);
    else eachBytes(bytes, list.start, list.end, (start, end) => this.#texts!.pushRange(bytes, start, end));
    this.#at += count;
  }

  /** Appends all of `source`, `times` times over. */
  repeat(source: Tensor, times: number): void {
    const size = elementCount(source.shape);
    for (let n = 0; n < times; n++) {
      if (this.#floats) this.#floats.set(source.data as Float32Array, this.#at);
      else if (this.#ints) this.#ints.set(source.data as BigInt64Array, this.#at);
      else for (let i = 0; i < size; i++) this.#texts!.push((source.data as StringColumn).at(i));
      this.#at += size;
    }
  }

  build(shape: readonly number[]): Tensor {
    return withData(this.#dtype, shape, this.#floats ?? this.#ints ?? this.#texts!.build());
  }
}

/**
 * A dense feature of fixed shape: [count, ...shape].
 *
 * @param fallback  takes the place of a missing feature; empty = the feature is required
 */
export function denseColumn(feature: FeatureRanges, dtype: DType, shape: readonly number[], fallback: Tensor): Tensor {
  const stride = elementCount(shape);
  const out = new Values(dtype, checkedCount(dtype, [feature.count, ...shape]));
  for (let e = 0; e < feature.count; e++) {
    const count = open(feature, e, dtype, true);
    if (count < 0) {
      const size = elementCount(fallback.shape);
      if (size === 0) throw missing(feature, e, dtype);
      out.repeat(fallback, 1);
    } else if (dtype === "string" && count > stride) {
      throw exampleError(feature, e, "Can't parse serialized Example."); // TensorFlow reads no further
    } else if (count !== stride) {
      throw exampleError(
        feature,
        e,
        `Number of ${VALUES_NAME[dtype]} values != expected.  Values size: ${count} but output shape: [${shape.join(",")}]`,
      );
    } else {
      out.read(feature.bytes, count);
    }
  }
  return out.build([feature.count, ...shape]);
}

function missing(feature: FeatureRanges, example: number, dtype: DType) {
  return invalid(
    `Name: ${feature.exampleName(example)}, Feature: ${feature.key} (data type: ${tfDTypeString(dtype)}) is required but could not be found.`,
  );
}

/** Number of values of every example, 0 where the feature is missing. */
function countsOf(feature: FeatureRanges, dtype: DType, isDense: boolean): { counts: Int32Array; total: number } {
  const counts = new Int32Array(feature.count);
  let total = 0;
  for (let e = 0; e < feature.count; e++) {
    counts[e] = Math.max(0, open(feature, e, dtype, isDense));
    total += counts[e]!;
  }
  return { counts, total };
}

/** A dense feature whose first dim varies: [count, longest, ...rest], padded with `filler` (one element). */
export function paddedColumn(feature: FeatureRanges, dtype: DType, rest: readonly number[], filler: Tensor): Tensor {
  const stride = elementCount(rest);
  const { counts } = countsOf(feature, dtype, true);
  let longest = 0;
  counts.forEach((count, e) => {
    if (count % stride !== 0) {
      throw exampleError(
        feature,
        e,
        `Number of ${VALUES_NAME[dtype]} values is not a multiple of stride length. Saw ${count} values but output shape is: [?${rest.map((dim) => `,${dim}`).join("")}]`,
      );
    }
    longest = Math.max(longest, count / stride);
  });
  const shape = [feature.count, longest, ...rest];
  const out = new Values(dtype, checkedCount(dtype, shape));
  for (let e = 0; e < feature.count; e++) {
    const count = Math.max(0, open(feature, e, dtype, true));
    if (count > 0) out.read(feature.bytes, count);
    out.repeat(filler, longest * stride - count);
  }
  return out.build(shape);
}

function valuesOf(feature: FeatureRanges, dtype: DType, counts: Int32Array, total: number): Tensor {
  const out = new Values(dtype, total);
  for (let e = 0; e < feature.count; e++) {
    if (counts[e] === 0) continue;
    open(feature, e, dtype, false);
    out.read(feature.bytes, counts[e]!);
  }
  return out.build([total]);
}

/** A sparse feature: indices [n, 2], values [n], dense shape [count, longest]. */
export function sparseColumn(feature: FeatureRanges, dtype: DType): { indices: Tensor; values: Tensor; shape: Tensor } {
  const { counts, total } = countsOf(feature, dtype, false);
  const indices = allocate("int64", total * 2);
  const lanes = lanesOf(indices);
  let at = 0;
  let longest = 0;
  for (let e = 0; e < counts.length; e++) {
    longest = Math.max(longest, counts[e]!);
    for (let i = 0; i < counts[e]!; i++) {
      lanes[at] = e;
      lanes[at + 2] = i;
      at += 4;
    }
  }
  return {
    indices: tensor("int64", [total, 2], indices),
    values: valuesOf(feature, dtype, counts, total),
    shape: tensor("int64", [2], fromIntegers([feature.count, longest])),
  };
}

/** A ragged feature: values [n] and row splits [count + 1]. */
export function raggedColumn(
  feature: FeatureRanges,
  dtype: DType,
  splitDtype: DType,
): { values: Tensor; splits: Tensor } {
  const { counts, total } = countsOf(feature, dtype, false);
  const splits = new Float64Array(counts.length + 1);
  for (let e = 0; e < counts.length; e++) splits[e + 1] = splits[e]! + counts[e]!;
  return {
    values: valuesOf(feature, dtype, counts, total),
    splits: withData(splitDtype, [splits.length], indexData(splitDtype, splits)),
  };
}
