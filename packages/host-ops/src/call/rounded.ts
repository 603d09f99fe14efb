import type { DType, Tensor } from "@shardserve/tensor";
import { numberArray, numbersTensor } from "./numeric.js";
import { inRanges, type Pieces } from "./turns.js";

/** A `dtype` tensor of sums in double precision, each rounded once: roundedTensor of numeric.ts in pieces, for results that may be long. */
export function* rounded(dtype: DType, shape: readonly number[], sums: Float64Array): Pieces<Tensor> {
  const out = numberArray(dtype, sums.length);
  yield* inRanges(sums.length, 2, (from, end) => out.set(sums.subarray(from, end), from));
  return numbersTensor(dtype, shape, out);
}
