/** Complex numbers made of their parts, and taken apart. */
import { type Tensor, tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { allocate } from "../call/limits.js";
import { isComplex, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape } from "../call/shapes.js";

/** One number per element of a complex tensor. */
function fromComplex(part: (real: number, imaginary: number) => number): Kernel {
  return (op) => {
    const value = op.tensor(0);
    const lanes = value.data as Float32Array;
    const dtype = op.attrs.dtype("Tout");
    const out = numberArray(dtype, lanes.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = part(lanes[2 * i]!, lanes[2 * i + 1]!);
    return [numbersTensor(dtype, value.shape, out)];
  };
}

function magnitudes(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  if (value.dtype !== "complex64") return fromComplex(Math.hypot)(op) as Tensor[];
  const lanes = value.data as Float32Array;
  const out = allocate("float32", lanes.length / 2);
  for (let i = 0; i < out.length; i++) {
    const real = lanes[2 * i]!;
    const imaginary = lanes[2 * i + 1]!;
    // Squares of single precision neither overflow nor vanish in double precision, where Math.hypot takes ten times as long.
    const magnitude = Math.sqrt(real * real + imaginary * imaginary);
    out[i] = Number.isNaN(magnitude) ? Math.hypot(real, imaginary) : magnitude; // it knows that infinity beats NaN
  }
  return [tensor("float32", value.shape, out)];
}

function complex(op: OpCall): Tensor[] {
  const [real, imaginary] = [op.tensor(0), op.tensor(1)];
  const shape = broadcastShape(real.shape, imaginary.shape);
  const [p, q] = [numbersOf(broadcastTo(real, shape)), numbersOf(broadcastTo(imaginary, shape))];
  const dtype = op.attrs.dtype("Tout");
  const out = allocate(dtype as "complex64", p.length);
  for (let i = 0; i < p.length; i++) {
    out[2 * i] = p[i]!;
    out[2 * i + 1] = q[i]!;
  }
  return [withData(dtype, shape, out)];
}

/** A complex tensor with the signs of its imaginary parts turned. */
export function conjugated(value: Tensor): Tensor {
  const out = (value.data as Float32Array).slice();
  for (let i = 1; i < out.length; i += 2) out[i] = -out[i]!;
  return withData(value.dtype, value.shape, out);
}

/** Ops whose point is complex numbers. */
export const COMPLEX_PARTS_KERNELS: Readonly<Record<string, Kernel>> = {
  Complex: complex,
  Real: fromComplex((real) => real),
  Imag: fromComplex((_, imaginary) => imaginary),
  ComplexAbs: magnitudes,
  Angle: fromComplex((real, imaginary) => Math.atan2(imaginary, real)),
  Conj: (op) => [isComplex(op.tensor(0).dtype) ? conjugated(op.tensor(0)) : op.tensor(0)],
};
