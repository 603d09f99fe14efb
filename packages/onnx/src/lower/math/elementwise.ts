import type { DType } from "@shardserve/tensor";
import { toNumbers } from "@shardserve/tensor";
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { cast, dtypes, equal, isFloat, isSignedInt, less, not, where, widened } from "../../proto/emit.js";
import type { Lower, LoweringTable, NodeLowering } from "../node-lowering.js";
import { wideOperands } from "../images/row-constants.js";

/** Arithmetic and mathematical functions, element by element with broadcasting. */

const MAX_KERNELS = dtypes("float32 uint8 int8 int32 float16 float64 uint32");
const RELU_KERNELS = dtypes("float32 float64 float16 int8 int32");

function binary(op: string): Lower {
  return (n) => n.b.op(op, wideOperands(n));
}

/** One ONNX node for float dtypes; `kernels` says which. */
function floatUnary(op: string, kernels = "float32 float16 float64", attrs = {}): Lower {
  const supported = dtypes(kernels);
  return (n) => {
    if (!supported.has(n.dtype(0))) n.fail(`no engine kernel for ${n.dtype(0)}`);
    return n.b.op(op, [n.x(0)], attrs);
  };
}

const SINGLE = "float32 float16";

/** Functions that ONNX Runtime has in float32 only: float64 goes to the host. */
const SINGLE_PRECISION = ["Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Erf"];

function constant(n: NodeLowering, value: number): Value {
  return n.b.scalar(n.dtype(0), value);
}

/** Integer division that truncates. INT_MIN / -1 kills the process inside ONNX Runtime, so -1 never reaches its kernel. */
function truncatedQuotient(b: OnnxBuilder, x: Value, y: Value): Value {
  if (!isSignedInt(y.dtype) || (y.tensor && !toNumbers(y.tensor).includes(-1))) return b.op("Div", [x, y]);
  const isMinusOne = equal(b, y, b.scalar(y.dtype, -1));
  const quotient = b.op("Div", [x, where(b, isMinusOne, b.scalar(y.dtype, 1), y)]);
  return where(b, isMinusOne, b.op("Sub", [b.scalar(x.dtype, 0), x]), quotient);
}

function truncatedRemainder(b: OnnxBuilder, x: Value, y: Value): Value {
  return b.op("Sub", [x, b.op("Mul", [truncatedQuotient(b, x, y), y])]);
}

/** True where a remainder is neither zero nor of the divisor's sign. */
function isRemainderOff(b: OnnxBuilder, remainder: Value, y: Value): Value {
  const zero = b.scalar(y.dtype, 0);
  const signsDiffer = b.op("Xor", [less(b, remainder, zero), less(b, y, zero)]);
  return b.op("And", [not(b, equal(b, remainder, zero)), signsDiffer]);
}

const floorDiv: Lower = (n) => {
  const [x, y] = [n.x(0), n.x(1)];
  if (isFloat(x.dtype)) return n.b.op("Floor", [n.b.op("Div", [x, y])]);
  if (!isSignedInt(x.dtype)) return n.b.op("Div", [x, y]);
  const quotient = truncatedQuotient(n.b, x, y);
  const remainder = n.b.op("Sub", [x, n.b.op("Mul", [quotient, y])]);
  return n.b.op("Sub", [quotient, cast(n.b, isRemainderOff(n.b, remainder, y), x.dtype)]);
};

const floorMod: Lower = (n) => {
  const [x, y] = [n.x(0), n.x(1)];
  const isFloating = isFloat(x.dtype);
  if (!isFloating && !isSignedInt(x.dtype)) return n.b.op("Mod", [x, y]);
  const remainder = isFloating ? n.b.op("Mod", [x, y], { fmod: 1 }) : truncatedRemainder(n.b, x, y);
  return where(n.b, isRemainderOff(n.b, remainder, y), n.b.op("Add", [remainder, y]), remainder);
};

const truncateMod: Lower = (n) => {
  const [x, y] = [n.x(0), n.x(1)];
  return isFloat(x.dtype) ? n.b.op("Mod", [x, y], { fmod: 1 }) : truncatedRemainder(n.b, x, y);
};

const truncateDiv: Lower = (n) => {
  if (!isFloat(n.dtype(0))) return truncatedQuotient(n.b, n.x(0), n.x(1));
  const quotient = n.b.op("Div", [n.x(0), n.x(1)]);
  const isNegative = less(n.b, quotient, constant(n, 0));
  return where(n.b, isNegative, n.b.op("Ceil", [quotient]), n.b.op("Floor", [quotient]));
};

const divide: Lower = (n) =>
  isFloat(n.dtype(0)) ? n.b.op("Div", wideOperands(n)) : truncatedQuotient(n.b, n.x(0), n.x(1));

/** `zero` where the guard operand is 0, also for NaN and infinite results, else `compute`. */
function zeroWhereZero(guard: 0 | 1, compute: (n: NodeLowering) => Value): Lower {
  return (n) => {
    const zero = constant(n, 0);
    const isZero = equal(n.b, n.x(guard), zero);
    return where(n.b, isZero, zero, compute(n));
  };
}

/** The kernels for 64-bit integers look at 32 bits of them. */
function extremeOf(b: OnnxBuilder, op: "Max" | "Min", x: Value, y: Value): Value {
  if (x.dtype !== "int64" && x.dtype !== "uint64") {
    return widened(b, MAX_KERNELS, "order", [x, y], (values) => b.op(op, values));
  }
  return op === "Max" ? where(b, less(b, x, y), y, x) : where(b, less(b, x, y), x, y);
}

function extreme(op: "Max" | "Min"): Lower {
  return (n) => extremeOf(n.b, op, n.x(0), n.x(1));
}

/** The lower bound has the last word, where the bounds are the wrong way around; where they are known not to be, one pass does. */
const clip: Lower = (n) => {
  const [low, high] = [1, 2].map((i) => (n.rank(i) === 0 ? n.numbers(i)?.[0] : undefined));
  if (n.dtype(0) === "float32" && low !== undefined && high !== undefined && low <= high) {
    return n.b.op("Clip", [n.x(0), n.x(1), n.x(2)]);
  }
  return extremeOf(n.b, "Max", extremeOf(n.b, "Min", n.x(0), n.x(2)), n.x(1));
};

/** log(1 + x) without loss near 0 (W. Kahan): log(u) * x / (u - 1) with u = 1 + x. */
export function log1p(b: OnnxBuilder, x: Value): Value {
  const one = b.scalar(x.dtype, 1);
  const u = b.op("Add", [x, one]);
  const excess = b.op("Sub", [u, one]);
  const log = b.op("Log", [u]);
  const corrected = b.op("Mul", [log, b.op("Div", [x, excess])]);
  const isTiny = equal(b, excess, b.scalar(x.dtype, 0));
  return where(b, isTiny, x, where(b, equal(b, u, x), log, corrected));
}

/** exp(x) - 1 without loss near 0 (W. Kahan): (u - 1) * x / log(u) with u = exp(x). */
function expm1(b: OnnxBuilder, x: Value): Value {
  const one = b.scalar(x.dtype, 1);
  const u = b.op("Exp", [x]);
  const excess = b.op("Sub", [u, one]);
  const corrected = b.op("Mul", [excess, b.op("Div", [x, b.op("Log", [u])])]);
  const isPlain = b.op("Or", [equal(b, excess, b.scalar(x.dtype, -1)), equal(b, u, b.op("Add", [u, one]))]);
  return where(b, equal(b, u, one), x, where(b, isPlain, excess, corrected));
}

/** Activations for float64, where ONNX Runtime lacks the fused kernel. */
function activation(op: string, attrs: (n: NodeLowering) => object, plain: (n: NodeLowering) => Value): Lower {
  return (n) => (n.dtype(0) === "float64" ? plain(n) : n.b.op(op, [n.x(0)], { ...attrs(n) }));
}

/** x where positive, else `negative`. */
function positiveElse(n: NodeLowering, negative: Value): Value {
  return where(n.b, n.b.op("Greater", [n.x(0), constant(n, 0)], {}, "bool"), n.x(0), negative);
}

export const SELU_SCALE = 1.0507009873554805;
export const SELU_ALPHA = 1.6732632423543772;

const relu: Lower = (n) =>
  RELU_KERNELS.has(n.dtype(0)) ? n.b.op("Relu", [n.x(0)]) : extremeOf(n.b, "Max", n.x(0), constant(n, 0));

const relu6: Lower = (n) =>
  n.dtype(0) === "int64" || n.dtype(0) === "uint64"
    ? extremeOf(n.b, "Min", extremeOf(n.b, "Max", n.x(0), constant(n, 0)), constant(n, 6))
    : widened(n.b, MAX_KERNELS, "order", [n.x(0)], ([x]) =>
        n.b.op("Clip", [x!, n.b.scalar(x!.dtype, 0), n.b.scalar(x!.dtype, 6)]),
      );

/** ONNX Runtime's is 0 below -18, and nears 1 by steps up and down; what the compiler marks as `exact` is TensorFlow's there, at the price of three ops. */
const sigmoid: Lower = (n) => {
  if (n.attrs.get("exact") !== true || n.dtype(0) !== "float32") return floatUnary("Sigmoid")(n);
  const power = n.b.op("Exp", [n.b.op("Neg", [n.x(0)])]);
  return n.b.op("Reciprocal", [n.b.op("Add", [power, constant(n, 1)])]);
};

const round: Lower = (n) => (isFloat(n.dtype(0)) ? n.b.op("Round", [n.x(0)]) : n.fail("rounding of integers"));

const atan2: Lower = (n) => {
  const { b } = n;
  const [y, x] = [n.x(0), n.x(1)];
  if (y.dtype === "float64") n.fail("no engine kernel for float64");
  const zero = constant(n, 0);
  // Also of the zeros: 1 / -0 is -Infinity.
  const isNegative = (value: Value): Value => {
    const isBelow = less(b, value, zero);
    const isBelowAsInverse = less(b, b.op("Reciprocal", [value]), zero);
    return b.op("Or", [isBelow, b.op("And", [equal(b, value, zero), isBelowAsInverse])]);
  };
  const [height, width] = [b.op("Abs", [y]), b.op("Abs", [x])];
  const sameAngle = where(b, equal(b, height, zero), zero, constant(n, 1));
  const ratio = where(b, equal(b, height, width), sameAngle, b.op("Div", [height, width]));
  const angle = b.op("Atan", [ratio]);
  const turned = where(b, isNegative(x), b.op("Sub", [constant(n, Math.PI), angle]), angle);
  return where(b, isNegative(y), b.op("Neg", [turned]), turned);
};

/** The kernel for 64-bit integers looks at 32 bits, that for float16 answers 0 for NaN. */
const sign: Lower = (n) => {
  const { b } = n;
  if (n.dtype(0) === "float16") return cast(b, b.op("Sign", [cast(b, n.x(0), "float32")]), "float16");
  if (n.dtype(0) !== "int64" && n.dtype(0) !== "uint64") return b.op("Sign", [n.x(0)]);
  const zero = constant(n, 0);
  const isPositive = cast(b, less(b, zero, n.x(0)), n.dtype(0));
  return n.dtype(0) === "uint64" ? isPositive : b.op("Sub", [isPositive, cast(b, less(b, n.x(0), zero), "int64")]);
};

function isClass(op: "IsNaN" | "IsInf"): (n: NodeLowering) => Value {
  return (n) => n.b.op(op, [n.dtype(0) === "float16" ? cast(n.b, n.x(0), "float32") : n.x(0)], {}, "bool");
}

const addN: Lower = (n) => n.inputs.slice(1).reduce((sum, value) => n.b.op("Add", [sum, value]), n.x(0));

const identities: Lower = (n) => n.inputs;
const identity: Lower = (n) => n.x(0);

const pow: Lower = (n) => (isFloat(n.dtype(0)) ? n.b.op("Pow", [n.x(0), n.x(1)]) : n.fail("integer powers"));

const shiftKernels: ReadonlySet<DType> = dtypes("uint8 uint32 uint64");

/** TensorFlow clamps shift distances to the width less one. */
function shift(direction: "LEFT" | "RIGHT"): Lower {
  return (n) => {
    if (!shiftKernels.has(n.dtype(0))) n.fail(`no engine kernel for shifts of ${n.dtype(0)}`);
    const width = { uint8: 8, uint32: 32, uint64: 64 }[n.dtype(0) as "uint8"]!;
    const distance = n.b.op("Min", [n.x(1), constant(n, width - 1)]);
    return n.b.op("BitShift", [n.x(0), distance], { direction });
  };
}

export const elementwise: LoweringTable = {
  Add: binary("Add"),
  AddV2: binary("Add"),
  AddN: addN,
  AccumulateNV2: addN,
  Sub: binary("Sub"),
  Mul: binary("Mul"),
  Div: divide,
  RealDiv: divide,
  TruncateDiv: truncateDiv,
  FloorDiv: floorDiv,
  FloorMod: floorMod,
  TruncateMod: truncateMod,
  Mod: truncateMod,
  DivNoNan: zeroWhereZero(1, (n) => n.b.op("Div", [n.x(0), n.x(1)])),
  MulNoNan: zeroWhereZero(1, (n) => n.b.op("Mul", [n.x(0), n.x(1)])),
  Xdivy: zeroWhereZero(0, (n) => n.b.op("Div", [n.x(0), n.x(1)])),
  Xlogy: zeroWhereZero(0, (n) => n.b.op("Mul", [n.x(0), n.b.op("Log", [n.x(1)])])),
  Xlog1py: zeroWhereZero(0, (n) => n.b.op("Mul", [n.x(0), log1p(n.b, n.x(1))])),
  Pow: pow,
  Maximum: extreme("Max"),
  Minimum: extreme("Min"),
  ClipByValue: clip,
  SquaredDifference: (n) => {
    const difference = n.b.op("Sub", [n.x(0), n.x(1)]);
    return n.b.op("Mul", [difference, difference]);
  },
  Square: (n) => n.b.op("Mul", [n.x(0), n.x(0)]),
  Neg: binaryWithZero(),
  Abs: (n) => n.b.op("Abs", [n.x(0)]),
  Sign: sign,
  Sqrt: floatUnary("Sqrt"),
  Rsqrt: (n) => n.b.op("Reciprocal", [n.b.op("Sqrt", [n.x(0)])]),
  Reciprocal: floatUnary("Reciprocal"),
  Inv: floatUnary("Reciprocal"),
  Exp: floatUnary("Exp"),
  Log: floatUnary("Log"),
  Log1p: (n) => log1p(n.b, n.x(0)),
  Expm1: (n) => expm1(n.b, n.x(0)),
  Floor: floatUnary("Floor"),
  Ceil: floatUnary("Ceil"),
  Round: round,
  Rint: round,
  Sin: floatUnary("Sin"),
  Cos: floatUnary("Cos"),
  ...Object.fromEntries(SINGLE_PRECISION.map((op) => [op, floatUnary(op, SINGLE)])),
  Erfc: (n) => n.b.op("Sub", [constant(n, 1), floatUnary("Erf", SINGLE)(n) as Value]),
  Atan2: atan2,
  Relu: relu,
  Relu6: relu6,
  LeakyRelu: activation(
    "LeakyRelu",
    (n) => ({ alpha: { float: n.attrs.float("alpha") } }),
    (n) => positiveElse(n, n.b.op("Mul", [n.x(0), constant(n, n.attrs.float("alpha"))])),
  ),
  Elu: activation(
    "Elu",
    () => ({}),
    (n) => positiveElse(n, expm1(n.b, n.x(0))),
  ),
  Selu: activation(
    "Selu",
    () => ({ alpha: { float: SELU_ALPHA }, gamma: { float: SELU_SCALE } }),
    (n) => {
      const negative = n.b.op("Mul", [expm1(n.b, n.x(0)), constant(n, SELU_ALPHA)]);
      return n.b.op("Mul", [positiveElse(n, negative), constant(n, SELU_SCALE)]);
    },
  ),
  Softplus: activation(
    "Softplus",
    () => ({}),
    (n) => {
      const tail = log1p(n.b, n.b.op("Exp", [n.b.op("Neg", [n.b.op("Abs", [n.x(0)])])]));
      return n.b.op("Add", [n.b.op("Max", [n.x(0), constant(n, 0)]), tail]);
    },
  ),
  Softsign: (n) => n.b.op("Div", [n.x(0), n.b.op("Add", [n.b.op("Abs", [n.x(0)]), constant(n, 1)])]),
  Sigmoid: sigmoid,
  Tanh: floatUnary("Tanh"),
  Softmax: floatUnary("Softmax", undefined, { axis: -1 }),
  LogSoftmax: floatUnary("LogSoftmax", undefined, { axis: -1 }),
  IsNan: isClass("IsNaN"),
  IsInf: isClass("IsInf"),
  IsFinite: (n) => not(n.b, n.b.op("Or", [isClass("IsNaN")(n), isClass("IsInf")(n)])),
  BitwiseAnd: binary("BitwiseAnd"),
  BitwiseOr: binary("BitwiseOr"),
  BitwiseXor: binary("BitwiseXor"),
  Invert: (n) => n.b.op("BitwiseNot", [n.x(0)]),
  LeftShift: shift("LEFT"),
  RightShift: shift("RIGHT"),
  Identity: identity,
  IdentityN: identities,
  Snapshot: identity,
  StopGradient: identity,
  PreventGradient: identity,
  GuaranteeConst: identity,
  PlaceholderWithDefault: identity,
};

/** -x as 0 - x for unsigned integers, which have no Neg kernel. */
function binaryWithZero(): Lower {
  return (n) =>
    isFloat(n.dtype(0)) || isSignedInt(n.dtype(0)) ? n.b.op("Neg", [n.x(0)]) : n.b.op("Sub", [constant(n, 0), n.x(0)]);
}
