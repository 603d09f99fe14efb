import { numbers } from "../../proto/numbers.js";
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { channelsFirst, channelsLast } from "./channels.js";
import type { Lower, LoweringTable } from "../node-lowering.js";

/** The band has the square of as many weights, and as many products an element: beyond it costs more than ONNX Runtime's own kernel. */
const BAND_CHANNELS_MAX = 512;

/**
 * x / (bias + alpha * sum)^beta, the sum being of the squares of `depth_radius` channels on either side and of the channel itself. ONNX
 * has the op, but ONNX Runtime's kernel takes a power of every element on its own. As TensorFlow does it, the sum is a product with a
 * matrix that has a band of ones: a convolution of 1 x 1, which adds the bias too.
 */
const lrn: Lower = (n) => {
  const { b } = n;
  if (n.dtype(0) !== "float32") n.fail(`no engine kernel for ${n.dtype(0)}`);
  const [alpha, beta, bias] = [n.attrs.float("alpha"), n.attrs.float("beta"), n.attrs.float("bias")];
  const radius = n.attrs.int("depth_radius");
  const x = channelsFirst(b, n.x(0), 4);
  const channels = n.dim(0, -1);
  if (channels === undefined || channels > BAND_CHANNELS_MAX) {
    const size = 2 * radius + 1;
    const attrs = { size, bias: { float: bias }, alpha: { float: alpha * size }, beta: { float: beta } };
    return channelsLast(b, b.op("LRN", [x], attrs), 4);
  }
  const perChannel = Array.from({ length: channels }, () => bias);
  const biases = b.constant(numbers("float32", [channels], perChannel));
  const weights = b.constant(numbers("float32", [channels, channels, 1, 1], band(channels, radius, alpha)));
  const base = b.op("Conv", [b.op("Mul", [x, x]), weights, biases], { kernel_shape: [1, 1] });
  return channelsLast(b, overPower(b, x, base, beta), 4);
};

/** A matrix [length, length] of `value` up to `radius` places from its diagonal, and zeros. */
function band(length: number, radius: number, value: number): number[] {
  return Array.from({ length: length * length }, (_, i) =>
    Math.abs(Math.floor(i / length) - (i % length)) <= radius ? value : 0,
  );
}

/** x / base^beta. Roots are cheaper than a logarithm and its power, which are what TensorFlow takes. */
function overPower(b: OnnxBuilder, x: Value, base: Value, beta: number): Value {
  const root = (value: Value): Value => b.op("Sqrt", [value]);
  if (beta === 1) return b.op("Div", [x, base]);
  if (beta === 0.5) return b.op("Div", [x, root(base)]);
  if (beta === 0.75) {
    const half = root(base);
    return b.op("Div", [x, b.op("Mul", [half, root(half)])]);
  }
  const exponent = b.op("Mul", [b.op("Log", [base]), b.scalar("float32", -beta)]);
  return b.op("Mul", [x, b.op("Exp", [exponent])]);
}

export const normalizations: LoweringTable = { LRN: lrn };
