import { attr } from "@shardserve/savedmodel";
import { type DType, DTYPES } from "@shardserve/tensor";
import type { Ref } from "./function-builder.js";
import { constantInts, type OpTranslation, type Translate } from "./translation.js";

/**
 * Ops that compute each element by itself. All their operands have one shape; an operand that was broadcast to it goes in as
 * it was before, where another one has the full shape, because TensorFlow's ops broadcast by themselves.
 */

function operands(t: OpTranslation): Ref[] {
  const values = t.op.operands.map((value) => t.around.translated(value));
  const rank = t.resultType().shape.length;
  const hasWhole = values.some(({ narrow }, i) => narrow === undefined && t.rank(i) === rank);
  return values.map((value) => (hasWhole && value.narrow) || value.full());
}

const isFloat = (dtype: DType): boolean => /float/.test(dtype);
const isComplex = (dtype: DType): boolean => dtype.startsWith("complex");
const isUnsigned = (dtype: DType): boolean => dtype.startsWith("uint");
const bitsOf = (dtype: DType): number => DTYPES[dtype].bytes * 8;
const signed = (dtype: DType): DType => dtype.replace(/^u/, "") as DType;
const unsigned = (dtype: DType): DType => (isUnsigned(dtype) ? dtype : `u${dtype}`) as DType;

function unary(op: string): Translate {
  return (t) => [t.emit(op, [t.in(0)])];
}

function binary(op: string, ofBools?: string): Translate {
  return (t) => [t.emit(t.dtype(0) === "bool" && ofBools ? ofBools : op, operands(t))];
}

const negate: Translate = (t) => {
  const x = t.in(0);
  return [isUnsigned(x.dtype) ? t.emit("Sub", [t.b.scalar(x.dtype, 0), x]) : t.emit("Neg", [x])];
};

const abs: Translate = (t) => {
  const x = t.in(0);
  if (isUnsigned(x.dtype)) return [x];
  return [isComplex(x.dtype) ? t.emit("ComplexAbs", [x], { Tout: attr.type(t.resultDType()) }) : t.emit("Abs", [x])];
};

const sign: Translate = (t) => {
  const x = t.in(0);
  return [isUnsigned(x.dtype) ? t.emit("Minimum", [x, t.b.scalar(x.dtype, 1)]) : t.emit("Sign", [x])];
};

const not: Translate = (t) => [t.emit(t.dtype(0) === "bool" ? "LogicalNot" : "Invert", [t.in(0)])];

/** Away from zero at halves; floor(x + 0.5) would be wrong for the float below one half. */
const roundAwayFromZero: Translate = (t) => {
  const x = t.in(0);
  const size = t.emit("Abs", [x]);
  const whole = t.emit("Floor", [size]);
  const isUp = t.emit("GreaterEqual", [t.emit("Sub", [size, whole]), t.b.scalar(x.dtype, 0.5)]);
  const rounded = t.select(isUp, t.emit("AddV2", [whole, t.b.scalar(x.dtype, 1)]), whole);
  return [t.emit("Mul", [t.emit("Sign", [x]), rounded])];
};

const cubeRoot: Translate = (t) => {
  const x = t.in(0);
  const root = t.emit("Pow", [t.emit("Abs", [x]), t.b.scalar(x.dtype, 1 / 3)]);
  return [t.emit("Mul", [t.emit("Sign", [x]), root])];
};

/** Ones below the highest one, counted. */
const countLeadingZeros: Translate = (t) => {
  const dtype = t.dtype(0);
  const bits = bitsOf(dtype);
  let x = t.b.cast(t.in(0), unsigned(dtype));
  for (let shift = 1; shift < bits; shift *= 2) {
    x = t.emit("BitwiseOr", [x, t.emit("RightShift", [x, t.b.scalar(x.dtype, shift)])]);
  }
  const ones = t.b.cast(t.emit("PopulationCount", [x]), dtype);
  return [t.emit("Sub", [t.b.scalar(dtype, bits), ones])];
};

/** XLA: x / 0 is -1 in all bits, and the least integer by -1 is itself; TensorFlow fails, and processors trap. */
const divide: Translate = (t) => {
  const [x, y] = operands(t) as [Ref, Ref];
  if (isFloat(x.dtype) || isComplex(x.dtype)) return [t.emit("RealDiv", [x, y])];
  return [guarded(t, x, y, "TruncateDiv", allOnes(t, x.dtype), () => negated(t, x))];
};

/** XLA: the remainder of a division by zero is x. */
const remainder: Translate = (t) => {
  const [x, y] = operands(t) as [Ref, Ref];
  if (isFloat(x.dtype)) return [t.emit("TruncateMod", [x, y])];
  if (x.dtype === "int32" || x.dtype === "int64") {
    return [guarded(t, x, y, "TruncateMod", x, () => t.b.scalar(x.dtype, 0))];
  }
  const quotient = guarded(t, x, y, "TruncateDiv", t.b.scalar(x.dtype, 0), () => negated(t, x));
  return [t.emit("Sub", [x, t.emit("Mul", [quotient, y])])];
};

/** An integer division with answers of its own for the divisors 0 and -1, unless the divisor is known to be neither. */
function guarded(t: OpTranslation, x: Ref, y: Ref, op: string, byZero: Ref, byMinusOne: () => Ref): Ref {
  const known = t.constantInts(1);
  if (known?.every((value) => value !== 0 && value !== -1)) return t.emit(op, [x, y]);
  const one = t.b.scalar(y.dtype, 1);
  const isZero = t.emit("Equal", [y, t.b.scalar(y.dtype, 0)]);
  let [divisor, result] = [t.select(isZero, one, y), undefined as Ref | undefined];
  if (!isUnsigned(y.dtype)) {
    const isMinusOne = t.emit("Equal", [y, t.b.scalar(y.dtype, -1)]);
    divisor = t.select(isMinusOne, one, divisor);
    result = t.select(isMinusOne, byMinusOne(), t.emit(op, [x, divisor]));
  }
  return t.select(isZero, byZero, result ?? t.emit(op, [x, divisor]));
}

function negated(t: OpTranslation, x: Ref): Ref {
  return t.emit("Sub", [t.b.scalar(x.dtype, 0), x]);
}

function allOnes(t: OpTranslation, dtype: DType): Ref {
  return isUnsigned(dtype) ? t.emit("Invert", [t.b.scalar(dtype, 0)]) : t.b.scalar(dtype, -1);
}

/** Shifts by the width or more leave zeros, or the sign; TensorFlow leaves that open. */
function shift(direction: "LeftShift" | "RightShift", kind: "logical" | "arithmetic"): Translate {
  return (t) => {
    const [x, y] = operands(t) as [Ref, Ref];
    const worked = kind === "logical" ? unsigned(x.dtype) : signed(x.dtype);
    const [value, amount] = [t.b.cast(x, worked), t.b.cast(y, worked)];
    const bits = bitsOf(x.dtype);
    const known = constantInts(t.operand(1), t.around);
    const isSafe = known?.every((count) => count >= 0 && count < bits) ?? false;
    if (isSafe) return [t.b.cast(t.emit(direction, [value, amount]), x.dtype)];
    // A negative amount is a large one.
    const isShort = t.emit("Less", [t.b.cast(y, unsigned(y.dtype)), t.b.scalar(unsigned(y.dtype), bits)]);
    const most = t.b.scalar(worked, kind === "logical" ? 0 : bits - 1);
    const shifted = t.emit(direction, [value, t.select(isShort, amount, most)]);
    const result = kind === "logical" ? t.select(isShort, shifted, t.b.scalar(worked, 0)) : shifted;
    return [t.b.cast(result, x.dtype)];
  };
}

/** By number of VHLO's ComparisonDirection. */
const DIRECTIONS = ["Equal", "NotEqual", "GreaterEqual", "Greater", "LessEqual", "Less"];
const TOTAL_ORDER = 2;

const compare: Translate = (t) => {
  const direction = DIRECTIONS[t.attrs.enum("comparison_direction")] ?? t.fail("an unknown direction");
  let [a, b] = operands(t) as [Ref, Ref];
  const type = t.attrs.get("compare_type");
  if (type?.kind === "enum" && type.value === TOTAL_ORDER) [a, b] = [ordered(t, a), ordered(t, b)];
  if (a.dtype === "bool" && direction !== "Equal" && direction !== "NotEqual") {
    [a, b] = [t.b.cast(a, "int32"), t.b.cast(b, "int32")];
  }
  return [t.emit(direction, [a, b])];
};

/** Integers in the order of all floats: -NaN < -inf < -0 < +0 < inf < NaN. */
export function ordered(t: OpTranslation, value: Ref): Ref {
  const dtype = ({ float64: "int64", float32: "int32", float16: "int16", bfloat16: "int16" } as const)[
    value.dtype as "float32"
  ];
  if (!dtype) return t.fail(`a total order of ${value.dtype}`);
  const bits = t.emit("Bitcast", [value], { type: attr.type(dtype) });
  const width = BigInt(bitsOf(dtype));
  const isNegative = t.emit("Less", [bits, t.b.scalar(dtype, 0)]);
  return t.select(isNegative, t.emit("BitwiseXor", [bits, t.b.scalar(dtype, 2n ** (width - 1n) - 1n)]), bits);
}

/** An index below zero counts from the end, says a select; one that is never below zero is itself. */
const select: Translate = (t) => {
  const index = t.around.behindCalls(t.operand(2));
  const test = t.around.definition(t.operand(0));
  if (t.around.limitOf(index) !== undefined && test?.name === "compare") {
    const isLess = test.attrs.enum("comparison_direction") === DIRECTIONS.indexOf("Less");
    const isOfIndex = t.around.behindCalls(test.operands[0]!) === index;
    const isWithZero = test.operands[1] && constantInts(test.operands[1], t.around)?.every((value) => value === 0);
    if (isLess && isOfIndex && isWithZero) return [t.in(2)];
  }
  return [t.emit("SelectV2", operands(t))];
};

const clamp: Translate = (t) => {
  const [low, x, high] = operands(t) as [Ref, Ref, Ref];
  return [t.emit("Minimum", [t.emit("Maximum", [x, low]), high])];
};

const convert: Translate = (t) => {
  const [from, to] = [t.dtype(0), t.resultDType()];
  const x = t.in(0);
  if (to === "bool") return [t.emit("NotEqual", [x, t.b.scalar(from, 0)])];
  if (isComplex(from) && !isComplex(to)) {
    const part = from === "complex64" ? "float32" : "float64";
    return [converted(t, t.emit("Real", [x], { Tout: attr.type(part) }), to)];
  }
  return [converted(t, x, to)];
};

/** XLA: floats beyond the integers become the least and the largest, NaN becomes 0. TensorFlow leaves that to the processor. */
function converted(t: OpTranslation, x: Ref, to: DType): Ref {
  if (!isFloat(x.dtype) || isFloat(to) || isComplex(to)) return t.b.cast(x, to);
  const bits = BigInt(bitsOf(to));
  const least = isUnsigned(to) ? 0n : -(2n ** (bits - 1n));
  const most = isUnsigned(to) ? 2n ** bits - 1n : 2n ** (bits - 1n) - 1n;
  const wide = x.dtype === "float64" ? x : t.b.cast(x, "float32");
  // The largest float below the limit, so that the cast never meets one that it has no integer for.
  const isHigh = t.emit("GreaterEqual", [wide, t.b.scalar(wide.dtype, Number(most + 1n))]);
  const isLow = t.emit("LessEqual", [wide, t.b.scalar(wide.dtype, Number(least))]);
  const zero = t.b.scalar(wide.dtype, 0);
  const isInside = t.emit("LogicalNot", [
    t.emit("LogicalOr", [t.emit("LogicalOr", [isHigh, isLow]), t.emit("IsNan", [wide])]),
  ]);
  const inside = t.b.cast(t.select(isInside, wide, zero), to);
  return t.select(isHigh, t.b.scalar(to, most), t.select(isLow, t.b.scalar(to, least), inside));
}

const bitcast: Translate = (t) => {
  const [from, to] = [t.dtype(0), t.resultDType()];
  const isSameWidth = DTYPES[from].bytes === DTYPES[to].bytes;
  const isInteger = (dtype: DType): boolean => /^u?int/.test(dtype);
  if (isSameWidth && isInteger(from) && isInteger(to)) return [t.b.cast(t.in(0), to)];
  return [t.emit("Bitcast", [t.in(0)], { type: attr.type(to) })];
};

/** Rounding to the exponent and mantissa of another float. */
const reducePrecision: Translate = (t) => {
  const [exponent, mantissa] = [t.attrs.int("exponent_bits"), t.attrs.int("mantissa_bits")];
  const x = t.in(0);
  const width = ({ float64: [11, 52], float32: [8, 23], bfloat16: [8, 7], float16: [5, 10] } as const)[
    x.dtype as "float32"
  ];
  if (width && exponent >= width[0] && mantissa >= width[1]) return [x];
  const narrow =
    exponent === 8 && mantissa === 7 ? "bfloat16" : exponent === 5 && mantissa === 10 ? "float16" : undefined;
  if (!narrow) return t.fail(`${exponent} bits of exponent and ${mantissa} of mantissa`);
  return [t.b.cast(t.b.cast(x, narrow), x.dtype)];
};

const complex: Translate = (t) => [t.emit("Complex", operands(t), { Tout: attr.type(t.resultDType()) })];

function part(op: "Real" | "Imag"): Translate {
  return (t) => [t.emit(op, [t.in(0)], { Tout: attr.type(t.resultDType()) })];
}

export const ELEMENTWISE: Readonly<Record<string, Translate>> = {
  abs,
  add: binary("AddV2", "LogicalOr"),
  and: binary("BitwiseAnd", "LogicalAnd"),
  atan2: binary("Atan2"),
  bitcast_convert: bitcast,
  cbrt: cubeRoot,
  ceil: unary("Ceil"),
  clamp,
  compare,
  complex,
  convert,
  cosine: unary("Cos"),
  count_leading_zeros: countLeadingZeros,
  divide,
  exponential: unary("Exp"),
  exponential_minus_one: unary("Expm1"),
  floor: unary("Floor"),
  imag: part("Imag"),
  is_finite: unary("IsFinite"),
  log: unary("Log"),
  log_plus_one: unary("Log1p"),
  logistic: unary("Sigmoid"),
  maximum: binary("Maximum", "LogicalOr"),
  minimum: binary("Minimum", "LogicalAnd"),
  multiply: binary("Mul", "LogicalAnd"),
  negate,
  not,
  or: binary("BitwiseOr", "LogicalOr"),
  popcnt: (t) => [t.b.cast(t.emit("PopulationCount", [t.in(0)]), t.dtype(0))],
  power: binary("Pow"),
  real: part("Real"),
  reduce_precision: reducePrecision,
  remainder,
  round_nearest_afz: roundAwayFromZero,
  round_nearest_even: unary("Round"),
  rsqrt: unary("Rsqrt"),
  select,
  shift_left: shift("LeftShift", "logical"),
  shift_right_arithmetic: shift("RightShift", "arithmetic"),
  shift_right_logical: shift("RightShift", "logical"),
  sign,
  sine: unary("Sin"),
  sqrt: unary("Sqrt"),
  subtract: binary("Sub"),
  tan: unary("Tan"),
  tanh: unary("Tanh"),
  xor: binary("BitwiseXor", "NotEqual"),
};
