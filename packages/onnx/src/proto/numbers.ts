import { invariant } from "@shardserve/core";
import {
  type DType,
  elementCount,
  isNumeric,
  newData,
  numberToHalf,
  type NumericDType,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/** A small tensor from JavaScript numbers; int64 data is exact up to 2^53 or given as bigint. */
export function numbers(dtype: DType, shape: readonly number[], values: readonly (number | bigint)[]): Tensor {
  invariant(isNumeric(dtype), `${dtype} has no numbers`);
  invariant(values.length === elementCount(shape), "as many values as elements");
  const data = newData(dtype as NumericDType, values.length);
  const isBig = dtype === "int64" || dtype === "uint64";
  for (let i = 0; i < values.length; i++) {
    (data as unknown as (number | bigint)[])[i] = isBig ? BigInt(values[i]!) : convert(dtype, Number(values[i]!));
  }
  return tensor(dtype, shape, data as never);
}

/** float16 is stored as its bit pattern. */
function convert(dtype: DType, value: number): number {
  return dtype === "float16" ? numberToHalf(value) : value;
}
