/**
 * TensorFlow's counter-based generator, Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"), and
 * its distributions, drawn in TensorFlow's order (tensorflow/core/lib/random/random_distributions.h).
 */

const ROUNDS = 10;

/** High 32 bits of an unsigned product. */
function mulHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + Math.floor((a0 * b0) / 0x1_0000);
  // a0 * b1 + the low half of middle stays below 2^33: exact.
  return (a1 * b1 + Math.floor(middle / 0x1_0000) + Math.floor((a0 * b1 + (middle % 0x1_0000)) / 0x1_0000)) >>> 0;
}

/** A Philox generator: `next` gives four 32-bit numbers and moves the counter on. */
export class Philox {
  readonly #key: Uint32Array;
  readonly #counter: Uint32Array;
  /** The latest four numbers. */
  readonly block = new Uint32Array(4);

  constructor(key: ArrayLike<number>, counter: ArrayLike<number>) {
    this.#key = Uint32Array.from(key);
    this.#counter = Uint32Array.from(counter);
  }

  /** As a stateful op seeds it: `seed` is the key, `seed2` the upper half of the counter. */
  static fromSeeds(seed: bigint, seed2: bigint): Philox {
    const [low, high] = lanes(seed);
    return new Philox([low, high], [0, 0, ...lanes(seed2)]);
  }

  /** As stateless ops scramble the two numbers of their seed. */
  static fromStatelessSeed(seed0: bigint, seed1: bigint): Philox {
    const mix = new Philox([0x3ec8f720, 0x02461e29], [...lanes(seed0), ...lanes(seed1)]);
    mix.next();
    return new Philox([mix.block[0]!, mix.block[1]!], [0, 0, mix.block[2]!, mix.block[3]!]);
  }

  get key(): Uint32Array {
    return this.#key.slice();
  }

  get counter(): Uint32Array {
    return this.#counter.slice();
  }

  copy(): Philox {
    return new Philox(this.#key, this.#counter);
  }

  /** Fills {@link block}. */
  next(): void {
    let [c0, c1, c2, c3] = this.#counter as unknown as [number, number, number, number];
    let [k0, k1] = this.#key as unknown as [number, number];
    for (let round = 0; round < ROUNDS; round++) {
      const low0 = Math.imul(c0, 0xd2511f53);
      const low1 = Math.imul(c2, 0xcd9e8d57);
      const high0 = mulHigh(c0, 0xd2511f53);
      const high1 = mulHigh(c2, 0xcd9e8d57);
      c0 = (high1 ^ c1 ^ k0) >>> 0;
      c2 = (high0 ^ c3 ^ k1) >>> 0;
      c1 = low1 >>> 0;
      c3 = low0 >>> 0;
      k0 = (k0 + 0x9e3779b9) >>> 0;
      k1 = (k1 + 0xbb67ae85) >>> 0;
    }
    const { block } = this;
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
    this.skip(1);
  }

  /** Passes over `count` blocks, up to 2^53. */
  skip(count: number): void {
    const counter = this.#counter;
    let carry = count;
    for (let i = 0; i < 4 && carry > 0; i++) {
      const sum = counter[i]! + (carry % 2 ** 32);
      counter[i] = sum;
      carry = Math.floor(carry / 2 ** 32) + (sum >= 2 ** 32 ? 1 : 0);
    }
  }
}

/** Low and high 32 bits. */
function lanes(value: bigint): [number, number] {
  const bits = BigInt.asUintN(64, value);
  return [Number(bits & 0xffff_ffffn), Number(bits >> 32n)];
}

const scratch = new ArrayBuffer(8);
const words = new Uint32Array(scratch);
const floats = new Float32Array(scratch);
const doubles = new Float64Array(scratch);

/** 23 random bits as a float in [0, 1). */
export function toFloat(x: number): number {
  words[0] = 0x3f80_0000 | (x & 0x7f_ffff);
  return floats[0]! - 1;
}

/** 52 random bits as a double in [0, 1). */
export function toDouble(low: number, high: number): number {
  words[0] = high;
  words[1] = 0x3ff0_0000 | (low & 0xf_ffff);
  return doubles[0]! - 1;
}

/** 10 random bits as a half in [0, 1). */
export function toHalf(x: number): number {
  return (x & 0x3ff) / 1024;
}

/** 7 random bits as a bfloat16 in [0, 1). */
export function toBfloat(x: number): number {
  return (x & 0x7f) / 128;
}

const LEAST = 1e-7;

/** Results of the Box-Muller transforms. */
export const pair = { first: 0, second: 0 };

/** Two normal floats from two numbers into {@link pair}. */
export function normalFloats(x0: number, x1: number): void {
  const u = Math.max(toFloat(x0), Math.fround(LEAST));
  const v = Math.fround(2 * Math.PI * toFloat(x1));
  const radius = Math.fround(Math.sqrt(Math.fround(-2 * Math.fround(Math.log(u)))));
  pair.first = Math.fround(Math.fround(Math.sin(v)) * radius);
  pair.second = Math.fround(Math.fround(Math.cos(v)) * radius);
}

/** Two normal doubles from four numbers into {@link pair}. */
export function normalDoubles(x0: number, x1: number, x2: number, x3: number): void {
  const u = Math.max(toDouble(x0, x1), LEAST);
  const v = 2 * Math.PI * toDouble(x2, x3);
  const radius = Math.sqrt(-2 * Math.log(u));
  pair.first = Math.sin(v) * radius;
  pair.second = Math.cos(v) * radius;
}

const TWO_32 = 2 ** 32;

/** The numbers of a generator one at a time. */
export class PhiloxStream {
  readonly #philox: Philox;
  #used = 4;

  constructor(philox: Philox) {
    this.#philox = philox;
  }

  next(): number {
    if (this.#used === 4) {
      this.#philox.next();
      this.#used = 0;
    }
    return this.#philox.block[this.#used++]!;
  }

  /** In [0, 1). */
  double(): number {
    const first = this.next();
    return toDouble(first, this.next());
  }

  /** An integer in [0, n) for n up to 2^32, without bias: numbers of an incomplete range are drawn again. */
  below(n: number): number {
    if (n === 0) return this.next() * 0;
    const rest = TWO_32 % n;
    for (;;) {
      const drawn = this.next();
      if (drawn >= rest) return drawn % n;
    }
  }

  /** The same for n up to 2^53, of 64 bits, low first. */
  belowWide(n: number): number {
    const [range, rest] = [BigInt(n), (1n << 64n) % BigInt(n)];
    for (;;) {
      const low = BigInt(this.next());
      const drawn = low | (BigInt(this.next()) << 32n);
      if (drawn >= rest) return Number(drawn % range);
    }
  }

  /** Puts a list in another order. */
  shuffle(list: number[] | Float64Array): void {
    for (let i = 0; i + 1 < list.length; i++) {
      const j = i + (this.next() % (list.length - i));
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
  }
}
