/** IsotonicRegression: the nearest sequence that does not rise, by pooling neighbours (Kruskal, "Nonmetric multidimensional scaling"). */
import { type Tensor, tensor } from "@shardserve/tensor";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";

function isotonicRegression(op: OpCall): Tensor[] {
  const input = op.tensor(0);
  const { shape } = input;
  const dtype = op.attrs.dtype("output_dtype");
  const round = roundingOf(dtype);
  const numbers = numbersOf(input);
  const out = numberArray(dtype, checkedCount(dtype, shape));
  const segments = new Int32Array(numbers.length);
  const length = shape.at(-1) ?? 1;
  // Pools of one row: where each begins, the sum and the mean of its elements.
  const starts = new Int32Array(length + 1);
  const [sums, means] = [new Float64Array(length), new Float64Array(length)];
  for (let row = 0; row < numbers.length; row += length) {
    let pools = 0;
    for (let i = 0; i < length; i++) {
      starts[pools] = i;
      sums[pools] = means[pools] = round(numbers[row + i]!);
      pools++;
      while (pools > 1 && means[pools - 1]! > means[pools - 2]!) {
        pools--;
        sums[pools - 1] = round(sums[pools - 1]! + sums[pools]!);
        means[pools - 1] = round(sums[pools - 1]! / (i + 1 - starts[pools - 1]!));
      }
    }
    starts[pools] = length;
    for (let pool = 0; pool < pools; pool++) {
      out.fill(means[pool]!, row + starts[pool]!, row + starts[pool + 1]!);
      segments.fill(pool, row + starts[pool]!, row + starts[pool + 1]!);
    }
  }
  return [numbersTensor(dtype, shape, out), tensor("int32", shape, segments)];
}

export const ISOTONIC_KERNELS: Readonly<Record<string, Kernel>> = { IsotonicRegression: isotonicRegression };
