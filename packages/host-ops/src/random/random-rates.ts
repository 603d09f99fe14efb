/** Gamma and Poisson numbers, drawn as TensorFlow's CPU kernels draw them: in double precision, each from blocks of its own. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { invalid } from "../call/errors.js";
import { checkedCount } from "../call/limits.js";
import { extremeOf, numberArray, numbersOf, packNumbers } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { lgamma } from "../math/special.js";
import { normalDoubles, pair, type Philox, toDouble } from "./philox.js";
import { keyed, RESERVED_PER_SAMPLE, reserve, seeded, shapeInput, wholeShape } from "./random.js";

/** Numbers of one sample: uniform ones and normal ones, two a block, the second first. */
export class Source {
  readonly #philox: Philox;
  #uniforms = 0;
  #first = 0;
  #normals = 0;
  #normal = 0;

  /** @param blocks  what earlier samples have for themselves */
  constructor(philox: Philox, blocks: number) {
    this.#philox = philox.copy();
    this.#philox.skip(blocks);
  }

  uniform(): number {
    if (this.#uniforms === 1) {
      this.#uniforms = 0;
      return this.#first;
    }
    this.#philox.next();
    const { block } = this.#philox;
    this.#uniforms = 1;
    this.#first = toDouble(block[0]!, block[1]!);
    return toDouble(block[2]!, block[3]!);
  }

  normal(): number {
    if (this.#normals === 1) {
      this.#normals = 0;
      return this.#normal;
    }
    this.#philox.next();
    const { block } = this.#philox;
    normalDoubles(block[0]!, block[1]!, block[2]!, block[3]!);
    this.#normals = 1;
    this.#normal = pair.first;
    return pair.second;
  }
}

/** Draws a number for a parameter. */
type Draw = (parameter: number, source: Source) => number;

/** Marsaglia and Tsang, "A simple method for generating gamma variables". */
const gamma: Draw = (alpha, source) => {
  if (alpha === 1) return -Math.log(1 - source.uniform());
  const isSmall = alpha < 1;
  const d = alpha + (isSmall ? 2 / 3 : -1 / 3);
  const c = 1 / 3 / Math.sqrt(d);
  for (;;) {
    const x = source.normal();
    const root = 1 + c * x;
    // NaN as well: a parameter of NaN would never be accepted.
    if (Number.isNaN(root)) return NaN;
    if (root <= 0) continue;
    const v = root * root * root;
    const u = source.uniform();
    if (u < 1 - 0.0331 * (x * x) * (x * x) || Math.log(u) < 0.5 * x * x + d * (1 - v + Math.log(v))) {
      return isSmall ? d * v * source.uniform() ** (1 / alpha) : d * v;
    }
  }
};

/** From here on a Poisson number is found by rejection; below, by products of uniform ones. */
const REJECTION_FROM = 10;

/** Numbers that are drawn for one sample before it is given up: of a rate beyond the dtype, TensorFlow would draw for ever. */
const TRIES_MAX = 10_000;

/** Knuth's method; Hörmann, "The transformed rejection method for generating Poisson random variables". */
const poisson =
  (highest: number): Draw =>
  (rate, source) => {
    if (Number.isNaN(rate)) return NaN;
    if (rate < REJECTION_FROM) {
      const least = Math.exp(-rate);
      for (let x = 0, product = 1; ; x++) {
        product *= source.uniform();
        if (product <= least && x <= highest) return x;
      }
    }
    if (rate === Infinity) return Infinity;
    const logRate = Math.log(rate);
    const b = 0.931 + 2.53 * Math.sqrt(rate);
    const a = -0.059 + 0.02483 * b;
    const inverse = 1.1239 + 1.1328 / (b - 3.4);
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const u = source.uniform() - 0.5;
      const v = source.uniform();
      const shifted = 0.5 - Math.abs(u);
      const k = Math.floor(((2 * a) / shifted + b) * u + rate + 0.43);
      if (k > highest) continue;
      if (shifted >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2)) return k;
      if (k < 0 || (shifted < 0.013 && v > shifted)) continue;
      const s = Math.log((v * inverse) / (a / (shifted * shifted) + b));
      if (s <= -rate + k * logRate - lgamma(k + 1)) return k;
    }
    throw invalid(`no Poisson number of rate ${rate} was found up to ${highest}`);
  };

/** Samples of each parameter, in a tensor whose last dimensions are the parameters'. */
function* samples(
  draw: Draw,
  parameters: Tensor,
  shape: number[],
  dtype: Tensor["dtype"],
  philox: Philox,
): Pieces<Tensor[]> {
  const count = checkedCount(dtype, shape);
  const numbers = numbersOf(parameters);
  const perParameter = numbers.length === 0 ? 0 : count / numbers.length;
  const isInteger = dtype === "int32" || dtype === "int64";
  const out = isInteger ? new Float64Array(count) : numberArray(dtype, count);
  for (let at = 0; at < count; at++) {
    const parameter = Math.floor(at / perParameter);
    const value = draw(numbers[parameter]!, new Source(philox, RESERVED_PER_SAMPLE * at));
    // TensorFlow's integers have no infinity, and say 0.
    out[(at % perParameter) * numbers.length + parameter] = isInteger && !Number.isFinite(value) ? 0 : value;
    yield 64;
  }
  return [withData(dtype, shape, isInteger ? indexData(dtype, out) : packNumbers(dtype, out as never))];
}

function drawOf(op: OpCall, kind: "gamma" | "poisson", dtype: Tensor["dtype"]): Draw {
  return kind === "gamma" ? gamma : poisson(Number(extremeOf(dtype, 1)));
}

/** @param at  the input with the parameters */
function stateless(kind: "gamma" | "poisson", at: number, philoxOf: (op: OpCall) => Philox): Kernel {
  return inTurns((op) => {
    const parameters = op.tensor(at);
    const dtype = kind === "gamma" ? parameters.dtype : op.attrs.dtype("dtype");
    return samples(drawOf(op, kind, dtype), parameters, wholeShape(op, parameters.shape), dtype, philoxOf(op));
  });
}

/** A shape of samples for each parameter. */
function stateful(kind: "gamma" | "poisson"): Kernel {
  return inTurns((op) => {
    const parameters = op.tensor(1);
    const dtype = kind === "gamma" || !op.attrs.has("dtype") ? parameters.dtype : op.attrs.dtype("dtype");
    const shape = [...shapeInput(op), ...parameters.shape];
    checkedCount(dtype, shape);
    const philox = reserve(op, elementCount(shape) * RESERVED_PER_SAMPLE);
    return samples(drawOf(op, kind, dtype), parameters, shape, dtype, philox);
  });
}

export const RANDOM_RATE_KERNELS: Readonly<Record<string, Kernel>> = {
  RandomGamma: stateful("gamma"),
  RandomPoisson: stateful("poisson"),
  RandomPoissonV2: stateful("poisson"),
  StatelessRandomGammaV2: stateless("gamma", 2, (op) => seeded(op, 1)),
  StatelessRandomGammaV3: stateless("gamma", 4, (op) => keyed(op, 1)),
  StatelessRandomPoisson: stateless("poisson", 2, (op) => seeded(op, 1)),
};
