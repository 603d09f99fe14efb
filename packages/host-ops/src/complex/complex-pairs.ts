/** Kernels that are linear in what they move, for complex numbers: those of real ones, of tensors [..., 2]. */
import type { HostValue } from "@shardserve/graph";
import type { DType, Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { isComplex } from "../call/numeric.js";
import type { Kernel } from "../call/op-call.js";

const HALF: Partial<Record<DType, DType>> = { complex64: "float32", complex128: "float64" };
const WHOLE: Partial<Record<DType, DType>> = { float32: "complex64", float64: "complex128" };

function isTensor(value: HostValue): value is Tensor {
  return "dtype" in value;
}

/** The same data as real numbers, and back. */
const split = (value: Tensor): Tensor => withData(HALF[value.dtype]!, [...value.shape, 2], value.data);
const joined = (value: Tensor): Tensor => withData(WHOLE[value.dtype]!, value.shape.slice(0, -1), value.data);

/**
 * @param kernel      adds or moves slices, and leaves the last dimension alone
 * @param shapeInput  the input that is the result's shape, where there is one
 */
export function asPairs(kernel: Kernel, shapeInput?: number): Kernel {
  return async (op) => {
    const inputs = Array.from({ length: op.inputCount }, (_, i) => {
      const value = op.value(i);
      if (!isTensor(value)) return value;
      if (isComplex(value.dtype)) return split(value);
      return i === shapeInput ? extended(value) : value;
    });
    const outputs = await kernel(op.withInputs(inputs));
    return outputs.map((value) => joined(value as Tensor));
  };
}

/** A shape with the dimension of the parts behind it. */
function extended({ dtype, shape, data }: Tensor): Tensor {
  const dims = Array.from(data as unknown as ArrayLike<number | bigint>, Number);
  const all = [...dims, 2];
  return withData(dtype, [shape[0]! + 1], dtype === "int64" ? BigInt64Array.from(all, BigInt) : Int32Array.from(all));
}
