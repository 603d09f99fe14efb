import type { DType, Tensor } from "@shardserve/tensor";
import { type OpCall, zeroTensor } from "../call/op-call.js";
import { stacked } from "./matrix.js";

/**
 * What ops of eigenvalues answer: values [..., n], and vectors [..., n, n] where `compute_v` asks for them, else one empty tensor.
 *
 * @param values  per matrix of the batch
 * @param vectors  per matrix, as columns; called where they are asked for
 */
export function eigenTensors(
  op: OpCall,
  dtype: DType,
  batch: readonly number[],
  values: readonly Float64Array[],
  vectors: () => readonly Float64Array[],
): Tensor[] {
  const n = op.tensor(0).shape.at(-1)!;
  const found = stacked(dtype, batch, [n], values);
  return [found, op.attrs.bool("compute_v") ? stacked(dtype, batch, [n, n], vectors()) : zeroTensor(dtype, [])];
}
