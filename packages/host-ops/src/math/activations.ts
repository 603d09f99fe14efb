/** Activations of layers. */
import type { Tensor } from "@shardserve/tensor";
import type { Kernel, OpCall } from "../call/op-call.js";
import { unary } from "./unary.js";

function leakyRelu(op: OpCall): Tensor[] | Promise<Tensor[]> {
  const alpha = op.attrs.float("alpha");
  return unary({ float: (x) => (x > 0 ? x : x * alpha) })(op) as Tensor[];
}

const SELU_ALPHA = 1.7580993408473768;
const SELU_SCALE = 1.0507009873554805;

export const ACTIVATION_KERNELS: Readonly<Record<string, Kernel>> = {
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
};
