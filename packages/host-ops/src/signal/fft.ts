/** Discrete Fourier transforms along the last one, two or three dimensions. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { allocate, checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf, sameShape } from "../call/shapes.js";
import { inTurns, type Pieces } from "../call/turns.js";
import { lineOf, realTransformOf, transformOf } from "./fourier.js";

/** Multiplications of the transform of a line of complex numbers, about. */
function workOf(length: number): number {
  return 2 * length * Math.ceil(Math.log2(length + 1));
}

/** Transforms all lines along one dimension of interleaved complex `data`; a piece is a line. */
function* alongAxis(data: Float64Array, shape: readonly number[], axis: number, sign: -1 | 1): Pieces<void> {
  const length = shape[axis]!;
  const inner = elementCount(shape.slice(axis + 1));
  const outer = elementCount(shape.slice(0, axis));
  const line = lineOf(length);
  const transform = transformOf(length, sign);
  const scale = sign === 1 ? 1 / length : 1;
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < inner; k++) {
      for (let i = 0; i < length; i++) {
        const at = 2 * ((o * length + i) * inner + k);
        line.real[i] = data[at]!;
        line.imaginary[i] = data[at + 1]!;
      }
      transform(line);
      for (let i = 0; i < length; i++) {
        const at = 2 * ((o * length + i) * inner + k);
        data[at] = line.real[i]! * scale;
        data[at + 1] = line.imaginary[i]! * scale;
      }
      yield workOf(length);
    }
  }
}

function complexTransform(rank: number, sign: -1 | 1): Kernel {
  return inTurns(function* (op): Pieces<Tensor[]> {
    const { dtype, shape, data } = op.tensor(0);
    check(shape.length >= rank, () => `Input must have rank of at least ${rank} but got: ${printShape(shape)}`);
    const work = Float64Array.from(data as Float32Array);
    if (work.length > 0) for (let d = 1; d <= rank; d++) yield* alongAxis(work, shape, shape.length - d, sign);
    const out = allocate(dtype as "complex64", work.length / 2);
    out.set(work);
    return [tensor(dtype, shape, out as never)];
  });
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
 * The first elements of the innermost dimensions, zeros where a dimension has none. `lanes`: 1 for real numbers, 2 for complex ones.
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
  const out = new Float64Array(lanes * checkedCount("complex128", shape));
  const source = value.data as Float32Array;
  const rank = shape.length;
  const index = shape.map(() => 0);
  const common = shape.map((dim, d) => Math.min(dim, value.shape[d]!));
  if (common.includes(0)) return out;
  const strides = (dims: readonly number[]) => dims.map((_, d) => elementCount(dims.slice(d + 1)));
  const [from, to] = [strides(value.shape), strides(shape)];
  const inner = common[rank - 1]!;
  for (;;) {
    let [a, b] = [0, 0];
    for (let d = 0; d < rank - 1; d++) {
      a += index[d]! * from[d]!;
      b += index[d]! * to[d]!;
    }
    for (let i = 0; i < inner; i++) {
      out[lanes * (b + i)] = source[lanes * (a + i)]!;
      if (lanes === 2) out[2 * (b + i) + 1] = source[2 * (a + i) + 1]!;
    }
    let d = rank - 2;
    for (; d >= 0 && ++index[d]! === common[d]; d--) index[d] = 0;
    if (d < 0) return out;
  }
}

/** Bins of a real line's spectrum that say all of it. */
function binsOf(length: number): number {
  return length === 0 ? 0 : Math.floor(length / 2) + 1;
}

/** @throws ServingError INVALID_ARGUMENT for fewer dimensions than are transformed */
function inputOf(op: OpCall, rank: number): Tensor {
  const value = op.tensor(0);
  check(
    value.shape.length >= rank,
    () => `Input must have rank of at least ${rank} but got: ${printShape(value.shape)}`,
  );
  return value;
}

function realTransform(rank: number): Kernel {
  return inTurns(function* (op): Pieces<Tensor[]> {
    const value = inputOf(op, rank);
    const lengths = lengthsOf(op, rank);
    const shape = [...value.shape.slice(0, -rank), ...lengths];
    const source = sameShape(value.shape, shape) ? (value.data as Float32Array) : fitted(value, shape, 1);
    const last = lengths.at(-1)!;
    const bins = binsOf(last);
    const half = [...shape.slice(0, -1), bins];
    const dtype = op.attrs.dtype("Tcomplex") as "complex64";
    const out = allocate(dtype, checkedCount(dtype, half));
    const work = rank === 1 ? out : new Float64Array(out.length);
    if (source.length > 0) {
      const transform = realTransformOf(last);
      for (let from = 0, to = 0; from < source.length; from += last, to += 2 * bins) {
        transform(source, from, work, to);
        yield workOf(last) / 2;
      }
      for (let d = 2; d <= rank; d++) yield* alongAxis(work as Float64Array, half, half.length - d, -1);
    }
    if (work !== out) out.set(work);
    return [tensor(dtype, half, out)];
  });
}

function inverseRealTransform(rank: number): Kernel {
  return inTurns(function* (op): Pieces<Tensor[]> {
    const value = inputOf(op, rank);
    const lengths = lengthsOf(op, rank);
    const last = lengths.at(-1)!;
    const bins = binsOf(last);
    const half = [...value.shape.slice(0, -rank), ...lengths.slice(0, -1), bins];
    const spectrum = fitted(value, half, 2);
    // The outer dimensions first: then every line is the half spectrum of a real one.
    if (spectrum.length > 0) for (let d = rank; d >= 2; d--) yield* alongAxis(spectrum, half, half.length - d, 1);
    const shape = [...half.slice(0, -1), last];
    const dtype = op.attrs.dtype("Treal") as "float32";
    const out = allocate(dtype, elementCount(shape));
    const line = lineOf(last);
    const transform = transformOf(last, 1);
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
      transform(line);
      for (let i = 0; i < last; i++) out[l * last + i] = line.real[i]! / last;
      yield workOf(last);
    }
    return [tensor(dtype, shape, out)];
  });
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
