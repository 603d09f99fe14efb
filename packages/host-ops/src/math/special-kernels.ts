/** Kernels of special functions, element by element. */
import type { HostValue } from "@shardserve/graph";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { broadcastTo } from "../call/broadcast.js";
import { check, printShape } from "../call/errors.js";
import { numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { broadcastShape } from "../call/shapes.js";
import { applyBinary, type BinaryOp } from "./binary-op.js";
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
  return [numbersTensor(dtype, shape, out)];
}

/** At 0 TensorFlow has its limit in float64 alone. */
function besselY1(op: OpCall): readonly HostValue[] | Promise<readonly HostValue[]> {
  const atZero = op.tensor(0).dtype === "float64" ? Number.NEGATIVE_INFINITY : Number.NaN;
  return unary({ float: (x) => (x === 0 ? atZero : besselY(1, x)) })(op);
}

export const SPECIAL_KERNELS: Readonly<Record<string, Kernel>> = {
  Lgamma: unary({ float: lgamma }),
  Digamma: unary({ float: digamma }),
  Erf: unary({ float: erf }),
  Erfc: unary({ float: erfc }),
  Erfinv: unary({ float: erfinv }),
  Ndtri: unary({ float: ndtri }),
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
  Igamma: binary({ float: igamma }),
  Igammac: binary({ float: igammac }),
  Zeta: binary({ float: hurwitz }),
  Polygamma: binary({ float: polygamma }),
  Betainc: betaincKernel,
};
