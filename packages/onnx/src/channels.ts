import type { OnnxBuilder, Value } from "./builder.js";
import { transpose } from "./emit.js";

/**
 * Where channels stand. TensorFlow's models have them last, ONNX's convolutions and pools second. A result that an op made
 * with channels second keeps that form beside the transposed one, and ops that work element by element or by channel carry
 * it on, as do paddings and the axes of length 1 that TensorFlow puts around a convolution in one dimension, so that a chain of
 * layers is transposed once at each end; what nobody reads in the end is not built.
 *
 * ONNX Runtime cancels such pairs too, but only in part: its blocked convolutions come first and stand in the way, and then
 * a bias, an activation and a pool each walk over memory on their own.
 */

/** [n, c, spatial...] from [n, spatial..., c]. */
export function channelsFirst(b: OnnxBuilder, value: Value, rank: number): Value {
  const { channelsFirst: known } = value;
  if (known?.rank === rank) return known.value;
  return transpose(b, value, [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)]);
}

/** [n, spatial..., c] from [n, c, spatial...]. */
export function channelsLast(b: OnnxBuilder, value: Value, rank: number): Value {
  const last = transpose(b, value, [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1]);
  return beside(last, value, rank);
}

/** A value of `rank` dimensions, and the same with channels second. */
export function beside(last: Value, first: Value, rank: number): Value {
  return { ...last, channelsFirst: { value: first, rank } };
}

/** A vector of one entry a channel, to be broadcast over [n, c, spatial...]. */
export function perChannel(b: OnnxBuilder, vector: Value, length: number | undefined, rank: number): Value {
  const ones = Array.from({ length: rank - 2 }, () => 1);
  const placed = length === undefined ? undefined : b.permuted(vector, [0], [length, ...ones]);
  return placed ?? b.op("Reshape", [vector, b.ints([-1, ...ones])]);
}

/** Ops whose result at a place depends on the operands at that place alone. */
const ELEMENTWISE: ReadonlySet<string> = new Set(
  `Relu Relu6 Elu Selu LeakyRelu Sigmoid Tanh Softplus Softsign Neg Abs Exp Sqrt
   Add AddV2 Sub Mul Maximum Minimum AddN`.split(/\s+/),
);

/**
 * The operands of an elementwise op with channels second, where all that are no scalars have that form already.
 *
 * @param rankOf  rank of operand `i` where it is known
 */
export function carried(
  op: string,
  inputs: readonly Value[],
  rankOf: (index: number) => number | undefined,
): { readonly inputs: readonly Value[]; readonly rank: number } | undefined {
  if (!ELEMENTWISE.has(op)) return undefined;
  const rank = inputs.find((value) => value.channelsFirst)?.channelsFirst?.rank;
  if (rank === undefined) return undefined;
  const moved: Value[] = [];
  for (const [i, value] of inputs.entries()) {
    const known = value.channelsFirst;
    if (known?.rank === rank) moved.push(known.value);
    else if (rankOf(i) === 0) moved.push(value);
    else return undefined;
  }
  return { inputs: moved, rank };
}
