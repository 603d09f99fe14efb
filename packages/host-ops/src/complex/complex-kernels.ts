/** Functions, running sums and sums by segment of complex numbers. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { withData } from "../call/elements.js";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { countOf, integerOf, integersOf, normalAxis } from "../call/shapes.js";
import { SCATTER_KERNELS } from "../arrays/array-scatter.js";
import * as complex from "./complex-functions.js";
import { binary, divide, multiply, type Parts, put, unary } from "./complex-math.js";
import { asPairs } from "./complex-pairs.js";
import { arrange } from "../math/reduce.js";
import { SEGMENT_KERNELS } from "../math/segments.js";

const { result } = complex;

function functionOf(f: complex.ComplexFunction): Kernel {
  return unary((a, b, out, at) => {
    f(a, b);
    put(out, at, result.real, result.imaginary);
  });
}

/** a times f(b), nothing where a is nothing. */
function timesOf(f: complex.ComplexFunction): Kernel {
  return binary((a, b, c, d, out, at) => {
    if (a === 0 && b === 0) return put(out, at, 0, 0);
    f(c, d);
    multiply(a, b, result.real, result.imaginary, out, at);
  });
}

const rsqrt: complex.ComplexFunction = (a, b) => {
  complex.sqrt(a, b);
  reciprocal(result.real, result.imaginary);
};

const sigmoid: complex.ComplexFunction = (a, b) => {
  complex.exp(-a, -b);
  reciprocal(1 + result.real, result.imaginary);
};

const scratch = new Float64Array(2);

function reciprocal(a: number, b: number): void {
  divide(1, 0, a, b, scratch, 0);
  result.real = scratch[0]!;
  result.imaginary = scratch[1]!;
}

const sign = unary((a, b, out, at) => {
  const size = Math.hypot(a, b);
  put(out, at, size === 0 ? 0 : a / size, size === 0 ? 0 : b / size);
});

/** Folds the elements of each run into the two numbers that `start` begins with. */
function reduction(start: number, step: (sum: Float64Array, a: number, b: number) => void): Kernel {
  return (op: OpCall): Tensor[] => {
    const input = op.tensor(0);
    const { value, outputCount, run, shape } = arrange(input, integersOf(op.tensor(1)), op.attrs.bool("keep_dims"));
    const data = value.data as Parts;
    const out = allocate(input.dtype as "complex64", outputCount) as Parts;
    const sum = new Float64Array(2);
    for (let o = 0; o < outputCount; o++) {
      sum[0] = start;
      sum[1] = 0;
      for (let i = 2 * o * run; i < 2 * (o + 1) * run; i += 2) step(sum, data[i]!, data[i + 1]!);
      put(out, 2 * o, sum[0], sum[1]);
    }
    return [withData(input.dtype, shape, out as never)];
  };
}

const product = reduction(1, (sum, a, b) => multiply(sum[0]!, sum[1]!, a, b, sum, 0));

const squares = reduction(0, (sum, a, b) => {
  sum[0]! += a * a + b * b;
});

const euclideanNorm: Kernel = (op) => {
  const [sum] = squares(op) as [Tensor];
  const data = sum.data as Parts;
  for (let i = 0; i < data.length; i += 2) data[i] = Math.sqrt(data[i]!);
  return [sum];
};

/** Sums (or products) up to each element along an axis. */
function cumulative(start: number, step: (sum: Float64Array, a: number, b: number) => void): Kernel {
  return (op) => {
    const { dtype, shape, data } = op.tensor(0);
    const axis = normalAxis(
      integerOf(op.tensor(1)),
      shape.length,
      (given, rank) => `ScanOp: Expected scan axis in the range [${-rank}, ${rank}), but got ${given}`,
    );
    const [isExclusive, isReversed] = [op.attrs.bool("exclusive"), op.attrs.bool("reverse")];
    const [length, inner] = [shape[axis]!, countOf(shape, axis + 1)];
    const out = allocate(dtype as "complex64", elementCount(shape)) as Parts;
    const values = data as Parts;
    const sum = new Float64Array(2);
    for (let line = 0; line < countOf(shape, 0, axis) * inner; line++) {
      const first = Math.floor(line / inner) * length * inner + (line % inner);
      sum[0] = start;
      sum[1] = 0;
      for (let i = 0; i < length; i++) {
        const at = 2 * (first + (isReversed ? length - 1 - i : i) * inner);
        if (isExclusive) put(out, at, sum[0], sum[1]);
        step(sum, values[at]!, values[at + 1]!);
        if (!isExclusive) put(out, at, sum[0], sum[1]);
      }
    }
    return [withData(dtype, shape, out as never)];
  };
}

const cumsum = cumulative(0, (sum, a, b) => {
  sum[0]! += a;
  sum[1]! += b;
});

const cumprod = cumulative(1, (sum, a, b) => multiply(sum[0]!, sum[1]!, a, b, sum, 0));

/** What the kernels of these names do where the dtype is complex. */
export const COMPLEX_KERNELS: Readonly<Record<string, Kernel>> = {
  Sqrt: functionOf(complex.sqrt),
  Rsqrt: functionOf(rsqrt),
  Sigmoid: functionOf(sigmoid),
  Sign: sign,
  Expm1: functionOf(complex.expm1),
  Log1p: functionOf(complex.log1p),
  Sin: functionOf(complex.sin),
  Cos: functionOf(complex.cos),
  Tan: functionOf(complex.tan),
  Asin: functionOf(complex.asin),
  Acos: functionOf(complex.acos),
  Atan: functionOf(complex.atan),
  Sinh: functionOf(complex.sinh),
  Cosh: functionOf(complex.cosh),
  Tanh: functionOf(complex.tanh),
  Asinh: functionOf(complex.asinh),
  Acosh: functionOf(complex.acosh),
  Atanh: functionOf(complex.atanh),
  Pow: binary((a, b, c, d, out, at) => {
    complex.power(a, b, c, d);
    put(out, at, result.real, result.imaginary);
  }),
  Xlogy: timesOf(complex.log),
  Xlog1py: timesOf(complex.log1p),
  Xdivy: timesOf(reciprocal),
  DivNoNan: binary((a, b, c, d, out, at) => (c === 0 && d === 0 ? put(out, at, 0, 0) : divide(a, b, c, d, out, at))),
  MulNoNan: binary((a, b, c, d, out, at) => (c === 0 && d === 0 ? put(out, at, 0, 0) : multiply(a, b, c, d, out, at))),
  Prod: product,
  EuclideanNorm: euclideanNorm,
  Cumsum: cumsum,
  Cumprod: cumprod,
  SegmentSum: asPairs(SEGMENT_KERNELS["SegmentSum"]!),
  SegmentMean: asPairs(SEGMENT_KERNELS["SegmentMean"]!),
  UnsortedSegmentSum: asPairs(SEGMENT_KERNELS["UnsortedSegmentSum"]!),
  ScatterNd: asPairs(SCATTER_KERNELS["ScatterNd"]!, 2),
  TensorScatterAdd: asPairs(SCATTER_KERNELS["TensorScatterAdd"]!),
  TensorScatterSub: asPairs(SCATTER_KERNELS["TensorScatterSub"]!),
};
