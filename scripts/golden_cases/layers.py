"""Gradients of layers, and layers that round to few bits."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, some


def gradients(g):
    """Gradients of activations, pools and losses."""
    names = [("SigmoidGrad", "y", "dy"), ("TanhGrad", "y", "dy"), ("SqrtGrad", "y", "dy"), ("RsqrtGrad", "y", "dy"), ("InvGrad", "y", "dy"), ("ReciprocalGrad", "y", "dy"),
             ("ReluGrad", "gradients", "features"), ("Relu6Grad", "gradients", "features"), ("LeakyReluGrad", "gradients", "features"),
             ("EluGrad", "gradients", "outputs"), ("SeluGrad", "gradients", "outputs"), ("SoftplusGrad", "gradients", "features"), ("SoftsignGrad", "gradients", "features")]
    for op, a, b in names:
        g.case(op, 1e-5, **{a: some(np.float32, (2, 3)), b: some(np.float32, (2, 3), 2)})
        g.case(op, 1e-5, **{a: some(np.float32, (0,)), b: some(np.float32, (0,), 2)})
    g.case("LeakyReluGrad", gradients=some(np.float32, (5,)), features=some(np.float32, (5,), 2), alpha=0.5)
    g.case("ReluGrad", gradients=some(np.float32, (5,)), features=some(np.float32, (4,), 2))
    for dtype in [np.float32, np.float64]:
        for shape, other in [((3, 4), (3, 4)), ((1, 4), (3, 4)), ((3, 4), (1, 4)), ((0, 4), (0, 4)), ((3, 1), (3, 4))]:
            g.case("SoftmaxCrossEntropyWithLogits", 1e-5, features=some(dtype, shape), labels=np.abs(some(dtype, other, 2)))
        for shape in [(3, 4), (0, 4), (1, 1)]:
            for index in [np.int32, np.int64]:
                g.case("SparseSoftmaxCrossEntropyWithLogits", 1e-5, features=some(dtype, shape), labels=np.arange(shape[0]).astype(index))
    x = some(np.float32, (3, 4))
    g.case("SoftmaxCrossEntropyWithLogits", features=x, labels=x[:2])
    g.case("SoftmaxCrossEntropyWithLogits", features=x[0], labels=x[0])
    for features, labels in [(x, i32(0, 4, 1)), (x, i32(0, -1, 1)), (x, i32(0, 1)), (x[0], i32(1)), (x, i32(1, 2, 3)[None])]:
        g.case("SparseSoftmaxCrossEntropyWithLogits", features=features, labels=labels)


def layer_gradients(g):
    """Gradients of layers."""
    for dtype, tolerance in [(np.float32, 2e-5), (np.float64, 1e-10), (np.float16, 3e-3)]:
        x = (np.arange(2 * 6 * 7 * 3).reshape(2, 6, 7, 3) * 37 % 101 / 10 - 4).astype(dtype)
        is_half = dtype == np.float16  # TensorFlow rounds the sums of some on the way
        if not is_half:
            g.case("BiasAddGrad", tolerance, out_backprop=x, data_format="NHWC")
            g.case("BiasAddGrad", tolerance, out_backprop=x, data_format="NCHW")
        g.case("BiasAddGrad", tolerance, out_backprop=x[0, 0], data_format="NHWC")
        for ksize, strides, padding in [(2, 2, "VALID"), (3, 2, "SAME"), (2, 1, "SAME"), (3, 1, "VALID")]:
            sizes, steps = [1, ksize, ksize, 1], [1, strides, strides, 1]
            y = tf.nn.max_pool2d(x.astype(np.float32), ksize, strides, padding).numpy().astype(dtype)
            by = (np.arange(y.size).reshape(y.shape) * 11 % 23 - 7).astype(dtype)
            g.case("MaxPoolGrad", tolerance, orig_input=x, orig_output=y, grad=by, ksize=sizes, strides=steps, padding=padding)
            if not is_half:
                g.case("AvgPoolGrad", tolerance, orig_input_shape=i32(*x.shape), grad=by, ksize=sizes, strides=steps, padding=padding)
        for mode in ["REFLECT", "SYMMETRIC"]:
            for paddings in [[[0, 0], [1, 2], [0, 1], [0, 0]], [[1, 1], [0, 0], [3, 3], [1, 0]]]:
                if not is_half:
                    g.case("MirrorPadGrad", tolerance, input=x if paddings[0][0] == 0 else np.concatenate([x, x]), paddings=np.array(paddings, np.int32), mode=mode)
        f = (np.arange(3 * 2 * 3 * 2).reshape(3, 2, 3, 2) * 13 % 17 / 4 - 2).astype(dtype)
        for strides, padding in [(1, "SAME"), (2, "SAME"), (1, "VALID"), (2, "VALID")]:
            y = tf.nn.depthwise_conv2d(x.astype(np.float32), f.astype(np.float32), [1, strides, strides, 1], padding).numpy()
            by = (np.arange(y.size).reshape(y.shape) * 11 % 23 - 7).astype(dtype)
            g.case("DepthwiseConv2dNativeBackpropInput", tolerance, input_sizes=i32(*x.shape), filter=f, out_backprop=by, strides=[1, strides, strides, 1], padding=padding)
    g.case("BiasAddGrad", out_backprop=some(np.float32, (3,)), data_format="NHWC")
    g.case("BiasAddGrad", out_backprop=i32(*range(6)).reshape(2, 3), data_format="NHWC")
    g.case("MaxPoolGrad", orig_input=np.ones((1, 4, 4, 1), np.float32), orig_output=np.ones((1, 2, 2, 1), np.float32), grad=np.ones((1, 2, 2, 1), np.float32), ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    g.case("MaxPoolGrad", orig_input=np.ones((1, 4, 4, 1), np.float32), orig_output=np.ones((1, 2, 2, 1), np.float32), grad=np.ones((1, 2, 3, 1), np.float32), ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    x = (np.arange(2 * 2 * 3 * 4).reshape(2, 2, 3, 4) * 37 % 41 / 10 - 2).astype(np.float32)
    by = (np.arange(x.size).reshape(x.shape) * 11 % 23 - 7).astype(np.float32)
    scale, mean, variance = [np.array(v, np.float32) for v in ([1, 2, 0.5, -1], [0.1, -0.2, 0.3, 0], [1.5, 0.7, 2, 1])]
    for is_training in [False, True]:
        for op, more in [("FusedBatchNormGrad", {}), ("FusedBatchNormGradV2", {}), ("FusedBatchNormGradV3", {"reserve_space_3": np.zeros(0, np.float32)})]:
            g.case(op, 2e-5, y_backprop=by, x=x, scale=scale, reserve_space_1=mean, reserve_space_2=variance, epsilon=1e-3, is_training=is_training, only=[0, 1, 2], **more)
    for shape, begin, end, strides, masks in [
        ((5, 4), [1, 0], [4, 4], [2, 1], {}),
        ((5, 4), [-1, 3], [0, 0], [-1, -2], {}),
        ((5, 4), [2, 1], [0, 3], [1, 1], dict(shrink_axis_mask=1)),
        ((5, 4), [0, 1], [0, 3], [1, 1], dict(begin_mask=1, end_mask=1)),
        ((5, 4), [0, 0, 1], [0, 0, 2], [1, 1, 1], dict(ellipsis_mask=1, new_axis_mask=2)),
    ]:
        for dtype in [np.float32, np.float64, np.int32]:
            y = tf.strided_slice(np.zeros(shape, dtype), begin, end, strides, **masks).numpy()
            by = (np.arange(y.size).reshape(y.shape) + 1).astype(dtype)
            g.case("StridedSliceGrad", shape=i32(*shape), begin=i32(*begin), end=i32(*end), strides=i32(*strides), dy=by, **masks)
    g.case("StridedSliceGrad", shape=i32(5, 4), begin=i32(0, 0), end=i32(2, 2), strides=i32(1, 1), dy=np.ones((2, 3), np.float32))


def quantize_dequantize(g):
    for dtype in [np.float32, np.float64]:
        x = np.concatenate([some(dtype, (2, 4)), np.array([[0.5, -0.5, 1.5, 2.5]], dtype)])
        low, high = dtype(-2), dtype(3)
        for op in ["QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4"]:
            bits = (lambda n: dict(num_bits=np.int32(n))) if op.endswith("3") else (lambda n: dict(num_bits=n))
            for signed in [True, False]:
                for given in [True, False]:
                    for narrow in [True, False]:
                        g.case(op, 1e-5, input=x, input_min=low, input_max=high, signed_input=signed, range_given=given, narrow_range=narrow, **bits(8))
            g.case(op, 1e-5, input=x, input_min=low, input_max=high, range_given=True, **bits(4))
            g.case(op, 1e-5, input=x, input_min=np.array([-1, -2, 0, -3], dtype), input_max=np.array([1, 2, 3, 0.5], dtype), range_given=True, axis=1, **bits(8))
            g.case(op, 1e-5, input=x, input_min=low, input_max=high, range_given=False, axis=0, **bits(8))
            g.case(op, 1e-5, input=x, input_min=high, input_max=low, range_given=True, **bits(8))
            g.case(op, 1e-5, input=x, input_min=low, input_max=high, range_given=True, **bits(0))
            g.case(op, 1e-5, input=x, input_min=np.array([-1, -2], dtype), input_max=np.array([1, 2], dtype), range_given=True, axis=1, **bits(8))
            g.case(op, 1e-5, input=x[:0], input_min=low, input_max=high, range_given=True, **bits(8))
            if not op.endswith("3"):
                g.case(op, 1e-5, input=x, input_min=low, input_max=high, range_given=True, round_mode="HALF_UP", **bits(8))
    for dtype in [np.float32, np.float64, np.int32, np.int64]:
        for out in [tf.int32, tf.int64]:
            g.case("HistogramFixedWidth", values=some(dtype, (3, 4)), value_range=np.array([-4, 4], dtype), nbins=np.int32(5), dtype=out)
    x = some(np.float32, (6,))
    for values, span, bins in [(x[:0], [0, 1], 3), (x, [1, 1], 3), (x, [0, 1], 0), (x, [0, 1], -1), (x, [2, 1], 3), (x, [0, 1, 2], 3), (np.array([np.inf, -np.inf, 1e30], np.float32), [0, 1], 3)]:
        g.case("HistogramFixedWidth", values=values, value_range=np.array(span, np.float32), nbins=np.int32(bins))
    for op in ["BesselI0", "BesselI1", "BesselI0e", "BesselI1e"]:
        for dtype in [np.float32, np.float64]:
            g.case(op, 1e-5 if dtype == np.float32 else 1e-11, x=np.array([0, -0.0, 1e-3, 0.5, -1, 3, 7.9, 8.1, -20, 60], dtype))


FAMILIES = {
    "gradients": gradients,
    "layer-gradients": layer_gradients,
    "quantize-dequantize": quantize_dequantize,
}
