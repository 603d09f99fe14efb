/** Random ops, with TensorFlow's numbers wherever a seed is given. */
import { systemRandom } from "@shardserve/core";
import type { HostResource } from "@shardserve/graph";
import { elementCount, lanesOf, type Tensor, tensor } from "@shardserve/tensor";
import { takeRuns, withData } from "../call/elements.js";
import { check, checkScalar, invalid, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import { numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, indexData, integerOf, shapeOf } from "../call/shapes.js";
import {
  normalDoubles,
  normalFloats,
  pair,
  Philox,
  PhiloxStream,
  toBfloat,
  toDouble,
  toFloat,
  toHalf,
} from "./philox.js";

export type Fill = (philox: Philox, shape: readonly number[], op: OpCall) => Tensor;

/** Numbers per block. */
export const SAMPLES_PER_BLOCK = 4;

export function uniform(philox: Philox, shape: readonly number[], op: OpCall): Tensor {
  const dtype = op.attrs.dtype("dtype");
  const count = checkedCount(dtype, shape);
  const out = numberArray(dtype, count);
  const { block } = philox;
  if (dtype === "float64") {
    for (let i = 0; i < count; i++) {
      if (i % 2 === 0) philox.next();
      out[i] = i % 2 === 0 ? toDouble(block[0]!, block[1]!) : toDouble(block[2]!, block[3]!);
    }
  } else {
    const convert = dtype === "float16" ? toHalf : dtype === "bfloat16" ? toBfloat : toFloat;
    for (let i = 0; i < count; i++) {
      if (i % SAMPLES_PER_BLOCK === 0) philox.next();
      out[i] = convert(block[i % SAMPLES_PER_BLOCK]!);
    }
  }
  return numbersTensor(dtype, shape, out);
}

export function normal(philox: Philox, shape: readonly number[], op: OpCall): Tensor {
  const dtype = op.attrs.dtype("dtype");
  const count = checkedCount(dtype, shape);
  const out = numberArray(dtype, count);
  const { block } = philox;
  for (let i = 0; i < count; i += 2) {
    if (dtype === "float64") {
      philox.next();
      normalDoubles(block[0]!, block[1]!, block[2]!, block[3]!);
    } else {
      const at = i % SAMPLES_PER_BLOCK;
      if (at === 0) philox.next();
      normalFloats(block[at]!, block[at + 1]!);
    }
    out[i] = pair.first;
    if (i + 1 < count) out[i + 1] = pair.second;
  }
  return numbersTensor(dtype, shape, out);
}

/** Blocks set aside for one number, as distributions reject an unknown number of draws. */
export const RESERVED_PER_SAMPLE = 256;
const TRUNCATE_AT = 2;

export function truncatedNormal(philox: Philox, shape: readonly number[], op: OpCall): Tensor {
  const dtype = op.attrs.dtype("dtype");
  const count = checkedCount(dtype, shape);
  const out = numberArray(dtype, count);
  const isDouble = dtype === "float64";
  const groupSize = isDouble ? 2 : 4;
  for (let start = 0, group = 0; start < count; start += groupSize, group++) {
    const own = philox.copy();
    own.skip((group * groupSize * RESERVED_PER_SAMPLE) / SAMPLES_PER_BLOCK);
    const stream = new PhiloxStream(own);
    const end = Math.min(start + groupSize, count);
    for (let i = start; i < end; ) {
      const [x0, x1] = [stream.next(), stream.next()];
      if (isDouble) normalDoubles(x0, x1, stream.next(), stream.next());
      else normalFloats(x0, x1);
      if (Math.abs(pair.first) < TRUNCATE_AT) out[i++] = pair.first;
      if (i < end && Math.abs(pair.second) < TRUNCATE_AT) out[i++] = pair.second;
    }
  }
  return numbersTensor(dtype, shape, out);
}

/** Integers of [minval, maxval) from raw bits modulo the range. */
function between(bits: Tensor, low: Tensor, high: Tensor): Tensor {
  const { dtype, shape } = bits;
  const [least, end] = [low, high].map((value) => BigInt((value.data as BigInt64Array)[0]!)) as [bigint, bigint];
  check(least < end, () => `Need minval < maxval, got ${least} >= ${end}`);
  if (dtype === "int64" || dtype === "uint64") {
    const data = bits.data as BigInt64Array;
    const range = end - least;
    const out = new BigInt64Array(data.length);
    for (let i = 0; i < data.length; i++) out[i] = least + (BigInt.asUintN(64, data[i]!) % range);
    return withData(dtype, shape, dtype === "int64" ? out : new BigUint64Array(out.buffer));
  }
  const range = Number(end - least);
  const data = Int32Array.from(bits.data as Int32Array, (x) => Number(least) + ((x >>> 0) % range));
  return withData(dtype, shape, dtype === "int32" ? data : new Uint32Array(data.buffer));
}

class Generator implements HostResource {
  readonly kind = "random generator";
  readonly philox: Philox;

  constructor(philox: Philox) {
    this.philox = philox;
  }
}

const unseeded = systemRandom();

function randomSeed(): bigint {
  return (BigInt(unseeded.uint32()) << 32n) | BigInt(unseeded.uint32());
}

/** The generator of a stateful node, which lives as long as the servable; seeds of 0 and 0 mean any. */
function generatorOf(op: OpCall): Philox {
  const key = `random generator of ${op.node.name}`;
  const found = op.state.resources.get(key);
  if (found instanceof Generator) return found.philox;
  let [seed, seed2] = ["seed", "seed2"].map((name) => BigInt(op.attrs.get(name) as bigint | number)) as [
    bigint,
    bigint,
  ];
  if (seed === 0n && seed2 === 0n) [seed, seed2] = [randomSeed(), randomSeed()];
  const made = new Generator(Philox.fromSeeds(seed, seed2));
  op.state.resources.set(key, made);
  return made.philox;
}

/** Blocks that hold so many numbers. */
export function blocksOf(numbers: number): number {
  return Math.ceil(numbers / SAMPLES_PER_BLOCK);
}

/** A copy of the node's generator for this run; the next run goes on `blocks` further. */
export function reserve(op: OpCall, blocks: number): Philox {
  const generator = generatorOf(op);
  const own = generator.copy();
  generator.skip(blocks);
  return own;
}

export function shapeInput(op: OpCall, at = 0): number[] {
  const shape = shapeOf(op.tensor(at));
  for (const dim of shape) check(dim >= 0, () => `Dimension ${dim} must be >= 0`);
  return shape;
}

/** A shape that is all of the result's, the parameters' at its end. */
export function wholeShape(op: OpCall, parameters: readonly number[], at = 0): number[] {
  const shape = shapeInput(op, at);
  const end = shape.slice(shape.length - parameters.length);
  check(
    shape.length >= parameters.length && end.every((dim, d) => dim === parameters[d]),
    () => `Shape passed in must end with broadcasted shape, got ${printShape(shape)} and ${printShape(parameters)}`,
  );
  return shape;
}

function stateful(fill: Fill): Kernel {
  return (op) => {
    const shape = shapeInput(op);
    checkedCount("float32", shape);
    return [fill(reserve(op, elementCount(shape) * RESERVED_PER_SAMPLE), shape, op)];
  };
}

/** V1: a seed of two integers at `seedAt`. */
export function seeded(op: OpCall, seedAt: number): Philox {
  const seed = op.tensor(seedAt);
  check(
    seed.shape.length === 1 && seed.shape[0] === 2,
    () => `seed must have shape [2], not ${printShape(seed.shape)}`,
  );
  const [first, second] = Array.from(seed.data as unknown as ArrayLike<number | bigint>, BigInt) as [bigint, bigint];
  return Philox.fromStatelessSeed(first, second);
}

/** V2: key, counter and algorithm from input `keyAt` on. */
export function keyed(op: OpCall, keyAt: number): Philox {
  const [key, counter, algorithm] = [op.tensor(keyAt), op.tensor(keyAt + 1), op.tensor(keyAt + 2)];
  checkScalar(algorithm, "algorithm");
  const id = integerOf(algorithm);
  check(
    id === 1 || id === 3,
    () => `Unsupported algorithm id: ${id}; only Philox (1) and the default (3) are supported`,
  );
  check(key.shape.length === 1 && key.shape[0] === 1, () => `key must have shape [1], not ${printShape(key.shape)}`);
  check(
    counter.shape.length === 1 && counter.shape[0]! >= 2,
    () => `counter must be a vector of at least 2 elements, not of shape ${printShape(counter.shape)}`,
  );
  return new Philox(lanesOf(key.data as BigUint64Array), lanesOf(counter.data as BigUint64Array).subarray(0, 4));
}

const stateless =
  (fill: Fill): Kernel =>
  (op) => [fill(seeded(op, 1), shapeInput(op), op)];
const statelessV2 =
  (fill: Fill): Kernel =>
  (op) => [fill(keyed(op, 1), shapeInput(op), op)];

function scalarBounds(op: OpCall, at: number): [Tensor, Tensor] {
  const [low, high] = [op.tensor(at), op.tensor(at + 1)];
  check(low.shape.length === 0, () => `minval must be 0-D, got shape ${printShape(low.shape)}`);
  check(high.shape.length === 0, () => `maxval must be 0-D, got shape ${printShape(high.shape)}`);
  return [low, high];
}

/** Fills integers of [minval, maxval); the bounds are the inputs from `boundsAt` on. */
export function uniformInt(boundsAt: number, dtypeAttr: "dtype" | "Tout"): Fill {
  return (philox, shape, op) => {
    const [low, high] = scalarBounds(op, boundsAt);
    const dtype = op.attrs.dtype(dtypeAttr);
    const bits = rawBitsOf(philox, shape, dtype, op);
    return between(bits, low, high);
  };
}

/** Fills integers with raw bits; 64-bit elements take two numbers, low first. */
function rawBitsOf(philox: Philox, shape: readonly number[], dtype: Tensor["dtype"], op: OpCall): Tensor {
  if (dtype !== "int32" && dtype !== "int64" && dtype !== "uint32" && dtype !== "uint64") {
    throw invalid(`${op.node.op} of ${dtype} is not supported`);
  }
  const count = checkedCount(dtype, shape);
  const data = allocate(dtype, count);
  const out = data instanceof BigInt64Array || data instanceof BigUint64Array ? lanesOf(data) : data;
  for (let i = 0; i < out.length; i++) {
    if (i % SAMPLES_PER_BLOCK === 0) philox.next();
    out[i] = philox.block[i % SAMPLES_PER_BLOCK]!;
  }
  return withData(dtype, shape, data);
}

export const fullInt: Fill = (philox, shape, op) => rawBitsOf(philox, shape, op.attrs.dtype("dtype"), op);

/** Rows in another order. @param philoxFor  the generator for that many rows */
function shuffle(op: OpCall, philoxFor: (rows: number) => Philox): Tensor[] {
  const value = op.tensor(0);
  const size = value.shape.length === 0 ? 1 : value.shape[0]!;
  if (elementCount(value.shape) <= 1 || size <= 1) return [value];
  const order = Float64Array.from({ length: size }, (_, i) => i);
  new PhiloxStream(philoxFor(size)).shuffle(order);
  const run = countOf(value.shape, 1);
  return [
    takeRuns(
      value,
      order.map((row) => row * run),
      run,
      value.shape,
    ),
  ];
}

/** Draws classes by unnormalised log probabilities, one row after the other. */
function multinomial(op: OpCall, philoxFor: (rows: number, samplesPerRow: number) => Philox): Tensor[] {
  const [logits, samples] = [op.tensor(0), op.tensor(1)];
  check(logits.shape.length === 2, () => `logits should be a matrix, got shape ${printShape(logits.shape)}`);
  check(samples.shape.length === 0, () => `num_samples should be a scalar, got shape ${printShape(samples.shape)}`);
  const count = integerOf(samples);
  check(count >= 0, () => `num_samples should be nonnegative, got ${count}`);
  const [rows, classes] = logits.shape as [number, number];
  check(classes > 0, () => `num_classes should be positive, got ${classes}`);
  const dtype = op.attrs.dtype("output_dtype");
  const total = checkedCount(dtype, [rows, count]);
  const numbers = numbersOf(logits);
  const picks = new Float64Array(total);
  const stream = new PhiloxStream(philoxFor(rows, count));
  const cdf = new Float64Array(classes);
  for (let row = 0; row < rows; row++) {
    const at = row * classes;
    let highest = -Number.MAX_VALUE;
    for (let c = 0; c < classes; c++)
      if (Number.isFinite(numbers[at + c]!)) highest = Math.max(highest, numbers[at + c]!);
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      if (Number.isFinite(numbers[at + c]!)) sum += Math.exp(numbers[at + c]! - highest);
      cdf[c] = sum;
    }
    for (let n = 0; n < count; n++) {
      const wanted = stream.double() * sum;
      let [low, high] = [0, classes];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (cdf[middle]! <= wanted) low = middle + 1;
        else high = middle;
      }
      picks[row * count + n] = low;
    }
  }
  return [withData(dtype, [rows, count], indexData(dtype, picks))];
}

/** Two numbers a sample, as its double takes, and whole blocks of samples for each row. */
function blocksOfDraws(rows: number, samplesPerRow: number): number {
  return 2 * rows * blocksOf(samplesPerRow) * SAMPLES_PER_BLOCK * RESERVED_PER_SAMPLE;
}

function keyAndCounter(op: OpCall): Tensor[] {
  const philox = seeded(op, 0);
  const key = new BigUint64Array(philox.key.buffer as ArrayBuffer);
  const counter = new BigUint64Array(philox.counter.buffer as ArrayBuffer);
  return [tensor("uint64", [1], key), tensor("uint64", [2], counter)];
}

const PHILOX = 1;
const algorithm = (): Tensor => tensor("int32", [], Int32Array.of(PHILOX));

export const RANDOM_KERNELS: Readonly<Record<string, Kernel>> = {
  RandomUniform: stateful(uniform),
  RandomStandardNormal: stateful(normal),
  TruncatedNormal: stateful(truncatedNormal),
  RandomUniformInt: stateful(uniformInt(1, "Tout")),
  RandomShuffle: (op) => shuffle(op, (rows) => reserve(op, blocksOf(rows - 1))),
  StatelessShuffle: (op) => {
    const philox = keyed(op, 1);
    return shuffle(op, () => philox);
  },
  Multinomial: (op) => multinomial(op, (rows, samples) => reserve(op, blocksOfDraws(rows, samples))),
  StatelessMultinomial: (op) => multinomial(op, () => seeded(op, 2)),
  StatelessRandomUniform: stateless(uniform),
  StatelessRandomNormal: stateless(normal),
  StatelessTruncatedNormal: stateless(truncatedNormal),
  StatelessRandomUniformInt: stateless(uniformInt(2, "dtype")),
  StatelessRandomUniformFullInt: stateless(fullInt),
  StatelessRandomUniformV2: statelessV2(uniform),
  StatelessRandomNormalV2: statelessV2(normal),
  StatelessTruncatedNormalV2: statelessV2(truncatedNormal),
  StatelessRandomUniformIntV2: statelessV2(uniformInt(4, "dtype")),
  StatelessRandomUniformFullIntV2: statelessV2(fullInt),
  NonDeterministicInts: (op) => [fullInt(Philox.fromSeeds(randomSeed(), randomSeed()), shapeInput(op), op)],
  StatelessRandomGetKeyCounter: keyAndCounter,
  StatelessRandomGetKeyCounterAlg: (op) => [...keyAndCounter(op), algorithm()],
  StatelessRandomGetAlg: () => [algorithm()],
};
