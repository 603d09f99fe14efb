/** Binomial numbers, drawn as TensorFlow's CPU kernels draw them: each from blocks of its own. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { check } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, integerOf } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { reserveOfVariable } from "./generators.js";
import type { Philox } from "./philox.js";
import { seeded, wholeShape } from "./random.js";
import { Source } from "./random-rates.js";

const PHILOX = 1;

/** From this mean on numbers are found by rejection; below, by sums of geometric ones. */
const REJECTION_FROM = 10;

/** Blocks that lie between the samples' own: on average 10 are used for means below the border. */
const [BLOCKS_BY_INVERSION, BLOCKS_BY_REJECTION] = [42, 256];

/** How many geometric numbers fit into the count. */
function byInversion(count: number, p: number, source: Source): number {
  let sum = 0;
  for (let found = 0; ; found++) {
    sum += Math.ceil(Math.log(source.uniform()) / Math.log1p(-p));
    if (sum > count) return found;
  }
}

/** What Stirling's formula lacks for 0 to 9. */
const TAILS = [
  0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
  0.0138761288230707, 0.0118967099458917, 0.010411265261972, 0.00925546218271273, 0.00833056343336287,
];

function tail(k: number): number {
  if (k < TAILS.length) return TAILS[Math.trunc(k)]!;
  const square = (k + 1) * (k + 1);
  return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1);
}

/** Hörmann, "The generation of binomial random variates". */
function byRejection(count: number, p: number, source: Source): number {
  const deviation = Math.sqrt(count * p * (1 - p));
  const b = 1.15 + 2.53 * deviation;
  const a = -0.0873 + 0.0248 * b + 0.01 * p;
  const c = count * p + 0.5;
  const odds = p / (1 - p);
  const alpha = (2.83 + 5.1 / b) * deviation;
  const mode = Math.floor((count + 1) * p);
  for (;;) {
    const u = source.uniform() - 0.5;
    const v = source.uniform();
    const shifted = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / shifted + b) * u + c);
    if (shifted >= 0.07 && v <= 0.92 - 4.2 / b) return k;
    if (k < 0 || k > count) continue;
    const most =
      (mode + 0.5) * Math.log((mode + 1) / (odds * (count - mode + 1))) +
      (count + 1) * Math.log((count - mode + 1) / (count - k + 1)) +
      (k + 0.5) * Math.log((odds * (count - k + 1)) / (k + 1)) +
      tail(mode) +
      tail(count - mode) -
      tail(k) -
      tail(count - k);
    if (Math.log((v * alpha) / (a / (shifted * shifted) + b)) <= most) return k;
  }
}

/** Successes of `count` tries; @param sourceFor  numbers from so many blocks on for each sample before this one */
function draw(count: number, p: number, round: (x: number) => number, sourceFor: (blocks: number) => Source): number {
  // Numbers would be drawn without end for a count that is none.
  if (Number.isNaN(count) || Number.isNaN(p)) return NaN;
  if (count <= 0 || p <= 0) return 0;
  if (p >= 1) return count;
  const isMostly = p > 0.5;
  const rare = isMostly ? round(1 - p) : p;
  const found =
    round(count * rare) >= REJECTION_FROM
      ? byRejection(count, rare, sourceFor(BLOCKS_BY_REJECTION))
      : byInversion(count, rare, sourceFor(BLOCKS_BY_INVERSION));
  return isMostly ? count - found : found;
}

/** @param at  the input with the shape; counts and probabilities are the two behind `parametersAt` */
function* binomial(
  op: OpCall,
  at: number,
  parametersAt: number,
  philoxFor: (batches: number, perBatch: number) => Philox,
): Pieces<Tensor[]> {
  const parameters = [op.tensor(parametersAt), op.tensor(parametersAt + 1)] as const;
  const inner = broadcastShape(parameters[0].shape, parameters[1].shape);
  const shape = wholeShape(op, inner, at);
  const dtype = op.attrs.dtype("dtype");
  const count = checkedCount(dtype, shape);
  const out = numberArray(dtype, count);
  const batches = elementCount(inner);
  const perBatch = batches === 0 ? 0 : count / batches;
  const philox = philoxFor(batches, perBatch);
  const [counts, shares] = [operandOf(parameters[0], inner), operandOf(parameters[1], inner)];
  const round = roundingOf(parameters[0].dtype);
  for (let index = 0; index < count; index++) {
    const batch = Math.floor(index / perBatch);
    const sourceFor = (blocks: number): Source => new Source(philox, blocks * index);
    const value = draw(counts.values[batch * counts.step]!, shares.values[batch * shares.step]!, round, sourceFor);
    out[(index % perBatch) * batches + batch] = value;
    yield 256;
  }
  return [numbersTensor(dtype, shape, out)];
}

function operandOf(parameter: Tensor, shape: readonly number[]): { values: ArrayLike<number>; step: number } {
  const { value, step } = operand(parameter, shape);
  return { values: numbersOf(value), step };
}

/** Samples by which the variable's counter moves on. */
function reservation(batches: number, perBatch: number): bigint {
  return BigInt(Math.trunc((batches * 200 * (perBatch + 3)) / 4));
}

export const BINOMIAL_KERNELS: Readonly<Record<string, Kernel>> = {
  StatelessRandomBinomial: inTurns((op) => binomial(op, 0, 2, () => seeded(op, 1))),
  StatefulRandomBinomial: inTurns((op) => {
    const algorithm = integerOf(op.tensor(1));
    check(algorithm === PHILOX, () => `Unsupported algorithm id: ${algorithm}`);
    return binomial(op, 2, 3, (...sizes) => reserveOfVariable(op, reservation(...sizes)));
  }),
};
