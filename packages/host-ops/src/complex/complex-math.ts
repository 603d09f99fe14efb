/** Arithmetic of complex numbers, which lie in pairs of real and imaginary parts. */
import { elementCount, type Tensor } from "@shardserve/tensor";
import { operand } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { allocate, checkedCount } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf } from "../call/shapes.js";
import { broadcastShape } from "../call/shapes.js";
import { arrange } from "../math/reduce.js";

export type Parts = Float32Array | Float64Array;
/** Writes the result of (a + bi) and (c + di) into `out` at `at`. */
type Binary = (a: number, b: number, c: number, d: number, out: Parts, at: number) => void;
type Unary = (a: number, b: number, out: Parts, at: number) => void;

export function put(out: Parts, at: number, real: number, imaginary: number): void {
  out[at] = real;
  out[at + 1] = imaginary;
}

export const multiply: Binary = (a, b, c, d, out, at) => put(out, at, a * c - b * d, a * d + b * c);

export const divide: Binary = (a, b, c, d, out, at) => {
  // Robert Smith's way: no overflow on the way.
  if (Math.abs(c) >= Math.abs(d)) {
    const ratio = d / c;
    const scale = c + d * ratio;
    put(out, at, (a + b * ratio) / scale, (b - a * ratio) / scale);
  } else {
    const ratio = c / d;
    const scale = c * ratio + d;
    put(out, at, (a * ratio + b) / scale, (b * ratio - a) / scale);
  }
};

export function binary(step: Binary): Kernel {
  return (op) => {
    const [x, y] = [op.tensor(0), op.tensor(1)];
    const shape = broadcastShape(x.shape, y.shape);
    const count = checkedCount(x.dtype, shape);
    const [a, b] = [operand(x, shape), operand(y, shape)];
    const [p, q] = [a.value.data as Parts, b.value.data as Parts];
    const out = allocate(x.dtype as "complex64", count) as Parts;
    for (let i = 0; i < count; i++) {
      const [from, to] = [2 * i * a.step, 2 * i * b.step];
      step(p[from]!, p[from + 1]!, q[to]!, q[to + 1]!, out, 2 * i);
    }
    return [withData(x.dtype, shape, out as never)];
  };
}

export function unary(step: Unary): Kernel {
  return (op) => {
    const value = op.tensor(0);
    const data = value.data as Parts;
    const out = allocate(value.dtype as "complex64", data.length / 2) as Parts;
    for (let i = 0; i < data.length; i += 2) step(data[i]!, data[i + 1]!, out, i);
    return [withData(value.dtype, value.shape, out as never)];
  };
}

function reduction(isMean: boolean): Kernel {
  return (op: OpCall): Tensor[] => {
    const input = op.tensor(0);
    const { value, outputCount, run, shape } = arrange(input, integersOf(op.tensor(1)), op.attrs.bool("keep_dims"));
    const data = value.data as Parts;
    const out = allocate(input.dtype as "complex64", outputCount) as Parts;
    for (let o = 0; o < outputCount; o++) {
      let [real, imaginary] = [0, 0];
      for (let i = 2 * o * run; i < 2 * (o + 1) * run; i += 2) {
        real += data[i]!;
        imaginary += data[i + 1]!;
      }
      put(out, 2 * o, isMean ? real / run : real, isMean ? imaginary / run : imaginary);
    }
    return [withData(input.dtype, shape, out as never)];
  };
}

function addN(op: OpCall): Tensor[] {
  const values = op.tensors();
  const out = (values[0]!.data as Parts).slice();
  for (const { data } of values.slice(1)) for (let i = 0; i < out.length; i++) out[i] = out[i]! + (data as Parts)[i]!;
  return [withData(values[0]!.dtype, values[0]!.shape, out as never)];
}

function onesLike(op: OpCall): Tensor[] {
  const { dtype, shape } = op.tensor(0);
  const out = allocate(dtype as "complex64", elementCount(shape)) as Parts;
  for (let i = 0; i < out.length; i += 2) out[i] = 1;
  return [withData(dtype, shape, out as never)];
}

const add = binary((a, b, c, d, out, at) => put(out, at, a + c, b + d));
const reciprocal = unary((a, b, out, at) => divide(1, 0, a, b, out, at));

/** What the kernels of these names do where the dtype is complex. */
export const COMPLEX_MATH: Readonly<Record<string, Kernel>> = {
  Add: add,
  AddV2: add,
  AddN: addN,
  Sub: binary((a, b, c, d, out, at) => put(out, at, a - c, b - d)),
  Mul: binary(multiply),
  Div: binary(divide),
  RealDiv: binary(divide),
  // |x - y|^2, as TensorFlow has it.
  SquaredDifference: binary((a, b, c, d, out, at) => put(out, at, (a - c) ** 2 + (b - d) ** 2, 0)),
  Neg: unary((a, b, out, at) => put(out, at, -a, -b)),
  Square: unary((a, b, out, at) => multiply(a, b, a, b, out, at)),
  Exp: unary((a, b, out, at) => put(out, at, Math.exp(a) * Math.cos(b), Math.exp(a) * Math.sin(b))),
  Log: unary((a, b, out, at) => put(out, at, Math.log(Math.hypot(a, b)), Math.atan2(b, a))),
  Inv: reciprocal,
  Reciprocal: reciprocal,
  OnesLike: onesLike,
  Sum: reduction(false),
  Mean: reduction(true),
};
