/** Discrete Fourier transforms of single lines, in double precision. */

/** Real and imaginary parts of a line of numbers, changed in place. */
export interface Line {
  readonly real: Float64Array;
  readonly imaginary: Float64Array;
}

export function lineOf(length: number): Line {
  return { real: new Float64Array(length), imaginary: new Float64Array(length) };
}

/** Transforms lines of one length in place; shares scratch memory with all others of that length. */
export type Transform = (line: Line) => void;

/** Lengths with a larger prime factor than this are transformed by way of a power of two. */
const PRIME_MAX = 13;

/**
 * A transform of lines of `length`.
 *
 * @param sign  -1 forward, 1 backward (not yet divided by the length)
 */
export function transformOf(length: number, sign: -1 | 1): Transform {
  if (length <= 1) return () => undefined;
  return transforms.of(sign * length, () => {
    const radices = radicesOf(length);
    return radices ? mixedRadix(length, radices, sign) : bluestein(length, sign);
  });
}

/** Together the tables of the last lengths are for at most this many elements, of less than 100 bytes each. */
const KEPT_ELEMENTS_MAX = 2 ** 16;

/** Keeps what was made for the last lengths: a model asks for the same ones in every request, and tables cost more than a line. */
class LastMade<T> {
  readonly #made = new Map<number, T>();
  #elements = 0;

  /** @param key  the length, negative for another kind of transform */
  of(key: number, make: () => T): T {
    const length = Math.abs(key);
    const known = this.#made.get(key);
    if (known !== undefined || length > KEPT_ELEMENTS_MAX) return known ?? make();
    const made = make();
    this.#made.set(key, made);
    this.#elements += length;
    for (const old of this.#made.keys()) {
      if (this.#elements <= KEPT_ELEMENTS_MAX) break;
      this.#made.delete(old);
      this.#elements -= Math.abs(old);
    }
    return made;
  }
}

const transforms = new LastMade<Transform>();
const realTransforms = new LastMade<RealTransform>();

/** Fours first, then the primes; undefined where one is too large. */
function radicesOf(length: number): number[] | undefined {
  const radices: number[] = [];
  let rest = length;
  for (; rest % 4 === 0; rest /= 4) radices.push(4);
  for (let prime = 2; rest > 1; prime++) {
    if (prime > PRIME_MAX) return undefined;
    for (; rest % prime === 0; rest /= prime) radices.push(prime);
  }
  return radices;
}

/** One step from a line to another: `count` groups of `radix` runs of `run` elements. */
interface Pass {
  readonly radix: number;
  readonly count: number;
  readonly run: number;
  /** e^(sign * 2 pi i p j / (radix * count)) for p below `count` and j from 1 below `radix`, in this order. */
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

/** Stockham's: passes to and fro between two lines, which leave the result in order. */
function mixedRadix(length: number, radices: readonly number[], sign: -1 | 1): Transform {
  const passes: Pass[] = [];
  let run = 1;
  for (const radix of radices) {
    const count = length / (run * radix);
    const cos = new Float64Array(count * (radix - 1));
    const sin = new Float64Array(cos.length);
    for (let p = 0, at = 0; p < count; p++) {
      for (let j = 1; j < radix; j++, at++) {
        const angle = (sign * 2 * Math.PI * p * j) / (radix * count);
        cos[at] = Math.cos(angle);
        sin[at] = Math.sin(angle);
      }
    }
    passes.push({ radix, count, run, cos, sin });
    run *= radix;
  }
  const scratch = lineOf(length);
  return (line) => {
    let [from, to] = [line, scratch];
    for (const pass of passes) {
      if (pass.radix === 4) passOfFour(pass, from, to, sign);
      else if (pass.radix === 2) passOfTwo(pass, from, to);
      else passOfPrime(pass, from, to, sign);
      [from, to] = [to, from];
    }
    if (from === line) return;
    line.real.set(scratch.real);
    line.imaginary.set(scratch.imaginary);
  };
}

function passOfTwo({ count, run, cos, sin }: Pass, from: Line, to: Line): void {
  const { real: x, imaginary: y } = from;
  const { real: u, imaginary: v } = to;
  const half = run * count;
  for (let p = 0; p < count; p++) {
    const c = cos[p]!;
    const s = sin[p]!;
    const end = run * (p + 1);
    for (let a = run * p, o = 2 * run * p; a < end; a++, o++) {
      const ax = x[a]!;
      const ay = y[a]!;
      const bx = x[a + half]!;
      const by = y[a + half]!;
      const dx = ax - bx;
      const dy = ay - by;
      u[o] = ax + bx;
      v[o] = ay + by;
      u[o + run] = dx * c - dy * s;
      v[o + run] = dx * s + dy * c;
    }
  }
}

function passOfFour({ count, run, cos, sin }: Pass, from: Line, to: Line, sign: -1 | 1): void {
  const { real: x, imaginary: y } = from;
  const { real: u, imaginary: v } = to;
  const quarter = run * count;
  for (let p = 0; p < count; p++) {
    const c1 = cos[3 * p]!;
    const s1 = sin[3 * p]!;
    const c2 = cos[3 * p + 1]!;
    const s2 = sin[3 * p + 1]!;
    const c3 = cos[3 * p + 2]!;
    const s3 = sin[3 * p + 2]!;
    const end = run * (p + 1);
    for (let a = run * p, o = run * 4 * p; a < end; a++, o++) {
      const ax = x[a]!;
      const ay = y[a]!;
      const bx = x[a + quarter]!;
      const by = y[a + quarter]!;
      const cx = x[a + 2 * quarter]!;
      const cy = y[a + 2 * quarter]!;
      const dx = x[a + 3 * quarter]!;
      const dy = y[a + 3 * quarter]!;
      const sumX = ax + cx;
      const sumY = ay + cy;
      const lessX = ax - cx;
      const lessY = ay - cy;
      const otherX = bx + dx;
      const otherY = by + dy;
      // i times what is left of the others, the way that the sign turns.
      const turnedX = sign * (dy - by);
      const turnedY = sign * (bx - dx);
      u[o] = sumX + otherX;
      v[o] = sumY + otherY;
      const x1 = lessX + turnedX;
      const y1 = lessY + turnedY;
      u[o + run] = x1 * c1 - y1 * s1;
      v[o + run] = x1 * s1 + y1 * c1;
      const x2 = sumX - otherX;
      const y2 = sumY - otherY;
      u[o + 2 * run] = x2 * c2 - y2 * s2;
      v[o + 2 * run] = x2 * s2 + y2 * c2;
      const x3 = lessX - turnedX;
      const y3 = lessY - turnedY;
      u[o + 3 * run] = x3 * c3 - y3 * s3;
      v[o + 3 * run] = x3 * s3 + y3 * c3;
    }
  }
}

function passOfPrime({ radix, count, run, cos, sin }: Pass, from: Line, to: Line, sign: -1 | 1): void {
  const { real: x, imaginary: y } = from;
  const { real: u, imaginary: v } = to;
  const rootCos = Float64Array.from({ length: radix }, (_, k) => Math.cos((2 * Math.PI * k) / radix));
  const rootSin = Float64Array.from({ length: radix }, (_, k) => sign * Math.sin((2 * Math.PI * k) / radix));
  const part = run * count;
  for (let p = 0; p < count; p++) {
    for (let j = 0; j < radix; j++) {
      const c = j === 0 ? 1 : cos[p * (radix - 1) + j - 1]!;
      const s = j === 0 ? 0 : sin[p * (radix - 1) + j - 1]!;
      for (let q = 0; q < run; q++) {
        let sumX = 0;
        let sumY = 0;
        for (let k = 0, at = q + run * p, root = 0; k < radix; k++, at += part) {
          sumX += x[at]! * rootCos[root]! - y[at]! * rootSin[root]!;
          sumY += x[at]! * rootSin[root]! + y[at]! * rootCos[root]!;
          root += j;
          if (root >= radix) root -= radix;
        }
        const o = q + run * (radix * p + j);
        u[o] = sumX * c - sumY * s;
        v[o] = sumX * s + sumY * c;
      }
    }
  }
}

/** Bluestein's: any length, as a convolution of a power of two. */
function bluestein(length: number, sign: -1 | 1): Transform {
  const size = 2 ** Math.ceil(Math.log2(2 * length - 1));
  const [forward, backward] = [transformOf(size, -1), transformOf(size, 1)];
  const [a, b] = [lineOf(size), lineOf(size)];
  const cos = new Float64Array(length);
  const sin = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    // i^2 modulo 2 length keeps the angle small and exact.
    const angle = (sign * Math.PI * ((i * i) % (2 * length))) / length;
    cos[i] = Math.cos(angle);
    sin[i] = Math.sin(angle);
    b.real[i] = cos[i]!;
    b.imaginary[i] = -sin[i]!;
    if (i > 0) {
      b.real[size - i] = cos[i]!;
      b.imaginary[size - i] = -sin[i]!;
    }
  }
  forward(b);
  return (line) => {
    a.real.fill(0, length);
    a.imaginary.fill(0, length);
    for (let i = 0; i < length; i++) {
      a.real[i] = line.real[i]! * cos[i]! - line.imaginary[i]! * sin[i]!;
      a.imaginary[i] = line.real[i]! * sin[i]! + line.imaginary[i]! * cos[i]!;
    }
    forward(a);
    for (let i = 0; i < size; i++) {
      const real = a.real[i]! * b.real[i]! - a.imaginary[i]! * b.imaginary[i]!;
      a.imaginary[i] = a.real[i]! * b.imaginary[i]! + a.imaginary[i]! * b.real[i]!;
      a.real[i] = real;
    }
    backward(a);
    for (let i = 0; i < length; i++) {
      const [real, imaginary] = [a.real[i]! / size, a.imaginary[i]! / size];
      line.real[i] = real * cos[i]! - imaginary * sin[i]!;
      line.imaginary[i] = real * sin[i]! + imaginary * cos[i]!;
    }
  };
}

/** Reads `length` real numbers from `source[from]` on and writes the first half of their spectrum to `out[to]` on. */
export type RealTransform = (
  source: Float32Array | Float64Array,
  from: number,
  out: Float32Array | Float64Array,
  to: number,
) => void;

/**
 * A forward transform of lines of real numbers to their first `length / 2 + 1` bins, real and imaginary parts in turn.
 * The first bin, and the last one of an even length, are real: exactly so, because their angle is asked for too.
 * Lines of even length are half as long to it: even elements are taken for real parts, odd ones for imaginary parts.
 */
export function realTransformOf(length: number): RealTransform {
  return realTransforms.of(length, () => (length % 2 === 1 ? oddTransformOf(length) : evenTransformOf(length)));
}

function oddTransformOf(length: number): RealTransform {
  const transform = transformOf(length, -1);
  const line = lineOf(length);
  return (source, from, out, to) => {
    for (let i = 0; i < length; i++) line.real[i] = source[from + i]!;
    line.imaginary.fill(0);
    transform(line);
    for (let k = 0; 2 * k <= length; k++) {
      out[to + 2 * k] = line.real[k]!;
      out[to + 2 * k + 1] = k === 0 ? 0 : line.imaginary[k]!;
    }
  };
}

function evenTransformOf(length: number): RealTransform {
  const half = length / 2;
  const transform = transformOf(half, -1);
  const packed = lineOf(half);
  const cos = Float64Array.from({ length: half + 1 }, (_, k) => Math.cos((2 * Math.PI * k) / length));
  const sin = Float64Array.from({ length: half + 1 }, (_, k) => Math.sin((2 * Math.PI * k) / length));
  return (source, from, out, to) => {
    const { real, imaginary } = packed;
    for (let i = 0; i < half; i++) {
      real[i] = source[from + 2 * i]!;
      imaginary[i] = source[from + 2 * i + 1]!;
    }
    transform(packed);
    for (let k = 0; k <= half; k++) {
      const a = k === half ? 0 : k;
      const b = k === 0 ? 0 : half - k;
      const evenReal = (real[a]! + real[b]!) / 2;
      const evenImaginary = (imaginary[a]! - imaginary[b]!) / 2;
      const oddReal = (imaginary[a]! + imaginary[b]!) / 2;
      const oddImaginary = (real[b]! - real[a]!) / 2;
      out[to + 2 * k] = evenReal + cos[k]! * oddReal + sin[k]! * oddImaginary;
      out[to + 2 * k + 1] = evenImaginary + cos[k]! * oddImaginary - sin[k]! * oddReal;
    }
    out[to + 1] = out[to + 2 * half + 1] = 0;
  };
}
