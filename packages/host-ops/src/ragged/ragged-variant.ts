/**
 * Ragged tensors as elements of variant tensors, in which form map_fn and datasets carry them through lists.
 * Texts are those of TensorFlow's ragged_tensor_to_variant and ragged_tensor_from_variant.
 */
import { type DType, elementCount, type Tensor, tensor, tfDTypeString } from "@shardserve/tensor";
import { appender, build, takeRuns } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, indexData, integersOf, sameShape } from "../call/shapes.js";

/** One element of a variant tensor: a ragged tensor, outermost splits first; without splits a dense one. */
export class RaggedValue {
  readonly splits: readonly Tensor[];
  readonly values: Tensor;

  constructor(splits: readonly Tensor[], values: Tensor) {
    this.splits = splits;
    this.values = values;
  }
}

function splitsTensor(dtype: DType, splits: ArrayLike<number>): Tensor {
  return tensor(dtype, [splits.length], indexData(dtype, splits) as never);
}

function checkSplits(split: Tensor, childCount: number): void {
  const bad = (text: string) => invalid(`Invalid ragged splits: ${text}`);
  if (split.shape.length !== 1) throw bad(`ragged splits must be rank 1 but is rank ${split.shape.length}`);
  const numbers = integersOf(split);
  if (numbers.length === 0) throw bad("ragged splits must have at least one splits, but is empty");
  if (numbers[0] !== 0) throw bad(`first element of ragged splits  must be 0 but is ${numbers[0]}`);
  for (let i = 1; i < numbers.length; i++) {
    if (numbers[i]! >= numbers[i - 1]!) continue;
    throw bad(
      `ragged splits must be monotonically increasing, but ragged_splits[${i}]=${numbers[i]} is smaller than row_splits[${i - 1}]=${numbers[i - 1]}`,
    );
  }
  const last = numbers[numbers.length - 1]!;
  if (last !== childCount) {
    throw bad(`last element of ragged splits must be the number of ragged values(${childCount}) but is ${last}`);
  }
}

/** Rows [start, end) of a tensor. */
function rows(value: Tensor, start: number, end: number): Tensor {
  const run = countOf(value.shape, 1);
  return takeRuns(value, [start * run], (end - start) * run, [end - start, ...value.shape.slice(1)]);
}

function toVariant(op: OpCall): Tensor[] {
  const depth = op.attrs.int("RAGGED_RANK");
  const splits = op.tensors(0, depth);
  const values = op.tensor(depth);
  for (const [k, split] of splits.entries()) {
    const below = splits[k + 1] ?? values;
    checkSplits(split, k + 1 < depth ? below.shape[0]! - 1 : (below.shape[0] ?? 1));
  }
  if (!op.attrs.bool("batched_input")) return [tensor("variant", [], [new RaggedValue(splits, values)])];
  const [top, ...inner] = splits.map((split) => integersOf(split));
  if (!top) {
    check(values.shape.length > 0, () => "Can't unbatch rank-0 tensor.");
    const run = countOf(values.shape, 1);
    const items = Array.from(
      { length: values.shape[0]! },
      (_, i) => new RaggedValue([], takeRuns(values, [i * run], run, values.shape.slice(1))),
    );
    return [tensor("variant", [items.length], items)];
  }
  const items: RaggedValue[] = [];
  for (let row = 0; row + 1 < top.length; row++) {
    let [start, end] = [top[row]!, top[row + 1]!];
    const own = inner.map((numbers, k) => {
      const first = numbers[start]!;
      const part = Float64Array.from({ length: end - start + 1 }, (_, i) => numbers[start + i]! - first);
      [start, end] = [first, numbers[end]!];
      return splitsTensor(splits[k + 1]!.dtype, part);
    });
    items.push(new RaggedValue(own, rows(values, start, end)));
  }
  return [tensor("variant", [items.length], items)];
}

/** The elements of the op's input, each of which must hold a ragged tensor of the rank and dtypes that the op states. */
function elementsOf(op: OpCall, raggedRank: number): RaggedValue[] {
  const [valuesDType, splitsDType] = [op.attrs.dtype("Tvalues"), op.attrs.dtype("Tsplits")];
  return (op.tensor(0).data as readonly object[]).map((item, i) => {
    if (!(item instanceof RaggedValue)) {
      throw invalid(`Input Variant element at index ${i} doesn't hold a RaggedTensorVariant`);
    }
    const { splits, values } = item;
    check(
      splits.length === raggedRank,
      () => `Encoded input RaggedTensorVariant has ragged_rank=${splits.length}.  Expected ragged_rank=${raggedRank}.`,
    );
    check(
      values.dtype === valuesDType,
      () => `Expected values Tensor dtype: ${tfDTypeString(valuesDType)}, found: ${tfDTypeString(values.dtype)}`,
    );
    for (const { dtype } of splits) {
      check(
        dtype === splitsDType,
        () => `Expected row_splits Tensor dtype: ${tfDTypeString(splitsDType)}, found: ${tfDTypeString(dtype)}`,
      );
    }
    return item;
  });
}

/** The values of all elements one after the other; scalars, and those of rank `-1`, get a dim of their own. */
function joinedValues(dtype: DType, items: readonly RaggedValue[], isStacked: boolean): Tensor {
  const [first] = items;
  // Nothing says what the values would look like.
  if (!first) return build(dtype, [0], appender(dtype, 0));
  const innerOf = ({ shape }: Tensor) => (isStacked ? shape : shape.slice(1));
  const inner = innerOf(first.values);
  let length = 0;
  for (const [i, { values }] of items.entries()) {
    check(
      isStacked || values.shape.length > 0,
      () => `Ragged values must have rank >= 1; encoded scalar element at index ${i} is a scalar`,
    );
    check(
      values.shape.length === first.values.shape.length,
      () =>
        `Rank of values must match for all components; values shape at index 0: ${printShape(first.values.shape)}, values shape at index ${i}: ${printShape(values.shape)}`,
    );
    check(
      sameShape(innerOf(values), inner),
      () =>
        `All flat_values must have compatible shapes.  Shape at index 0: ${printShape(inner)}.  Shape at index ${i}: ${printShape(innerOf(values))}`,
    );
    length += isStacked ? 1 : values.shape[0]!;
  }
  const shape = [length, ...inner];
  const out = appender(dtype, checkedCount(dtype, shape));
  for (const { values } of items) out.append(values.data, 0, elementCount(values.shape));
  return build(dtype, shape, out);
}

function fromVariant(op: OpCall): Tensor[] {
  const { shape: dims } = op.tensor(0);
  const wanted = op.attrs.int("output_ragged_rank");
  let own = op.attrs.int("input_ragged_rank");
  // A vector of dense tensors of one shape becomes a dense tensor.
  const isStacked = own === -1 && wanted === 0 && dims.length === 1;
  if (own === -1) {
    own = wanted - dims.length;
    check(
      own >= 0 || isStacked,
      () =>
        `Inferred input_ragged_rank (output_ragged_rank - encoded_variant.dims()) must be >= 0, found output_ragged_rank: ${wanted}, encoded_variant.dims(): ${dims.length}, inferred input_ragged_rank: ${own}`,
    );
  }
  check(
    wanted === own + dims.length,
    () =>
      `output_ragged_rank must be equal to input_ragged_rank + encoded_ragged.dims(); output_ragged_rank: ${wanted}, input_ragged_rank: ${own}, encoded_variant.dims(): ${dims.length}`,
  );
  const items = elementsOf(op, Math.max(0, own));
  if (dims.length === 0) return [...items[0]!.splits, items[0]!.values];
  const dtype = op.attrs.dtype("Tsplits");
  const values = joinedValues(op.attrs.dtype("Tvalues"), items, isStacked);
  if (isStacked) return [values];
  // Dims above the last one are uniform; TensorFlow gives each of them the splits of one row alone.
  const outer = dims.slice(0, -1).map((dim, d) =>
    splitsTensor(
      dtype,
      Float64Array.from({ length: dim + 1 }, (_, i) => i * dims[d + 1]!),
    ),
  );
  const lengths = items.map((item) => (item.splits[0] ? item.splits[0].shape[0]! - 1 : item.values.shape[0]!));
  const inner = Array.from({ length: own }, (_, k) => joinedSplits(items.map(({ splits }) => splits[k]!)));
  return [...outer, splitsTensor(dtype, ends(lengths)), ...inner.map((s) => splitsTensor(dtype, s)), values];
}

/** Running sums, from 0 on. */
function ends(lengths: readonly number[]): Float64Array {
  const out = new Float64Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) out[i + 1] = out[i]! + length;
  return out;
}

/** The splits of the parts as those of their concatenation. */
function joinedSplits(parts: readonly Tensor[]): Float64Array {
  const out = new Float64Array(parts.reduce((sum, { shape }) => sum + shape[0]! - 1, 1));
  let at = 0;
  for (const part of parts) {
    const numbers = integersOf(part);
    const offset = out[at]!;
    for (let i = 1; i < numbers.length; i++) out[++at] = numbers[i]! + offset;
  }
  return out;
}

export const RAGGED_VARIANT_KERNELS: Readonly<Record<string, Kernel>> = {
  RaggedTensorToVariant: toVariant,
  RaggedTensorFromVariant: fromVariant,
};
