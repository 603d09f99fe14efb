/** Candidates for sampled losses, drawn as TensorFlow draws them, and how often each is to be expected. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { fromIntegers } from "../call/int64.js";
import { allocate, checkedCount } from "../call/limits.js";
import { FINITE_MAX } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { PhiloxStream } from "./philox.js";
import { blocksOf, reserve } from "./random.js";

/** A distribution of the integers [0, range). */
interface Distribution {
  readonly range: number;
  draw(stream: PhiloxStream): number;
  probability(value: number): number;
}

function uniform(range: number): Distribution {
  const share = Math.fround(1 / range);
  return { range, draw: (stream) => stream.belowWide(range), probability: () => share };
}

/** Of value k in proportion to log((k + 2) / (k + 1)): Zipf's, of ids by their frequency. */
function logUniform(range: number): Distribution {
  const logRange = Math.log1p(range);
  return {
    range,
    draw: (stream) => (Math.trunc(Math.exp(stream.double() * logRange)) - 1) % range,
    probability: (value) => Math.fround(Math.log((value + 2) / (value + 1)) / logRange),
  };
}

/** 32-bit numbers that are set aside for each candidate. */
const NUMBERS_PER_CANDIDATE = 2048;

/** What is drawn in turn for one candidate. */
const WORK_PER_DRAW = 64;

function* sampled(op: OpCall, distribution: Distribution | undefined): Pieces<Tensor[]> {
  const trueClasses = op.tensor(0);
  const { shape } = trueClasses;
  const [count, trueCount] = [op.attrs.int("num_sampled"), op.attrs.int("num_true")];
  check(shape.length === 2, () => "true_classes must be a matrix");
  check(
    shape[1] === trueCount,
    () => `true_classes must have num_true columns, expected: ${shape[1]} was: ${trueCount}`,
  );
  const isUnique = op.attrs.bool("unique");
  const range = distribution?.range ?? count;
  check(range > 0, () => "range_max must be positive");
  check(!isUnique || count <= range, () => "Sampler's range is too small.");
  const wanted = integersOf(trueClasses);
  for (const value of wanted) {
    check(value >= 0 && value < range, () => `\`true_candidate\` out of range [0, ${range}), received ${value}`);
  }
  checkedCount("int64", [count]);
  const picks = new Float64Array(count);
  // Each candidate of all is expected once.
  let expected: (value: number) => number = () => 1;
  if (distribution) {
    const tries = yield* pick(picks, distribution, isUnique, reserved(op, count));
    expected = (value) => expectedCount(distribution.probability(value), count, tries);
  } else {
    for (let i = 0; i < count; i++) picks[i] = i;
  }
  const counts = (values: ArrayLike<number>): Float32Array => {
    const out = allocate("float32", values.length);
    for (let i = 0; i < values.length; i++) out[i] = expected(values[i]!);
    return out;
  };
  return [
    tensor("int64", [count], fromIntegers(picks)),
    tensor("float32", shape, counts(wanted)),
    tensor("float32", [count], counts(picks)),
  ];
}

function reserved(op: OpCall, count: number): PhiloxStream {
  return new PhiloxStream(reserve(op, blocksOf(NUMBERS_PER_CANDIDATE * count)));
}

/** @returns how many were drawn to find them */
function* pick(
  picks: Float64Array,
  distribution: Distribution,
  isUnique: boolean,
  stream: PhiloxStream,
): Pieces<number> {
  const seen = new Set<number>();
  let tries = 0;
  for (let found = 0; found < picks.length; tries++) {
    const value = distribution.draw(stream);
    yield WORK_PER_DRAW;
    if (isUnique && seen.has(value)) continue;
    if (isUnique) seen.add(value);
    picks[found++] = value;
  }
  return tries;
}

/** 1 - (1 - p)^tries, as if it always took that many; the probability times the count where nothing was drawn twice. */
function expectedCount(p: number, count: number, tries: number): number {
  return tries === count ? Math.fround(p * count) : -Math.expm1(tries * Math.fround(Math.log1p(-p)));
}

/** Where classes are among the sampled ones, with a weight that takes them out of a softmax. */
function accidentalHits(op: OpCall): Tensor[] {
  const [trueClasses, candidates] = [op.tensor(0), op.tensor(1)];
  const { shape } = trueClasses;
  const trueCount = op.attrs.int("num_true");
  check(shape.length === 2 && shape[1] === trueCount, () => "true_candidates must be a batch_size * num_true matrix");
  check(
    candidates.shape.length === 1,
    () =>
      `sampled_candidates must be a vector, which is typically an output from CandidateSampler: ${printShape(candidates.shape)}`,
  );
  const positions = new Map<bigint, number>();
  for (const [i, value] of (candidates.data as BigInt64Array).entries()) positions.set(value, i);
  const [rows, ids]: [number[], number[]] = [[], []];
  for (const [i, value] of (trueClasses.data as BigInt64Array).entries()) {
    const position = positions.get(value);
    if (position === undefined) continue;
    rows.push(Math.floor(i / trueCount));
    ids.push(position);
  }
  const hits = rows.length;
  return [
    tensor("int32", [hits], Int32Array.from(rows)),
    tensor("int64", [hits], fromIntegers(ids)),
    tensor("float32", [hits], new Float32Array(hits).fill(-FINITE_MAX.float32)),
  ];
}

const sampler = (distribution: (range: number) => Distribution): Kernel =>
  inTurns((op) => sampled(op, distribution(op.attrs.int("range_max"))));

export const CANDIDATE_KERNELS: Readonly<Record<string, Kernel>> = {
  UniformCandidateSampler: sampler(uniform),
  LogUniformCandidateSampler: sampler(logUniform),
  AllCandidateSampler: inTurns((op) => sampled(op, undefined)),
  ComputeAccidentalHits: accidentalHits,
};
