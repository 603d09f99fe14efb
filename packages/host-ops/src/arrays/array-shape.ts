/** Ops that read or change shapes and leave the data alone. */
import type { HostValue } from "@shardserve/graph";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { reshaped } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { type Kernel, type OpCall, zeroTensor } from "../call/op-call.js";
import { broadcastShape, indexData, integerOf, integersOf, normalAxis, shapeOf } from "../call/shapes.js";

function shapeTensor(op: OpCall, shape: readonly number[]): Tensor {
  const dtype = op.attrs.dtype("out_type");
  return tensor(dtype, [shape.length], indexData(dtype, shape) as never);
}

function countTensor(op: OpCall, count: number): Tensor {
  const dtype = op.attrs.dtype("out_type");
  return tensor(dtype, [], indexData(dtype, [count]) as never);
}

export function reshape(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const wanted = shapeOf(op.tensor(1));
  const count = elementCount(value.shape);
  // With a size of 0, TensorFlow infers the missing size from the non-zero dims alone.
  const hasZero = wanted.includes(0);
  let known = 1;
  let unknown = -1;
  wanted.forEach((dim, i) => {
    if (dim === -1) {
      if (unknown >= 0) throw invalid(`Only one input size may be -1, not both ${unknown} and ${i}`);
      unknown = i;
    } else {
      check(dim >= 0, () => `Size ${i} must be non-negative, not ${dim}`);
      known *= dim;
    }
  });
  if (unknown >= 0) {
    known = elementCount(wanted.filter((dim) => dim > 0));
    const dims = hasZero ? value.shape.filter((dim) => dim > 0) : value.shape;
    const missing = Math.floor(elementCount(dims) / known);
    check(
      known * missing === elementCount(dims) || dims.length < value.shape.length,
      () =>
        `Input to reshape is a tensor with ${elementCount(dims)} values, but the requested shape requires a multiple of ${known}`,
    );
    wanted[unknown] = missing;
    check(
      elementCount(wanted) === count,
      () => `Input to reshape is a tensor with ${count} values, but the requested shape has ${elementCount(wanted)}`,
    );
  } else {
    check(
      known === count,
      () => `Input to reshape is a tensor with ${count} values, but the requested shape has ${known}`,
    );
  }
  return [reshaped(value, wanted)];
}

function expandDims(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  check(elementCount(op.tensor(1).shape) === 1, () => "'dim' must be a tensor with a single value");
  const rank = value.shape.length;
  const given = integerOf(op.tensor(1));
  check(
    given >= -1 - rank && given <= rank,
    () => `Tried to expand dim index ${given} for tensor with ${rank} dimensions.`,
  );
  const axis = given < 0 ? given + rank + 1 : given;
  return [reshaped(value, [...value.shape.slice(0, axis), 1, ...value.shape.slice(axis)])];
}

function squeeze(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const given = op.attrs.ints("squeeze_dims");
  const rank = value.shape.length;
  const axes = new Set(
    given.map((axis) =>
      normalAxis(axis, rank, () => `Tried to squeeze dim index ${axis} for tensor with ${rank} dimensions.`),
    ),
  );
  const shape = value.shape.filter((dim, i) => {
    if (!axes.has(i)) return axes.size > 0 || dim !== 1;
    check(dim === 1, () => `Can not squeeze dim[${i}], expected a dimension of 1, got ${dim}`);
    return false;
  });
  return [reshaped(value, shape)];
}

/** True when a known static shape (-1 = any dim, undefined = any rank) admits `shape`. */
export function admits(pattern: readonly number[] | undefined, shape: readonly number[]): boolean {
  return (
    pattern === undefined ||
    (pattern.length === shape.length && pattern.every((dim, i) => dim === -1 || dim === shape[i]))
  );
}

function ensureShape(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const pattern = op.attrs.shape("shape");
  check(admits(pattern, value.shape), () => {
    const printed = pattern?.map((dim) => (dim === -1 ? "?" : dim)) ?? [];
    return `Shape of tensor ${op.inputName(0)} ${printShape(value.shape)} is not compatible with expected shape [${printed.join(",")}].`;
  });
  return [value];
}

function broadcastArgs(op: OpCall): Tensor[] {
  const a = shapeOf(op.tensor(0), "In[0]");
  const b = shapeOf(op.tensor(1), "In[1]");
  const shape = broadcastShape(a, b);
  const dtype = op.tensor(0).dtype;
  return [tensor(dtype, [shape.length], indexData(dtype, shape) as never)];
}

/** Which dims of two broadcast operands a gradient sums over; exported graphs keep it in training leftovers that fold. */
function broadcastGradientArgs(op: OpCall): Tensor[] {
  const shapes = [shapeOf(op.tensor(0)), shapeOf(op.tensor(1))] as const;
  const out = broadcastShape(shapes[0], shapes[1]);
  const dtype = op.tensor(0).dtype;
  const lead = shapes.map((shape) => out.length - shape.length);
  const reduced: [number[], number[]] = [[], []];
  for (let i = 0; i < out.length; i++) {
    const dims = shapes.map((shape, s) => shape[i - lead[s]!] ?? 1);
    for (let s = 0; s < 2; s++) if (dims[s] === 1 && (out[i] !== 1 || dims[1 - s] === 1)) reduced[s]!.push(i);
  }
  return reduced.map((axes) => tensor(dtype, [axes.length], indexData(dtype, axes) as never));
}

function invertPermutation(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  check(value.shape.length === 1, () => "invert_permutation expects a 1D vector.");
  const permutation = integersOf(value);
  const inverse = new Float64Array(permutation.length).fill(-1);
  for (let i = 0; i < permutation.length; i++) {
    const to = permutation[i]!;
    check(to >= 0 && to < permutation.length, () => `${to} is not between 0 and ${permutation.length}`);
    check(inverse[to] === -1, () => `${to} is duplicated in the input.`);
    inverse[to] = i;
  }
  return [tensor(value.dtype, value.shape, indexData(value.dtype, inverse) as never)];
}

/** A resource passes as its handle; a variable of a reference type is read. */
function identity(op: OpCall): HostValue[] {
  const value = op.value(0);
  if ("kind" in value && value.kind === "list") return [value];
  return [op.attrs.has("T") && op.attrs.dtype("T") === "resource" ? value : op.tensor(0)];
}

/** Ops that hand input 0 on; those of the debugger, which a SavedModel may have been saved with, send nothing anywhere. */
const PASSES_ON = [
  "Identity",
  "StopGradient",
  "Snapshot",
  "PreventGradient",
  "GuaranteeConst",
  "PlaceholderWithDefault",
  "DeepCopy",
  "Copy",
  "CopyHost",
  "DebugIdentity",
  "DebugIdentityV2",
  "DebugIdentityV3",
];

export const SHAPE_KERNELS: Readonly<Record<string, Kernel>> = {
  Shape: (op) => [shapeTensor(op, op.tensor(0).shape)],
  ShapeN: (op) => op.tensors().map((value) => shapeTensor(op, value.shape)),
  Size: (op) => [countTensor(op, elementCount(op.tensor(0).shape))],
  Rank: (op) => [tensor("int32", [], Int32Array.of(op.tensor(0).shape.length))],
  Reshape: reshape,
  ExpandDims: expandDims,
  Squeeze: squeeze,
  EnsureShape: ensureShape,
  BroadcastArgs: broadcastArgs,
  BroadcastGradientArgs: broadcastGradientArgs,
  InvertPermutation: invertPermutation,
  ...Object.fromEntries(PASSES_ON.map((op) => [op, identity])),
  IdentityN: (op) => op.attrs.dtypes("T").map((dtype, i) => (dtype === "resource" ? op.value(i) : op.tensor(i))),
  Empty: (op) => [zeroTensor(op.attrs.dtype("dtype"), shapeOf(op.tensor(0)))],
};
