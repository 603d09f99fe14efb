/** Discrete Fourier transforms along the last one, two or three dimensions. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "./errors.js";
import { allocate, checkedCount } from "./limits.js";
import type { Kernel, OpCall } from "./op-call.js";
import { integersOf } from "./shapes.js";

/** Real and imaginary parts of a line of numbers, changed in place. */
export interface Line {
  readonly real: Float64Array;
  readonly imaginary: Float64Array;
}

export function lineOf(length: number): Line {
  return { real: new Float64Array(length), imaginary: new Float64Array(length) };
}

/** A transform in place. @param sign  -1 forward, 1 backward (not yet divided by the length) */
export function transform(line: Line, sign: -1 | 1): void {
  const { length } = line.real;
  if (length <= 1) return;
  if ((length & (length - 1)) === 0) powerOfTwo(line, sign);
  else bluestein(line, sign);
}

/** Cooley and Tukey's, from the bottom up. */
function powerOfTwo({ real, imaginary }: Line, sign: -1 | 1): void {
  const { length } = real;
  for (let i = 1, j = 0; i < length; i++) {
    let bit = length >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    [real[i], real[j]] = [real[j]!, real[i]!];
    [imaginary[i], imaginary[j]] = [imaginary[j]!, imaginary[i]!];
  }
  for (let size = 2; size <= length; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const angle = (sign * 2 * Math.PI * k) / size;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let at = k; at < length; at += size) {
        const to = at + half;
        const x = real[to]! * cos - imaginary[to]! * sin;
        const y = real[to]! * sin + imaginary[to]! * cos;
        real[to] = real[at]! - x;
        imaginary[to] = imaginary[at]! - y;
        real[at] = real[at]! + x;
        imaginary[at] = imaginary[at]! + y;
      }
    }
  }
}

/** Bluestein's: any length, as a convolution of a power of two. */
function bluestein(line: Line, sign: -1 | 1): void {
  const { length } = line.real;
  const size = 2 ** Math.ceil(Math.log2(2 * length - 1));
  const [a, b] = [lineOf(size), lineOf(size)];
  const cos = new Float64Array(length);
  const sin = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    // i^2 modulo 2 length keeps the angle small and exact.
    const angle = (sign * Math.PI * ((i * i) % (2 * length))) / length;
    cos[i] = Math.cos(angle);
    sin[i] = Math.sin(angle);
    a.real[i] = line.real[i]! * cos[i]! - line.imaginary[i]! * sin[i]!;
    a.imaginary[i] = line.real[i]! * sin[i]! + line.imaginary[i]! * cos[i]!;
    b.real[i] = cos[i]!;
    b.imaginary[i] = -sin[i]!;
    if (i > 0) {
      b.real[size - i] = cos[i]!;
      b.imaginary[size - i] = -sin[i]!;
    }
  }
  powerOfTwo(a, -1);
  powerOfTwo(b, -1);
  for (let i = 0; i < size; i++) {
    const real = a.real[i]! * b.real[i]! - a.imaginary[i]! * b.imaginary[i]!;
    a.imaginary[i] = a.real[i]! * b.imaginary[i]! + a.imaginary[i]! * b.real[i]!;
    a.real[i] = real;
  }
  powerOfTwo(a, 1);
  for (let i = 0; i < length; i++) {
    const [real, imaginary] = [a.real[i]! / size, a.imaginary[i]! / size];
    line.real[i] = real * cos[i]! - imaginary * sin[i]!;
    line.imaginary[i] = real * sin[i]! + imaginary * cos[i]!;
  }
}

/** Transforms all lines along one dimension of interleaved complex `data`. */
function alongAxis(data: Float64Array, shape: readonly number[], axis: number, sign: -1 | 1): void {
  const length = shape[axis]!;
  const inner = elementCount(shape.slice(axis + 1));
  const outer = elementCount(shape.slice(0, axis));
  const line = lineOf(length);
  const scale = sign === 1 ? 1 / length : 1;
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < inner; k++) {
      for (let i = 0; i < length; i++) {
        const at = 2 * ((o * length + i) * inner + k);
        line.real[i] = data[at]!;
        line.imaginary[i] = data[at + 1]!;
      }
      transform(line, sign);
      for (let i = 0; i < length; i++) {
        const at = 2 * ((o * length + i) * inner + k);
        data[at] = line.real[i]! * scale;
        data[at + 1] = line.imaginary[i]! * scale;
      }
    }
  }
}

function complexTransform(rank: number, sign: -1 | 1): Kernel {
  return (op) => {
    const { dtype, shape, data } = op.tensor(0);
    check(shape.length >= rank, () => `Input must have rank of at least ${rank} but got: ${printShape(shape)}`);
    const work = Float64Array.from(data as Float32Array);
    if (work.length > 0) for (let d = 1; d <= rank; d++) alongAxis(work, shape, shape.length - d, sign);
    const out = allocate(dtype as "complex64", work.length / 2);
    out.set(work);
    return [tensor(dtype, shape, out as never)];
  };
}

/** The lengths that input 1 asks for, for the last `rank` dimensions. */
function lengthsOf(op: OpCall, rank: number): number[] {
  const asked = op.tensor(1);
  check(asked.shape.length === 1 && asked.shape[0] === rank, () => `fft_length must have shape [${rank}]`);
  const lengths = [...integersOf(asked)];
  for (const length of lengths) check(length >= 0, () => `fft_length must be >= 0, but got: ${length}`);
  return lengths;
}

/**
 * The first elements of the innermost dimensions, as complex numbers. `lanes`: 1 for real sources, 2 for complex ones.
 *
 * @throws ServingError INVALID_ARGUMENT where there are not enough
 */
function fitted(value: Tensor, shape: readonly number[], lanes: 1 | 2): Float64Array {
  for (const [d, dim] of shape.entries()) {
    check(
      value.shape[d]! === 0 || value.shape[d]! >= dim,
      () => `Input dimension ${d} must have length of at least ${dim} but got: ${value.shape[d]}`,
    );
  }
  const out = new Float64Array(2 * checkedCount("complex128", shape));
  const source = value.data as Float32Array;
  const rank = shape.length;
  const index = shape.map(() => 0);
  const common = shape.map((dim, d) => Math.min(dim, value.shape[d]!));
  if (common.includes(0)) return out;
  const strides = (dims: readonly number[]) => dims.map((_, d) => elementCount(dims.slice(d + 1)));
  const [from, to] = [strides(value.shape), strides(shape)];
  for (;;) {
    let [a, b] = [0, 0];
    for (let d = 0; d < rank; d++) {
      a += index[d]! * from[d]!;
      b += index[d]! * to[d]!;
    }
    out[2 * b] = source[a * lanes]!;
    if (lanes === 2) out[2 * b + 1] = source[2 * a + 1]!;
    let d = rank - 1;
    for (; d >= 0 && ++index[d]! === common[d]; d--) index[d] = 0;
    if (d < 0) return out;
  }
}

function realTransform(rank: number): Kernel {
  return (op) => {
    const value = op.tensor(0);
    check(
      value.shape.length >= rank,
      () => `Input must have rank of at least ${rank} but got: ${printShape(value.shape)}`,
    );
    const lengths = lengthsOf(op, rank);
    const lead = value.shape.slice(0, -rank);
    const shape = [...lead, ...lengths];
    const work = fitted(value, shape, 1);
    if (work.length > 0) for (let d = 1; d <= rank; d++) alongAxis(work, shape, shape.length - d, -1);
    const last = lengths.at(-1)!;
    const bins = last === 0 ? 0 : Math.floor(last / 2) + 1;
    const outShape = [...shape.slice(0, -1), bins];
    const dtype = op.attrs.dtype("Tcomplex") as "complex64";
    const out = allocate(dtype, elementCount(outShape));
    const lines = last === 0 ? 0 : elementCount(shape) / last;
    for (let l = 0; l < lines; l++) {
      out.set(work.subarray(2 * l * last, 2 * (l * last + bins)), 2 * l * bins);
    }
    return [tensor(dtype, outShape, out)];
  };
}

function inverseRealTransform(rank: number): Kernel {
  return (op) => {
    const value = op.tensor(0);
    check(
      value.shape.length >= rank,
      () => `Input must have rank of at least ${rank} but got: ${printShape(value.shape)}`,
    );
    const lengths = lengthsOf(op, rank);
    const last = lengths.at(-1)!;
    const bins = last === 0 ? 0 : Math.floor(last / 2) + 1;
    const half = [...value.shape.slice(0, -rank), ...lengths.slice(0, -1), bins];
    const spectrum = fitted(value, half, 2);
    // The outer dimensions first: then every line is the half spectrum of a real one.
    if (spectrum.length > 0) for (let d = rank; d >= 2; d--) alongAxis(spectrum, half, half.length - d, 1);
    const shape = [...half.slice(0, -1), last];
    const dtype = op.attrs.dtype("Treal") as "float32";
    const out = allocate(dtype, elementCount(shape));
    const line = lineOf(last);
    const lines = last === 0 ? 0 : elementCount(shape) / last;
    for (let l = 0; l < lines; l++) {
      for (let i = 0; i < last; i++) {
        const bin = i < bins ? i : last - i;
        const at = 2 * (l * bins + bin);
        // The imaginary parts of the ends cannot be a real line's.
        const isEnd = bin === 0 || 2 * bin === last;
        line.real[i] = spectrum[at]!;
        line.imaginary[i] = isEnd ? 0 : spectrum[at + 1]! * (i < bins ? 1 : -1);
      }
      transform(line, 1);
      for (let i = 0; i < last; i++) out[l * last + i] = line.real[i]! / last;
    }
    return [tensor(dtype, shape, out)];
  };
}

export const FFT_KERNELS: Readonly<Record<string, Kernel>> = {
  FFT: complexTransform(1, -1),
  FFT2D: complexTransform(2, -1),
  FFT3D: complexTransform(3, -1),
  IFFT: complexTransform(1, 1),
  IFFT2D: complexTransform(2, 1),
  IFFT3D: complexTransform(3, 1),
  RFFT: realTransform(1),
  RFFT2D: realTransform(2),
  RFFT3D: realTransform(3),
  IRFFT: inverseRealTransform(1),
  IRFFT2D: inverseRealTransform(2),
  IRFFT3D: inverseRealTransform(3),
};
