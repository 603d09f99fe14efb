import { type DType, tensor, type Tensor } from "@shardserve/tensor";

/** A shape as the int32 or int64 vector that TensorFlow's shape ops give. */
export function shapeTensor(shape: readonly number[], dtype: DType): Tensor {
  return dtype === "int64"
    ? tensor("int64", [shape.length], BigInt64Array.from(shape, BigInt))
    : tensor("int32", [shape.length], Int32Array.from(shape));
}
