import type { Value } from "../../proto/value.js";
import { cast, equal, less, where } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";

/**
 * Fake quantisation: floats rounded to a grid of 2^num_bits values, after
 * tensorflow/core/kernels/fake_quant_ops_functor.h. The grid is worked out from the range in a few numbers, which the engine does
 * once where the range is a constant or a variable; over the values themselves go no more passes than it takes.
 */
function fakeQuant(n: NodeLowering, min: Value, max: Value, isScalar: boolean): Value {
  const { b } = n;
  const constant = (value: number) => b.scalar("float32", value);
  const isEmpty = b.op("And", [equal(b, min, constant(0)), equal(b, max, constant(0))]);
  const quantised = (): Value => quantisedTo(n, gridOf(n, min, max), isScalar);
  // Of an empty range TensorFlow makes zeros, of NaN too. Mostly none is: then the engine drops the other branch.
  const isAnyEmpty = cast(b, b.op("ReduceMax", [cast(b, isEmpty, "int32")], { keepdims: 0 }), "bool");
  const [result] = b.choose(
    isAnyEmpty,
    ["float32"],
    () => [where(b, isEmpty, constant(0), quantised())],
    () => [quantised()],
  );
  return result!;
}

/** The values of a range that zero is one of, and how many steps zero is from the least. */
interface Grid {
  readonly min: Value;
  readonly max: Value;
  readonly scale: Value;
  readonly inverse: Value;
  readonly zero: Value;
}

function gridOf(n: NodeLowering, min: Value, max: Value): Grid {
  const { b } = n;
  const constant = (value: number) => b.scalar("float32", value);
  const low = n.attrs.bool("narrow_range") ? 1 : 0;
  const high = 2 ** n.attrs.int("num_bits") - 1;
  // std::round of something that is not negative: floor(x + 1/2).
  const rounded = (value: Value) => b.op("Floor", [b.op("Add", [value, constant(0.5)])]);
  const scale = b.op("Div", [b.op("Sub", [max, min]), constant(high - low)]);
  const zeroPoint = b.op("Sub", [constant(low), b.op("Div", [min, scale])]);
  const nudged = where(
    b,
    less(b, zeroPoint, constant(low)),
    constant(low),
    where(b, less(b, constant(high), zeroPoint), constant(high), rounded(zeroPoint)),
  );
  const nudgedMin = b.op("Mul", [b.op("Sub", [constant(low), nudged]), scale]);
  const nudgedMax = b.op("Mul", [b.op("Sub", [constant(high), nudged]), scale]);
  const inverse = b.op("Div", [constant(1), scale]);
  const zero = rounded(b.op("Mul", [b.op("Neg", [nudgedMin]), inverse]));
  // Of a range that is the wrong way around TensorFlow takes the lower bound.
  return { min: nudgedMin, max: b.op("Max", [nudgedMax, nudgedMin]), scale, inverse, zero };
}

/** Of a range from 0, which activations have, `min` and `zero` are 0 and the engine leaves both subtractions out. */
function quantisedTo(n: NodeLowering, grid: Grid, isScalar: boolean): Value {
  const { b } = n;
  const { min, max, scale, inverse, zero } = grid;
  const clamped = isScalar ? b.op("Clip", [n.x(0), min, max]) : b.op("Max", [b.op("Min", [n.x(0), max]), min]);
  const steps = b.op("Mul", [b.op("Sub", [clamped, min]), inverse]);
  const whole = b.op("Floor", [b.op("Add", [b.op("Sub", [steps, zero]), b.scalar("float32", 0.5)])]);
  return b.op("Mul", [whole, scale]);
}

const withScalars: Lower = (n) => fakeQuant(n, n.x(1), n.x(2), true);
const withVectors: Lower = (n) => fakeQuant(n, n.x(1), n.x(2), false);

const withAttrs: Lower = (n) =>
  fakeQuant(n, n.b.scalar("float32", n.attrs.float("min")), n.b.scalar("float32", n.attrs.float("max")), true);

export const quantization: LoweringTable = {
  FakeQuantWithMinMaxVars: withScalars,
  FakeQuantWithMinMaxVarsPerChannel: withVectors,
  FakeQuantWithMinMaxArgs: withAttrs,
};
