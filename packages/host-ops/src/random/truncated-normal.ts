/** Normal numbers between bounds of their own, by rejection, as TensorFlow's CPU kernels draw them (Robert, "Simulation of truncated normal variables"). */
import { ServingError } from "@shardserve/core";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { check, printShape } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor, roundingOf } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape, countOf } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { normalDoubles, normalFloats, pair, type Philox, toDouble, toFloat, toHalf } from "./philox.js";
import { reserve, SAMPLES_PER_BLOCK, seeded, shapeInput, wholeShape } from "./random.js";

/** Draws for one number before it is given up. */
const TRIES_MAX = 1000;

/** With a bound this many deviations from the mean, at the least, normal numbers are drawn until one is within. */
const NORMAL_FROM = 1.3;

/** Numbers of one sample in a batch whose parameters are all the same. */
const SHARED_BATCH = 100;

interface Bounds {
  readonly mean: number;
  readonly deviation: number;
  /** In deviations from the mean. */
  readonly low: number;
  readonly high: number;
}

/** How numbers of a dtype are made of blocks, and rounded. */
class Draws {
  readonly #philox: Philox;
  readonly #isDouble: boolean;
  readonly #convert: (x: number) => number;
  readonly round: (x: number) => number;
  /** The latest numbers: four, or two doubles. */
  readonly values: Float64Array;

  constructor(philox: Philox, dtype: Tensor["dtype"]) {
    this.#philox = philox;
    this.#isDouble = dtype === "float64";
    this.#convert = dtype === "float16" ? toHalf : toFloat;
    this.round = roundingOf(dtype);
    this.values = new Float64Array(this.#isDouble ? 2 : 4);
  }

  uniform(): void {
    this.#philox.next();
    const { block } = this.#philox;
    for (let i = 0; i < this.values.length; i++) {
      this.values[i] = this.#isDouble ? toDouble(block[2 * i]!, block[2 * i + 1]!) : this.#convert(block[i]!);
    }
  }

  normal(): void {
    this.#philox.next();
    const { block } = this.#philox;
    for (let i = 0; i < this.values.length; i += 2) {
      if (this.#isDouble) normalDoubles(block[0]!, block[1]!, block[2]!, block[3]!);
      else normalFloats(block[i]!, block[i + 1]!);
      this.values[i] = this.round(pair.first);
      this.values[i + 1] = this.round(pair.second);
    }
  }
}

/** Gives numbers one after the other, or undefined for one that is rejected. */
type Proposal = () => Iterable<number | undefined>;

function* normals(draws: Draws, { low, high }: Bounds): Generator<number | undefined> {
  draws.normal();
  for (const z of draws.values) yield z >= low && z <= high ? z : undefined;
}

function* uniforms(draws: Draws, { low, high }: Bounds): Generator<number | undefined> {
  const { round, values } = draws;
  const width = round(high - low);
  const plus = low < 0 ? 0 : round(low * low);
  draws.uniform();
  const proposed = Array.from(values, (x) => round(round(x * width) + low));
  draws.uniform();
  for (const [i, z] of proposed.entries()) {
    const most = round(Math.exp(round(round(plus - round(z * z)) / 2)));
    yield values[i]! <= most ? z : undefined;
  }
}

function* exponentials(draws: Draws, { low, high }: Bounds): Generator<number | undefined> {
  const { round, values } = draws;
  const alpha = round(round(low + round(Math.sqrt(round(round(low * low) + 4)))) / 2);
  draws.uniform();
  for (let i = 0; i < values.length; i += 2) {
    const z = round(round(round(-round(Math.log(values[i]!))) / alpha) + low);
    const x = low < alpha ? round(alpha - z) : round(low - alpha);
    const most = round(Math.exp(round(round(-x * x) / 2)));
    yield values[i + 1]! <= most && z < high ? z : undefined;
  }
}

/** The way that rejects the fewest. */
function proposalOf(draws: Draws, bounds: Bounds): { readonly propose: Proposal; readonly name: string } {
  const { round } = draws;
  const { low, high } = bounds;
  const reach = round(NORMAL_FROM);
  if ((low < -reach && high >= 0) || (high > reach && low <= 0)) {
    return { propose: () => normals(draws, bounds), name: "randn rejection" };
  }
  const root = round(Math.sqrt(round(round(low * low) + 4)));
  const power = round(0.5 + round(round(low * round(low - root)) / 4));
  const cutoff = round(round(2 * round(Math.exp(power))) / round(low + root));
  return round(high - low) < cutoff
    ? { propose: () => uniforms(draws, bounds), name: "uniform rejection" }
    : { propose: () => exponentials(draws, bounds), name: "exponential distribution rejection" };
}

/** @param parameters  mean, deviation, lower and upper bound */
function boundsOf(parameters: readonly number[], round: (x: number) => number): Bounds {
  const [mean, deviation, least, most] = parameters as [number, number, number, number];
  const isOpen = !Number.isFinite(least) && !Number.isFinite(most);
  check(deviation > 0 && least < most && !isOpen, () => "Invalid parameters");
  // One bound is made the lower one, and both positive, where that can be.
  const isTurned = least === -Infinity || most < mean;
  const [from, to, scale] = isTurned ? [most, least, -deviation] : [least, most, deviation];
  return { mean, deviation: scale, low: round(round(from - mean) / scale), high: round(round(to - mean) / scale) };
}

/** Draws `count` numbers into `out`, `step` apart. */
function* fill(
  draws: Draws,
  bounds: Bounds,
  out: { [index: number]: number },
  at: number,
  count: number,
  step: number,
): Pieces<void> {
  const { round } = draws;
  const { propose, name } = proposalOf(draws, bounds);
  for (let found = 0, tries = 0; found < count; ) {
    yield 64;
    for (const z of propose()) {
      if (z === undefined) {
        if (++tries < TRIES_MAX) continue;
        throw new ServingError("INTERNAL", `TruncatedNormal ${name} sampler failed to accept a sample.`);
      }
      out[at + found * step] = round(round(z * bounds.deviation) + bounds.mean);
      tries = 0;
      if (++found === count) break;
    }
  }
}

const NAMES = ["means", "stddevs", "minvals", "maxvals"];

/** Parameters are one, or one for each of the first dimension. */
function* parameterized(op: OpCall): Pieces<Tensor[]> {
  const shape = shapeInput(op);
  check(shape.length > 0, () => "Shape tensor must not be empty");
  const parameters = op.tensors(1, 5);
  const { dtype } = parameters[0]!;
  const count = checkedCount(dtype, shape);
  for (const [i, { shape: own }] of parameters.entries()) {
    check(own.length <= 1, () => `Input ${NAMES[i]} should be a scalar or vector, got shape: ${printShape(own)}`);
  }
  const isShared = parameters.every(({ shape: own }, i) => own.length === 0 || (i < 2 && own[0] === 1));
  let [batches, perBatch] = [shape[0] ?? 0, countOf(shape, 1)];
  if (isShared) [batches, perBatch] = [Math.ceil(count / SHARED_BATCH), SHARED_BATCH];
  for (const [i, { shape: own }] of parameters.entries()) {
    check(
      own.length === 0 || own[0] === 1 || own[0] === batches,
      () => `Input ${NAMES[i]} should have length 1 or shape[0], got shape: ${printShape(own)}`,
    );
  }
  const out = numberArray(dtype, count);
  const numbers = parameters.map(numbersOf);
  const blocks = Math.trunc((batches * 2 * TRIES_MAX * (perBatch + 3)) / SAMPLES_PER_BLOCK);
  const draws = new Draws(reserve(op, blocks), dtype);
  for (let batch = 0; batch < batches; batch++) {
    const own = numbers.map((values) => values[values.length === 1 ? 0 : batch]!);
    const start = batch * perBatch;
    yield* fill(draws, boundsOf(own, draws.round), out, start, Math.min(perBatch, count - start), 1);
  }
  return [numbersTensor(dtype, shape, out)];
}

/** Parameters are broadcast to the end of the shape. */
function* statelessParameterized(op: OpCall): Pieces<Tensor[]> {
  const parameters = op.tensors(2, 6);
  const inner = parameters.map((value) => value.shape).reduce(broadcastShape);
  const shape = wholeShape(op, inner);
  const { dtype } = parameters[0]!;
  const count = checkedCount(dtype, shape);
  const out = numberArray(dtype, count);
  const draws = new Draws(seeded(op, 1), dtype);
  const operands = parameters.map((parameter) => {
    const { value, step } = operand(parameter, inner);
    return { values: numbersOf(value), step };
  });
  const batches = elementCount(inner);
  for (let batch = 0; batch < batches; batch++) {
    const own = operands.map(({ values, step }) => values[batch * step]!);
    yield* fill(draws, boundsOf(own, draws.round), out, batch, count / batches, batches);
  }
  return [numbersTensor(dtype, shape, out)];
}

export const TRUNCATED_NORMAL_KERNELS: Readonly<Record<string, Kernel>> = {
  ParameterizedTruncatedNormal: inTurns(parameterized),
  StatelessParameterizedTruncatedNormal: inTurns(statelessParameterized),
};
