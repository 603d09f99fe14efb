"""Ops on quantised integers."""

import numpy as np
import tensorflow as tf
from tensorflow.core.util.quantization import uniform_quant_ops_attr_pb2

PLAIN = {tf.qint8: np.int8, tf.quint8: np.uint8, tf.qint32: np.int32}


def ints(dtype, shape, seed=1, low=None, high=None):
    """Random integers of a quantised dtype."""
    plain = np.iinfo(PLAIN[dtype])
    r = np.random.RandomState(seed)
    low, high = max(plain.min, -(2**20)) if low is None else low, min(plain.max, 2**20) if high is None else high
    values = np.asarray(r.randint(low, high + 1, shape)).astype(PLAIN[dtype])
    return values.astype(dtype.as_numpy_dtype)


def floats(shape, seed=1, scale=3):
    return (np.random.RandomState(seed).randn(*shape) * scale).astype(np.float32)


def scales(count=None, seed=3, low=0.01, high=2):
    r = np.random.RandomState(seed)
    return np.float32(r.uniform(low, high)) if count is None else r.uniform(low, high, count).astype(np.float32)


def points(count=None, seed=4, low=-20, high=20):
    r = np.random.RandomState(seed)
    return np.int32(r.randint(low, high)) if count is None else r.randint(low, high, count).astype(np.int32)


def limits(prefix, dtype=tf.qint8, axis=-1, narrow=0):
    plain = np.iinfo(PLAIN[dtype])
    return {f"{prefix}quantization_axis": axis, f"{prefix}quantization_min_val": int(plain.min) + narrow, f"{prefix}quantization_max_val": int(plain.max)}


def uniform_elements(g):
    for dtype in [tf.qint8, tf.quint8, tf.qint32]:
        for axis in [-1, 0, 1, 2]:
            count = None if axis < 0 else (2, 3, 4)[axis]
            common = dict(scales=scales(count), zero_points=points(count), **limits("", dtype, axis))
            g.case("UniformQuantize", input=floats((2, 3, 4), scale=9), Tout=dtype, **common)
            g.case("UniformDequantize", input=ints(dtype, (2, 3, 4)), Tout=tf.float32, **common)
        edge = np.array([np.inf, -np.inf, 1e10, -1e10, 0.5, -0.5, 1.5, -1.5, 2.5, -0.0, 127.5, 3e9], np.float32)
        g.case("UniformQuantize", input=edge, Tout=dtype, scales=np.float32(1), zero_points=np.int32(3), **limits("", dtype, narrow=1))
        g.case("UniformQuantize", input=floats((0, 3)), Tout=dtype, scales=scales(), zero_points=points(), **limits("", dtype))
        g.case("UniformQuantize", input=np.float32(1.25), Tout=dtype, scales=np.float32(0.1), zero_points=np.int32(-1), **limits("", dtype))
    g.case("UniformQuantize", input=floats((40,), scale=4e7), Tout=tf.qint32, scales=np.float32(0.7), zero_points=np.int32(3), **limits("", tf.qint32))
    large = ints(tf.qint32, (40,), low=-(2**31), high=2**31 - 1)
    g.case("UniformDequantize", input=large, Tout=tf.float32, scales=np.float32(0.7), zero_points=np.int32(3), **limits("", tf.qint32))
    common = dict(Tout=tf.qint8, **limits(""))
    x = floats((2, 3))
    g.case("UniformQuantize", input=x, scales=scales(3), zero_points=points(3), **common)
    g.case("UniformQuantize", input=x, scales=scales(), zero_points=points(2), **common)
    g.case("UniformQuantize", input=x, scales=scales(3), zero_points=points(3), **{**common, "quantization_axis": 0})
    g.case("UniformQuantize", input=x, scales=scales(3), zero_points=points(3), **{**common, "quantization_axis": 2})
    for scale in [0, -1, np.nan]:
        g.case("UniformDequantize", input=ints(tf.qint8, (2, 3)), scales=np.float32(scale), zero_points=points(), Tout=tf.float32, **limits(""))
    for dtype in [tf.qint8, tf.qint32]:
        for before, after in [(-1, -1), (1, 1), (-1, 1), (1, -1), (2, -1)]:
            counts = [None if axis < 0 else (2, 3, 4)[axis] for axis in (before, after)]
            for low, high in [(0.01, 2), (1e-6, 1e-5), (1e3, 1e4)]:
                g.case("UniformRequantize", input=ints(dtype, (2, 3, 4)), input_scales=scales(counts[0], 5, low, high), input_zero_points=points(counts[0]),
                       output_scales=scales(counts[1], 6), output_zero_points=points(counts[1], 7), Tout=tf.qint8, **limits("input_", dtype, before), **limits("output_", axis=after))
        many = ints(dtype, (60,), low=None if dtype == tf.qint8 else -(2**31), high=None if dtype == tf.qint8 else 2**31 - 1)
        for factor in [1.0, 0.5, 0.37, 1e-9, 4e-10, 1e-12, 123.4, 3e7, 1e9, 1e12, 2.0**-31]:
            g.case("UniformRequantize", input=many, input_scales=np.float32(factor), input_zero_points=np.int32(1), output_scales=np.float32(1), output_zero_points=np.int32(-2), Tout=tf.qint8,
                   **limits("input_", dtype), **limits("output_"))
    g.case("UniformRequantize", input=ints(tf.qint8, (2, 3)), input_scales=scales(2), input_zero_points=points(2), output_scales=scales(3), output_zero_points=points(3), Tout=tf.qint8,
           **limits("input_", axis=0), **limits("output_", axis=1))
    for lhs, rhs, axes in [((2, 3), (2, 3), (-1, -1, -1)), ((2, 3), (3,), (-1, -1, -1)), ((2, 3), (3,), (1, 0, 1)), ((2, 3), (1, 3), (1, 1, 1)), ((2, 2, 3), (3,), (-1, -1, -1)), ((), (2, 3), (-1, -1, -1)),
                           ((2, 3), (2,), (-1, -1, -1)), ((2, 3), (2, 3), (1, 0, 1)), ((2, 3), (3,), (1, 0, -1))]:
        counts = [None if axis < 0 else shape[axis] for axis, shape in zip(axes, (lhs, rhs, (2, 3)))]
        kw = {}
        for i, name in enumerate(["lhs", "rhs", "output"]):
            kw |= {f"{name}_scales": scales(counts[i], 8 + i), f"{name}_zero_points": points(counts[i], 9 + i), **limits(f"{name}_", tf.qint32, axes[i])}
        g.case("UniformQuantizedAdd", lhs=ints(tf.qint32, lhs), rhs=ints(tf.qint32, rhs, 2), **kw)
    for axes in [(1, 0, 1), (1, 0, -1), (-1, 0, -1)]:
        counts = [None if axis < 0 else 21 for axis in axes]
        kw = {}
        for i, name in enumerate(["lhs", "rhs", "output"]):
            kw |= {f"{name}_scales": scales(counts[i], 8 + i), f"{name}_zero_points": points(counts[i], 9 + i), **limits(f"{name}_", tf.qint32, axes[i])}
        g.case("UniformQuantizedAdd", lhs=ints(tf.qint32, (4, 21), high=2**28), rhs=ints(tf.qint32, (21,), 2, high=2**28), **kw)
    for axis in [-1, 0, 1]:
        count = None if axis < 0 else (2, 3)[axis]
        shape = () if axis < 0 else (count,)
        g.case("UniformQuantizedClipByValue", operand=ints(tf.qint32, (2, 3)), min=ints(tf.qint32, shape, 4), max=ints(tf.qint32, shape, 5), scales=scales(count), zero_points=points(count), **limits("", tf.qint32, axis))


def dimension_numbers(lhs, rhs, out):
    """Orders as in StableHLO's text: the letters of batch, feature and spatial dimensions."""
    message = uniform_quant_ops_attr_pb2.UniformQuantizedConvolutionDimensionNumbersAttr()
    spatial = sorted(c for c in lhs if c.isdigit())
    message.input_batch_dimension, message.input_feature_dimension = lhs.index("b"), lhs.index("f")
    message.kernel_input_feature_dimension, message.kernel_output_feature_dimension = rhs.index("i"), rhs.index("o")
    message.output_batch_dimension, message.output_feature_dimension = out.index("b"), out.index("f")
    message.input_spatial_dimensions.extend(lhs.index(c) for c in spatial)
    message.kernel_spatial_dimensions.extend(rhs.index(c) for c in spatial)
    message.output_spatial_dimensions.extend(out.index(c) for c in spatial)
    return message.SerializeToString()


def uniform_products(g):
    def right(axis, count):
        count = count if axis >= 0 else None
        return dict(rhs_scales=scales(count, 5, 0.001, 0.05), rhs_zero_points=points(count, 6), **limits("rhs_", axis=axis))

    def both(axis, out_axis, count):
        out = count if out_axis >= 0 else None
        return dict(lhs_scales=scales(None, 4, 0.01, 0.2), lhs_zero_points=points(), **right(axis, count), output_scales=scales(out, 7, 0.001, 0.02), output_zero_points=points(out, 8),
                    **limits("lhs_"), **limits("output_", tf.qint32, out_axis), Tout=tf.qint32)

    for lhs, rhs in [((2, 5), (5, 3)), ((1, 40), (40, 2)), ((0, 5), (5, 3)), ((2, 0), (0, 3)), ((2, 5), (4, 3)), ((5,), (5, 3)), ((1, 2, 5), (5, 3))]:
        for axis, out_axis in [(-1, -1), (1, -1), (1, 1)]:
            g.case("UniformQuantizedDot", lhs=ints(tf.qint8, lhs), rhs=ints(tf.qint8, rhs, 2), **both(axis, out_axis, rhs[-1]))
        for axis in [-1, 1]:
            g.case("UniformQuantizedDotHybrid", lhs=floats(lhs), rhs=ints(tf.qint8, rhs, 2), Tout=tf.float32, **right(axis, rhs[-1]))
    for rows in [np.zeros((2, 4)), np.abs(floats((2, 4))), -np.abs(floats((2, 4))), floats((2, 4)) * 1e-30, np.array([[1, 2, 3, 1e30], [0, 0, 0, 1e-40]])]:
        g.case("UniformQuantizedDotHybrid", lhs=rows.astype(np.float32), rhs=ints(tf.qint8, (4, 3), 2), Tout=tf.float32, **right(-1, 3))
    g.case("UniformQuantizedDot", lhs=ints(tf.qint8, (4, 6)), rhs=ints(tf.qint8, (6, 5), 2), **{**both(-1, -1, 5), "output_scales": np.float32(3e-6)})
    nhwc, line = dimension_numbers("b01f", "01io", "b01f"), dimension_numbers("b0f", "0io", "b0f")
    plain = dict(window_strides=[1, 1], padding="VALID")
    for lhs, rhs, kw, channel in [
        ((1, 2, 4, 5), (3, 2, 2, 3), plain, 0),
        ((2, 4, 5, 2), (3, 2, 2, 3), dict(window_strides=[2, 1], padding="SAME", dimension_numbers=nhwc), 3),
        ((2, 4, 5, 2), (3, 2, 2, 3), dict(window_strides=[1, 2], padding="EXPLICIT", explicit_padding=[1, 0, 2, 1], rhs_dilation=[1, 2], dimension_numbers=nhwc), 3),
        ((1, 3, 3, 4), (2, 2, 2, 6), dict(lhs_dilation=[2, 1], padding="SAME", feature_group_count=2, dimension_numbers=nhwc), 3),
        ((4, 3, 3, 2), (2, 2, 2, 4), dict(padding="VALID", batch_group_count=2, dimension_numbers=nhwc), 3),
        ((2, 6, 2), (3, 2, 4), dict(padding="SAME", dimension_numbers=line), 2),
        ((0, 2, 4, 5), (3, 2, 2, 3), plain, 0),
        ((1, 3, 4, 5), (3, 2, 2, 3), plain, 0),
        ((1, 2, 4, 5), (3, 2, 2), plain, 0),
        ((1, 2, 4, 5), (3, 2, 2, 3), dict(window_strides=[1], padding="VALID"), 0),
        ((1, 2, 4, 5), (3, 2, 2, 3), dict(window_strides=[0, 1], padding="VALID"), 0),
        ((1, 2, 4, 5), (3, 2, 2, 3), dict(padding="EXPLICIT", explicit_padding=[1]), 0),
    ]:
        count = rhs[channel]
        out_channel = 1 if channel == 0 else len(lhs) - 1
        for axis, out_axis in [(-1, -1), (channel, -1), (channel, out_channel)]:
            g.case("UniformQuantizedConvolution", lhs=ints(tf.qint8, lhs), rhs=ints(tf.qint8, rhs, 2), **kw, **both(axis, out_axis, count))
        for axis in [-1, channel]:
            g.case("UniformQuantizedConvolutionHybrid", lhs=floats(lhs), rhs=ints(tf.qint8, rhs, 2), Tout=tf.float32, **kw, **right(axis, count))


def ends(low, high, names):
    """A range as the inputs of two names."""
    return {names[0]: np.float32(low), names[1]: np.float32(high)}


RANGES = [(-1.0, 1.0), (0.0, 6.0), (-3.7, 0.25), (-0.01, 12.5), (0.0, 1e-3), (-1e4, 255.0)]


def ranged_elements(g):
    for i, (a, b) in enumerate(zip(RANGES, RANGES[1:] + RANGES[:1])):
        for dtype in [tf.quint8, tf.qint8]:
            g.case("QuantizedBiasAdd", input=ints(dtype, (3, 5), i), bias=ints(dtype, (5,), i + 1), **ends(*a, ["min_input", "max_input"]), **ends(*b, ["min_bias", "max_bias"]), out_type=tf.qint32)
        common = {**ends(*a, ["min_x", "max_x"]), **ends(*b, ["min_y", "max_y"]), "Toutput": tf.qint32}
        for x, y in [((3, 5), (3, 5)), ((3, 5), (5,)), ((5,), (3, 5)), ((7,), ()), ((), (7,)), ((), ()), ((7,), (7,)), ((0, 3), (3,)), ((1,), (1,))]:
            for op in ["QuantizedAdd", "QuantizedMul"]:
                g.case(op, x=ints(tf.quint8, x, i), y=ints(tf.quint8, y, i + 1), **common)
        for dtype in [tf.quint8, tf.qint32]:
            x = ints(dtype, (3, 5), i)
            of = ends(*a, ["min_features", "max_features"])
            g.case("QuantizedRelu", features=x, out_type=dtype, **of)
            g.case("QuantizedRelu6", features=x, out_type=dtype, **of)
        for spread in [2**8, 2**20, 2**31 - 1]:
            x = ints(tf.qint32, (40,), i, -spread, spread)
            for scale in [1, 2.0**20]:
                of = ends(a[0] * scale, a[1] * scale, ["input_min", "input_max"])
                g.case("RequantizationRange", input=x, **of)
                g.case("QuantizeDownAndShrinkRange", input=x, out_type=tf.quint8, **of)
                for low, high in [(-0.5, 2.0), (0.0, 6.0), (-1e3, 0.0)]:
                    g.case("Requantize", input=x, out_type=tf.quint8, **of, **ends(low, high, ["requested_output_min", "requested_output_max"]))
    of = ends(-1, 1, ["input_min", "input_max"])
    x = ints(tf.qint32, (2, 3))
    for low, high in [(0.5, 1), (0, 0), (0, -1)]:
        g.case("Requantize", input=x, out_type=tf.quint8, **of, **ends(low, high, ["requested_output_min", "requested_output_max"]))
    g.case("RequantizationRange", input=ints(tf.qint32, (0,)), **of)
    g.case("QuantizeDownAndShrinkRange", input=ints(tf.qint32, (0, 2)), out_type=tf.quint8, **of)
    for op in ["QuantizedAdd", "QuantizedMul"]:
        for low, high in [(1, 1), (2, 1)]:
            g.case(op, x=ints(tf.quint8, (2,)), y=ints(tf.quint8, (2,)), **ends(low, high, ["min_x", "max_x"]), **ends(0, 1, ["min_y", "max_y"]), Toutput=tf.qint32)
        g.case(op, x=ints(tf.quint8, (2,)), y=ints(tf.quint8, (3,)), **ends(0, 1, ["min_x", "max_x"]), **ends(0, 1, ["min_y", "max_y"]), Toutput=tf.qint32)
    of = {**ends(0, 1, ["min_input", "max_input"]), **ends(0, 1, ["min_bias", "max_bias"]), "out_type": tf.qint32}
    for x, y in [((3,), (3,)), ((2, 3), (2,)), ((2, 3), (1, 3))]:
        g.case("QuantizedBiasAdd", input=ints(tf.quint8, x), bias=ints(tf.quint8, y), **of)


def ranged_layers(g):
    for i, (a, b) in enumerate(zip(RANGES, RANGES[1:] + RANGES[:1])):
        of = {**ends(*a, ["min_a", "max_a"]), **ends(*b, ["min_b", "max_b"]), "Toutput": tf.qint32, "Tactivation": tf.quint8}
        for turned in range(4):
            g.case("QuantizedMatMul", a=ints(tf.quint8, (5, 2) if turned & 1 else (2, 5), i), b=ints(tf.quint8, (3, 5) if turned & 2 else (5, 3), i + 1), transpose_a=bool(turned & 1), transpose_b=bool(turned & 2), **of)
        of = {**ends(*a, ["min_input", "max_input"]), **ends(*b, ["min_filter", "max_filter"]), "out_type": tf.qint32}
        for padding in ["SAME", "VALID"]:
            for stride, kernel in [(1, (3, 2)), (2, (2, 2)), (3, (1, 1)), (2, (5, 4))]:
                g.case("QuantizedConv2D", input=ints(tf.quint8, (2, 6, 5, 3), i), filter=ints(tf.quint8, (*kernel, 3, 2), i + 1), strides=[1, stride, stride, 1], padding=padding, **of)
    of = {**ends(0, 1, ["min_a", "max_a"]), **ends(0, 1, ["min_b", "max_b"]), "Toutput": tf.qint32, "Tactivation": tf.quint8}
    for x, y, more in [((2, 3), (2, 3), {}), ((3,), (3, 2), {}), ((2, 3), (3,), {}), ((2, 3), (3, 2), ends(1, 1, ["min_a", "max_a"])), ((2, 3), (3, 2), ends(1, 0, ["min_b", "max_b"]))]:
        g.case("QuantizedMatMul", a=ints(tf.quint8, x), b=ints(tf.quint8, y), **{**of, **more})
    for padding in ["SAME", "VALID"]:
        for size, stride in [(2, 2), (3, 1), (3, 2), (1, 2)]:
            for op in ["QuantizedMaxPool", "QuantizedAvgPool"]:
                g.case(op, input=ints(tf.quint8, (2, 5, 4, 3)), **ends(-1, 2, ["min_input", "max_input"]), ksize=[1, size, size, 1], strides=[1, stride, stride, 1], padding=padding)
    for dtype in [tf.quint8, tf.qint32]:
        for axis, shapes in [(0, [(2, 3), (1, 3)]), (1, [(2, 3), (2, 1), (2, 0)]), (2, [(2, 1, 2), (2, 1, 3)]), (0, [(4,), (1,)]), (1, [(2, 3), (3, 3)]), (2, [(2, 3), (2, 3)])]:
            for ranges in [RANGES[:1] * 3, RANGES[:3], RANGES[3:]]:
                ranges = ranges[: len(shapes)]
                g.case("QuantizedConcat", concat_dim=np.int32(axis), values=[ints(dtype, shape, k) for k, shape in enumerate(shapes)], input_mins=[np.float32(low) for low, _ in ranges], input_maxes=[np.float32(high) for _, high in ranges])
    for dtype in [tf.quint8, tf.qint32]:
        for shape in [(3, 2), (-1,), (4, 2)]:
            g.case("QuantizedReshape", tensor=ints(dtype, (2, 3)), shape=np.array(shape, np.int32), **ends(-1, 2, ["input_min", "input_max"]))


def min_first(g):
    """Quantisation by a range whose least float counts most, as the Graph Transform Tool has it."""
    for i, (low, high) in enumerate(RANGES + [(0.0, 0.0), (0.5, 2.0), (-3.0, -1.0)]):
        of = ends(low, high, ["min_range", "max_range"])
        for dtype in [tf.quint8, tf.qint8, tf.qint32]:
            g.case("QuantizeV2", input=floats((3, 7), i, max(abs(low), abs(high))), T=dtype, mode="MIN_FIRST", **of)
            g.case("Dequantize", input=ints(dtype, (3, 7), i), mode="MIN_FIRST", **of)
    edge = np.array([np.inf, -np.inf, 1e10, -1e10, 0.5, -0.0], np.float32)
    g.case("QuantizeV2", input=edge, T=tf.quint8, mode="MIN_FIRST", **ends(-1, 1, ["min_range", "max_range"]))
    g.case("QuantizeV2", input=edge, T=tf.quint8, mode="MIN_FIRST", **ends(1, -1, ["min_range", "max_range"]))
    low, high = np.array([-1, 0, -3], np.float32), np.array([1, 6, 0.5], np.float32)
    g.case("QuantizeV2", input=floats((3, 7)), T=tf.quint8, mode="MIN_FIRST", min_range=low, max_range=high, axis=0)
    g.case("Dequantize", input=ints(tf.quint8, (3, 7)), mode="MIN_FIRST", min_range=low, max_range=high, axis=0)


FAMILIES = {
    "min-first": min_first,
    "ranged-elements": ranged_elements,
    "ranged-layers": ranged_layers,
    "uniform-elements": uniform_elements,
    "uniform-products": uniform_products,
}
