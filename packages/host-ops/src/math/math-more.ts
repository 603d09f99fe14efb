/** Rarer elementwise maths: special functions, activations, floating-point steps, complex parts. */
import type { HostValue } from "@shardserve/graph";
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { withData } from "../call/elements.js";
import { check, invalid, printShape } from "../call/errors.js";
import { allocate } from "../call/limits.js";
import { isComplex, numberArray, numbersOf, packNumbers } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape } from "../call/shapes.js";
import { applyBinary, type BinaryOp } from "./arithmetic.js";
import { besselJ, besselK, besselY } from "./bessel.js";
import { dawson, expint, fresnel, spence } from "./integrals.js";
import {
  besselI,
  betainc,
  digamma,
  erf,
  erfc,
  erfinv,
  hurwitz,
  igamma,
  igammac,
  lgamma,
  ndtri,
  polygamma,
} from "./special.js";
import { unary } from "./unary.js";

const binary =
  (operation: BinaryOp): Kernel =>
  (op) => [applyBinary(op.node.op, operation, op.tensor(0), op.tensor(1))];

const scratch = new DataView(new ArrayBuffer(8));

/** The next number after `a` towards `b`, in single or double precision. */
function nextAfter(a: number, b: number, isDouble: boolean): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.NaN;
  if (a === b) return b;
  if (a === 0) return (b > 0 ? 1 : -1) * (isDouble ? Number.MIN_VALUE : 2 ** -149);
  const isAway = b > a === a > 0;
  if (isDouble) {
    scratch.setFloat64(0, a);
    scratch.setBigInt64(0, scratch.getBigInt64(0) + (isAway ? 1n : -1n));
    return scratch.getFloat64(0);
  }
  scratch.setFloat32(0, a);
  scratch.setInt32(0, scratch.getInt32(0) + (isAway ? 1 : -1));
  return scratch.getFloat32(0);
}

function betaincKernel(op: OpCall): Tensor[] {
  const inputs = op.tensors(0, 3);
  const shape = inputs.reduce<readonly number[]>((all, value) => broadcastShape(all, value.shape), []);
  for (const { shape: own } of inputs) {
    check(
      own.length === 0 || own.length === shape.length,
      () => `Shapes must be equal or scalar, got ${printShape(own)}`,
    );
  }
  const { dtype } = inputs[0]!;
  const [a, b, x] = inputs.map((value) => numbersOf(broadcastTo(value, shape)));
  const out = numberArray(dtype, elementCount(shape));
  for (let i = 0; i < out.length; i++) out[i] = betainc(a![i]!, b![i]!, x![i]!);
  return [withData(dtype, shape, packNumbers(dtype, out))];
}

function populationCount(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const source = value.data as Uint8Array;
  const width = source.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(source.buffer as ArrayBuffer, source.byteOffset, source.byteLength);
  const out = allocate("uint8", bytes.length / width);
  for (let i = 0; i < bytes.length; i++) {
    let count = 0;
    for (let bits = bytes[i]!; bits > 0; bits &= bits - 1) count++;
    const at = Math.floor(i / width);
    out[at] = out[at]! + count;
  }
  return [withData("uint8", value.shape, out)];
}

/** One number per element of a complex tensor. */
function fromComplex(part: (real: number, imaginary: number) => number): Kernel {
  return (op) => {
    const value = op.tensor(0);
    const lanes = value.data as Float32Array;
    const dtype = op.attrs.dtype("Tout");
    const out = numberArray(dtype, lanes.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = part(lanes[2 * i]!, lanes[2 * i + 1]!);
    return [withData(dtype, value.shape, packNumbers(dtype, out))];
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

function leakyRelu(op: OpCall): Tensor[] | Promise<Tensor[]> {
  const alpha = op.attrs.float("alpha");
  return unary({ float: (x) => (x > 0 ? x : x * alpha) })(op) as Tensor[];
}

/** At 0 TensorFlow has its limit in float64 alone. */
function besselY1(op: OpCall): readonly HostValue[] | Promise<readonly HostValue[]> {
  const atZero = op.tensor(0).dtype === "float64" ? Number.NEGATIVE_INFINITY : Number.NaN;
  return unary({ float: (x) => (x === 0 ? atZero : besselY(1, x)) })(op);
}

function checkNumerics(op: OpCall): Tensor[] {
  const value = op.tensor(0);
  const numbers = numbersOf(value);
  let [isInf, isNan] = [false, false];
  for (let i = 0; i < numbers.length; i++) {
    if (Number.isNaN(numbers[i]!)) isNan = true;
    else if (!Number.isFinite(numbers[i]!)) isInf = true;
  }
  if (isInf || isNan) {
    const what = isInf && isNan ? "Inf and NaN" : isInf ? "Inf" : "NaN";
    throw invalid(`${op.attrs.text("message")} : Tensor had ${what} values`);
  }
  return [value];
}

const SELU_ALPHA = 1.7580993408473768;
const SELU_SCALE = 1.0507009873554805;

export const MATH_MORE_KERNELS: Readonly<Record<string, Kernel>> = {
  Asinh: unary({ float: Math.asinh }),
  Acosh: unary({ float: Math.acosh }),
  Atanh: unary({ float: Math.atanh }),
  Lgamma: unary({ float: lgamma }),
  Digamma: unary({ float: digamma }),
  Erf: unary({ float: erf }),
  Erfc: unary({ float: erfc }),
  Erfinv: unary({ float: erfinv }),
  Ndtri: unary({ float: ndtri }),
  Softplus: unary({ float: (x) => (x > 30 ? x : Math.log1p(Math.exp(x))) }),
  Softsign: unary({ float: (x) => x / (1 + Math.abs(x)) }),
  Elu: unary({ float: (x) => (x < 0 ? Math.expm1(x) : x) }),
  Selu: unary({ float: (x) => (x < 0 ? SELU_ALPHA * Math.expm1(x) : SELU_SCALE * x) }),
  Relu6: unary({
    float: (x) => (x < 0 ? 0 : x > 6 ? 6 : x),
    int: (x) => Math.min(6, Math.max(0, x)),
    big: (x) => (x < 0n ? 0n : x > 6n ? 6n : x),
  }),
  LeakyRelu: leakyRelu,
  Xlog1py: binary({ float: (a, b, round) => (a === 0 ? 0 : a * round(Math.log1p(b))) }),
  BesselI0: unary({ float: (x) => besselI(0, x, false) }),
  BesselI1: unary({ float: (x) => besselI(1, x, false) }),
  BesselI0e: unary({ float: (x) => besselI(0, x, true) }),
  BesselI1e: unary({ float: (x) => besselI(1, x, true) }),
  BesselJ0: unary({ float: (x) => besselJ(0, x) }),
  BesselJ1: unary({ float: (x) => besselJ(1, x) }),
  BesselY0: unary({ float: (x) => besselY(0, x) }),
  BesselY1: besselY1,
  BesselK0: unary({ float: (x) => besselK(0, x, false) }),
  BesselK1: unary({ float: (x) => besselK(1, x, false) }),
  BesselK0e: unary({ float: (x) => besselK(0, x, true) }),
  BesselK1e: unary({ float: (x) => besselK(1, x, true) }),
  Dawsn: unary({ float: dawson }),
  Expint: unary({ float: expint }),
  Spence: unary({ float: spence }),
  FresnelCos: unary({ float: (x) => fresnel(x, "C") }),
  FresnelSin: unary({ float: (x) => fresnel(x, "S") }),
  NextAfter: (op) => {
    const isDouble = op.tensor(0).dtype === "float64";
    return [applyBinary("NextAfter", { float: (a, b) => nextAfter(a, b, isDouble) }, op.tensor(0), op.tensor(1))];
  },
  Igamma: binary({ float: igamma }),
  Igammac: binary({ float: igammac }),
  Zeta: binary({ float: hurwitz }),
  Polygamma: binary({ float: polygamma }),
  Betainc: betaincKernel,
  PopulationCount: populationCount,
  CheckNumerics: checkNumerics,
  CheckNumericsV2: checkNumerics,
};

/** Ops whose point is complex numbers. */
export const COMPLEX_KERNELS: Readonly<Record<string, Kernel>> = {
  Complex: complex,
  Real: fromComplex((real) => real),
  Imag: fromComplex((_, imaginary) => imaginary),
  ComplexAbs: magnitudes,
  Angle: fromComplex((real, imaginary) => Math.atan2(imaginary, real)),
  Conj: (op) => [isComplex(op.tensor(0).dtype) ? conjugated(op.tensor(0)) : op.tensor(0)],
};
