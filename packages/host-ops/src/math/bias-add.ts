/** BiasAdd: an addition along the channels. */
import { withData } from "../call/elements.js";
import { check } from "../call/errors.js";
import { isComplex } from "../call/numeric.js";
import type { Kernel } from "../call/op-call.js";
import { ARITHMETIC_KERNELS } from "./arithmetic.js";
import { COMPLEX_MATH } from "../complex/complex-math.js";

const biasAdd: Kernel = (op) => {
  const [value, bias] = [op.tensor(0), op.tensor(1)];
  const isFirst = op.attrs.has("data_format") && op.attrs.text("data_format").startsWith("NC");
  const { shape } = value;
  const channels = isFirst ? shape[1] : shape.at(-1);
  check(shape.length >= 2, () => `Input tensor must be at least 2D: [${shape.join(",")}]`);
  check(
    bias.shape.length === 1 && bias.shape[0] === channels,
    () => `Must provide as many biases as the last dimension`,
  );
  const biasShape = isFirst ? [channels!, ...shape.slice(2).map(() => 1)] : bias.shape;
  const add = (isComplex(value.dtype) ? COMPLEX_MATH : ARITHMETIC_KERNELS)["AddV2"]!;
  return add(op.withInputs([value, withData(bias.dtype, biasShape, bias.data)]));
};

export const BIAS_KERNELS: Readonly<Record<string, Kernel>> = { BiasAdd: biasAdd, BiasAddV1: biasAdd };
