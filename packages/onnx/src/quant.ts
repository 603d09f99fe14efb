import type { Value } from "./builder.js";
import { equal, less, where } from "./emit.js";
import type { Lower, LoweringTable, NodeLowering } from "./node-lowering.js";

/**
 * Fake quantisation: floats rounded to a grid of 2^num_bits values, after
 * tensorflow/core/kernels/fake_quant_ops_functor.h.
 */
function fakeQuant(n: NodeLowering, min: Value, max: Value): Value {
  const { b } = n;
  const constant = (value: number) => b.scalar("float32", value);
  const low = n.attrs.bool("narrow_range") ? 1 : 0;
  const high = 2 ** n.attrs.int("num_bits") - 1;
  const half = constant(0.5);
  const floorOf = (value: Value) => b.op("Floor", [b.op("Add", [value, half])]);
  const scale = b.op("Div", [b.op("Sub", [max, min]), constant(high - low)]);
  const zeroPoint = b.op("Sub", [constant(low), b.op("Div", [min, scale])]);
  // std::round of something that is clamped to [low, high], hence not negative: floor(x + 1/2).
  const rounded = floorOf(zeroPoint);
  const nudged = where(
    b,
    less(b, zeroPoint, constant(low)),
    constant(low),
    where(b, less(b, constant(high), zeroPoint), constant(high), rounded),
  );
  const nudgedMin = b.op("Mul", [b.op("Sub", [constant(low), nudged]), scale]);
  const nudgedMax = b.op("Mul", [b.op("Sub", [constant(high), nudged]), scale]);
  const inverse = b.op("Div", [constant(1), scale]);
  const quantZero = floorOf(b.op("Mul", [b.op("Neg", [nudgedMin]), inverse]));
  const clamped = b.op("Max", [b.op("Min", [n.x(0), nudgedMax]), nudgedMin]);
  const steps = b.op("Mul", [b.op("Sub", [clamped, nudgedMin]), inverse]);
  const grid = b.op("Floor", [b.op("Add", [b.op("Sub", [steps, quantZero]), half])]);
  const isEmpty = b.op("And", [equal(b, min, constant(0)), equal(b, max, constant(0))]);
  return where(b, isEmpty, constant(0), b.op("Mul", [grid, scale]));
}

const withInputs: Lower = (n) => fakeQuant(n, n.x(1), n.x(2));

const withAttrs: Lower = (n) =>
  fakeQuant(n, n.b.scalar("float32", n.attrs.float("min")), n.b.scalar("float32", n.attrs.float("max")));

export const quantization: LoweringTable = {
  FakeQuantWithMinMaxVars: withInputs,
  FakeQuantWithMinMaxVarsPerChannel: withInputs,
  FakeQuantWithMinMaxArgs: withAttrs,
};
