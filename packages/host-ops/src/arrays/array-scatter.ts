/** Ops that write slices by index tuples. */
import { elementCount, isNumeric, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import { appender, build, withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { is64Bit, isFloating, numbersOf, packNumbers, roundingOf } from "../call/numeric.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { sameShape, shapeOf } from "../call/shapes.js";
import { BINARY_OPS } from "../math/binary-ops.js";
import { printTuple, type Slices, slicesOf } from "./index-tuples.js";

/** What a slice and its update make, by the op that makes it of two tensors. */
const COMBINATIONS = { add: "AddV2", sub: "Sub", mul: "Mul", div: "Div", max: "Maximum", min: "Minimum" } as const;
type Combination = keyof typeof COMBINATIONS;
export type ScatterKind = "update" | Combination;

function checkScatter(indices: Tensor, updates: Tensor, shape: readonly number[]): Slices {
  check(
    indices.shape.length >= 1,
    () => `Indices shape must have rank at least one. Found:${printShape(indices.shape)}`,
  );
  check(
    updates.shape.length >= 1,
    () => `Updates shape must have rank at least one. Found:${printShape(updates.shape)}`,
  );
  check(
    elementCount(shape) > 0 || (elementCount(indices.shape) === 0 && elementCount(updates.shape) === 0),
    () => "Indices and updates specified for empty output",
  );
  const depth = indices.shape[indices.shape.length - 1]!;
  const wanted = [...indices.shape.slice(0, -1), ...shape.slice(depth)];
  check(
    depth <= shape.length && sameShape(updates.shape, wanted),
    () =>
      `Must have updates.shape = indices.shape[:batch_dim] + buffer_shape[num_index_dims:], got updates.shape: ${printShape(updates.shape)}, indices.shape: ${printShape(indices.shape)}, params_shape: ${printShape(shape)}`,
  );
  const slices = slicesOf(indices, shape);
  check(slices.bad < 0, () => `${printTuple(indices, slices.bad)} does not index into shape ${printShape(shape)}`);
  return slices;
}

/** Copies `target` with the slices that `slices` names replaced by those of `updates`; the last one wins. */
function replaceSlices(target: Tensor, slices: Slices, updates: Tensor): Tensor {
  const count = elementCount(target.shape);
  const sliceCount = slices.size === 0 ? 0 : count / slices.size;
  const from = new Int32Array(sliceCount).fill(-1);
  for (let i = 0; i < slices.numbers.length; i++) from[slices.numbers[i]!] = i;
  const out = appender(target.dtype, count);
  for (let s = 0; s < sliceCount; s++) {
    if (from[s]! >= 0) out.append(updates.data, from[s]! * slices.size, slices.size);
    else out.append(target.data, s * slices.size, slices.size);
  }
  return build(target.dtype, target.shape, out);
}

/** The sum of strings is one after the other. */
function concatenated(target: Tensor, slices: Slices, updates: Tensor): Tensor {
  const column = updates.data as StringColumn;
  const texts: Uint8Array[][] = Array.from({ length: elementCount(target.shape) }, () => []);
  for (let i = 0; i < slices.numbers.length; i++) {
    for (let k = 0; k < slices.size; k++) {
      texts[slices.numbers[i]! * slices.size + k]!.push(column.at(i * slices.size + k));
    }
  }
  return tensor("string", target.shape, StringColumn.from(texts.map((parts) => Buffer.concat(parts))));
}

/**
 * Adds (or subtracts, ...) row i of `updates` into slice `numbers[i]` of `target`, in order.
 *
 * @param target  overwritten; its data must not be shared
 * @param size  elements per slice
 */
function combineSlices(target: Tensor, { numbers, size }: Slices, updates: Tensor, kind: Combination): void {
  // Bools add up to true.
  const op = BINARY_OPS[target.dtype === "bool" && kind === "add" ? "Maximum" : COMBINATIONS[kind]]!;
  if (is64Bit(target.dtype)) {
    const out = target.data as BigInt64Array;
    const data = updates.data as BigInt64Array;
    for (let i = 0; i < numbers.length; i++) {
      const at = numbers[i]! * size;
      for (let j = 0; j < size; j++) out[at + j] = op.big!(out[at + j]!, data[i * size + j]!);
    }
    return;
  }
  const out = numbersOf(target);
  const data = numbersOf(updates);
  const round = roundingOf(target.dtype);
  const { float, int, int32 = int } = op;
  const combine = isFloating(target.dtype) ? (a: number, b: number) => round(float!(a, b, round)) : int32!;
  for (let i = 0; i < numbers.length; i++) {
    const at = numbers[i]! * size;
    for (let j = 0; j < size; j++) out[at + j] = combine(out[at + j]!, data[i * size + j]!);
  }
  if (out !== (target.data as unknown)) (target.data as Uint16Array).set(packNumbers(target.dtype, out) as Uint16Array);
}

function scatterNd(op: OpCall): Tensor[] {
  const [indices, updates] = [op.tensor(0), op.tensor(1)];
  const shape = shapeOf(op.tensor(2));
  const out = zeroTensor(updates.dtype, shape);
  const slices = checkScatter(indices, updates, shape);
  if (!isNumeric(updates.dtype)) return [concatenated(out, slices, updates)];
  combineSlices(out, slices, updates, "add");
  return [out];
}

/**
 * A copy of `target` with the slices that the tuples of `indices` name replaced by, or joined with, those of `updates`.
 *
 * @throws ServingError INVALID_ARGUMENT for shapes that do not fit and indices outside
 */
export function scattered(target: Tensor, indices: Tensor, updates: Tensor, kind: ScatterKind): Tensor {
  const slices = checkScatter(indices, updates, target.shape);
  if (kind === "update") return replaceSlices(target, slices, updates);
  const out = withData(target.dtype, target.shape, (target.data as Float32Array).slice());
  combineSlices(out, slices, updates, kind);
  return out;
}

function tensorScatter(kind: ScatterKind): Kernel {
  return (op) => [scattered(op.tensor(0), op.tensor(1), op.tensor(2), kind)];
}

export const SCATTER_KERNELS: Readonly<Record<string, Kernel>> = {
  ScatterNd: scatterNd,
  TensorScatterUpdate: tensorScatter("update"),
  TensorScatterAdd: tensorScatter("add"),
  ScatterNdNonAliasingAdd: tensorScatter("add"),
  TensorScatterSub: tensorScatter("sub"),
  TensorScatterMax: tensorScatter("max"),
  TensorScatterMin: tensorScatter("min"),
};
