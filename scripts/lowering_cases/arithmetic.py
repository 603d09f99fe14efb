"""Element by element, comparisons and choices."""

import numpy as np
import tensorflow as tf

from lowering_cases.recorded import C, case, family, rand, rng
from lowering_cases.values import F16, F32, F64, I8, I16, I32, I64, U8, U32, U64, FLOATS, SIGNED, UNSIGNED, INTS, SPECIAL


@family
def arithmetic():
    for op in ["AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference", "FloorDiv", "FloorMod"]:
        for dtype in FLOATS + INTS:
            y = rand(dtype, [3], 1, 5)
            if dtype in FLOATS + SIGNED:
                y = y * rng.choice([-1, 1], 3).astype(dtype)
            case(op, x=rand(dtype, [2, 3], -9, 9), y=y)
    for op in ["Add", "RealDiv", "DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py", "Pow", "Atan2", "TruncateMod", "Mod"]:
        for dtype in FLOATS:
            kw = {"y": rand(dtype, [2, 3], 0, 4), "x": rand(dtype, [2, 1], 0.1, 4)}
            case(op, **kw)
            zero = np.array([0, 1, 0, 2], dtype)
            case(op, x=np.array([0, 0, 5, 3], dtype), y=zero) if op not in ("TruncateMod", "Mod", "Atan2") else None
    case("MulNoNan", x=np.array([np.nan, np.inf, 2], F32), y=np.array([0, 0, 3], F32))
    case("DivNoNan", x=np.array([np.nan, np.inf, 2], F32), y=np.array([0, 0, 3], F32))
    for signs in [(1, 1), (1, -1), (-1, 1), (-1, -1)]:
        case("Atan2", y=np.array([1.0, 0.5, 3], F32) * signs[0], x=np.array([0.3, 2, 0.7], F32) * signs[1])
    case("Atan2", y=np.array([1, -1, 0], F32), x=np.array([0, 0, 0], F32))
    for op in ["Div", "TruncateDiv", "FloorDiv", "FloorMod", "TruncateMod", "Mod"]:
        for dtype in [I32, I64, I8, I16]:
            if op in ("TruncateDiv",) or dtype in (I32, I64):
                case(op, x=np.array([7, -7, 7, -7, 0, 6], dtype), y=np.array([2, 2, -2, -2, -1, -1], dtype))
        case(op, x=np.array([1, 2], I32), y=np.array([1, 0], I32))
    for dtype in [I32, I64]:
        low = np.iinfo(dtype).min
        case("FloorMod", x=np.array([low, low + 1], dtype), y=np.array([3, 7], dtype))
        case("Mul", x=np.array([low, 2**30], dtype), y=np.array([3, 7], dtype))
        case("AddV2", x=np.array([np.iinfo(dtype).max], dtype), y=np.array([1], dtype))
    for op in ["FloorMod", "FloorDiv"]:
        for dtype in [F32, F64]:
            case(op, x=np.array([7.5, -7.5, 7.5, -7.5, 6, -6], dtype), y=np.array([2, 2, -2, -2, 3, 3], dtype))
    for dtype in FLOATS + [I32, I64]:
        case("AddN", inputs=[rand(dtype, [2, 2]) for _ in range(3)])
        case("ClipByValue", t=rand(dtype, [2, 3], -5, 5), clip_value_min=np.array(-1, dtype), clip_value_max=np.array(2, dtype))
    for low, high in [(-1.0, 2.0), (0.0, 0.0), (2.0, -1.0)]:
        odd = np.array([[np.nan, np.inf, -np.inf], [-0.0, 1.5, -7]], F32)
        case("ClipByValue", t=odd, clip_value_min=C(F32(low)), clip_value_max=C(F32(high)))
    case("AddV2", x=np.zeros([0, 3], F32), y=np.zeros([3], F32))
    case("AddV2", x=np.zeros([2, 3], F32), y=np.zeros([4], F32))
    for op in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
        for dtype in INTS:
            case(op, x=rand(dtype, [4], -100, 100), y=rand(dtype, [4], -100, 100))
    for dtype in INTS:
        case("Invert", x=rand(dtype, [4], -100, 100))
    for op in ["LeftShift", "RightShift"]:
        for dtype in [U8, U32, U64]:
            case(op, x=rand(dtype, [4], 0, 100), y=np.array([0, 1, 3, 7], dtype))


@family
def unary():
    small = np.concatenate([rng.uniform(-1, 1, 6), [1e-7, -1e-7, 1e-4]])
    for op in ["Neg", "Abs", "Square", "Sign", "Exp", "Floor", "Ceil", "Round", "Rint", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh",
               "Asinh", "Erf", "Erfc", "Expm1", "Sigmoid", "Tanh", "Softsign", "Reciprocal", "Inv"]:
        for dtype in FLOATS:
            case(op, **{"features" if op == "Softsign" else "x": (rand(dtype, [3, 4], -4, 4))})
            case(op, **{"features" if op == "Softsign" else "x": small.astype(dtype)})
    for op in ["Relu", "Relu6", "Elu", "Selu", "Softplus", "LeakyRelu"]:
        for dtype in FLOATS + (INTS if op in ("Relu", "Relu6") else []):
            case(op, features=rand(dtype, [3, 4], -9, 9))
            if dtype in FLOATS:
                case(op, features=small.astype(dtype))
                case(op, features=np.array([0, -0.0, 40, -40, 90, -90], dtype))
    case("LeakyRelu", features=rand(F32, [5]), alpha=0.01)
    case("LeakyRelu", features=rand(F64, [5]), alpha=0.3)
    for op in ["Sqrt", "Rsqrt", "Log", "Log1p"]:
        for dtype in FLOATS:
            case(op, x=rand(dtype, [3, 4], 0.01, 9))
            case(op, x=np.abs(small).astype(dtype))
    for dtype in FLOATS:
        case("Log1p", x=np.array([-0.5, -0.999, 1e-5, -1e-5, 0, 1e4], dtype))
        case("Expm1", x=np.array([-20, -0.999, 1e-5, -1e-5, 0, 5], dtype))
        case("Log1p", x=np.array([np.inf, -1, 0], dtype))
        case("Expm1", x=np.array([np.inf, -np.inf, 0, 100], dtype)) if dtype != F16 else None
    for op in ["Asin", "Acos", "Atanh"]:
        for dtype in FLOATS:
            case(op, x=rand(dtype, [6], -0.95, 0.95))
    for dtype in FLOATS:
        case("Acosh", x=rand(dtype, [6], 1.01, 9))
    for op in ["IsNan", "IsInf", "IsFinite", "Round", "Rint", "Floor", "Ceil", "Abs", "Neg", "Sigmoid", "Tanh", "Relu", "Sign", "Square"]:
        for dtype in FLOATS:
            case(op, **{"features" if op == "Relu" else "x": SPECIAL.astype(dtype)})
    for op in ["Neg", "Abs", "Square", "Sign", "Round"]:
        for dtype in SIGNED:
            case(op, x=rand(dtype, [5], -9, 9))
    for op in ["Softmax", "LogSoftmax"]:
        for dtype in FLOATS:
            case(op, logits=rand(dtype, [2, 5], -9, 9))
            case(op, logits=rand(dtype, [2, 3, 4], -9, 9))
        case(op, logits=rand(F32, [4]))
        case(op, logits=np.zeros([0, 4], F32))
    everything = FLOATS + INTS + [bool]
    for source in everything:
        for target in everything:
            if target in UNSIGNED:
                low, high = (0, 100)
            else:
                low, high = (-100, 100)
            case("Cast", x=rand(source, [4], low, high), DstT=tf.as_dtype(target))
    case("Cast", x=SPECIAL.astype(F32), DstT=tf.int32)
    case("Cast", x=np.array([1e20, -1e20, 3e9, np.nan], F32), DstT=tf.int64)
    case("Cast", x=np.array([1e20, -1e20, 3e9, np.nan], F64), DstT=tf.int64)
    case("Cast", x=SPECIAL.astype(F64), DstT=tf.int32)
    case("Cast", x=SPECIAL.astype(F32), DstT=tf.bool)
    case("Cast", x=SPECIAL.astype(F64), DstT=tf.float16)
    case("Cast", x=np.array([2**40 + 5, -1, 2**31], I64), DstT=tf.int32)
    case("Cast", x=np.array([2**24 + 1, 2**53 + 1, -2**62 - 1], I64), DstT=tf.float32)
    case("Cast", x=np.array([300, -1, 256], I32), DstT=tf.uint8)


@family
def selection():
    for op in ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]:
        for dtype in FLOATS + INTS + [bool]:
            if dtype == bool and op not in ("Equal", "NotEqual"):
                continue
            case(op, x=rand(dtype, [3, 4], 0, 2), y=rand(dtype, [4], 0, 2))
        case(op, x=SPECIAL.astype(F32), y=np.array(1, F32))
    case("ApproximateEqual", x=np.array([1, 1.001, 2], F32), y=np.array([1, 1, 1], F32), tolerance=0.01)
    for op in ["LogicalAnd", "LogicalOr"]:
        case(op, x=rand(bool, [3, 4]), y=rand(bool, [4]))
    case("LogicalNot", x=rand(bool, [5]))
    for dtype in FLOATS + INTS + [bool]:
        t, e = rand(dtype, [3, 2], -50, 50), rand(dtype, [3, 2], -50, 50)
        case("SelectV2", condition=rand(bool, [3, 1]), t=t, e=e)
        case("Select", condition=rand(bool, [3, 2]), x=t, y=e)
        case("Select", condition=rand(bool, [3]), x=t, y=e)
        case("Select", condition=np.array(True), x=t, y=e)
        case("SelectV2", condition=np.array(False), t=t, e=np.array(1, dtype))
    case("Select", condition=rand(bool, [2]), x=rand(F32, [2, 3, 4]), y=rand(F32, [2, 3, 4]))
    case("Select", condition=rand(bool, [0]), x=rand(F32, [0, 3]), y=rand(F32, [0, 3]))
    big = np.array([2**63 - 1, -2**63], I64)
    case("SelectV2", condition=np.array([True, False]), t=big, e=big[::-1].copy())
    case("SelectV2", condition=np.array([True, False]), t=np.array([2**64 - 1, 0], U64), e=np.array([1, 2**63 + 1], U64))
    for dtype in FLOATS + INTS + [bool]:
        case("Where", condition=rand(dtype, [3, 4], -1, 1))
    case("Where", condition=rand(bool, [7]))
    case("Where", condition=rand(bool, [2, 3, 2]))
    case("Where", condition=np.zeros([0, 2], bool))
    case("Where", condition=np.zeros([3], bool))
    case("Where", condition=SPECIAL.astype(F32))
