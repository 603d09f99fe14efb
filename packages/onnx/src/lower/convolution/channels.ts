import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { transpose } from "../../proto/emit.js";
import { volumeOfPlanes } from "./planes.js";

/**
 * Where channels stand. TensorFlow's models have them last, ONNX's convolutions and pools second. A result that an op made
 * with channels second keeps that form beside the transposed one, and ops that work element by element or by channel carry
 * it on, as do paddings and the axes of length 1 that TensorFlow puts around a convolution in one dimension, so that a chain of
 * layers is transposed once at each end; what nobody reads in the end is not built.
 *
 * What is one-dimensional has a third form, the images of one row that its convolutions compute with. Biases, activations and pools stay in it:
 * behind a Squeeze, ONNX Runtime would not fuse them, and a pool along the height of images one wide has a loop of one turn inmost.
 *
 * ONNX Runtime cancels such pairs too, but only in part: its blocked convolutions come first and stand in the way, and then
 * a bias, an activation and a pool each walk over memory on their own.
 */

/** [n, c, spatial...] from [n, spatial..., c]. */
export function channelsFirst(b: OnnxBuilder, value: Value, rank: number): Value {
  const { channelsFirst: known } = value;
  if (known?.rank === rank) return known.value;
  const order = [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)];
  const fixed = value.weight?.shape ?? value.tensor?.shape;
  const moved = fixed?.length === rank && b.permuted(value, order, orderedBy(order, fixed));
  return moved || transpose(b, value, order);
}

function orderedBy(order: readonly number[], shape: readonly number[]): number[] {
  return order.map((axis) => shape[axis]!);
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

/** [n, l, c] from images of one row, [n, c, 1, l]. */
export function lineOfRow(b: OnnxBuilder, row: Value): Value {
  return { ...channelsLast(b, b.op("Squeeze", [row, b.ints([2])]), 3), row };
}

/** [n, l, 1, c] from images of one row, [n, c, 1, l]. */
export function columnOfRow(b: OnnxBuilder, row: Value): Value {
  return { ...channelsLast(b, transpose(b, row, [0, 1, 3, 2]), 4), row };
}

/** Images of one row, [n, c, 1, l], from [n, l, 1, c]. */
export function rowOfColumn(b: OnnxBuilder, column: Value): Value {
  return column.row ?? transpose(b, column, [0, 3, 2, 1]);
}

/** A vector of one entry a channel, or what differs from one by axes of length 1, to be broadcast over [n, c, spatial...]. */
export function perChannel(
  b: OnnxBuilder,
  vector: Value,
  length: number | undefined,
  rank: number,
  ownRank = 1,
): Value {
  const ones = Array.from({ length: rank - 2 }, () => 1);
  const order = Array.from({ length: ownRank }, (_, axis) => axis);
  const placed = length === undefined ? undefined : b.permuted(vector, order, [length, ...ones]);
  return placed ?? b.op("Reshape", [vector, b.ints([-1, ...ones])]);
}

/** Ops whose result at a place depends on the operands at that place alone, with broadcasting. */
const ELEMENTWISE: ReadonlySet<string> = new Set(
  `Relu Relu6 Elu Selu LeakyRelu Sigmoid Tanh Softplus Softsign Neg Abs Exp Log Erf Sqrt Rsqrt Square Reciprocal
   Add AddV2 Sub Mul Div RealDiv SquaredDifference Pow Maximum Minimum AddN ClipByValue
   FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel`.split(/\s+/),
);

/**
 * The operands of an elementwise op with channels second, where one has that form and the others can be brought to it for
 * next to nothing: scalars, and what has no more than one value a channel for each element of the batch.
 *
 * @param shapeOf  shape of operand `i` where its rank is known
 */
export function carried(
  b: OnnxBuilder,
  op: string,
  inputs: readonly Value[],
  shapeOf: (index: number) => readonly number[] | undefined,
): { readonly inputs: readonly Value[]; readonly restored: (output: Value) => Value } | undefined {
  if (!ELEMENTWISE.has(op)) return undefined;
  const overPlanes = carriedPlanes(b, inputs, shapeOf);
  if (overPlanes) return overPlanes;
  const rank = inputs.find((value) => value.channelsFirst)?.channelsFirst?.rank;
  if (rank === undefined) return undefined;
  const isRow = rank === 3 && inputs.some(({ row }) => row);
  const moves = inputs.map((value, i) => moveOf(b, value, shapeOf(i), rank, isRow));
  const isMovable = moves.every((move) => move !== undefined);
  if (!isMovable) return undefined;
  const restored = (output: Value): Value => (isRow ? lineOfRow(b, output) : channelsLast(b, output, rank));
  return { inputs: moves.map((move) => move()), restored };
}

/** As {@link carried}, of one volume that exists as planes, where the others have a value a channel at most. */
function carriedPlanes(
  b: OnnxBuilder,
  inputs: readonly Value[],
  shapeOf: (index: number) => readonly number[] | undefined,
): ReturnType<typeof carried> {
  const [planes, ...more] = inputs.flatMap((value) => value.planes ?? []);
  // Two volumes may differ in how many of them there are: over planes [n * d, ...] that is no broadcast.
  if (!planes || more.length > 0) return undefined;
  const channels = planes.shape[3];
  const moves = inputs.map((value, i): (() => Value) | undefined => {
    if (value.planes) return () => planes.value;
    const shape = shapeOf(i);
    if (shape?.length === 0) return () => value;
    const length = shape?.at(-1);
    if (!shape || (length !== 1 && length !== channels)) return undefined;
    if (shape.length > 4 || shape.slice(0, -1).some((ones) => ones !== 1)) return undefined;
    return () => perChannel(b, value, length, 4, shape.length);
  });
  const isMovable = moves.every((move) => move !== undefined);
  if (!isMovable) return undefined;
  return {
    inputs: moves.map((move) => move()),
    restored: (value) => volumeOfPlanes(b, { ...planes, value }),
  };
}

/** How an operand gets its channels second, or the form of one row, undefined where that would be work. */
function moveOf(
  b: OnnxBuilder,
  value: Value,
  shape: readonly number[] | undefined,
  rank: number,
  isRow: boolean,
): (() => Value) | undefined {
  const known = value.channelsFirst;
  const placed = (first: Value): Value => (isRow ? b.op("Unsqueeze", [first, b.ints([2])]) : first);
  if (known) return known.rank === rank ? () => (isRow && value.row) || placed(known.value) : undefined;
  if (!shape || shape.length > rank) return undefined;
  if (shape.length === 0) return () => value;
  const isBatched = shape.length === rank;
  if (!shape.slice(isBatched ? 1 : 0, -1).every((length) => length === 1)) return undefined;
  if (isBatched) return () => placed(channelsFirst(b, value, rank));
  return () => perChannel(b, value, shape.at(-1)! < 0 ? undefined : shape.at(-1), isRow ? 4 : rank, shape.length);
}
