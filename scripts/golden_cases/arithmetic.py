"""Element by element, and from dtype to dtype."""

import numpy as np
import tensorflow as tf

from golden_cases.values import FLOAT_EDGES, FLOAT_TYPES, INT_TYPES, SHAPES, i32, i64, int_values, pairs, some


def math_binary(g):
    arithmetic = ["AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference"]
    for op in arithmetic + ["RealDiv", "Pow", "FloorDiv", "FloorMod", "DivNoNan", "TruncateMod", "Mod", "Xlogy", "Xdivy", "MulNoNan", "Atan2"]:
        for dtype in [np.float32, np.float64, np.float16] if op not in ("TruncateMod", "Mod") else [np.float32]:
            values = FLOAT_EDGES if dtype == np.float32 else [0.0, 1.0, -1.5, 2.25, np.nan]
            a, b = pairs(values if dtype == np.float32 else values, dtype)
            g.case(op, x=a, y=b)
    a, b = pairs([0.0, 1.0, -1.5, 2.25, 3.140625], tf.bfloat16.as_numpy_dtype)
    for op in arithmetic + ["RealDiv"]:
        g.case(op, x=a, y=b)
    for op in ["AddV2", "Sub", "Mul", "Maximum", "Minimum"]:
        for dtype in INT_TYPES:
            a, b = pairs(int_values(dtype), dtype)
            g.case(op, x=a, y=b)
    for op in ["FloorDiv", "FloorMod", "TruncateDiv", "Div", "TruncateMod"]:
        for dtype in [np.int32, np.int64, np.uint8, np.int8, np.uint64, np.int16]:
            values = [v for v in int_values(dtype) if v != np.iinfo(dtype).min]
            a, b = pairs(values, dtype)
            keep = b != 0
            g.case(op, x=a[keep], y=b[keep])
        g.case(op, x=i32(3), y=i32(0), text=True)
        g.case(op, x=i64(3), y=i64(0), text=True)
    for dtype in [np.int32, np.int64]:
        a, b = pairs([0, 1, -1, 3, -3, 10], dtype)
        g.case("Pow", x=a, y=np.abs(b))
        g.case("Pow", x=np.array([2], dtype), y=np.array([-1], dtype))
        a, b = pairs([0, 1, -1, 3, -3, 40000], dtype)
        g.case("SquaredDifference", x=a, y=b)
    for dtype in INT_TYPES:
        for op in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
            a, b = pairs(int_values(dtype)[:6] + int_values(dtype)[-3:], dtype)
            g.case(op, x=a, y=b)
        for op in ["LeftShift", "RightShift"]:
            a, b = pairs([1, 3, 0, 7], dtype)
            g.case(op, x=a, y=b)
    a, b = pairs([True, False], np.bool_)
    g.case("LogicalAnd", x=a, y=b)
    g.case("LogicalOr", x=a, y=b)
    for s, t in SHAPES:
        for dtype in [np.float32, np.int64]:
            g.case("AddV2", x=some(dtype, s), y=some(dtype, t, 3))
        g.case("Add", x=some(object, s), y=some(object, t, 3))
        g.case("Sub", x=some(np.int32, s), y=some(np.int32, t, 3))
    g.case("Add", x=some(object, (2,)), y=some(object, (2,), 3))
    g.case("AddV2", x=some(np.float32, (2, 1)), y=some(np.float32, (3, 4)), text=True)
    g.case("Add", x=some(np.float32, (2, 1)), y=some(np.float32, (1, 10, 10, 2, 3)), text=True)
    g.case("AddN", inputs=[some(np.float32, (2, 2), k) for k in range(3)])
    g.case("AddN", inputs=[some(np.int64, (2, 2), k) for k in range(3)])
    g.case("AddN", inputs=[some(np.float32, (2,)), some(np.float32, (3,))])
    g.case("ClipByValue", t=some(np.float32, (5,)), clip_value_min=np.float32(-1), clip_value_max=np.float32(1))
    g.case("ClipByValue", t=some(np.int64, (5,)), clip_value_min=np.int64(-10), clip_value_max=np.int64(10))


def math_unary(g):
    for op in ["Neg", "Abs", "Sign", "Square", "Sqrt", "Rsqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Rint", "Reciprocal", "Sigmoid", "Tanh",
               "Log1p", "Expm1", "Sin", "Cos", "Relu", "IsNan", "IsInf", "IsFinite"]:
        key = "features" if op == "Relu" else "x"
        for dtype in [np.float32, np.float64, np.float16]:
            values = np.array(FLOAT_EDGES + [0.1, 0.3, 2.0, 5.0, -0.7, 3.5], dtype)
            if op in ("Sin", "Cos"):
                values = values[np.abs(values) < 100]
            if dtype == np.float16 and op in ("Exp", "Log", "Rsqrt", "Sigmoid", "Tanh", "Log1p", "Expm1", "Sin", "Cos", "Rint"):
                continue
            g.case(op, tolerance=3e-6, **{key: values})
    for op in ["Neg", "Abs", "Sign", "Square"]:
        for dtype in [np.int32, np.int64, np.int8]:
            g.case(op, x=np.array(int_values(dtype), dtype))
    for dtype in INT_TYPES:
        g.case("Invert", x=np.array(int_values(dtype), dtype))
    g.case("LogicalNot", x=np.array([True, False]))


def math_more(g):
    values = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 0.1, 0.3, 2.0, 5.0, -0.7, 3.5, 12.5, -10.25, 1e-3, 40.0, np.inf, -np.inf, np.nan]
    for op in ["Asinh", "Acosh", "Atanh", "Lgamma", "Digamma", "Erf", "Erfc", "Erfinv", "Ndtri", "Softplus", "Softsign", "Elu", "Selu", "Relu6", "LeakyRelu",
               "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh"]:
        key = "features" if op in ("Softplus", "Softsign", "Elu", "Selu", "Relu6", "LeakyRelu") else "x"
        for dtype in [np.float32, np.float64]:
            v = np.array([x for x in values if np.isfinite(x) and abs(x) < 20 or op not in ("Tan", "Sinh", "Cosh")], dtype)
            if op == "Erf" and dtype == np.float64:
                v = v[np.isfinite(v)]  # TensorFlow says NaN for infinities
            if op == "Erfinv":
                v = np.array([0, 0.1, -0.3, 0.5, 0.75, -0.99, 1, -1, 1e-5], dtype)
            if op == "Ndtri":
                v = np.array([0.5, 0.1, 0.3, 0.75, 0.99, 1e-6, 0, 1], dtype)
            if op == "Digamma":
                v = np.array([x for x in values if x not in (0.0, -1.0, -np.inf)], dtype)
            g.case(op, tolerance=2e-5 if dtype == np.float32 else 1e-11, **{key: v})
    g.case("LeakyRelu", features=np.array([-2, 3], np.float32), alpha=0.5)
    for dtype in [np.float32, np.float64]:
        tolerance = 2e-5 if dtype == np.float32 else 1e-10
        a, b = pairs([0.0, 1.0, -1.5, 2.25, np.inf], dtype)
        g.case("Xlog1py", x=a, y=np.abs(b), tolerance=tolerance)
        a, b = pairs([0.0, 1.0, -1.5, 2.25, 1e30, np.nan], dtype)
        g.case("NextAfter", x1=a, x2=b)
        a, x = pairs([0.5, 1.0, 2.5, 10.0], dtype)
        g.case("Igamma", a=a, x=x, tolerance=tolerance)
        g.case("Igammac", a=a, x=x, tolerance=tolerance)
        g.case("Zeta", x=a + 1, q=x, tolerance=tolerance)
        g.case("Polygamma", a=np.floor(a), x=x, tolerance=tolerance)
        g.case("Betainc", a=a, b=x, x=np.linspace(0.05, 0.95, len(a)).astype(dtype), tolerance=1e-4 if dtype == np.float32 else tolerance)
    for dtype in INT_TYPES:
        g.case("PopulationCount", x=np.array(int_values(dtype), dtype))
    for bad in [[1.0, np.nan], [np.inf], [-np.inf, np.nan], [1.0]]:
        g.case("CheckNumerics", tensor=np.array(bad, np.float32), message="oh")
    for dtype, half in [(np.complex64, np.float32), (np.complex128, np.float64)]:
        x = some(dtype, (5,))
        for op in ["Real", "Imag", "ComplexAbs", "Angle"]:
            g.case(op, **{"x" if op == "ComplexAbs" else "input": x}, Tout=tf.as_dtype(half))
        g.case("Conj", input=x)
        g.case("Complex", real=some(half, (2, 1)), imag=some(half, (3,), 2), Tout=tf.as_dtype(dtype))


def special_integrals(g):
    """Bessel functions and named integrals, running sums of exponentials, elements by rank."""
    values = [0.0, 1e-300, 1e-3, 0.1, 0.3, 0.7, 1.0, 1.4, 1.99, 2.3, 2.6, 3.7, 5.0, 8.5, 12.0, 25.0, 29.0, 31.0, 50.0, 120.0, 650.0, np.inf, -0.3, -1.0, -3.0, -33.0, -np.inf, np.nan]
    ops = ["BesselJ0", "BesselJ1", "BesselK0", "BesselK0e", "BesselK1", "BesselK1e", "BesselY0", "BesselY1", "Dawsn", "Expint", "Spence", "FresnelCos", "FresnelSin"]
    for op in ops:
        for dtype in [np.float32, np.float64]:
            v = np.array([x for x in values if dtype == np.float64 or not 0 < x < 1e-30 and abs(x) < 85], dtype)
            if op == "BesselY1" and dtype == np.float32:
                v = v[v != 0]  # TensorFlow says NaN, and in float64 -Infinity
            g.case(op, x=v, tolerance=2e-5 if dtype == np.float32 else 1e-12)
        if op.startswith("Bessel"):
            g.case(op, x=np.array([[0.5], [2.0]], np.float16))
    x = np.array([[1, 2, 3], [-np.inf, -np.inf, 1], [np.inf, 0, 1], [np.nan, 0, 1]])
    for dtype in [np.float32, np.float64, np.float16]:
        for kw in [dict(axis=np.int32(1)), dict(axis=np.int64(-1), exclusive=True), dict(axis=np.int32(0), reverse=True)]:
            g.case("CumulativeLogsumexp", x=x.astype(dtype), **kw)
    g.case("CumulativeLogsumexp", x=x, axis=np.int32(2))
    g.case("CumulativeLogsumexp", x=np.zeros((0, 3), np.float32), axis=np.int32(0))
    for dtype in INT_TYPES + FLOAT_TYPES:
        for reverse in [False, True]:
            g.case("NthElement", input=some(dtype, (2, 5)), n=np.int32(1), reverse=reverse)
    for bad in [dict(input=some(np.float32, (2, 3)), n=np.int32(3)), dict(input=some(np.float32, (2, 3)), n=np.int32(-1)), dict(input=np.float32(1), n=np.int32(0)),
                dict(input=some(np.float32, (2, 3)), n=i32(1)), dict(input=np.zeros((0, 3), np.float32), n=np.int32(1))]:
        g.case("NthElement", **bad)


def complex_more(g):
    """Functions, products and running sums of complex numbers."""
    for dtype, tolerance in [(np.complex64, 3e-5), (np.complex128, 1e-9)]:
        z = np.array([0.3 + 0.4j, -1.5 + 0.25j, 2 - 3j, -0.1 - 0.2j, 1.25 + 0j, 1e-3 + 2e-3j, -4 - 0.5j, 0.7j], dtype)
        w = np.array([1 + 1j, 0, 2 - 0.5j, 3, -1j, 0.5 + 0.5j, -2 + 1j, 0], dtype)
        for op in ["Sqrt", "Rsqrt", "Sigmoid", "Sign", "Expm1", "Log1p", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh"]:
            g.case(op, tolerance, x=z[:4])
            g.case(op, tolerance, x=z)
        g.case("Tanh", tolerance, x=np.array([30 + 1j, -400 + 2j], dtype))
        g.case("Sqrt", tolerance, x=np.array([0, -4 + 0j, -4 - 0j], dtype))
        for op in ["Pow", "Xlogy", "Xlog1py", "Xdivy", "DivNoNan", "MulNoNan"]:
            g.case(op, tolerance, x=w[[0, 2, 3, 6]], y=z[:4])
            g.case(op, tolerance, x=z, y=w[[0, 2, 3, 4, 5, 6, 0, 2]])
        for op in ["DivNoNan", "MulNoNan"]:
            g.case(op, tolerance, x=z, y=w)
        for op in ["Xlogy", "Xdivy", "Xlog1py"]:
            g.case(op, tolerance, x=w, y=z)
        m = some(np.float64, (3, 4), 5).astype(dtype) + 1j * some(np.float64, (3, 4), 6).astype(dtype)
        for axes in [i32(0), i32(-1), i32(0, 1), i32()]:
            g.case("Prod", tolerance, input=m / 3, axis=axes, keep_dims=False)
            g.case("EuclideanNorm", tolerance, input=m, axis=axes, keep_dims=True)
        for exclusive, reverse in [(False, False), (True, False), (False, True), (True, True)]:
            for op in ["Cumsum", "Cumprod"]:
                g.case(op, tolerance, x=m, axis=np.int32(-1 if reverse else 0), exclusive=exclusive, reverse=reverse)
        g.case("Cumsum", x=m, axis=np.int32(2))
        for a, b, x, y in [(m, m.T, False, False), (m, m, False, True), (m, m, True, False), (m.T, m, True, True)]:
            g.case("MatMul", tolerance, a=a, b=b, transpose_a=x, transpose_b=y)
            g.case("BatchMatMulV2", tolerance, x=a[None], y=np.stack([b, 2j * b]), adj_x=x, adj_y=y)
            g.case("BatchMatMul", tolerance, x=a, y=b, adj_x=x, adj_y=y)
        g.case("MatMul", a=m, b=m, transpose_a=False, transpose_b=False)
        g.case("BatchMatMulV2", x=np.stack([m] * 2), y=np.stack([m.T] * 3), adj_x=False, adj_y=False)
        g.case("MatMul", tolerance, a=m[:, :0], b=m.T[:0], transpose_a=False, transpose_b=False)
        for equation, inputs in [("ij,jk->ik", [m, m.T]), ("ij,kj->ki", [m, m]), ("ij->ji", [m]), ("ij->j", [m]), ("ii->i", [m[:, :3]]), ("...i,...i->...", [m, m]), ("b...i,ij->b...j", [m[:, None], m.T]), ("ij,ij->", [m, m]), ("ab,cd->abcd", [m[:2], m[1:]])]:
            g.case("Einsum", tolerance, inputs=inputs, equation=equation)
        g.case("Einsum", inputs=[m, m], equation="ij,jk->ik")
        g.case("BiasAdd", tolerance, value=m[None], bias=m[0], data_format="NHWC")
        g.case("BiasAdd", tolerance, value=m[:, None], bias=m[0, :1], data_format="NCHW")
        g.case("BiasAdd", value=m, bias=m[0, :3], data_format="NHWC")
        g.case("SegmentSum", tolerance, data=m, segment_ids=i32(0, 0, 2))
        g.case("SegmentMean", tolerance, data=m, segment_ids=i32(0, 0, 2))
        g.case("UnsortedSegmentSum", tolerance, data=m, segment_ids=i32(2, 0, 2), num_segments=np.int32(4))
        g.case("ScatterNd", tolerance, indices=np.array([[1], [0], [1]], np.int32), updates=m, shape=i32(3, 4))
        g.case("ScatterNd", tolerance, indices=np.array([[1, 2], [0, 0]], np.int64), updates=m[0, :2], shape=i64(3, 4))
        for op in ["TensorScatterAdd", "TensorScatterSub"]:
            g.case(op, tolerance, tensor=m, indices=np.array([[1], [1]], np.int32), updates=m[:2])


def compare(g):
    for op in ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]:
        a, b = pairs(FLOAT_EDGES[:8] + [np.nan, np.inf], np.float32)
        g.case(op, x=a, y=b)
        for dtype in [np.int64, np.uint64, np.int32, np.uint8]:
            a, b = pairs(int_values(dtype), dtype)
            g.case(op, x=a, y=b)
        a, b = pairs([0.0, 1.5, -2.0], np.float16)
        g.case(op, x=a, y=b)
        g.case(op, x=some(np.int64, (2, 1)), y=some(np.int64, (1, 3), 2))
        g.case(op, x=some(np.float32, (2,)), y=some(np.float32, (3,)), text=True)
    for op in ["Equal", "NotEqual"]:
        words = np.array([b"", b"a", b"ab", b"\xff"], object)
        g.case(op, x=words.reshape(4, 1), y=words)
        g.case(op, x=np.array([True, False]), y=np.array([True, True]))
        g.case(op, x=np.array([1 + 2j, 1j], np.complex64), y=np.array([1 + 2j, 2j], np.complex64))
        g.case(op, x=some(np.float32, (2,)), y=some(np.float32, (3,)), incompatible_shape_error=False)


def cast(g):
    types = INT_TYPES + [np.float32, np.float64, np.float16, np.bool_]
    for source in types:
        if np.dtype(source).kind == "f":
            values = np.array([0, -0.0, 1.5, -1.5, 2.5, 100.7, -100.7, 255.5, 70000.0, 0.1, 65504, 1e-7, np.nan][: 13], source)
        elif source == np.bool_:
            values = np.array([True, False])
        else:
            values = np.array(int_values(source), source)
        for target in types:
            if np.dtype(source).kind == "f" and np.dtype(target).kind == "u":
                v = values[(values >= 0) & (values < 256)]
            elif np.dtype(source).kind == "f" and np.dtype(target).kind == "i" and np.dtype(target).itemsize < 4:
                v = values[np.abs(values) < 128]
            else:
                v = values
            if source != target:
                g.case("Cast", x=v, DstT=tf.as_dtype(target))
        g.case("Cast", x=values, DstT=tf.bfloat16)
    g.case("Cast", x=np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, 2**31, -(2**31) - 1025], np.float32), DstT=tf.int32)
    g.case("Cast", x=np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, 2**31, 2.0**63], np.float32), DstT=tf.int64)
    g.case("Cast", x=np.array([np.nan, np.inf, -np.inf, 1e20, -1e20, 2**31], np.float64), DstT=tf.int32)
    g.case("Cast", x=np.array([2**53 + 1, 2**62 + 2**38 + 1, 2**62 + 2**38, -(2**62) - 2**38 - 1, 2**63 - 1, 2**60 + 2**36 + 1, -(2**60) - 2**36], np.int64), DstT=tf.float32)
    g.case("Cast", x=np.array([1.0, -2.5, 3.140625, 1e30], tf.bfloat16.as_numpy_dtype), DstT=tf.float32)
    g.case("Cast", x=np.array([1 + 2j, -3.5j], np.complex64), DstT=tf.float32)
    g.case("Cast", x=np.array([1.5, -2], np.float32), DstT=tf.complex64)
    g.case("Cast", x=np.array([1 + 2j, -3.5j], np.complex64), DstT=tf.complex128)
    for source, target in [(np.float32, tf.int32), (np.int64, tf.float64), (np.float32, tf.uint8), (np.uint16, tf.float16)]:
        g.case("Bitcast", input=some(source, (2, 2)), type=target)
    g.case("Bitcast", input=some(np.uint8, (2, 4)), type=tf.float32)
    g.case("Bitcast", input=some(np.uint8, (2, 3)), type=tf.float32)


def float_casts(g):
    """Floats that the target cannot hold: TensorFlow saturates whole blocks of up to 32 elements, and wraps what stands behind them."""
    edges = [0.5, 127.5, 129.0, 200.0, 256.0, 300.7, 32767.0, 40000.0, 65535.0, 70000.0, 2.0**31, 3e9, 2.0**32, 1e10, 2.0**63, 1.5 * 2.0**63, 2.0**64, 1e30]
    specials = np.array([np.nan, np.inf, -np.inf] + [sign * edge for edge in edges for sign in (1, -1)])
    few = np.array([np.nan, np.inf, -np.inf, 300.7, -129.0, 70000.0, 1e10])
    for source in [tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128]:
        of = source.as_numpy_dtype
        for target in [tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64]:
            if source.is_complex and target.size == 8:
                continue
            with np.errstate(all="ignore"):
                g.case("Cast", x=np.tile(specials, 2).astype(of), DstT=target)
                g.case("Cast", x=few.astype(of), DstT=target)
            if source.is_floating:
                g.case("Cast", x=np.full((2, 32), -1.0, of), DstT=target)
                g.case("Cast", x=np.zeros((3, 0), of), DstT=target)
    least = {tf.float16: 2.0**-14, tf.bfloat16: 2.0**-126, tf.float32: 2.0**-126, tf.float64: 2.0**-1022}
    for source, normal in least.items():
        of = source.as_numpy_dtype
        small = np.array([normal], of)
        with np.errstate(all="ignore"):
            below = [np.nextafter(small, of(0)), small / of(2), np.nextafter(of(0), small)]
            values = np.concatenate([small, *below, np.array([0, np.nan, np.inf, 1], of)])
        g.case("Cast", x=np.concatenate([values, -values]).astype(of), DstT=tf.bool)


FAMILIES = {
    "float-casts": float_casts,
    "math-binary": math_binary,
    "math-unary": math_unary,
    "math-more": math_more,
    "special-integrals": special_integrals,
    "complex-more": complex_more,
    "compare": compare,
    "cast": cast,
}
