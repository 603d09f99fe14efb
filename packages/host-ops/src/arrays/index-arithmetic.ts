/** Where parts of a concatenation begin, and flat indices taken apart. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { check, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, integerOf, integersOf, normalAxis } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";

function concatOffset(op: OpCall): Tensor[] {
  const shapes = op.tensors(1);
  const first = integersOf(shapes[0]!);
  const rank = first.length;
  check(
    op.tensor(0).shape.length === 0,
    () => `Concat dim tensor should be a scalar, but got shape ${printShape(op.tensor(0).shape)}`,
  );
  const axis = normalAxis(integerOf(op.tensor(0)), rank, (given) => `Concat dim is out of range: ${given} vs. ${rank}`);
  let next = 0;
  return shapes.map((shape, k) => {
    check(shape.shape.length === 1, () => `input ${k} should be a vector, but got shape ${printShape(shape.shape)}`);
    const dims = integersOf(shape);
    check(dims.length === rank, () => `input ${k} should contain ${rank} elements, but got ${dims.length}`);
    for (let d = 0; d < rank; d++) {
      check(
        d === axis || dims[d] === first[d],
        () =>
          `All dimensions except ${axis} must match. Input ${k} has shape ${printShape(Array.from(dims))} and doesn't match input 0 with shape ${printShape(Array.from(first))}.`,
      );
    }
    const offset = new Float64Array(rank);
    offset[axis] = next;
    next += dims[axis]!;
    return withData(shape.dtype, [rank], indexData(shape.dtype, offset));
  });
}

function* unravelIndex(op: OpCall): Pieces<Tensor[]> {
  const [indices, dimsInput] = [op.tensor(0), op.tensor(1)];
  check(
    indices.shape.length <= 1,
    () => `The indices can only be scalar or vector, got "${printShape(indices.shape)}"`,
  );
  check(dimsInput.shape.length === 1, () => `The indices can only be 1-D, got "${printShape(dimsInput.shape)}"`);
  check(elementCount(indices.shape) > 0, () => "received empty tensor indices");
  const dims = Array.from(integersOf(dimsInput));
  const ids = integersOf(indices);
  for (const [i, dim] of dims.entries()) {
    check(dim !== 0, () => `Input dims cannot contain a dim of zero, but dims contains zero at index ${i}`);
    check(dim > 0, () => `Input dims cannot be negative. Got dim = ${dim} at index ${i}`);
  }
  const total = elementCount(dims);
  check(
    total <= (dimsInput.dtype === "int32" ? 2 ** 31 - 1 : Number.MAX_SAFE_INTEGER),
    () => `Input dims product is causing integer overflow: (${dims.join(" ")})`,
  );
  const out = allocate("float64", dims.length * ids.length);
  for (let i = 0; i < ids.length; i++) {
    yield dims.length;
    check(ids[i]! >= 0 && ids[i]! < total, () => `index is out of bound as with dims`);
    let rest = ids[i]!;
    for (let d = dims.length - 1; d >= 0; d--) {
      out[d * ids.length + i] = rest % dims[d]!;
      rest = Math.floor(rest / dims[d]!);
    }
  }
  const shape = indices.shape.length === 0 ? [dims.length] : [dims.length, ids.length];
  return [withData(indices.dtype, shape, indexData(indices.dtype, out))];
}

export const INDEX_ARITHMETIC_KERNELS: Readonly<Record<string, Kernel>> = {
  ConcatOffset: concatOffset,
  UnravelIndex: inTurns(unravelIndex),
};
