/** Ops that copy a strided view of one tensor: slices, transposes, repeats. */
import { elementCount, isNumeric, type Tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import {
  appender,
  build,
  copyStrided,
  cutRows,
  forEachOffset,
  reshaped,
  stridesOf,
  withData,
} from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { isComplex } from "../call/numeric.js";
import { type Kernel, type OpCall } from "../call/op-call.js";
import { countOf, integerOf, integersOf, normalAxis, sameShape, shapeOf } from "../call/shapes.js";
import { conjugated } from "../complex/complex-parts.js";
import { resolveStridedSlice } from "./strided-slice.js";

function slice(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const begin = shapeOf(op.tensor(1), "begin");
  const size = shapeOf(op.tensor(2), "size");
  const rank = value.shape.length;
  check(
    begin.length === rank && size.length === rank,
    () =>
      `Expected begin and size arguments to be 1-D tensors of size ${rank}, but got shapes ${printShape(op.tensor(1).shape)} and ${printShape(op.tensor(2).shape)} instead.`,
  );
  const shape = value.shape.map((dim, i) => {
    const from = begin[i]!;
    const count = size[i] === -1 ? dim - from : size[i]!;
    check(from >= 0 && from <= dim, () => `Expected begin[${i}] in [0, ${dim}], but got ${from}`);
    check(count >= 0 && from + count <= dim, () => `Expected size[${i}] in [0, ${dim - from}], but got ${count}`);
    return count;
  });
  const strides = stridesOf(value.shape);
  if (sameShape(shape, value.shape)) return [value];
  return [
    copyStrided(
      value,
      begin.reduce((sum, from, i) => sum + from * strides[i]!, 0),
      shape,
      strides,
    ),
  ];
}

/** XlaDynamicSlice: a slice whose start is moved so far that it lies inside. */
function windowOf(op: OpCall): Tensor[] {
  const [value, begin, size] = [op.tensor(0), op.tensor(1), op.tensor(2)];
  const rank = value.shape.length;
  check(
    [begin, size].every(({ shape }) => shape.length === 1 && shape[0] === rank),
    () => `start_indices and size_indices must be vectors of ${rank}, the input's rank`,
  );
  const shape = integersOf(size);
  const starts = value.shape.map((dim, i) => {
    const room = dim - shape[i]!;
    check(shape[i]! >= 0 && room >= 0, () => `size_indices[${i}] is ${shape[i]}, not in [0, ${dim}]`);
    return Math.min(Math.max(integersOf(begin)[i]!, 0), room);
  });
  const strides = stridesOf(value.shape);
  const first = starts.reduce((sum, start, i) => sum + start * strides[i]!, 0);
  return [copyStrided(value, first, Array.from(shape), strides)];
}

function stridedSlice(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const view = resolveStridedSlice(value.shape, boundsOf(op, 1), boundsOf(op, 2), boundsOf(op, 3), {
    begin: op.attrs.int("begin_mask"),
    end: op.attrs.int("end_mask"),
    ellipsis: op.attrs.int("ellipsis_mask"),
    newAxis: op.attrs.int("new_axis_mask"),
    shrinkAxis: op.attrs.int("shrink_axis_mask"),
  });
  const strides = stridesOf(value.shape);
  let offset = 0;
  for (let i = 0; i < strides.length; i++) {
    offset += view.begin[i]! * strides[i]!;
    strides[i] = strides[i]! * view.step[i]!;
  }
  return [copyStrided(value, offset, view.size, strides, view.resultShape)];
}

/** Begin, end or strides of a StridedSlice. */
function boundsOf(op: OpCall, i: number): Int32Array | Float64Array {
  const bound = op.tensor(i);
  check(
    bound.shape.length === 1,
    () =>
      "Expected begin, end, and strides to be 1D equal size tensors, but got shapes " +
      `${printShape(op.tensor(1).shape)}, ${printShape(op.tensor(2).shape)}, and ${printShape(op.tensor(3).shape)} instead.`,
  );
  return integersOf(bound);
}

function transpose(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const rank = value.shape.length;
  check(op.tensor(1).shape.length === 1, () => `perm must be rank 1, got shape ${printShape(op.tensor(1).shape)}`);
  const perm = shapeOf(op.tensor(1), "perm");
  check(
    perm.length === rank,
    () => `transpose expects a vector of size ${rank}. But input(1) is a vector of size ${perm.length}`,
  );
  const seen = new Set<number>();
  const order = perm.map((given) => {
    const axis = given < 0 ? given + rank : given;
    check(axis >= 0 && axis < rank, () => `${given} is out of range [0 .. ${rank})`);
    check(!seen.has(axis), () => `${seen.size} is missing from {${perm.join(",")}}.`);
    seen.add(axis);
    return axis;
  });
  if (order.every((axis, i) => axis === i)) return [value];
  const strides = stridesOf(value.shape);
  return [
    copyStrided(
      value,
      0,
      order.map((axis) => value.shape[axis]!),
      order.map((axis) => strides[axis]!),
    ),
  ];
}

function tile(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const repeats = shapeOf(op.tensor(1), "multiples");
  check(
    repeats.length === value.shape.length,
    () => `Expected multiples argument to be a vector of length ${value.shape.length} but got length ${repeats.length}`,
  );
  const strides = stridesOf(value.shape);
  const result: number[] = [];
  const view: number[] = [];
  const steps: number[] = [];
  for (let i = 0; i < repeats.length; i++) {
    const count = repeats[i]!;
    check(count >= 0, () => `Expected multiples[${i}] >= 0, but got ${count}`);
    result.push(value.shape[i]! * count);
    view.push(count, value.shape[i]!);
    steps.push(0, strides[i]!);
  }
  checkedCount(value.dtype, result);
  return [copyStrided(value, 0, view, steps, result)];
}

function reverse(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const rank = value.shape.length;
  const flip = Array.from({ length: rank }, (): boolean => false);
  for (const given of shapeOf(op.tensor(1), "axis")) {
    const axis = normalAxis(given, rank, () => `'axis'[0] = ${given} is out of valid range [0, ${rank - 1}`);
    check(!flip[axis], () => `axis ${axis} specified more than once.`);
    flip[axis] = true;
  }
  return [flipped(value, flip)];
}

function reverseByMask(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const mask = Array.from(op.tensor(1).data as Uint8Array, (bit) => bit !== 0);
  check(mask.length === value.shape.length, () => `'dims' must have length ${value.shape.length}, got ${mask.length}`);
  return [flipped(value, mask)];
}

function flipped(value: Tensor, flip: readonly boolean[]): Tensor {
  const strides = stridesOf(value.shape);
  let offset = 0;
  flip.forEach((isFlipped, d) => {
    if (isFlipped) offset += strides[d]! * Math.max(0, value.shape[d]! - 1);
  });
  return copyStrided(
    value,
    offset,
    value.shape,
    strides.map((stride, d) => (flip[d] ? -stride : stride)),
  );
}

function reverseSequence(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const rank = value.shape.length;
  const lengths = integersOf(op.tensor(1));
  const sequence = op.attrs.int("seq_dim");
  const batch = op.attrs.int("batch_dim");
  check(batch !== sequence, () => `batch_dim == seq_dim == ${sequence}`);
  check(sequence >= 0 && sequence < rank, () => `seq_dim must be < input rank ( ${sequence} vs. ${rank})`);
  check(batch >= 0 && batch < rank, () => `batch_dim must be < input rank ( ${batch} vs. ${rank})`);
  check(
    lengths.length === value.shape[batch],
    () => `Length of seq_lengths != input.dims(${batch}), (${lengths.length} vs. ${value.shape[batch]})`,
  );
  for (const length of lengths) {
    check(length >= 0, () => `seq_lens(0) < 0`);
    check(length <= value.shape[sequence]!, () => `seq_lens(0) > input.dims(${sequence})`);
  }
  // Only whole runs behind the later of the two dims move together.
  const last = Math.max(batch, sequence);
  const run = countOf(value.shape, last + 1);
  const dims = value.shape.slice(0, last + 1);
  const strides = stridesOf(value.shape);
  const starts = new Float64Array(elementCount(dims));
  let i = 0;
  forEachOffset(dims, strides, 0, (at) => {
    const row = Math.floor(at / strides[batch]!) % value.shape[batch]!;
    const step = Math.floor(at / strides[sequence]!) % value.shape[sequence]!;
    const length = lengths[row]!;
    starts[i++] = step < length ? at + (length - 1 - 2 * step) * strides[sequence]! : at;
  });
  const out = appender(value.dtype, elementCount(value.shape));
  out.appendRuns(value.data, starts, run);
  return [build(value.dtype, value.shape, out)];
}

function fill(op: OpCall): Tensor[] {
  const dims = op.tensor(0);
  const value = op.tensor(1);
  check(dims.shape.length <= 1, () => `dims must be a vector, got shape ${printShape(dims.shape)}`);
  check(
    elementCount(value.shape) === 1 && value.shape.length <= 1,
    () => `value must be a scalar, got shape ${printShape(value.shape)}`,
  );
  return [broadcastTo(reshaped(value, []), shapeOf(dims, "dims"))];
}

function broadcastToKernel(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const shape = shapeOf(op.tensor(1));
  const lead = shape.length - value.shape.length;
  check(
    lead >= 0,
    () => `Rank of input (${value.shape.length}) must be no greater than rank of output shape (${shape.length}).`,
  );
  check(
    value.shape.every((dim, i) => dim === 1 || dim === shape[lead + i]),
    () => `Incompatible shapes: ${printShape(value.shape)} vs. ${printShape(shape)}`,
  );
  return [broadcastTo(value, shape)];
}

/**
 * Cuts `value` along `axis` into parts of the given sizes, which add up to it.
 *
 * @param shape  of each part where it is not the value's with the part's size
 */
function cut(value: Tensor, axis: number, sizes: readonly number[], shape?: readonly number[]): Tensor[] {
  if (isNumeric(value.dtype)) {
    const inner = countOf(value.shape, axis + 1);
    const runs = sizes.map((size) => size * inner);
    const parts = cutRows(value, countOf(value.shape, 0, axis), runs);
    return parts.map((data, k) => withData(value.dtype, shape ?? value.shape.with(axis, sizes[k]!), data));
  }
  const strides = stridesOf(value.shape);
  let offset = 0;
  return sizes.map((size) => {
    const partShape = value.shape.with(axis, size);
    const part = copyStrided(value, offset, partShape, strides, shape ?? partShape);
    offset += size * strides[axis]!;
    return part;
  });
}

function split(op: OpCall): Tensor[] {
  const value = op.tensor(1);
  const rank = value.shape.length;
  const count = op.attrs.int("num_split");
  const axis = normalAxis(
    integerOf(op.tensor(0)),
    rank,
    (given) => `-input rank(-${rank}) <= split_dim < input rank (${rank}), but got ${given}`,
  );
  const dim = value.shape[axis]!;
  check(
    dim % count === 0,
    () =>
      `Number of ways to split should evenly divide the split dimension, but got split_dim ${axis} (size = ${dim}) and num_split ${count}`,
  );
  return cut(
    value,
    axis,
    Array.from({ length: count }, (): number => dim / count),
  );
}

function splitV(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const rank = value.shape.length;
  const sizes = shapeOf(op.tensor(1), "size_splits");
  const axis = normalAxis(
    integerOf(op.tensor(2)),
    rank,
    (given) => `-input rank(-${rank}) <= split_dim < input rank (${rank}), but got ${given}`,
  );
  const dim = value.shape[axis]!;
  const unknown = sizes.indexOf(-1);
  check(unknown < 0 || !sizes.includes(-1, unknown + 1), () => "There can only be one -1 in the input.");
  const known = sizes.reduce((sum, size) => sum + Math.max(size, 0), 0);
  check(
    sizes.every((size) => size >= -1),
    () => `Split size at index ${sizes.findIndex((size) => size < -1)} must be >= 0. Got: ${Math.min(...sizes)}`,
  );
  check(
    unknown >= 0 ? known <= dim : known === dim,
    () =>
      `Determined shape must either match input shape along split_dim exactly if fully specified, or be less than the size of the input along split_dim if not fully specified.  Got: ${known}`,
  );
  if (unknown >= 0) sizes[unknown] = dim - known;
  return cut(value, axis, sizes);
}

function unpack(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const rank = value.shape.length;
  const axis = normalAxis(op.attrs.int("axis"), rank, (given) => `axis = ${given} not in [${-rank}, ${rank})`);
  const count = op.attrs.int("num");
  check(
    value.shape[axis] === count,
    () => `Input shape axis ${axis} must equal ${count}, got shape ${printShape(value.shape)}`,
  );
  const shape = value.shape.toSpliced(axis, 1);
  return cut(value, axis, Array<number>(count).fill(1), shape);
}

export const SLICE_KERNELS: Readonly<Record<string, Kernel>> = {
  Slice: slice,
  XlaDynamicSlice: windowOf,
  StridedSlice: stridedSlice,
  Transpose: transpose,
  ConjugateTranspose: (op) => transpose(op).map((value) => (isComplex(value.dtype) ? conjugated(value) : value)),
  Tile: tile,
  ReverseV2: reverse,
  Reverse: reverseByMask,
  ReverseSequence: reverseSequence,
  Fill: fill,
  BroadcastTo: broadcastToKernel,
  Split: split,
  SplitV: splitV,
  Unpack: unpack,
};
