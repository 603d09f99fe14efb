"""The cases of make_op_goldens.py: for each family of ops a function that lists them."""

import zlib

import numpy as np
import tensorflow as tf

INT_TYPES = [np.int32, np.int64, np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.uint64]
FLOAT_TYPES = [np.float32, np.float64, np.float16, tf.bfloat16.as_numpy_dtype]
BIG = 2**53


def rng():
    return np.random.RandomState(7)


def some(dtype, shape, seed=1):
    """Random elements of a dtype."""
    r = np.random.RandomState(seed)
    if dtype == object:
        words = [b"", b"a", b"bc", b"\xff\x00z", "\u00e9t\u00e9".encode(), b"long" * 9]
        return np.array([words[i] for i in r.randint(0, len(words), int(np.prod(shape)))] or [b''], object)[: int(np.prod(shape))].reshape(shape)
    if dtype == np.bool_:
        return np.asarray(r.rand(*shape) < 0.5)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return np.asarray(r.randint(max(info.min, -100), min(info.max, 100), shape)).astype(dtype)
    if np.dtype(dtype).kind == "c":
        return np.asarray(r.randn(*shape) + 1j * r.randn(*shape)).astype(dtype)
    return np.asarray(r.randn(*shape) * 3).astype(dtype)


MOVED_TYPES = [np.float32, np.int64, object, np.uint8, np.float16, np.complex64, np.bool_, np.complex128]


def i32(*values):
    return np.array(values, np.int32)


def i64(*values):
    return np.array(values, np.int64)


def array_shape(g):
    for dtype in [np.int32, np.int64]:
        g.case("Shape", input=some(np.float32, (2, 0, 3)), out_type=tf.as_dtype(dtype))
        g.case("ShapeN", input=[some(object, (2,)), some(object, ())], out_type=tf.as_dtype(dtype))
        g.case("Size", input=some(np.float32, (2, 3)), out_type=tf.as_dtype(dtype))
    g.case("Rank", input=some(np.float32, (2, 3)))
    for wanted in [[6], [3, 2], [-1], [3, -1], [0], [-1, 4], [-1, -1], [-2, 3], [], [2, 2]]:
        g.case("Reshape", tensor=some(np.float32, (2, 3)), shape=np.array(wanted, np.int32))
    g.case("Reshape", tensor=some(object, (2, 3)), shape=i64(3, -1))
    g.case("Reshape", tensor=some(np.float32, (0, 3)), shape=i64(-1, 0))
    g.case("Reshape", tensor=some(np.float32, (0, 3)), shape=i64(3, -1))
    g.case("Reshape", tensor=some(np.float32, (1,)), shape=np.array([], np.int32))
    g.case("Reshape", tensor=some(np.float32, (2, 3)), shape=i32(7), text="Input to reshape is a tensor with 6 values, but the requested shape has 7")
    for axis in [0, 1, 2, -1, -3, 3, -4]:
        g.case("ExpandDims", input=some(np.float32, (2, 3)), axis=np.int32(axis))
    for dims in [[], [0], [-1], [0, 3], [1], [7]]:
        g.case("Squeeze", input=some(np.int64, (1, 2, 3, 1)), axis=dims)
    for shape in [[None, 3], [2, 3], [2, 4], None, [None, None, None]]:
        g.case("EnsureShape", input=some(np.float32, (2, 3)), shape=tf.TensorShape(shape))
    for a, b in [([2, 1], [3]), ([], [4, 5]), ([2, 3], [2, 4]), ([1, 1], [7, 1, 0])]:
        g.case("BroadcastArgs", s0=np.array(a, np.int32), s1=np.array(b, np.int32))
        g.case("BroadcastArgs", s0=np.array(a, np.int64), s1=np.array(b, np.int64))
        g.case("BroadcastGradientArgs", s0=np.array(a, np.int32), s1=np.array(b, np.int32))
    for p in [[2, 0, 1], [], [0, 0], [3, 1]]:
        g.case("InvertPermutation", x=np.array(p, np.int32))
        g.case("InvertPermutation", x=np.array(p, np.int64))
    g.case("Identity", input=some(object, (2,)))
    g.case("IdentityN", input=[some(object, (2,)), some(np.float32, (3,))])
    g.case("StopGradient", input=some(np.float32, (2,)))


def array_slice(g):
    for dtype in MOVED_TYPES:
        x = some(dtype, (2, 3, 4))
        g.case("Slice", input=x, begin=i32(1, 0, 2), size=i32(1, 2, -1))
        g.case("StridedSlice", input=x, begin=i32(0, 3), end=i32(3, 0), strides=i32(2, -2), ellipsis_mask=0)
        g.case("Transpose", x=x, perm=i32(2, 0, 1))
        g.case("Tile", input=some(dtype, (2, 3)), multiples=i32(2, 2))
        g.case("ReverseV2", tensor=some(dtype, (2, 3)), axis=i32(-1))
        g.case("Fill", dims=i32(2, 2), value=some(dtype, ()))
        g.case("BroadcastTo", input=some(dtype, (2, 1)), shape=i32(2, 2, 3))
        g.case("Pad", input=some(dtype, (2, 2)), paddings=np.array([[1, 0], [0, 2]], np.int32))
        g.case("PadV2", input=some(dtype, (2, 2)), paddings=np.array([[1, 0], [0, 2]], np.int64), constant_values=some(dtype, (), 5))
        g.case("SplitV", value=some(dtype, (2, 5)), size_splits=i64(2, -1, 1), axis=np.int32(1), num_split=3)
    x = some(np.float32, (3, 4))
    for begin, size in [([0, 0], [3, 4]), ([3, 4], [0, 0]), ([0, 0], [4, 1]), ([-1, 0], [1, 1]), ([0, 1], [-1, -1]), ([0], [1])]:
        g.case("Slice", input=x, begin=np.array(begin, np.int64), size=np.array(size, np.int64))
    r = np.random.RandomState(3)
    x = np.arange(48, dtype=np.int8).reshape(3, 2, 2, 4)
    for i in range(90):
        n = r.randint(1, 6)
        masks = [int(r.randint(0, 2**n)) if r.rand() < 0.6 else 0 for _ in range(5)]
        masks[2] = int(2 ** r.randint(0, n)) if r.rand() < 0.4 else (masks[2] if r.rand() < 0.05 else 0)
        if r.rand() < 0.5:
            masks[3] = 0
        strides = r.choice([1, 1, 1, 2, -1, -2, 3] if r.rand() < 0.9 else [0, 1], n)
        strides = np.where([(masks[4] >> b) & 1 for b in range(n)], np.where(r.rand(n) < 0.9, 1, strides), strides)
        g.case("StridedSlice", input=x, begin=r.randint(-6, 6, n).astype(np.int32), end=r.randint(-6, 7, n).astype(np.int32),
               strides=strides.astype(np.int32), begin_mask=masks[0], end_mask=masks[1], ellipsis_mask=masks[2],
               new_axis_mask=masks[3], shrink_axis_mask=masks[4])
    g.case("StridedSlice", input=some(object, (3,)), begin=i32(-1), end=i32(0), strides=i32(1), shrink_axis_mask=1)
    g.case("StridedSlice", input=some(np.int32, (3,)), begin=i32(3), end=i32(4), strides=i32(1), shrink_axis_mask=1,
           text="slice index 3 of dimension 0 out of bounds.")
    for perm in [[0, 1], [1, 0], [0, 0], [0], [0, 2], [-1, 0]]:
        g.case("Transpose", x=x[0, :, 0], perm=np.array(perm, np.int32))
    g.case("Transpose", x=some(np.float32, (2, 3, 4, 5)), perm=i64(0, 2, 1, 3))
    g.case("Transpose", x=some(np.float32, (2, 0, 4)), perm=i64(2, 1, 0))
    for m in [[0, 2], [1, 1], [-1, 1], [2]]:
        g.case("Tile", input=some(np.int64, (2, 3)), multiples=np.array(m, np.int32))
    g.case("Tile", input=some(np.int64, ()), multiples=np.array([], np.int32))
    for axis in [[0, 1], [], [-2], [2], [0, 0]]:
        g.case("ReverseV2", tensor=some(np.int64, (2, 3)), axis=np.array(axis, np.int32))
    for b, s in [(0, 1), (1, 0), (0, 2)]:
        g.case("ReverseSequence", input=some(np.int32, (3, 3, 4)), seq_lengths=i64(2, 0, 3), seq_dim=s, batch_dim=b)
    g.case("ReverseSequence", input=some(np.int32, (3, 3, 4)), seq_lengths=i64(2, 0, 4), seq_dim=1, batch_dim=0)
    for dims in [[], [0, 2], [-1], [3]]:
        g.case("Fill", dims=np.array(dims, np.int64), value=np.float32(2.5))
    g.case("Fill", dims=i32(2), value=some(np.float32, (1,)))
    for shape in [[2, 3], [4, 2, 3], [1, 3], [3]]:
        g.case("BroadcastTo", input=some(np.float32, (2, 3)), shape=np.array(shape, np.int32))
    g.case("BroadcastTo", input=some(np.float32, (1, 3)), shape=i64(0, 3))
    for axis, n in [(0, 2), (1, 3), (-1, 3), (0, 3), (2, 1)]:
        g.case("Split", axis=np.int32(axis), value=some(np.float32, (4, 6)), num_split=n)
    for sizes, axis in [([4], 0), ([1, 3], 0), ([-1, 2], 0), ([1, 1], 0), ([-1, -1], 0), ([5, -1], 0), ([-2, 6], 0), ([0, 4], -2)]:
        g.case("SplitV", value=some(np.float32, (4, 6)), size_splits=np.array(sizes, np.int32), axis=np.int32(axis), num_split=len(sizes))
    for axis in [0, 1, -1]:
        x = some(object, (2, 3))
        g.case("Unpack", value=x, num=x.shape[axis], axis=axis)
    g.case("Unpack", value=some(np.float32, (2, 3)), num=3, axis=0)
    for p in [[[0, 0]], [[2, 1]], [[-1, 0]], [[0, 0], [0, 0]]]:
        g.case("Pad", input=some(np.int32, (3,)), paddings=np.array(p, np.int32))
    g.case("Pad", input=some(np.int32, ()), paddings=np.zeros((0, 2), np.int32))
    for mode in ["REFLECT", "SYMMETRIC"]:
        for p in [[[1, 2], [0, 1]], [[2, 2], [1, 1]], [[3, 0], [0, 0]], [[4, 0], [0, 0]]]:
            g.case("MirrorPad", input=some(np.int32, (3, 3)), paddings=np.array(p, np.int32), mode=mode)
    for shift, axis in [([1], [0]), ([-2, 4], [0, 1]), ([1, 1], [1, 1]), ([1], [2])]:
        g.case("Roll", input=some(np.int32, (3, 4)), shift=np.array(shift, np.int32), axis=np.array(axis, np.int64))


def array_gather(g):
    for dtype in MOVED_TYPES:
        x = some(dtype, (3, 2, 2))
        g.case("GatherV2", params=x, indices=np.array([[2, 0], [1, 1]], np.int64), axis=np.int32(0))
        g.case("GatherNd", params=x, indices=np.array([[2, 0], [1, 1]], np.int32))
        g.case("OneHot", indices=i64(0, 2, -1, 3), depth=np.int32(3), on_value=some(dtype, (), 3), off_value=some(dtype, (), 4))
        if dtype not in (np.bool_,):
            g.case("TensorScatterUpdate", tensor=x, indices=np.array([[0], [2], [0]], np.int32), updates=some(dtype, (3, 2, 2), 9))
        g.case("DynamicPartition", data=some(dtype, (4, 2)), partitions=i32(1, 0, 1, 2), num_partitions=4)
        g.case("DynamicStitch", indices=[i32(3, 1), i32(0, 1), np.int32(2)], data=[some(dtype, (2, 2)), some(dtype, (2, 2), 5), some(dtype, (2,), 6)])
    g.case("ParallelDynamicStitch", indices=[i32(1), i32(0)], data=[some(np.float32, (1, 2)), some(np.float32, (1, 2), 5)])
    x = some(np.float32, (2, 3, 4))
    for ids, axis, batch in [([[0, 3], [1, 2]], 2, 1), ([[0, 3], [1, 2]], -1, 1), ([1, 0], 1, 0), ([[0, 2], [1, 1]], 1, 1), ([[0, 1], [1, 1]], 1, -1),
                             ([[0], [1]], 0, 1), ([[[0, 1, 2]]], 2, 0), ([0], 3, 0), ([0], -4, 0), ([[[1], [2], [0]], [[1], [2], [3]]], 2, 2)]:
        g.case("GatherV2", params=x, indices=np.array(ids, np.int32), axis=np.int32(axis), batch_dims=batch)
    for ids in [[[0, 5]], [[1, -1]], 7, [2**40], []]:
        g.case("GatherV2", params=x, indices=np.array(ids, np.int64), axis=np.int32(0), text=True)
        g.case("Gather", params=x, indices=np.array(ids, np.int64), text=True)
    g.case("GatherV2", params=some(np.float32, (0, 3)), indices=i64(), axis=np.int32(0))
    g.case("GatherV2", params=some(np.float32, (0, 3)), indices=i64(0), axis=np.int32(0), text=True)
    for ids in [[[0, 2], [1, 3]], [[-1, 0]], [[]], [0, 1, 2], [0, 1, 2, 3], np.zeros((0, 2))]:
        g.case("GatherNd", params=x, indices=np.array(ids, np.int64))
    for dtype in [np.float32, np.int32, np.int64, np.float16, np.float64]:
        g.case("ScatterNd", indices=np.array([[1], [3], [1]], np.int32), updates=some(dtype, (3, 2)), shape=i32(4, 2))
        for op in ["TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin"]:
            g.case(op, tensor=some(dtype, (4,)), indices=np.array([[1], [3], [1]], np.int64), updates=some(dtype, (3,), 8))
    g.case("ScatterNd", indices=np.array([[1, 1], [0, 0]], np.int64), updates=some(np.float32, (2,)), shape=i64(2, 2))
    g.case("ScatterNd", indices=np.array([[4]], np.int64), updates=some(np.float32, (1,)), shape=i64(4))
    g.case("ScatterNd", indices=np.array([[0]], np.int64), updates=some(np.float32, (2,)), shape=i64(4))
    for axis in [-1, 0, 1, 3]:
        g.case("OneHot", indices=np.array([[0, 2]], np.uint8), depth=np.int32(3), on_value=np.int64(5), off_value=np.int64(BIG + 5), axis=axis)
    g.case("OneHot", indices=i32(0), depth=np.int32(-1), on_value=np.float32(1), off_value=np.float32(0))
    g.case("OneHot", indices=i32(), depth=np.int32(2), on_value=np.float32(1), off_value=np.float32(0))
    g.case("DynamicPartition", data=some(np.float32, (2,)), partitions=i32(0, 3), num_partitions=2)
    g.case("DynamicPartition", data=some(np.float32, ()), partitions=np.int32(1), num_partitions=2)


def array_join(g):
    for dtype in MOVED_TYPES:
        g.case("ConcatV2", values=[some(dtype, (2, 1)), some(dtype, (2, 3), 4)], axis=np.int32(1))
        g.case("Pack", values=[some(dtype, (2,)), some(dtype, (2,), 4)], axis=1)
        g.case("Select", condition=np.array([True, False]), x=some(dtype, (2, 2)), y=some(dtype, (2, 2), 4))
        g.case("SelectV2", condition=np.array([[True], [False]]), t=some(dtype, (3,)), e=some(dtype, (), 4))
    for axis in [0, -1, 2, -3]:
        g.case("ConcatV2", values=[some(np.int32, (1, 2)), some(np.int32, (2, 2)), some(np.int32, (0, 2))], axis=np.int64(axis))
        g.case("Concat", concat_dim=np.int32(axis), values=[some(np.int32, (1, 2)), some(np.int32, (2, 2))])
    g.case("ConcatV2", values=[some(np.int32, (1, 2)), some(np.int32, (2,))], axis=np.int32(0))
    g.case("Pack", values=[some(np.float32, ()), some(np.float32, ())], axis=0)
    g.case("Pack", values=[some(np.float32, (2,)), some(np.float32, (3,))], axis=0)
    g.case("Pack", values=[some(np.float32, (2, 2)), some(np.float32, (2, 2), 2)], axis=-1)
    for c in [np.array(True), np.array([[True, False], [False, True]]), np.array([True])]:
        g.case("Select", condition=c, x=some(np.float32, (2, 2)), y=some(np.float32, (2, 2), 4))
        g.case("SelectV2", condition=c, t=some(np.float32, (2, 2)), e=some(np.float32, (2,), 4))
    g.case("Select", condition=np.array(True), x=some(np.float32, (2,)), y=some(np.float32, (3,)))
    g.case("SelectV2", condition=np.array([True, False]), t=some(np.float32, (3,)), e=some(np.float32, ()))


SHAPES = [((3,), (3,)), ((2, 1), (3,)), ((), (2, 2)), ((2, 2), ()), ((0,), (1,)), ((2, 1, 2), (1, 3, 1))]
FLOAT_EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1e30, -7.25, np.inf, -np.inf, np.nan, 3.0]
INT_EDGES = [0, 1, -1, 7, -7, 2, -2, 100]


def pairs(values, dtype):
    a = np.array([x for x in values for _ in values])
    b = np.array([y for _ in values for y in values])
    return a.astype(dtype), b.astype(dtype)


def int_values(dtype):
    info = np.iinfo(dtype)
    if dtype not in (np.int32, np.int64):
        return [v for v in [1, 7, -7, 100] if v >= info.min] + [info.max, info.min]
    values = [v for v in INT_EDGES if v >= info.min] + [info.max, info.min, info.max - 1]
    if info.bits == 64:
        values += [2**53 + 1, 2**32, 3037000500, 2**31]
    return values


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


def reduce(g):
    x = some(np.float32, (2, 3, 4))
    for op in ["Sum", "Prod", "Max", "Min", "Mean", "EuclideanNorm"]:
        for axes in [[0], [1], [-1], [0, 2], [0, 1, 2], [], [1, 1], [3]]:
            g.case(op, tolerance=1e-5, input=x, axis=np.array(axes, np.int32), keep_dims=len(axes) == 2)
        for dtype in [np.float64, np.float16] + [np.int32, np.int64, np.uint8]:
            if op == "EuclideanNorm" and np.dtype(dtype).kind in "iu":
                continue
            if dtype == np.float16 and op not in ("Max", "Min"):
                continue
            g.case(op, tolerance=1e-5, input=some(dtype, (3, 4)), axis=np.int64(0))
        g.case(op, input=some(np.float32, (0, 3)), axis=np.int32(0))
        g.case(op, input=some(np.float32, (3, 0)), axis=np.int32(0))
        if op in ("Max", "Min", "Sum"):
            g.case(op, input=np.array([1, np.nan, 3], np.float32), axis=np.int32(0))
            for dtype in [np.int32, np.int64, np.uint8]:
                g.case(op, input=some(dtype, (0, 2)), axis=np.int32(0))
    for op in ["Sum", "Prod", "Max", "Min"]:
        g.case(op, input=np.array([2**53 + 1, 2**62, -5, 2**62, 3], np.int64), axis=np.int32(0))
        g.case(op, input=np.array([2**31 - 1, 5, -7], np.int32), axis=np.int32(0))
    for op in ["All", "Any"]:
        for axes in [[0], [1], [0, 1], []]:
            g.case(op, input=some(np.bool_, (3, 2)), axis=np.array(axes, np.int32))
        g.case(op, input=np.zeros((0, 2), np.bool_), axis=np.int32(0), keep_dims=True)
    for op in ["Cumsum", "Cumprod"]:
        for dtype in [np.float32, np.int32, np.int64]:
            for axis, exclusive, reverse in [(0, False, False), (1, True, False), (-1, False, True), (0, True, True)]:
                g.case(op, tolerance=1e-5, x=some(dtype, (3, 3)), axis=np.int32(axis), exclusive=exclusive, reverse=reverse)
        g.case(op, x=some(np.float32, (3,)), axis=np.int32(1))
    for axes, keep in [([0], False), ([1], True), ([0, 1], False), ([1, 0], False), ([], False), ([-1], False), ([2], False)]:
        g.case("ReduceJoin", inputs=some(object, (2, 3)), reduction_indices=np.array(axes, np.int32), keep_dims=keep, separator="--")
    g.case("ReduceJoin", inputs=some(object, (0, 3)), reduction_indices=i32(0))


def search(g):
    for dtype in MOVED_TYPES:
        if dtype not in (object, np.float16):
            g.case("Where", condition=(some(dtype, (2, 3)) * np.array([[0, 1, 0], [1, 0, 1]]).astype(dtype)).astype(dtype))
    g.case("Where", condition=some(np.bool_, (2, 2, 3)))
    g.case("Where", condition=np.array(True))
    g.case("Where", condition=np.zeros((0, 3), np.bool_))
    x = np.array([[3, 1, 3, 2, 3], [5, 5, -1, 9, 0]], np.float32)
    for k in [0, 1, 3, 5]:
        g.case("TopKV2", input=x, k=np.int32(k), sorted=True)
        g.case("TopKV2", input=x.astype(np.int64), k=np.int32(k))
    g.case("TopKV2", input=x, k=np.int32(6), text=True)
    g.case("TopKV2", input=some(np.float32, (40,)), k=np.int32(17))
    g.case("TopKV2", input=some(np.float64, (2, 2, 6)), k=np.int32(4))
    g.case("TopKV2", input=np.array([2**53 + 1, 2**53, 2**60, -(2**60)], np.int64), k=np.int32(3))
    for op in ["ArgMax", "ArgMin"]:
        for axis in [0, 1, -1, 2]:
            g.case(op, input=x, dimension=np.int32(axis))
        g.case(op, input=x.astype(np.int64), dimension=np.int64(1), output_type=tf.int32)
        g.case(op, input=np.array([1, np.nan, 3], np.float32), dimension=np.int32(0))
        g.case(op, input=np.array([np.nan, 1, 3], np.float32), dimension=np.int32(0))
        g.case(op, input=some(np.float32, (0, 3)), dimension=np.int32(0))
    keys = np.array([[1, 3, 3, 5], [0, 0, 2, 8]], np.float32)
    for op in ["LowerBound", "UpperBound"]:
        for dtype in [np.float32, np.int64, np.int32]:
            g.case(op, sorted_inputs=keys.astype(dtype), values=np.array([[0, 3, 4], [8, 9, 0]], dtype), out_type=tf.int64 if dtype == np.int64 else tf.int32)
    for dtype in [np.float32, np.float64, np.int32, np.int64]:
        g.case("Bucketize", input=np.array([-5, 0, 1, 9, 10, 100], dtype), boundaries=[0.0, 10.0, 100.0])
    g.case("Bucketize", input=np.array([np.nan, np.inf, -np.inf, 0.1], np.float32), boundaries=[0.1, 0.2])
    g.case("Bucketize", input=np.array([0.1], np.float64), boundaries=[0.1])
    g.case("Bucketize", input=some(np.int64, (2, 3)), boundaries=[])
    for dtype in [np.float32, np.int32, np.int64, np.float64]:
        weights = np.array([1, 2, 3, 4], dtype)
        g.case("Bincount", arr=i32(0, 2, 2, 9), size=np.int32(4), weights=weights)
        g.case("Bincount", arr=i32(0, 2, 2, 9), size=np.int32(4), weights=np.array([], dtype))
        for binary in [True, False]:
            for index in [np.int32, np.int64]:
                g.case("DenseBincount", input=np.array([[0, 2, 2], [3, 1, 9]], index), size=index(4), weights=np.array([], dtype), binary_output=binary)
                g.case("DenseBincount", input=np.array([0, 2, 2, 1], index), size=index(4), weights=weights, binary_output=binary)
    g.case("Bincount", arr=i32(-1), size=np.int32(4), weights=np.array([], np.float32))
    g.case("DenseBincount", input=i32(-1), size=np.int32(4), weights=np.array([], np.float32))
    for v in [np.array([5, 5, 2, 5, 7, 2]), np.array([])]:
        for dtype in [np.int32, np.int64, np.float32, np.uint8]:
            for index in [tf.int32, tf.int64]:
                g.case("Unique", x=v.astype(dtype), out_idx=index)
        g.case("UniqueWithCounts", x=v.astype(np.int64))
        g.case("UniqueV2", x=v.astype(np.int64), axis=np.array([], np.int64))
        g.case("UniqueV2", x=v.astype(np.int64), axis=np.array([0], np.int64))
        g.case("UniqueWithCountsV2", x=v.astype(np.int64), axis=np.array([0], np.int64))
    g.case("Unique", x=some(object, (12,)))
    g.case("UniqueWithCounts", x=some(object, (12,)), out_idx=tf.int64)
    g.case("Unique", x=np.array([0.0, -0.0, 1.5, np.inf], np.float32))
    g.case("Unique", x=np.array([2**62 + 1, 2**62, -1, 2**62 + 1, 2**32 - 1], np.int64))
    g.case("Unique", x=some(np.int64, (2, 2)))
    for dtype in [np.int32, np.int64, np.float32]:
        g.case("ListDiff", x=np.array([1, 2, 3, 2, 5, 1], dtype), y=np.array([2, 9], dtype))
    g.case("ListDiff", x=some(object, (12,)), y=some(object, (2,), 3), out_idx=tf.int64)
    for dtype in [np.int32, np.int64, np.float32, np.float64]:
        for start, limit, delta in [(0, 5, 1), (3, -4, -2), (0, 0, 1), (2, 1, 1), (0, 5, 0), (0, 1, 5)]:
            g.case("Range", start=np.array(start, dtype), limit=np.array(limit, dtype), delta=np.array(delta, dtype))
    g.case("Range", start=np.float32(0), limit=np.float32(1), delta=np.float32(0.1))
    g.case("Range", start=np.float64(0), limit=np.float64(1), delta=np.float64(0.1))
    for num in [1, 2, 5, 0]:
        g.case("LinSpace", start=np.float32(1), stop=np.float32(2.5), num=np.int32(num))
        g.case("LinSpace", start=np.float64(1), stop=np.float64(0.3), num=np.int64(num))
    for dtype in [np.float32, np.int64, np.float16, np.bool_]:
        g.case("ZerosLike", x=some(dtype, (2,)))
        g.case("OnesLike", x=some(dtype, (2,)))
    g.case("ZerosLike", x=some(object, (2,)))


def texts(*values):
    return np.array([v if isinstance(v, bytes) else v.encode() for v in values], object)


def strings(g):
    lengths = list(range(0, 20)) + [31, 32, 33, 47, 63, 64, 65, 66, 100, 127, 128, 129, 191, 192, 193, 200]
    r = rng()
    words = np.array([bytes(r.randint(0, 256, n).tolist()) for n in lengths], object)
    for buckets in [10, 1000003, 2**40 + 7, 2**53 - 1]:
        g.case("StringToHashBucketFast", input=words if buckets == 10 or buckets > 2**50 else words[:8], num_buckets=buckets)
    g.case("StringToHashBucket", string_tensor=words[::2], num_buckets=2**53 - 1)
    g.case("StringToHashBucketStrong", input=words[::2], num_buckets=2**53 - 1, key=[123, 456])
    g.case("StringToHashBucketStrong", input=words[:5], num_buckets=97, key=[2**62 + 3, -5])
    g.case("StringToHashBucketFast", input=some(object, (2, 3)), num_buckets=1)
    floats = np.array([0, -0.0, 1, -1.5, 0.1, 1e-7, 123456789, 1e20, 1e30, 0.0078125, 2.5, 0.5, 3.14159265, -2e-5, np.inf, -np.inf, 99999.95, 1e21], np.float64)
    for dtype in [np.float32, np.float64]:
        v = floats.astype(dtype)
        for kw in [{}, {"precision": 2}, {"scientific": True}, {"shortest": True}, {"precision": 0}, {"scientific": True, "precision": 3},
                   {"shortest": True, "precision": 3}, {"width": 12}, {"width": 12, "fill": "0"}, {"width": 12, "fill": "-"},
                   {"width": 12, "fill": "+"}, {"width": 3, "fill": " "}, {"precision": 12}]:
            g.case("AsString", input=v, **kw)
    g.case("AsString", input=np.array([1.5, -2, 65504], np.float16))
    g.case("AsString", input=np.array([1.5, -2, 3.140625], tf.bfloat16.as_numpy_dtype))
    for dtype in INT_TYPES:
        v = np.array([x for x in int_values(dtype)], dtype)
        g.case("AsString", input=v)
        if dtype in (np.int32, np.int64):
            for fill in ["", "0", "-", "+", " "]:
                g.case("AsString", input=v[:4], width=6, fill=fill)
    g.case("AsString", input=np.array([True, False]))
    g.case("AsString", input=np.array([1 + 2j], np.complex64), precision=1)
    g.case("AsString", input=some(object, (2,)))
    g.case("AsString", input=i32(1), precision=2)
    g.case("AsString", input=i32(1), scientific=True)
    g.case("AsString", input=np.float32(1), scientific=True, shortest=True)
    g.case("AsString", input=np.float32(1), fill="x")
    g.case("StringJoin", inputs=[texts("a", "b"), texts("c", ""), np.array(b"x", object)], separator="-")
    g.case("StringJoin", inputs=[np.array(b"x", object), np.array(b"y", object)])
    g.case("StringJoin", inputs=[texts("a", "b"), texts("a", "b", "c")])
    for op in ["StringLower", "StringUpper"]:
        for encoding in ["", "utf-8"]:
            g.case(op, input=texts("ABC xyz 1", "\u00c9t\u00e9 \u0130", ""), encoding=encoding)
        g.case(op, input=texts("x"), encoding="latin1")
    g.case("StringStrip", input=texts("  a b\t\n", "", " \x0b\x0c", "x", b"\xc2\xa0x "))
    for unit in ["BYTE", "UTF8_CHAR"]:
        g.case("StringLength", input=texts("abc", "\u00e9t\u00e9", "", "\U0001f600x"), unit=unit)
        words3 = texts("hello", "\u00e9t\u00e9s", "\U0001f600xyz!")
        for pos, size in [(0, 2), (1, 100), (-2, 1), (-3, 2), (2, 0)]:
            g.case("Substr", input=words3, pos=np.int32(pos), len=np.int32(size), unit=unit)
        g.case("Substr", input=words3, pos=i64(0, 1, 2), len=i64(1, 2, 3), unit=unit)
        g.case("Substr", input=words3, pos=np.int32(100), len=np.int32(1), unit=unit)
        g.case("Substr", input=words3, pos=np.int32(-100), len=np.int32(1), unit=unit)
    g.case("Substr", input=texts("abc", "def").reshape(2, 1), pos=np.array([[0, 1]], np.int32), len=np.array([[1, 1]], np.int32))
    g.case("Substr", input=texts("abc"), pos=i32(0), len=np.int32(1))
    for value in [texts("a b  c", "", " x ", "one"), texts()]:
        for sep in ["", " ", "b", ",", "  "]:
            for n in [-1, 0, 1, 2]:
                g.case("StringSplitV2", input=value, sep=np.array(sep.encode(), object), maxsplit=n)
        for sep in ["", " ", "b ", ","]:
            for skip in [True, False]:
                g.case("StringSplit", input=value, delimiter=np.array(sep.encode(), object), skip_empty=skip)
    g.case("StringSplitV2", input=np.array(b"a b", object), sep=np.array(b"", object))
    numbers = texts("1.5", " -2 ", "1e3", "inf", "-inf", "0x10", "+7", ".5", "5.")
    for dtype in [tf.float32, tf.float64]:
        g.case("StringToNumber", string_tensor=numbers, out_type=dtype)
    for dtype in [tf.int32, tf.int64]:
        g.case("StringToNumber", string_tensor=texts("1", " -22 ", "2147483647", "-2147483648", "+5"), out_type=dtype)
    g.case("StringToNumber", string_tensor=texts("9223372036854775807"), out_type=tf.int64)
    for bad in ["", "x", "1.5x", "1 2", "1e", "--1"]:
        g.case("StringToNumber", string_tensor=texts(bad), out_type=tf.float32, text=True)
    for bad in ["", "1.5", "9999999999", "0x1"]:
        g.case("StringToNumber", string_tensor=texts(bad), out_type=tf.int32, text=True)
    for value in [some(np.float32, (2, 3)), some(np.int64, (9,)), some(object, (2,)), np.float32(0.1), some(np.float64, (2,)), some(np.int32, (2, 2, 8)),
                  np.array([True, False]), texts("a\n\"q\"", "\u00e9"), np.array([1e10, 1e-10, 16777216, 3], np.float32), some(np.float32, (0,)), some(np.float32, (8, 8))]:
        g.case("StringFormat", inputs=[value], template="v: %s!", placeholder="%s", summarize=3)
    g.case("StringFormat", inputs=[some(np.int32, (8,)), np.int32(4)], template="{} {}", placeholder="{}", summarize=-1)
    for data in [[some(np.float32, (5,)), texts("bad", "x\ny")], [np.array(b"m", object)], [some(np.int64, (2, 2)), np.int32(3)]]:
        g.case("Assert", condition=np.array(False), data=data, summarize=3, text=True)
    data = texts("abc", "defgh", "", "i")
    for sizes in [[2], [1, 2], [3]]:
        for pad in [-1, 0, 1]:
            for keep in [True, False]:
                g.case("StringNGrams", data=data, data_splits=i64(0, 3, 3, 4), separator="|", ngram_widths=sizes, left_pad="LP", right_pad="RP", pad_width=pad, preserve_short_sequences=keep)
    g.case("UnsortedSegmentJoin", inputs=data, segment_ids=i32(1, 0, 1, 0), num_segments=np.int32(3), separator=":")
    g.case("EncodeBase64", input=some(object, (6,)), pad=True)
    g.case("EncodeBase64", input=some(object, (6,)))
    g.case("DecodeBase64", input=texts("", "YQ", "YQ==", "YWI", "YWJj", "_-8"))
    for bad in ["Y", "Y$==", "YQ=", "a+b/"]:
        g.case("DecodeBase64", input=texts(bad))
    for dtype in [tf.uint8, tf.int16, tf.int32, tf.float32, tf.int64, tf.float64]:
        g.case("DecodeRaw", bytes=texts(b"\x01\x02\x03\x04\x05\x06\x07\x08", b"\x00\x00\x80\x3f\x00\x00\x00\x40"), out_type=dtype)
        g.case("DecodeRaw", bytes=texts(b"\x01\x02\x03\x04\x05\x06\x07\x08"), out_type=dtype, little_endian=False)
    g.case("DecodeRaw", bytes=texts("abc"), out_type=tf.int32)
    g.case("DecodeRaw", bytes=texts("abc", "a"), out_type=tf.uint8)
    g.case("DecodePaddedRaw", input_bytes=texts("abc", "abcdefgh", ""), fixed_length=np.int32(4), out_type=tf.int16)
    for errors in ["replace", "ignore", "strict"]:
        value = texts("a\u00e9\U0001f600", b"x\xffy\xc3", b"\xe2\x82z\xed\xa0\x80") if errors != "strict" else texts("\u00e9")
        g.case("UnicodeDecode", input=value, input_encoding="UTF-8", errors=errors)
        g.case("UnicodeDecodeWithOffsets", input=value, input_encoding="UTF-8", errors=errors)
    g.case("UnicodeDecode", input=texts(b"\xff"), input_encoding="UTF-8", errors="strict")
    g.case("UnicodeEncode", input_values=i32(97, 233, 0x1F600, 0xD800), input_splits=i64(0, 2, 4), output_encoding="UTF-8")
    defaults = [np.array([7], np.int32), np.array([0.5], np.float32), texts("none")]
    for line in ["1,2.5,abc", ",,", '3,1e2,"a,""b"', "1,2", "x,1,a", '1,2,a"b', "1,2,NA", " 4 ,5,6"]:
        g.case("DecodeCSV", records=texts(line), record_defaults=defaults, na_value="NA", text=True)
    g.case("DecodeCSV", records=texts("1,2"), record_defaults=[np.array([], np.int64), texts("d")], select_cols=[])
    g.case("DecodeCSV", records=texts(",2"), record_defaults=[np.array([], np.int64), texts("d")], text=True)
    g.case("DecodeCSV", records=texts("1;2;3"), record_defaults=[np.array([], np.float64)], field_delim=";", select_cols=[1])


PUNCTUATION = r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']'


def regex(g):
    value = texts("Hello, World! (x)", "a.b-c_d", "", "aaa", "x1y22z", "\u00e9t\u00e9 \u00c9", b"\xffab\xfe", "tab\there  two\n")
    for pattern, rewrite in [(PUNCTUATION, ""), (r"\s+", " "), (r"[a-c]+", "<\\0>"), (r"(\w)(\d)", "\\2\\1"), ("a*", "-"), ("", "-"), (".", "#"), ("^a", "Z"),
                             (r"\bH", "J"), ("(?i)h", "q"), (r"[^a-z]", ""), (r"\pL", "L"), ("a|b", "\\\\"), ("x", "\\1"), ("x", "\\"), (r"l+", "LL"), ("\u00e9", "e"),
                             (r"[[:punct:]]", ""), (r"\d{2}", "N"), (r"(a)|b", "[\\1]"), ("[a-z]", "x"), (r"\.", ""), ("-", "+"), ("$", "!"), (r"[\s,]+", "")]:
        for every in [True, False]:
            g.case("StaticRegexReplace", input=value, pattern=pattern, rewrite=rewrite, replace_global=every)
        g.case("RegexReplace", input=value[:3], pattern=np.array(pattern.encode(), object), rewrite=np.array(rewrite.encode(), object))
    # RE2 is lenient with odd bytes in the complement of a class of ASCII characters: surrogates, overlong forms, above U+10FFFF.
    odd = texts("ab\u00e9c", b"a\xed\xa0\x80b", b"a\xe0\x80\x80b", b"\xf4\xbf\xbf\xbfb", b"a\xf0\x80\x80\x80", b"a\xe2\x82", b"\x80\xff\xc1\x80a", b"\xe2\x82\xac\xe2\x82\xac\xff\xe2\x82\xac",
                b"a\n.B\x00\xf0\x9f\x98\x80", b"\xf5\x80\x80\x80", b"\xc3\xc3\xa9")
    for pattern in ["[^a-z0-9 ]", "[^a-z]+", r"\W", r"\S+", r"\D+", r"[^\w\s]", "[^$]", "[^^a]+"]:
        for every in [True, False]:
            g.case("StaticRegexReplace", input=odd, pattern=pattern, rewrite="<>", replace_global=every)
    for pattern in [".*", "a+", "[a-z]*", r"\w+", "Hello.*", "(", "aaa|b", "(?s).*", ""]:
        g.case("StaticRegexFullMatch", input=value, pattern=pattern)
        g.case("RegexFullMatch", input=value, pattern=np.array(pattern.encode(), object))
    g.case("StaticRegexReplace", input=value, pattern="(", rewrite="")
    g.case("RegexReplace", input=value, pattern=np.array(b"[", object), rewrite=np.array(b"", object))


def tables(g):
    p = g.program("HashTableV2 string to int64")
    t = p.step("HashTableV2", key_dtype=tf.string, value_dtype=tf.int64, shared_name="words")
    p.step("LookupTableFindV2", table_handle=t, keys=texts("a"), default_value=np.int64(-1), text=True)
    p.step("LookupTableImportV2", table_handle=t, keys=texts("a", "b", "", b"\xff"), values=i64(1, 2**60, 3, -4))
    p.step("LookupTableFindV2", table_handle=t, keys=texts("b", "x", "", b"\xff", "a").reshape(5, 1), default_value=np.int64(-1))
    p.step("LookupTableFindV2", table_handle=t, keys=texts(), default_value=np.int64(-1))
    p.step("LookupTableSizeV2", table_handle=t)
    u = p.step("HashTableV2", key_dtype=tf.string, value_dtype=tf.int64, shared_name="words")
    p.step("LookupTableFindV2", table_handle=u, keys=texts("b"), default_value=np.int64(-1))
    p.step("LookupTableFindV2", table_handle=u, keys=texts("b"), default_value=i64(1, 2))
    p.step("InitializeTableV2", table_handle=t, keys=texts("a", "b", "", b"\xff"), values=i64(1, 2**60, 3, -4))
    p.step("InitializeTableV2", table_handle=t, keys=texts("a", "b"), values=i64(1, 2))
    p.step("LookupTableFindV2", table_handle=t, keys=texts("a"), default_value=np.int64(0))
    p = g.program("HashTableV2 duplicates")
    t = p.step("HashTableV2", key_dtype=tf.int64, value_dtype=tf.string, shared_name="d")
    p.step("InitializeTableV2", table_handle=t, keys=i64(1, 2, 1), values=texts("x", "y", "z"), text=True)
    t = p.step("HashTableV2", key_dtype=tf.int64, value_dtype=tf.string, shared_name="e")
    p.step("InitializeTableV2", table_handle=t, keys=i64(1, 2, 1), values=texts("x", "y", "x"))
    p.step("LookupTableFindV2", table_handle=t, keys=i64(1, 2, 3, 2**32 + 1, -1), default_value=np.array(b"UNK", object))
    p.step("LookupTableSizeV2", table_handle=t)
    for dtype in [np.float32, np.int32, np.float64]:
        t = p.step("HashTableV2", key_dtype=tf.string if dtype != np.int32 else tf.int32, value_dtype=tf.as_dtype(dtype), shared_name="f" + np.dtype(dtype).name)
        keys = texts("a", "b") if dtype != np.int32 else i32(-7, 7)
        p.step("LookupTableImportV2", table_handle=t, keys=keys, values=some(dtype, (2,)))
        p.step("LookupTableFindV2", table_handle=t, keys=keys[::-1], default_value=np.array(0, dtype))
    p = g.program("MutableHashTableV2")
    for n, (k, v) in enumerate([(texts("a", "b", "a", "z", "q"), i64(1, 2, 3, 4, 5)), (i64(1, -2, 1, 4, 5), texts("1", "2", "3", "4", "five"))]):
        types = [tf.string, tf.int64][:: 1 if n == 0 else -1]
        t = p.step("MutableHashTableV2", key_dtype=types[0], value_dtype=types[1], shared_name="m" + str(n))
        none = v[4:5].reshape(())
        p.step("LookupTableFindV2", table_handle=t, keys=k[:1], default_value=none)
        p.step("LookupTableInsertV2", table_handle=t, keys=k[:3], values=v[:3])
        p.step("LookupTableFindV2", table_handle=t, keys=k[[0, 1, 4]], default_value=none)
        p.step("LookupTableFindV2", table_handle=t, keys=k[[0, 3, 1]], default_value=v[2:5])
        p.step("LookupTableRemoveV2", table_handle=t, keys=k[[1, 4]])
        p.step("LookupTableExportV2", table_handle=t, Tkeys=types[0], Tvalues=types[1])
        p.step("LookupTableImportV2", table_handle=t, keys=k[3:4], values=v[3:4])
        p.step("LookupTableSizeV2", table_handle=t)
        p.step("LookupTableFindV2", table_handle=t, keys=k[[0, 3]], default_value=none)
    t = p.step("MutableHashTableOfTensorsV2", key_dtype=tf.int64, value_dtype=tf.float32, value_shape=[2], shared_name="mt")
    p.step("LookupTableInsertV2", table_handle=t, keys=i64(5, 6), values=some(np.float32, (2, 2)))
    p.step("LookupTableFindV2", table_handle=t, keys=i64(6, 9), default_value=np.array([0.5, 1], np.float32))
    p = g.program("InitializeTableFromTextFileV2")
    lines = b"apple\t1\t0.5\nbanana\t-2\t1e3\r\ncherry\t9223372036854775807\t-1.25\n"
    query = texts("apple", "banana", "cherry", "0", "banana\t-2\t1e3")

    def load(content, key_dtype, value_dtype, default, keys, **kw):
        t = p.step("HashTableV2", key_dtype=key_dtype, value_dtype=value_dtype, shared_name=f"file{len(p.entry['steps'])}")
        p.step("InitializeTableFromTextFileV2", table_handle=t, filename=p.file(content), **kw)
        p.step("LookupTableFindV2", table_handle=t, keys=keys, default_value=default)
        p.step("LookupTableSizeV2", table_handle=t)

    unknown = np.array(b"?", object)
    load(lines, tf.string, tf.int64, np.int64(-1), query, key_index=0, value_index=-1)
    load(lines, tf.string, tf.int64, np.int64(-1), query, key_index=0, value_index=1)
    load(lines, tf.string, tf.float32, np.float32(-1), query, key_index=0, value_index=2)
    load(lines, tf.string, tf.int64, np.int64(-1), query, key_index=-2, value_index=-1, offset=10)
    load(lines, tf.int64, tf.string, unknown, i64(0, 1, 2, 3), key_index=-1, value_index=0)
    load(lines, tf.int64, tf.string, unknown, i64(0, 1, 2, 3), key_index=-1, value_index=-2)
    load(lines, tf.int64, tf.string, unknown, i64(0, 1, -2, 3), key_index=1, value_index=0)
    load(b"a b\nc d", tf.string, tf.string, unknown, texts("a", "c", "d"), key_index=0, value_index=1, delimiter=" ")
    load(b"a\nb\nc\n", tf.string, tf.int64, np.int64(-1), texts("a", "c"), key_index=-2, value_index=-1, vocab_size=2)
    load(b"a\nb\nc\n", tf.string, tf.int64, np.int64(-1), texts("a", "c"), key_index=-2, value_index=-1, vocab_size=3)
    load(b"a\nb\n", tf.string, tf.int64, np.int64(-1), texts("a", "c"), key_index=-2, value_index=-1, vocab_size=3)
    load(b"a\n\nb\n", tf.string, tf.int64, np.int64(-1), texts("a", "b"), key_index=-2, value_index=-1)
    load(b"a\nb\na\n", tf.string, tf.int64, np.int64(-1), texts("a", "b"), key_index=-2, value_index=-1)
    load(b"a\tx\nb\n", tf.string, tf.string, unknown, texts("a"), key_index=0, value_index=1)
    load(b"a\tx\n", tf.string, tf.int64, np.int64(0), texts("a"), key_index=0, value_index=1)
    load(b"", tf.string, tf.int64, np.int64(0), texts("a"), key_index=-2, value_index=-1)
    p = g.program("variables")
    v = p.step("VarHandleOp", dtype=tf.int64, shape=[], shared_name="v")
    p.step("VarIsInitializedOp", resource=v)
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p.step("AssignVariableOp", resource=v, value=np.int64(5))
    p.step("AssignAddVariableOp", resource=v, value=np.int64(3))
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p.step("AssignSubVariableOp", resource=v, value=np.int64(1))
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p.step("VariableShape", input=v)


def example(**features):
    built = {}
    for key, value in features.items():
        if value is None:
            built[key] = tf.train.Feature()
        elif isinstance(value[0], bytes) if value else False:
            built[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        elif value and isinstance(value[0], float):
            built[key] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
        else:
            built[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Example(features=tf.train.Features(feature=built)).SerializeToString(deterministic=True)


def parse(g):
    def one(serialized, names=(), sparse=(), dense=(), ragged=(), **kw):
        """Runs ParseExampleV2 and, where it can say the same, ParseExample. dense: (key, shape, default array)."""
        serialized = np.array(serialized, object)
        names = np.array(list(names), object)
        keys = lambda specs: texts(*[k for k, *_ in specs])  # noqa: E731
        common = dict(serialized=serialized, names=names, dense_shapes=[tf.TensorShape(s) for _, s, _ in dense], sparse_types=[t for _, t in sparse])
        defaults = [d for _, _, d in dense]
        g.case("ParseExampleV2", **kw, **common, dense_defaults=defaults, sparse_keys=keys(sparse), dense_keys=keys(dense), ragged_keys=keys(ragged),
               num_sparse=len(sparse), ragged_value_types=[t for _, t, _ in ragged], ragged_split_types=[t for _, _, t in ragged])
        if serialized.ndim == 1 and not ragged:
            g.case("ParseExample", **kw, **common, dense_defaults=defaults, sparse_keys=[np.array(k.encode(), object) for k, _ in sparse],
                   dense_keys=[np.array(k.encode(), object) for k, *_ in dense])

    none_f, none_i, none_s = np.array([], np.float32), np.array([], np.int64), np.array([], object)
    a = example(x=[1.5], i=[1, -2, 2**62], s=[b"hi", b""], v=[1.0, 2.0])
    b = example(x=[-2.5], i=[7], s=[b"\xff\x00"], v=[])
    c = example(i=[], x=None)
    dense = [("x", [], none_f)]
    one([a, b], dense=dense)
    one([a], dense=[("x", [1], none_f)], sparse=[("i", tf.int64), ("s", tf.string), ("v", tf.float32), ("none", tf.int64)])
    one([a, b, c], sparse=[("i", tf.int64), ("s", tf.string), ("v", tf.float32)], dense=[("x", [1], np.array([9.0], np.float32))])
    one([a, b, c], ragged=[("i", tf.int64, tf.int64), ("s", tf.string, tf.int32), ("v", tf.float32, tf.int64)])
    one([a, b, c], dense=[("i", [None], none_i)], text=True)
    one([a, b, c], dense=[("i", [None], i64(4)), ("s", [None], texts("pad")), ("v", [None, 2], np.array([-1.0], np.float32))])
    one([a, b, c], dense=[("i", [None], np.array([5], np.int64))])
    one([c, a], dense=dense, text=True)
    one([a, c], dense=[("s", [2], none_s)], text=True)
    one([a, b], dense=[("x", [1], none_i)], text=True)
    one([a, b], dense=[("i", [], none_i)], text=True)
    one([a, b], dense=[("v", [1], none_f)], text=True)
    one([a, b], dense=[("s", [1], none_s)], names=[b"first", b"second"], text=True)
    one([a, b], names=[b"first", b"second"], sparse=[("x", tf.int64)], text=True)
    one([a], dense=[("v", [None, 3], np.array([0.0], np.float32))], text=True)
    one([a], ragged=[("x", tf.int64, tf.int64)], text=True)
    one([a], dense=[("x", [2], np.array([1.0], np.float32))])
    one([a], names=[b"x", b"y"], dense=dense)
    one([], dense=[("x", [2], none_f), ("i", [None], i64(3))], sparse=[("i2", tf.int64)], ragged=[("r", tf.int64, tf.int32)])
    one(a, dense=dense + [("i", [None], np.int64(2))], sparse=[("s", tf.string)])
    one(a, ragged=[("i", tf.int64, tf.int64)])
    one([a, b], dense=[("s", [2], none_s)], text=True)
    one([b"garbage"], dense=dense, text=True)
    one([b""], dense=[("x", [], np.array(3.5, np.float32))])
    # Duplicate keys (last wins), unpacked lists, unknown fields, features in two parts.
    entry = lambda key, feature: b"\x0a" + bytes([len(key) + len(feature) + 4]) + b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(feature)]) + feature  # noqa: E731
    wrap = lambda body: b"\x0a" + bytes([len(body)]) + body  # noqa: E731
    f = lambda v: b"\x12\x06\x0a\x04" + np.float32(v).tobytes()  # noqa: E731
    one([wrap(entry(b"x", f(1)) + entry(b"x", f(2)))], dense=dense)
    one([wrap(entry(b"x", f(1)) + entry(b"x", b""))], dense=dense)
    one([wrap(entry(b"x", f(1))) + wrap(entry(b"y", f(2)))], dense=dense + [("y", [], none_f)])
    one([wrap(entry(b"x", b"\x12\x0a\x0d" + np.float32(1).tobytes() + b"\x0d" + np.float32(2).tobytes()))], dense=[("x", [2], none_f)])
    one([wrap(entry(b"i", b"\x1a\x05\x08\x01\x08\xac\x02"))], dense=[("i", [2], none_i)], sparse=[("z", tf.int64)])
    one([b"\x10\x01" + wrap(entry(b"x", f(1)))], dense=dense)
    one([wrap(entry(b"x", b"\x12\x05\x0a\x03abc"))], dense=dense, text=True)
    one([wrap(entry(b"x", b"\x12\x05\x0a\x03abc"))], sparse=[("x", tf.float32)])
    one([wrap(entry(b"x", b"\x22\x00"))], sparse=[("x", tf.float32)], text=True)
    one([wrap(entry(b"x", b"\x22\x00"))], dense=dense, text=True)
    one([wrap(entry(b"i", b"\x1a\x03\x0a\x01\xff"))], dense=[("i", [], none_i)], text=True)
    for s in [a, c]:
        g.case("ParseSingleExample", serialized=np.array(s, object), dense_defaults=[np.array(1.0, np.float32), np.array([3], np.int64)], num_sparse=2,
               sparse_keys=["s", "none"], dense_keys=["x", "i"], sparse_types=[tf.string, tf.int64], dense_shapes=[[], [None]])


def sparse(g):
    for dtype in [np.float32, np.int64, object]:
        default = some(dtype, (), 6)
        g.case("SparseToDense", sparse_indices=np.array([[0, 1], [2, 0]], np.int64), output_shape=i64(3, 2), sparse_values=some(dtype, (2,)), default_value=default)
        g.case("SparseToDense", sparse_indices=i32(1, 3), output_shape=i32(5), sparse_values=some(dtype, ()), default_value=default)
    g.case("SparseToDense", sparse_indices=np.int32(1), output_shape=i32(5), sparse_values=np.float32(2), default_value=np.float32(0))
    g.case("SparseToDense", sparse_indices=np.zeros((0, 2), np.int64), output_shape=i64(2, 2), sparse_values=np.array([], np.float32), default_value=np.float32(1))
    for ids in [[[2], [1]], [[1], [1]], [[5], [6]], [[-1], [0]]]:
        for validate in [True, False]:
            if validate or ids[0][0] in (1, 2):
                g.case("SparseToDense", sparse_indices=np.array(ids, np.int64), output_shape=i64(4), sparse_values=some(np.float32, (2,)), default_value=np.float32(0), validate_indices=validate, text=True)
    ids = np.array([[0, 0, 1], [1, 2, 3], [1, 0, 0]], np.int64)
    for new in [[6, 4], [-1, 3], [24], [2, 3, 2, -1], [5, 5], [-1, -1], [-1, 7]]:
        g.case("SparseReshape", input_indices=ids, input_shape=i64(2, 3, 4), new_shape=np.array(new, np.int64))
    g.case("SparseReshape", input_indices=np.zeros((0, 2), np.int64), input_shape=i64(0, 3), new_shape=i64(3, 0))
    for dtype in [np.int64, np.float32, object]:
        for ids, n in [([[0, 0], [2, 1], [2, 0]], 4), (np.zeros((0, 2)), 3), ([[1, 0], [0, 3]], 2), (np.zeros((0, 2)), 0), ([[3, 0]], 3)]:
            ids = np.array(ids, np.int64).reshape(-1, 2)
            g.case("SparseFillEmptyRows", indices=ids, values=some(dtype, (len(ids),)), dense_shape=i64(n, 4), default_value=some(dtype, (), 9))
        ids = np.array([[2, 1], [0, 3], [2, 0], [0, 0]], np.int64)
        values = some(dtype, (4,))
        g.case("SparseReorder", input_indices=ids, input_values=values, input_shape=i64(3, 4))
        g.case("SparseConcat", indices=[ids[[1]], ids[[3, 0]]], values=[values[:1], values[1:3]], shapes=[i64(3, 4), i64(3, 4)], concat_dim=1)
        g.case("SparseConcat", indices=[ids[[1]], ids[[3, 0]]], values=[values[:1], values[1:3]], shapes=[i64(1, 4), i64(3, 4)], concat_dim=0)
        ordered = ids[[3, 1, 2, 0]]
        g.case("SparseSlice", indices=ordered, values=values, shape=i64(3, 4), start=i64(1, 0), size=i64(5, 1))
        g.case("SparseSplit", split_dim=np.int64(1), indices=ordered, values=values, shape=i64(3, 4), num_split=3)
        g.case("SparseSplit", split_dim=np.int64(0), indices=ordered, values=values, shape=i64(3, 4), num_split=2)
    ids = np.array([[0, 0], [1, 0], [1, 1]], np.int64)
    rows = [i64(2, 2), i64(2, 1)]
    columns = dict(indices=[ids, ids[:2]], shapes=rows)
    words, numbers = texts("a", "b", "c"), i64(7, -2, 2**40 + 1)
    dense_words, dense_numbers = texts("x", "longer than sixteen bytes", "z", "").reshape(2, 2), np.array([[5, 6], [-7, 2**50]], np.int64)
    for buckets in [0, 100, 2**53 - 1]:
        g.case("SparseCross", **columns, values=[words, numbers[:2]], dense_inputs=[dense_words], hashed_output=True, num_buckets=buckets, hash_key=956888297470, out_type=tf.int64, internal_type=tf.int64)
        for strong in [True, False]:
            g.case("SparseCrossHashed", **columns, values=[words, numbers[:2]], dense_inputs=[dense_words] + ([] if strong else [dense_numbers]), num_buckets=np.int64(buckets), strong_hash=np.bool_(strong), salt=i64(3, -9))
    g.case("SparseCross", **columns, values=[words, words[1:]], dense_inputs=[dense_words], hashed_output=False, num_buckets=0, hash_key=1, out_type=tf.string, internal_type=tf.string)
    g.case("SparseCross", **columns, values=[words, numbers[:2]], dense_inputs=[dense_words], hashed_output=False, num_buckets=0, hash_key=1, out_type=tf.string, internal_type=tf.string, text=True)
    g.case("SparseCrossV2", **columns, values=[words, numbers[:2]], dense_inputs=[dense_numbers, dense_words], sep=np.array(b"+", object))
    g.case("SparseCrossV2", indices=[ids[:1], ids[1:]], shapes=[i64(2, 2), i64(2, 2)], values=[words[:1], words[1:]], dense_inputs=[dense_words], sep=np.array(b"_X_", object))
    for adj_a in [False, True]:
        for adj_b in [False, True]:
            b = some(np.float32, (4, 2) if not adj_a else (3, 2))
            g.case("SparseTensorDenseMatMul", a_indices=np.array([[0, 1], [2, 3], [0, 0]], np.int64), a_values=some(np.float32, (3,)), a_shape=i64(3, 4),
                   b=b.T.copy() if adj_b else b, adjoint_a=adj_a, adjoint_b=adj_b)
    g.case("SparseTensorDenseMatMul", a_indices=np.array([[0, 5]], np.int64), a_values=some(np.float32, (1,)), a_shape=i64(3, 4), b=some(np.float32, (4, 2)))


def segments(g):
    for dtype in [np.float32, np.int32, np.int64, np.float64]:
        data = some(dtype, (5, 2))
        for kind in ["Sum", "Mean", "Prod", "Max", "Min"]:
            g.case("Segment" + kind, data=data, segment_ids=i32(0, 0, 2, 2, 3))
            if kind != "Mean":
                g.case("UnsortedSegment" + kind, data=data, segment_ids=i64(2, -1, 0, 2, 2), num_segments=np.int32(4))
                g.case("UnsortedSegment" + kind, data=data, segment_ids=np.array([[0, 1], [1, 1], [2, 0], [0, 0], [2, 2]], np.int32), num_segments=np.int32(3))
        if np.dtype(dtype).kind == "f":
            for kind in ["Sum", "Mean", "SqrtN"]:
                g.case("SparseSegment" + kind, data=data, indices=i32(4, 0, 1, 1), segment_ids=i32(0, 0, 2, 2))
                g.case("SparseSegment" + kind, data=data, indices=i64(), segment_ids=i32())
                g.case(f"SparseSegment{kind}WithNumSegments", data=data, indices=i32(4, 0, 1, 1), segment_ids=i32(0, 0, 2, 2), num_segments=np.int32(4))
    data = some(np.float32, (5, 2))
    for ids in [[1, 0], [0, 0, 0], [-1, 0]]:
        g.case("SegmentSum", data=data[:2], segment_ids=np.array(ids, np.int32))
        g.case("SparseSegmentSum", data=data, indices=i32(0, 1), segment_ids=np.array(ids, np.int32))
    g.case("SparseSegmentSum", data=data, indices=i32(0, 5), segment_ids=i32(0, 0), text=True)
    g.case("SparseSegmentMean", data=data, indices=i32(0, -1), segment_ids=i32(0, 0))
    g.case("SparseSegmentSumWithNumSegments", data=data, indices=i32(0), segment_ids=i32(2), num_segments=np.int32(2))
    g.case("UnsortedSegmentSum", data=data, segment_ids=i32(0, 1, 2, 3, 4), num_segments=np.int32(3))
    g.case("SegmentSum", data=data[:0], segment_ids=i32())


def ragged(g):
    for dtype in [np.float32, object, np.int64]:
        values = some(dtype, (5,))
        default = some(dtype, (), 8)
        for shape in [np.int64(-1), i64(-1, -1), i64(2, 2), i64(-1, 5), i64(4, -1)]:
            g.case("RaggedTensorToTensor", shape=shape, values=values, default_value=default, row_partition_tensors=[i64(0, 2, 2, 5)], row_partition_types=["ROW_SPLITS"])
            g.case("RaggedTensorToTensor", shape=shape, values=values, default_value=default, row_partition_tensors=[np.int64(4), i64(0, 0, 1, 3, 3)],
                   row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"])
        g.case("RaggedTensorToTensor", shape=np.int64(-1), values=values, default_value=default, row_partition_tensors=[i64(0, 1, 3), i64(0, 2, 2, 5)], row_partition_types=["ROW_SPLITS", "ROW_SPLITS"])
        g.case("RaggedTensorToTensor", shape=i64(-1, 1, 4), values=values, default_value=default, row_partition_tensors=[np.int64(2), i64(0, 1, 1), i64(0, 0, 2, 2, 2)],
               row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS", "VALUE_ROWIDS"])
    g.case("RaggedTensorToTensor", shape=np.int32(-1), values=some(np.float32, (3, 2)), default_value=np.float32(7), row_partition_tensors=[i32(0, 1, 3)], row_partition_types=["ROW_SPLITS"])
    g.case("RaggedTensorToTensor", shape=np.int32(-1), values=some(np.float32, (3, 2)), default_value=some(np.float32, (2,)), row_partition_tensors=[i32(0, 1, 3)], row_partition_types=["ROW_SPLITS"])
    g.case("RaggedTensorToTensor", shape=np.int64(-1), values=some(np.float32, (0,)), default_value=np.float32(7), row_partition_tensors=[i64(0, 0)], row_partition_types=["ROW_SPLITS"])
    for dtype in [np.int32, np.int64, np.float32]:
        g.case("RaggedRange", starts=np.array([0, 5, 8], dtype), limits=np.array([3, 5, 4], dtype), deltas=np.array([1, 1, -2], dtype))
        g.case("RaggedRange", starts=np.array(0, dtype), limits=np.array([3, 1], dtype), deltas=np.array(1, dtype), Tsplits=tf.int32)
    for ids in [i32(2, 0, 2), np.array([[1, 2], [0, 0]], np.int64), i32(3), i32()]:
        g.case("RaggedGather", params_nested_splits=[i64(0, 2, 2, 5)], params_dense_values=some(object, (5,)), indices=ids, OUTPUT_RAGGED_RANK=ids.ndim)
        g.case("RaggedGather", params_nested_splits=[i64(0, 1, 3, 3), i64(0, 2, 2, 5)], params_dense_values=some(np.float32, (5, 2)), indices=ids, OUTPUT_RAGGED_RANK=ids.ndim + 1)
    for kind in ["a-b", "b-a", "intersection", "union"]:
        for dtype in [np.int64, np.int32]:
            g.case("DenseToDenseSetOperation", set1=np.array([[1, 5, 3], [7, 7, -2]], dtype), set2=np.array([[3, 9], [7, 7]], dtype), set_operation=kind)
        g.case("DenseToDenseSetOperation", set1=texts("b", "a", "c").reshape(1, 3), set2=texts("c", "d").reshape(1, 2), set_operation=kind)


def random(g):
    for op in ["RandomUniform", "RandomStandardNormal", "TruncatedNormal"]:
        for dtype in [tf.float32, tf.float64, tf.float16, tf.bfloat16]:
            p = g.program(f"{op} {dtype.name}")
            for n in [5, 5, 3]:
                # One node that runs several times goes on where it stopped.
                p.again(op, n == 5 and p.entry["steps"] == [], shape=i32(n), dtype=dtype, seed=7, seed2=2**40 + 3)
    for dtype in [np.int32, np.int64]:
        p = g.program(f"RandomUniformInt {np.dtype(dtype).name}")
        for n in range(2):
            p.again("RandomUniformInt", n == 0, shape=i32(2, 3), minval=np.array(-5, dtype), maxval=np.array(1000, dtype), seed=87654321, seed2=1)
    g.case("RandomUniformInt", shape=i32(2), minval=np.int32(5), maxval=np.int32(5), seed=1)
    for shape in [(7,), (4, 2), (), (1, 3)]:
        for dtype in [np.float32, object]:
            g.case("RandomShuffle", value=some(dtype, shape), seed=3, seed2=4)
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0001]]))
    for dtype in [np.float32, np.float64]:
        for out in [tf.int32, tf.int64]:
            g.case("Multinomial", logits=logits.astype(dtype), num_samples=np.int32(9), seed=5, seed2=6, output_dtype=out)
            g.case("StatelessMultinomial", logits=logits.astype(dtype), num_samples=np.int32(5), seed=i64(5, -6), output_dtype=out)
    g.case("Multinomial", logits=np.array([[np.nan, -np.inf, 0.5, np.inf]], np.float32), num_samples=np.int32(5), seed=1, seed2=1)
    g.case("Multinomial", logits=logits.astype(np.float32)[0], num_samples=np.int32(5), seed=1)
    g.case("Multinomial", logits=logits.astype(np.float32), num_samples=np.int32(-1), seed=1)
    key, counter = np.array([2**63 + 5], np.uint64), np.array([2**64 - 1, 77], np.uint64)
    v2 = dict(key=key, counter=counter, alg=np.int32(1))
    for seed in [i64(1, 2), i64(-1, 2**62 + 5), i32(3, -4)]:
        for op in ["StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal"]:
            for dtype in [tf.float32, tf.float64, tf.float16, tf.bfloat16]:
                if seed.dtype == np.int64 and (seed[0] == 1 or dtype == tf.float32):
                    g.case(op, shape=i32(2, 5), seed=seed, dtype=dtype, tolerance=1e-5)
                if seed.dtype == np.int32:
                    g.case(op + "V2", shape=i64(7), dtype=dtype, tolerance=1e-5, **v2)
        g.case("StatelessRandomGetKeyCounter", seed=seed)
        g.case("StatelessRandomGetKeyCounterAlg", seed=seed)
        for dtype in [np.int32, np.int64]:
            bounds = dict(minval=np.array(-9, dtype), maxval=np.array(2**30, dtype))
            g.case("StatelessRandomUniformInt", shape=i32(5), seed=seed, **bounds)
            g.case("StatelessRandomUniformIntV2", shape=i32(5), **v2, **bounds)
        for dtype in [tf.int32, tf.int64, tf.uint32, tf.uint64]:
            g.case("StatelessRandomUniformFullInt", shape=i32(5), seed=seed, dtype=dtype)
            g.case("StatelessRandomUniformFullIntV2", shape=i32(5), dtype=dtype, **v2)
    g.case("StatelessRandomGetAlg")
    g.case("StatelessRandomUniform", shape=i32(2), seed=i64(1, 2, 3), dtype=tf.float32)
    g.case("StatelessRandomUniformInt", shape=i32(2), seed=i64(1, 2), minval=np.int32(3), maxval=np.int32(2))
    g.case("StatelessRandomUniform", shape=i32(0, 3), seed=i64(1, 2), dtype=tf.float32)


def sparse_more(g):
    ids = np.array([[0, 0], [0, 2], [2, 1], [2, 2]], np.int64)
    shape = i64(4, 3)
    for dtype in [np.float32, np.int64, np.int32, np.float64]:
        v = some(dtype, (4,))
        for axes in [[0], [1], [-1], [0, 1], [], 1]:
            for keep in [False, True]:
                if dtype != np.float32 and (keep or axes != [1]):
                    continue
                for op in ["SparseReduceSum", "SparseReduceMax", "SparseReduceSumSparse", "SparseReduceMaxSparse"]:
                    g.case(op, input_indices=ids, input_values=v, input_shape=shape, reduction_axes=np.array(axes, np.int32), keep_dims=keep)
    for op in ["SparseReduceSum", "SparseReduceSumSparse"]:
        g.case(op, input_indices=ids, input_values=some(np.float32, (4,)), input_shape=shape, reduction_axes=i32(2), text=True)
        g.case(op, input_indices=np.zeros((0, 2), np.int64), input_values=np.array([], np.float32), input_shape=shape, reduction_axes=i32(1))
        g.case(op, input_indices=np.array([[0, 1, 2], [1, 0, 0], [1, 0, 3]], np.int64), input_values=some(np.float32, (3,)), input_shape=i64(2, 2, 4), reduction_axes=i32(1))
    other = np.array([[0, 0], [1, 0], [2, 2]], np.int64)
    for dtype in [np.float32, np.int32, np.int64]:
        a, b = some(dtype, (4,)), some(dtype, (3,), 5)
        both = dict(a_indices=ids, a_values=a, a_shape=shape, b_indices=other, b_values=b, b_shape=shape)
        g.case("SparseAdd", **both, thresh=np.array(0, dtype))
        g.case("SparseSparseMaximum", **both)
        g.case("SparseSparseMinimum", **both)
        for op in ["SparseDenseCwiseAdd", "SparseDenseCwiseMul", "SparseDenseCwiseDiv"]:
            for s in [(4, 3), (3,), (4, 1), ()]:
                d = np.abs(some(dtype, s, 3)) + 1
                g.case(op, sp_indices=ids, sp_values=a, sp_shape=shape, dense=d.astype(dtype))
        g.case("SparseTensorDenseAdd", a_indices=ids, a_values=a, a_shape=shape, b=some(dtype, (4, 3), 4))
    a = some(np.float32, (4,))
    g.case("SparseAdd", a_indices=ids, a_values=a, a_shape=shape, b_indices=ids, b_values=-a, b_shape=shape, thresh=np.float32(0.1))
    g.case("SparseAdd", a_indices=ids, a_values=a, a_shape=shape, b_indices=ids, b_values=a, b_shape=i64(4, 4), thresh=np.float32(0))
    g.case("SparseDenseCwiseMul", sp_indices=ids, sp_values=a, sp_shape=shape, dense=some(np.float32, (2, 3)))
    g.case("SparseTensorDenseAdd", a_indices=ids, a_values=a, a_shape=shape, b=some(np.float32, (3, 3)))
    g.case("SparseSoftmax", sp_indices=ids, sp_values=a, sp_shape=shape)
    g.case("SparseSoftmax", sp_indices=ids, sp_values=a.astype(np.float64), sp_shape=shape)
    # Sets.
    groups = np.array([[0, 0], [0, 1], [0, 3], [2, 0], [2, 2]], np.int64)
    others = np.array([[0, 0], [1, 0], [1, 1], [2, 1]], np.int64)
    for dtype in [np.int64, np.int32, object]:
        x = np.array([5, 3, 5, 9, -2], dtype) if dtype != object else texts("b", "a", "b", "z", "y")
        y = np.array([3, 7, 7, 9], dtype) if dtype != object else texts("a", "q", "q", "z")
        dense = np.array([[3, 5, 5], [7, 1, 7], [-2, 0, 9]], dtype) if dtype != object else texts(*"abbqcqyxz").reshape(3, 3)
        g.case("SetSize", set_indices=groups, set_values=x, set_shape=i64(4, 4))
        for kind in ["a-b", "b-a", "intersection", "union"]:
            g.case("SparseToSparseSetOperation", set1_indices=groups, set1_values=x, set1_shape=i64(3, 4), set2_indices=others, set2_values=y, set2_shape=i64(3, 2), set_operation=kind)
            g.case("DenseToSparseSetOperation", set1=dense, set2_indices=others, set2_values=y, set2_shape=i64(3, 2), set_operation=kind)
    x = i64(1, 2, 3, 4, 5)
    g.case("SetSize", set_indices=groups[::-1].copy(), set_values=x, set_shape=i64(4, 4))
    g.case("SetSize", set_indices=groups, set_values=x, set_shape=i64(2, 4))
    g.case("SetSize", set_indices=groups[:, :1].copy(), set_values=x, set_shape=i64(4))
    g.case("SparseToSparseSetOperation", set1_indices=groups, set1_values=x, set1_shape=i64(3, 4), set2_indices=others, set2_values=x[:4], set2_shape=i64(4, 2), set_operation="union")
    g.case("DenseToSparseSetOperation", set1=np.array([[1, 2]]), set2_indices=others, set2_values=x[:4], set2_shape=i64(3, 2), set_operation="union")
    g.case("SparseToSparseSetOperation", set1_indices=groups, set1_values=x, set1_shape=i64(3, 4), set2_indices=groups, set2_values=x, set2_shape=i64(3, 4), set_operation="what")
    # Counts.
    for dtype in [np.int32, np.int64]:
        values = np.array([1, 3, 3, 9, 0, 1], dtype)
        splits, sparse_ids = i64(0, 2, 2, 6), np.array([[0, 0], [0, 1], [2, 0], [2, 1], [2, 2], [2, 3]], np.int64)
        for out in [np.float32, np.int64]:
            for weights in [np.array([], out), np.array([1, 2, 3, 4, 5, 6], out)]:
                for binary in [False, True]:
                    if binary and len(weights):
                        continue
                    for limits in [dict(), dict(minlength=12), dict(maxlength=3)] if dtype == np.int64 and out == np.float32 else [dict()]:
                        kw = dict(binary_output=binary, **limits)
                        g.case("DenseCountSparseOutput", values=values, weights=weights, **kw)
                        g.case("DenseCountSparseOutput", values=values.reshape(2, 3), weights=weights.reshape(2, 3) if len(weights) else weights, **kw)
                        g.case("RaggedCountSparseOutput", splits=splits, values=values, weights=weights, **kw)
                        g.case("SparseCountSparseOutput", indices=sparse_ids, values=values, dense_shape=i64(3, 5), weights=weights, **kw)
                    g.case("RaggedBincount", splits=splits, values=values, size=np.array(4, dtype), weights=weights, binary_output=binary)
                    g.case("SparseBincount", indices=sparse_ids, values=values, dense_shape=i64(3, 5), size=np.array(10, dtype), weights=weights, binary_output=binary)
                    g.case("SparseBincount", indices=sparse_ids[:, 1:].copy(), values=values, dense_shape=i64(5), size=np.array(4, dtype), weights=weights, binary_output=binary)
    none = np.array([], np.float32)
    g.case("DenseCountSparseOutput", values=i32(1, -1), weights=none, binary_output=False)
    g.case("DenseCountSparseOutput", values=i32(1, 2), weights=np.array([1], np.float32), binary_output=False)
    g.case("DenseCountSparseOutput", values=np.int32(1), weights=none, binary_output=False)
    g.case("RaggedCountSparseOutput", splits=i64(0, 1), values=i32(1, 2), weights=none, binary_output=False)
    g.case("RaggedCountSparseOutput", splits=i64(1, 2), values=i32(1, 2), weights=none, binary_output=False)
    g.case("SparseCountSparseOutput", indices=np.array([[5, 0]], np.int64), values=i32(1), dense_shape=i64(3, 5), weights=none, binary_output=False)
    g.case("RaggedBincount", splits=i64(0, 2), values=i32(1, 2), size=np.int32(-1), weights=none)
    for op, more in [("RaggedBincount", {"size": np.int32(3)}), ("RaggedCountSparseOutput", {"binary_output": False})]:
        g.case(op, splits=i64(0), values=np.array([], np.int32), weights=none, **more)
        g.case(op, splits=np.array([], np.int64), values=np.array([], np.int32), weights=none, **more)
    g.case("RaggedBincount", splits=i64(0, 2), values=i32(1, -2), size=np.int32(5), weights=none)
    g.case("SparseBincount", indices=np.array([[0, 0]], np.int64), values=i32(7), dense_shape=i64(3, 5), size=np.int32(4), weights=none)
    # Edit distance.
    for dtype in [object, np.int64, np.int32]:
        make = lambda s: texts(*s) if dtype == object else np.array([ord(c) for c in s], dtype)  # noqa: E731
        for normalize in [True, False]:
            g.case("EditDistance", hypothesis_indices=np.array([[0, 0], [0, 1], [0, 2], [1, 0], [3, 0]], np.int64), hypothesis_values=make("abcxz"), hypothesis_shape=i64(4, 3),
                   truth_indices=np.array([[0, 0], [0, 1], [2, 0], [2, 1], [3, 0]], np.int64), truth_values=make("acqrz"), truth_shape=i64(4, 2), normalize=normalize)
    g.case("EditDistance", hypothesis_indices=np.array([[0]], np.int64), hypothesis_values=i64(1), hypothesis_shape=i64(4), truth_indices=np.array([[0]], np.int64), truth_values=i64(1), truth_shape=i64(4))


def ragged_more(g):
    for dtype in [np.float32, object]:
        for splits in [i64(0, 2, 2, 5), i32(0, 5)]:
            g.case("RaggedTensorToSparse", rt_nested_splits=[splits], rt_dense_values=some(dtype, (5,)))
            g.case("RaggedTensorToSparse", rt_nested_splits=[splits], rt_dense_values=some(dtype, (5, 2)))
        g.case("RaggedTensorToSparse", rt_nested_splits=[i64(0, 1, 1, 3), i64(0, 2, 2, 5)], rt_dense_values=some(dtype, (5,)))
        g.case("RaggedTensorToSparse", rt_nested_splits=[i64(0)], rt_dense_values=some(dtype, (0,)))
        g.case("RaggedFillEmptyRows", value_rowids=i64(0, 2, 2), values=some(dtype, (3,)), nrows=np.int64(4), default_value=some(dtype, (), 3))
        g.case("RaggedFillEmptyRows", value_rowids=i64(), values=some(dtype, (0,)), nrows=np.int64(2), default_value=some(dtype, (), 3))
    for splits in [i64(1, 5), i64(0, 3, 2, 5), i64(0, 4), i64(0, 6)]:
        g.case("RaggedTensorToSparse", rt_nested_splits=[splits], rt_dense_values=some(np.float32, (5,)))
    g.case("RaggedFillEmptyRows", value_rowids=i64(5), values=some(np.float32, (1,)), nrows=np.int64(4), default_value=np.float32(0))
    g.case("RaggedFillEmptyRows", value_rowids=i64(0, 1), values=some(np.float32, (1,)), nrows=np.int64(4), default_value=np.float32(0))
    words, numbers = texts("a", "bb", "c"), i64(7, -1, 2**60)
    sparse = dict(sparse_indices=[np.array([[0, 0], [1, 0], [1, 1]], np.int64)], sparse_shape=[i64(2, 2)])
    for splits_type in [np.int64, np.int32]:
        splits = np.array([0, 2, 3], splits_type)
        for order, kw in [("RD", dict(sparse_indices=[], sparse_values=[], sparse_shape=[])), ("DSR", dict(**sparse, sparse_values=[words]))]:
            args = dict(ragged_values=[words], ragged_row_splits=[splits], dense_inputs=[numbers[:2].reshape(2, 1)], input_order=order, out_row_splits_type=tf.as_dtype(splits_type), **kw)
            g.case("RaggedCross", hashed_output=False, num_buckets=0, hash_key=0, out_values_type=tf.string, **args)
            for buckets in [0, 1000, 2**53 - 1]:
                g.case("RaggedCross", hashed_output=True, num_buckets=buckets, hash_key=956888297470, out_values_type=tf.int64, **args)
        g.case("RaggedCross", ragged_values=[numbers], ragged_row_splits=[splits], dense_inputs=[words.reshape(3, 1)], sparse_indices=[], sparse_values=[], sparse_shape=[], input_order="RD",
               hashed_output=True, num_buckets=5, hash_key=3, out_values_type=tf.int64, out_row_splits_type=tf.as_dtype(splits_type))


def feature(value):
    """A Feature of the values' kind; None: one without a list."""
    if value is None:
        return tf.train.Feature()
    if not value or isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    if isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def sequence(context, lists):
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={k: feature(v) for k, v in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list={k: tf.train.FeatureList(feature=[feature(v) for v in rows]) for k, rows in lists.items()}),
    ).SerializeToString(deterministic=True)


def parse_sequence(g):
    none = {tf.float32: np.array([], np.float32), tf.int64: np.array([], np.int64), tf.string: np.array([], object)}

    def one(serialized, cs=(), cd=(), cr=(), ls=(), ld=(), lr=(), names=()):
        """cs, ls: (key, type). cd: (key, type, shape, default). ld: (key, type, shape, may be missing). cr, lr: (key, type, splits)."""
        serialized = np.array(serialized, object)
        keys = lambda specs: texts(*[s[0] for s in specs])  # noqa: E731
        defaults = [s[3] if s[3] is not None else none[s[1]] for s in cd]
        types = dict(context_sparse_types=[s[1] for s in cs], context_dense_shapes=[s[2] for s in cd], feature_list_sparse_types=[s[1] for s in ls],
                     feature_list_dense_types=[s[1] for s in ld], feature_list_dense_shapes=[s[2] for s in ld])
        names = np.array(list(names), object)
        ragged = {}
        for prefix, specs in [("context", cr), ("feature_list", lr)]:
            ragged[f"{prefix}_ragged_keys"] = keys(specs)
            ragged[f"{prefix}_ragged_value_types"] = [s[1] for s in specs]
            ragged[f"{prefix}_ragged_split_types"] = [s[2] for s in specs]
        g.case("ParseSequenceExampleV2", serialized=serialized, debug_name=names if serialized.ndim else np.array(names[0] if len(names) else b"", object), context_sparse_keys=keys(cs), context_dense_keys=keys(cd),
               feature_list_sparse_keys=keys(ls), feature_list_dense_keys=keys(ld), feature_list_dense_missing_assumed_empty=np.array([s[3] for s in ld], np.bool_),
               context_dense_defaults=defaults, Ncontext_sparse=len(cs), Nfeature_list_sparse=len(ls), Nfeature_list_dense=len(ld), **types, **ragged)
        if cr or lr:
            # Row splits of a single example: a scalar that TensorFlow does not initialise.
            for output in g.cases[-1].get("outputs", []):
                if serialized.ndim == 0 and output["s"] == [] and output["d"] in ("int32", "int64"):
                    output["v"] = [0]
            return
        missing = [s[0] for s in ld if s[3]]
        if serialized.ndim == 1:
            g.case("ParseSequenceExample", serialized=serialized, debug_name=names, context_dense_defaults=defaults, feature_list_dense_missing_assumed_empty=missing,
                   context_sparse_keys=[s[0] for s in cs], context_dense_keys=[s[0] for s in cd], feature_list_sparse_keys=[s[0] for s in ls], feature_list_dense_keys=[s[0] for s in ld],
                   Ncontext_sparse=len(cs), Ncontext_dense=len(cd), Nfeature_list_sparse=len(ls), Nfeature_list_dense=len(ld), **types)
        else:
            each = lambda specs: [np.array(s[0].encode(), object) for s in specs]  # noqa: E731
            g.case("ParseSingleSequenceExample", serialized=serialized, feature_list_dense_missing_assumed_empty=texts(*missing), context_sparse_keys=each(cs),
                   context_dense_keys=each(cd), feature_list_sparse_keys=each(ls), feature_list_dense_keys=each(ld), context_dense_defaults=defaults,
                   debug_name=np.array(names[0] if len(names) else b"", object), **types)

    a = sequence({"x": [1.5], "i": [1, -2], "s": [b"hi"]}, {"f": [[1.0, 2.0], [3.0, 4.0]], "n": [[1], [], [2, 3]], "t": [[b"a"], [b"bc"]]})
    b = sequence({"x": [2.5], "i": []}, {"f": [[5.0, 6.0]], "n": [[7]], "t": []})
    c = sequence({}, {"n": [None, [4]]})
    f, i, s = tf.float32, tf.int64, tf.string
    for batch in [[a, b], [b, a, b], [], a]:
        one(batch, cs=[("i", i), ("s", s)], cd=[("x", f, [1], None)], ls=[("n", i), ("t", s)], ld=[("f", f, [2], False)])
        one(batch, cr=[("i", i, tf.int64), ("s", s, tf.int32)], lr=[("n", i, tf.int64), ("t", s, tf.int32)])
    for batch in [[a, c], [c], c]:
        one(batch, cs=[("i", i)], cd=[("x", f, [], np.float32(9))], ls=[("n", i), ("f", f)], ld=[("f2", f, [2], True)])
        one(batch, ld=[("f", f, [2], True), ("t", s, [1], True)])
        one(batch, ld=[("f", f, [2], False)])
        one(batch, cd=[("x", f, [], None)])
        one(batch, cr=[("x", f, tf.int64)], lr=[("f", f, tf.int64), ("n", i, tf.int32)])
    one([a, b], ld=[("n", i, [1], False)])
    one([a], ld=[("f", i, [2], False)])
    one([a], ls=[("f", i)])
    one([a], cs=[("x", i)])
    one([a], cd=[("i", i, [1], None)])
    one([a], cd=[("i", i, [2], None)], names=[b"first"])
    one([a], cd=[("x", f, [1], np.array([1, 2], np.float32))])
    one([b"garbage"], cs=[("x", f)])
    one([a, b], cs=[("x", f)], names=[b"one"])


def png(rows, depth, colour, interlace=False, palette=b"", transparency=None):
    """A PNG file of rows [height][width][samples]."""
    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    rows = np.asarray(rows)
    height, width, samples = rows.shape
    raw = b""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlace else [(0, 0, 1, 1)]
    for x, y, dx, dy in passes:
        part = rows[y::dy, x::dx]
        if part.shape[1] == 0:
            continue
        step = max(1, samples * depth // 8)
        previous = None
        for n, row in enumerate(part):
            flat = row.reshape(-1)
            line = flat.astype(">u2").tobytes() if depth == 16 else np.packbits(((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)).tobytes()
            kind = n % 5
            coded = bytearray()
            for i, value in enumerate(line):
                left = line[i - step] if i >= step else 0
                up = previous[i] if previous else 0
                corner = previous[i - step] if previous and i >= step else 0
                estimate = left + up - corner
                best = min((abs(estimate - left), 0, left), (abs(estimate - up), 1, up), (abs(estimate - corner), 2, corner))[2]
                coded.append((value - [0, left, up, (left + up) // 2, best][kind]) % 256)
            raw += bytes([kind]) + bytes(coded)
            previous = line
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, int(interlace)])
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (chunk(b"PLTE", palette) if palette else b"")
    return out + (chunk(b"tRNS", transparency) if transparency is not None else b"") + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def bmp(pixels, top_down=False):
    height, width, channels = pixels.shape
    rows = [p.tobytes() + b"\0" * (-width * channels % 4) for p in (pixels if top_down else pixels[::-1])]
    head = 14 + 40
    size = (-height if top_down else height).to_bytes(4, "little", signed=True)
    return (b"BM" + (head + sum(map(len, rows))).to_bytes(4, "little") + bytes(4) + head.to_bytes(4, "little") + (40).to_bytes(4, "little") + width.to_bytes(4, "little") + size
            + (1).to_bytes(2, "little") + (8 * channels).to_bytes(2, "little") + bytes(24) + b"".join(rows))


def gif(width, height, frames, palette):
    """frames: (left, top, indices [h][w], transparent index or None, interlaced). Codes are never compressed: a clear code keeps them at one width."""
    out = b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + bytes([0x80 | 1, 0, 0]) + bytes(palette)
    for left, top, indices, transparent, interlaced in frames:
        if transparent is not None:
            out += b"\x21\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
        h, w = indices.shape
        order = [y for s, d in [(0, 8), (4, 8), (2, 4), (1, 2)] for y in range(s, h, d)] if interlaced else range(h)
        codes = []
        for n, value in enumerate(v for y in order for v in indices[y]):
            codes += ([4] if n % 2 == 0 else []) + [int(value)]
        bits = "".join(format(c, "03b")[::-1] for c in codes + [5])
        data = bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, len(bits), 8))
        out += b"\x2c" + b"".join(v.to_bytes(2, "little") for v in (left, top, w, h)) + bytes([0x40 if interlaced else 0, 2])
        out += b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255)) + b"\0"
    return out + b";"


def images(g):
    r = np.random.RandomState(5)
    y, x = np.mgrid[0:18, 0:19]
    smooth = np.stack([(x * 11 + y) % 256, (y * 13) % 256, (x * y) % 256], -1).astype(np.uint8)
    noise = r.randint(0, 256, (17, 18, 3)).astype(np.uint8)
    wrap = lambda data: np.array(data, object)  # noqa: E731
    files = {}
    for name, pixels in [("smooth", smooth), ("noise", noise), ("tiny", noise[:1, :1]), ("narrow", noise[:9, :3])]:
        for quality, progressive, subsampled in [(95, False, True), (50, True, True), (80, False, False), (100, True, False)]:
            if name in ("tiny", "narrow") and quality not in (95, 80):
                continue
            files[name, quality] = tf.io.encode_jpeg(pixels, quality=quality, progressive=progressive, chroma_downsampling=subsampled).numpy()
            g.case("DecodeJpeg", contents=wrap(files[name, quality]))
    jpeg = files["smooth", 95]
    grey = tf.io.encode_jpeg(smooth[:, :, :1], format="grayscale").numpy()
    for channels in [0, 1, 3]:
        g.case("DecodeJpeg", contents=wrap(grey), channels=channels)
        g.case("DecodeJpeg", contents=wrap(files["noise", 50]), channels=channels)
    for data in [jpeg, files["noise", 95]]:
        g.case("DecodeJpeg", contents=wrap(data), dct_method="INTEGER_ACCURATE")
        g.case("DecodeJpeg", contents=wrap(data), dct_method="INTEGER_FAST", fancy_upscaling=False)
    g.case("DecodeAndCropJpeg", contents=wrap(jpeg), crop_window=i32(3, 4, 8, 9))
    g.case("DecodeAndCropJpeg", contents=wrap(jpeg), crop_window=i32(3, 4, 80, 9))
    for dtype in [tf.uint8, tf.uint16, tf.float32]:
        g.case("DecodeImage", contents=wrap(files["narrow", 95]), dtype=dtype)
    for bad in [b"", b"x", jpeg[:40], jpeg[: len(jpeg) // 2], b"\xff\xd8\xff\xd9", b"GIF8", b"BM", b"\x89PNG\r\n\x1a\n"]:
        g.case("DecodeJpeg", contents=wrap(bad))
        g.case("DecodeImage", contents=wrap(bad))
    g.case("DecodeJpeg", contents=np.array([jpeg], object))
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    palette = bytes(r.randint(0, 256, 48).tolist())
    pngs = []
    for colour, depths in [(0, [1, 2, 4, 8, 16]), (2, [8, 16]), (3, [1, 2, 4]), (4, [8, 16]), (6, [8, 16])]:
        for depth in depths:
            for interlace in [False, True]:
                rows = r.randint(0, 2**depth, (5, 6, samples[colour]))
                pngs.append((colour, depth, interlace, png(rows, depth, colour, interlace, palette if colour == 3 else b"")))
    rows = r.randint(0, 4, (4, 5, 1))
    pngs.append((3, 2, False, png(rows, 2, 3, palette=palette[:12], transparency=bytes([0, 128]))))
    pngs.append((0, 8, False, png(rows, 8, 0, transparency=bytes([0, 2]))))
    pngs.append((2, 8, False, png(np.repeat(rows, 3, 2), 8, 2, transparency=bytes([0, 1, 0, 1, 0, 1]))))
    for colour, depth, interlace, data in pngs:
        for channels in [0, 1, 3, 4] if not interlace else [0]:
            g.case("DecodePng", contents=wrap(data), channels=channels)
        if not interlace and depth in (2, 8, 16):
            g.case("DecodePng", contents=wrap(data), dtype=tf.uint16)
            g.case("DecodeImage", contents=wrap(data), dtype=tf.float32)
    data = pngs[8][3]
    g.case("DecodePng", contents=wrap(data[:-30]))
    g.case("DecodePng", contents=wrap(data[:40] + b"\xee" + data[41:]))
    g.case("DecodeJpeg", contents=wrap(data))
    g.case("DecodePng", contents=wrap(files["tiny", 95]))
    for channels in [1, 3, 4]:
        pixels = r.randint(0, 256, (3, 5, channels)).astype(np.uint8)
        for top_down in [False, True]:
            for wanted in [0, 1, 3, 4] if top_down else [0]:
                g.case("DecodeBmp", contents=wrap(bmp(pixels, top_down)), channels=wanted)
        g.case("DecodeImage", contents=wrap(bmp(pixels)), channels=0)
    g.case("DecodeBmp", contents=wrap(bmp(noise)[:100]))
    g.case("DecodePng", contents=wrap(bmp(noise)))
    g.case("DecodeBmp", contents=wrap(data))
    colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]
    index = r.randint(0, 4, (9, 8))
    one = gif(8, 9, [(0, 0, index, None, False)], colours)
    two = gif(8, 9, [(0, 0, index, None, True), (2, 3, r.randint(0, 4, (3, 4)), 1, False)], colours)
    part = gif(8, 9, [(2, 3, r.randint(0, 4, (3, 4)), 2, False)], colours)
    for data in [one, two, part, one[:-20]]:
        g.case("DecodeGif", contents=wrap(data))
        g.case("DecodeImage", contents=wrap(data))
        g.case("DecodeImage", contents=wrap(data), expand_animations=False)
        g.case("DecodePng", contents=wrap(data))
    g.case("DecodeGif", contents=wrap(files["tiny", 95]))


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


def matrix_parts(g):
    for dtype in [np.float32, np.int64, np.bool_]:
        x = some(dtype, (2, 3, 4))
        for lower, upper in [(0, 0), (-1, 0), (1, -1), (1, 2), (-1, -1)]:
            g.case("MatrixBandPart", input=x, num_lower=np.int64(lower), num_upper=np.int64(upper))
        g.case("MatrixDiag", diagonal=some(dtype, (2, 3)))
        g.case("MatrixDiagPart", input=x)
        g.case("MatrixSetDiag", input=x, diagonal=some(dtype, (2, 3), 5))
        if dtype != np.bool_:
            g.case("Diag", diagonal=some(dtype, (2, 3)))
            g.case("DiagPart", input=some(dtype, (2, 3, 2, 3)))
    x = some(np.float32, (2, 3, 4))
    g.case("MatrixBandPart", input=x, num_lower=np.int64(4), num_upper=np.int64(0))
    for k in [[0], [1], [-1], [-1, 1], [-2, -1], [0, 3], [1, 0], [5, 6], [0, 1, 2]]:
        for align in ["RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"] if k == [-1, 1] else ["RIGHT_LEFT"]:
            g.case("MatrixDiagPartV3", input=x, k=np.array(k, np.int32), padding_value=np.float32(9), align=align)
            count = k[-1] - k[0] + 1
            longest = min(3 + min(k[-1], 0), 4 - max(k[0], 0))
            if len(k) < 3 and count > 0 and longest > 0:
                d = some(np.float32, (2, longest) if count == 1 else (2, count, longest), 3)
                g.case("MatrixSetDiagV3", input=x, diagonal=d, k=np.array(k, np.int32), align=align)
                for rows, columns in [(-1, -1), (3, 4), (9, 9)]:
                    g.case("MatrixDiagV3", diagonal=d, k=np.array(k, np.int32), num_rows=np.int32(rows), num_cols=np.int32(columns), padding_value=np.float32(7), align=align)
        g.case("MatrixDiagPartV2", input=x, k=np.array(k, np.int32), padding_value=np.float32(9))
    d = some(np.float32, (2, 3))
    g.case("MatrixDiagV2", diagonal=d, k=i32(1), num_rows=np.int32(-1), num_cols=np.int32(-1), padding_value=np.float32(0))
    g.case("MatrixSetDiagV2", input=x, diagonal=d, k=i32(0))
    g.case("MatrixSetDiagV2", input=x, diagonal=d, k=i32(2))


def strings_more(g):
    value = "a\u00e9\U0001f600\x07z"
    encoded = {"UTF-8": value.encode(), "UTF-16-BE": value.encode("utf-16-be"), "UTF-16LE": value.encode("utf-16-le"), "UTF-32-BE": value.encode("utf-32-be"),
               "UTF-32LE": value.encode("utf-32-le"), "ISO-8859-1": b"a\xe9\x07z", "US-ASCII": b"a\xe9\x07z"}
    broken = {"UTF-8": b"x\xffy\xc3", "UTF-16-BE": b"\x00a\xd8\x00\x00b\xdc\x00\x00c", "UTF-32-BE": b"\x00\x11\x00\x00\x00\x00\x00a\x00\x00"}
    for name, data in encoded.items():
        g.case("UnicodeDecodeWithOffsets", input=texts(data, b""), input_encoding=name)
        for to in ["UTF-8", "UTF-16-BE", "UTF-32-BE"]:
            g.case("UnicodeTranscode", input=texts(data, b"").reshape(2, 1), input_encoding=name, output_encoding=to)
    for name, data in broken.items():
        for errors in ["replace", "ignore", "strict"]:
            g.case("UnicodeTranscode", input=texts(data), input_encoding=name, output_encoding="UTF-8", errors=errors, replacement_char=63)
            g.case("UnicodeDecodeWithOffsets", input=texts(data), input_encoding=name, errors=errors)
    for errors in ["replace", "ignore"]:
        g.case("UnicodeTranscode", input=texts(value), input_encoding="UTF-8", output_encoding="UTF-8", errors=errors, replace_control_characters=True)
        g.case("UnicodeDecode", input=texts(value), input_encoding="UTF-8", errors=errors, replace_control_characters=True)
    for to in ["UTF-16-BE", "UTF-32-BE"]:
        g.case("UnicodeEncode", input_values=i32(97, 233, 0x1F600, 0xD800), input_splits=i64(0, 2, 4), output_encoding=to)
    for x in [some(np.float32, (2, 3)), some(np.int64, (2,)), some(object, (2, 2)), np.int32(5), some(np.bool_, (3,)), some(np.float16, (2,)), some(np.float32, (0, 2)), some(np.complex64, (2,))]:
        g.case("SerializeTensor", tensor=x)
        data = tf.io.serialize_tensor(x).numpy()
        g.case("ParseTensor", serialized=np.array(data, object), out_type=tf.as_dtype(x.dtype) if x.dtype != object else tf.string)
    g.case("ParseTensor", serialized=np.array(data, object), out_type=tf.float32)
    g.case("ParseTensor", serialized=np.array(b"\xff\xff", object), out_type=tf.float32)
    g.case("ParseTensor", serialized=texts("", ""), out_type=tf.float32)
    for x in [some(np.float32, (3, 2)), some(np.int64, (2,)), some(object, (3,)), some(object, (2, 2)), some(object, (2, 1)), some(np.uint8, (2, 2, 3)), some(np.float32, (0, 2))]:
        g.case("Fingerprint", data=x, method=np.array(b"farmhash64", object))
    g.case("Fingerprint", data=some(np.float32, (3, 2)), method=np.array(b"md5", object))
    g.case("Fingerprint", data=np.float32(1), method=np.array(b"farmhash64", object))
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    zipped = compress.compress(b"hello" * 9) + compress.flush()
    g.case("DecodeCompressed", bytes=texts(zlib.compress(b"hello" * 20), zlib.compress(b"")), compression_type="ZLIB")
    g.case("DecodeCompressed", bytes=texts(zipped), compression_type="GZIP")
    g.case("DecodeCompressed", bytes=texts("plain"), compression_type="")


def array_more(g):
    for k, v in [(i64(3, 7, 3, -5), some(np.float32, (4, 2))), (texts("a", "b", "a", ""), i64(1, 2, 3, 4))]:
        p = g.program(f"MutableDenseHashTableV2 {k.dtype}")
        reserved = (np.int64(-1), np.int64(-2)) if k.dtype != object else (np.array(b"<empty>", object), np.array(b"<gone>", object))
        t = p.step("MutableDenseHashTableV2", empty_key=reserved[0], deleted_key=reserved[1], value_dtype=tf.as_dtype(v.dtype), value_shape=list(v.shape[1:]), shared_name="dense")
        none = v[3]
        p.step("LookupTableInsertV2", table_handle=t, keys=k[:3], values=v[:3])
        p.step("LookupTableFindV2", table_handle=t, keys=k, default_value=np.asarray(none))
        p.step("LookupTableSizeV2", table_handle=t)
        p.step("LookupTableRemoveV2", table_handle=t, keys=k[:1])
        p.step("LookupTableFindV2", table_handle=t, keys=k[:2], default_value=np.asarray(none))
        p.step("LookupTableSizeV2", table_handle=t)
        for key in reserved:
            p.step("LookupTableFindV2", table_handle=t, keys=key.reshape(1), default_value=np.asarray(none), text=True)
            p.step("LookupTableInsertV2", table_handle=t, keys=key.reshape(1), values=v[:1], text=True)
            p.step("LookupTableRemoveV2", table_handle=t, keys=key.reshape(1), text=True)
    a, b = np.array([1, 2, np.nan], np.float32), np.array([1.000001, 2.1, np.nan], np.float32)
    g.case("ApproximateEqual", x=a, y=b)
    g.case("AccumulateNV2", inputs=[a, b], shape=[3])
    g.case("CheckNumericsV2", tensor=a, message="oh")
    g.case("Inv", x=np.array([2, -4], np.float32))
    g.case("ConjugateTranspose", x=some(np.complex64, (2, 3)), perm=i32(1, 0))
    g.case("PreventGradient", input=a)
    g.case("Snapshot", input=a)
    for dtype in [np.float32, np.int64]:
        x = some(dtype, (3, 4))
        for begin, end, strides, masks, shape in [((0, 1), (2, 3), (1, 1), {}, (2, 2)), ((2, 0), (0, 4), (-1, 2), {}, (2, 2)), ((1, 0), (2, 4), (1, 1), dict(shrink_axis_mask=1), (4,)),
                                                  ((0, 0), (3, 4), (1, 1), dict(begin_mask=3, end_mask=3), (3, 4)), ((0, 1), (2, 3), (1, 1), {}, (3, 3)), ((0, 0), (2, 0), (1, 1), {}, (2, 0))]:
            g.case("TensorStridedSliceUpdate", input=x, begin=np.array(begin, np.int32), end=np.array(end, np.int32), strides=np.array(strides, np.int32), value=some(dtype, shape, 5), **masks)
        g.case("ScatterNdNonAliasingAdd", input=some(dtype, (4,)), indices=np.array([[1], [3], [1]], np.int64), updates=some(dtype, (3,), 8))
    for index in [np.int32, np.int64]:
        g.case("ConcatOffset", concat_dim=np.int32(1), shape=[np.array([2, 3, 4], index), np.array([2, 5, 4], index), np.array([2, 1, 4], index)])
        g.case("UnravelIndex", indices=np.array([5, 0, 11], index), dims=np.array([3, 4], index))
        g.case("UnravelIndex", indices=np.array(7, index), dims=np.array([2, 2, 3], index))
        g.case("UnravelIndex", indices=np.array([12], index), dims=np.array([3, 4], index))
        p = np.array([[1, 5, 5, 2], [9, 1, 2, 3], [np.nan, 1, 2, 3], [4, 3, np.inf, 1]], np.float32)
        for k in [1, 2, 4]:
            g.case("InTopK", predictions=p, targets=np.array([2, 3, 1, 0], index), k=k)
            g.case("InTopKV2", predictions=p, targets=np.array([0, 9, -1, 2], index), k=np.array(k, index))
    g.case("ConcatOffset", concat_dim=np.int32(-1), shape=[i32(2, 3), i32(2, 5)])
    g.case("ConcatOffset", concat_dim=np.int32(2), shape=[i32(2, 3), i32(2, 5)])
    g.case("ConcatOffset", concat_dim=np.int32(0), shape=[i32(2, 3), i32(2, 5)])
    x = np.array([[-3, -1.5, 0, 0.25], [1, 2.5, 3, 7]], np.float32)
    for dtype in [tf.quint8, tf.qint8]:
        for mode in ["MIN_COMBINED", "SCALED"]:
            for low, high in [(-2, 3), (0, 6), (-1, -1)]:
                g.case("QuantizeV2", input=x, min_range=np.float32(low), max_range=np.float32(high), T=dtype, mode=mode)
        g.case("QuantizeV2", input=x, min_range=np.float32(-2), max_range=np.float32(3), T=dtype, mode="SCALED", round_mode="HALF_TO_EVEN", narrow_range=True)
        g.case("QuantizeV2", input=x, min_range=np.array([-2, 0], np.float32), max_range=np.array([3, 9], np.float32), T=dtype, mode="SCALED", axis=0)
        g.case("QuantizeV2", input=x, min_range=np.float32(2), max_range=np.float32(1), T=dtype)
        codes = np.array([[0, 1, 100], [127, -128 if dtype == tf.qint8 else 255, 7]])
        q = codes.astype(dtype.as_numpy_dtype)
        for mode in ["MIN_COMBINED", "SCALED"]:
            for low, high in [(-2, 3), (0, 6)]:
                g.case("Dequantize", input=q, min_range=np.float32(low), max_range=np.float32(high), mode=mode)
            g.case("Dequantize", input=q, min_range=np.array([-2, 0], np.float32), max_range=np.array([3, 9], np.float32), mode=mode, axis=0, narrow_range=True, static=True)


def leftovers(g):
    """Ops that no other family has: old names, and what takes a variable."""
    for dtype in [np.float32, np.int64, object, np.bool_]:
        g.case("Reverse", tensor=some(dtype, (2, 3)), dims=np.array([True, False]))
        g.case("PlaceholderWithDefault", input=some(dtype, (2,)), shape=tf.TensorShape([2]))
        if dtype != object:
            g.case("Snapshot", input=some(dtype, (2,)))
        g.case("PreventGradient", input=some(dtype, (2,)))
        g.case("GuaranteeConst", input=some(dtype, (2,)))
        g.case("Empty", shape=i32(2, 3), dtype=tf.as_dtype(dtype if dtype != object else tf.string), init=True)
    g.case("DeepCopy", x=some(np.float32, (2, 3)))
    g.case("Reverse", tensor=some(np.float32, (2, 3)), dims=np.array([True]))
    p = g.program("variable of a resource")
    v = p.step("VarHandleOp", dtype=tf.float32, shape=[4, 2], shared_name="rows")
    p.step("AssignVariableOp", resource=v, value=some(np.float32, (4, 2)))
    for ids in [i64(3, 0, 3), np.array([[1], [2]], np.int32), i32(4), i32(-1)]:
        p.step("ResourceGather", resource=v, indices=ids, dtype=tf.float32)
    for ids in [i64(3, 1), np.array([[1], [2]], np.int32), np.array([[4]], np.int32)]:
        p.step("ResourceGatherNd", resource=v, indices=ids, dtype=tf.float32)
    for table in ["AnonymousHashTable", "AnonymousMutableHashTable"]:
        p = g.program(table)
        t = p.step(table, key_dtype=tf.string, value_dtype=tf.int64)
        p.step("LookupTableFindV2", table_handle=t, keys=texts("a"), default_value=np.int64(-1))
        p.step("LookupTableSizeV2", table_handle=t)
    p = g.program("AnonymousMutableHashTableOfTensors")
    t = p.step("AnonymousMutableHashTableOfTensors", key_dtype=tf.int64, value_dtype=tf.float32, value_shape=[2])
    p.step("LookupTableSizeV2", table_handle=t)
    p = g.program("AnonymousMutableDenseHashTable")
    t = p.step("AnonymousMutableDenseHashTable", empty_key=np.int64(-1), deleted_key=np.int64(-2), value_dtype=tf.float32, value_shape=[])
    p.step("LookupTableSizeV2", table_handle=t)
    p = g.program("variable of a reference")
    v = p.step("VariableV2", shape=[2], dtype=tf.float32, shared_name="old")
    p.step("IsVariableInitialized", ref=v)
    p.step("Assign", ref=v, value=some(np.float32, (2,)), validate_shape=True)
    p.step("AssignAdd", ref=v, value=some(np.float32, (2,), 2))
    p.step("AssignSub", ref=v, value=some(np.float32, (2,), 3))


def resampling(g):
    x = np.abs(some(np.float32, (2, 5, 4, 2))) + 1  # like pixels: sums of both signs would be lost in rounding
    for size in [(3, 7), (9, 2), (1, 1), (5, 4)]:
        for align, half in [(False, False), (True, False), (False, True)]:
            g.case("ResizeBicubic", images=x, size=i32(*size), align_corners=align, half_pixel_centers=half)
        for align in [False, True]:
            g.case("ResizeArea", images=x, size=i32(*size), align_corners=align)
    for kernel in ["lanczos1", "lanczos3", "lanczos5", "gaussian", "box", "triangle", "keyscubic", "mitchellcubic"]:
        for scale, shift in [((0.6, 1.75), (0.0, 0.0)), ((1.3, 0.4), (0.5, -1.0))]:
            for antialias in [True, False]:
                scales, shifts = np.array(scale, np.float32), np.array(shift, np.float32)
                g.case("ScaleAndTranslate", images=x, size=i32(3, 7), scale=scales, translation=shifts, kernel_type=kernel, antialias=antialias)
    g.case("ResizeBicubic", images=some(np.uint8, (1, 3, 3, 1)), size=i32(2, 5))
    g.case("ResizeArea", images=some(np.uint8, (1, 3, 3, 1)), size=i32(2, 5))
    for bad in [i32(0, 2), i32(2, -1)]:
        g.case("ResizeBicubic", images=x, size=bad)
        g.case("ResizeArea", images=x, size=bad)
    for dtype in [np.float32, np.uint8, np.int64]:
        for sizes, steps, rates in [((2, 3), (1, 1), (1, 1)), ((2, 2), (2, 3), (2, 1)), ((6, 1), (1, 1), (1, 1))]:
            for padding in ["SAME", "VALID"]:
                if padding == "SAME" or sizes[0] < 6:
                    wide = lambda pair: [1, *pair, 1]
                    g.case("ExtractImagePatches", images=some(dtype, (2, 5, 4, 2)), ksizes=wide(sizes), strides=wide(steps), rates=wide(rates), padding=padding)
    turn = np.array([[0.9, 0.3, -0.4, -0.2, 1.1, 0.7, 0.01, -0.02]], np.float32)
    both = np.concatenate([turn, [[1, 0, -2.5, 0, 1, 3.5, 0, 0]]]).astype(np.float32)
    for mode in ["CONSTANT", "REFLECT", "WRAP", "NEAREST"]:
        for how in ["NEAREST", "BILINEAR"]:
            for transforms in [turn, both]:
                g.case("ImageProjectiveTransformV3", images=x, transforms=transforms, output_shape=i32(6, 5), fill_value=np.float32(0.5), interpolation=how, fill_mode=mode)
            g.case("ImageProjectiveTransformV2", images=x, transforms=both, output_shape=i32(4, 6), interpolation=how, fill_mode=mode)
    g.case("ImageProjectiveTransformV3", images=x, transforms=both[:, :7], output_shape=i32(6, 5), fill_value=np.float32(0), interpolation="NEAREST")
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.1, 0.7, 0.9], [1, 1, 0, 0], [-0.5, 0.2, 1.4, 0.8]], np.float32)
    for method in ["bilinear", "nearest"]:
        for size in [(3, 3), (1, 4), (7, 2)]:
            g.case("CropAndResize", image=x, boxes=boxes, box_ind=i32(0, 1, 1, 0), crop_size=i32(*size), method=method, extrapolation_value=-2.0)
    g.case("CropAndResize", image=some(np.uint8, (2, 5, 4, 2)), boxes=boxes, box_ind=i32(0, 1, 1, 0), crop_size=i32(2, 2))
    g.case("CropAndResize", image=x, boxes=boxes, box_ind=i32(0, 2, 1, 0), crop_size=i32(2, 2))
    g.case("CropAndResize", image=x, boxes=boxes[:0], box_ind=i32(), crop_size=i32(2, 2))


def detection(g):
    r = np.random.RandomState(3)
    corners = r.uniform(0, 0.6, (20, 2))
    boxes = np.concatenate([corners, corners + r.uniform(0.1, 0.4, (20, 2))], 1).astype(np.float32)
    boxes[4] = boxes[4][[2, 3, 0, 1]]
    boxes[7] = boxes[6]
    scores = r.uniform(0, 1, 20).astype(np.float32)
    scores[9] = scores[11]
    f = np.float32
    for count in [0, 3, 30]:
        for overlap in [0.2, 0.5, 1.0]:
            limit, threshold = np.int32(count), f(overlap)
            g.case("NonMaxSuppression", boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=overlap)
            g.case("NonMaxSuppressionV2", boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=threshold)
            g.case("NonMaxSuppressionV3", boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=threshold, score_threshold=f(0.3))
            for pads in [False, True]:
                common = dict(boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=threshold, score_threshold=f(0.3), pad_to_max_output_size=pads)
                g.case("NonMaxSuppressionV4", **common)
                for soft in [0.0, 0.5]:
                    g.case("NonMaxSuppressionV5", **common, soft_nms_sigma=f(soft))
    g.case("NonMaxSuppressionV3", boxes=boxes, scores=scores[:5], max_output_size=np.int32(3), iou_threshold=f(0.5), score_threshold=f(0))
    g.case("NonMaxSuppressionV3", boxes=boxes[:, :3], scores=scores, max_output_size=np.int32(3), iou_threshold=f(0.5), score_threshold=f(0))
    g.case("NonMaxSuppressionV3", boxes=boxes, scores=scores, max_output_size=np.int32(3), iou_threshold=f(1.5), score_threshold=f(0))
    many = np.stack([boxes * 1.5 - 0.2, boxes[::-1]])
    by_class = r.uniform(0, 1, (2, 20, 3)).astype(np.float32)
    for groups in [1, 3]:
        for pads in [False, True]:
            for clips in [False, True]:
                shifted = np.stack([many + 0.01 * k for k in range(groups)], 2).astype(np.float32)
                g.case("CombinedNonMaxSuppression", boxes=shifted, scores=by_class, max_output_size_per_class=np.int32(4), max_total_size=np.int32(15), iou_threshold=f(0.4), score_threshold=f(0.3), pad_per_class=pads, clip_boxes=clips)
    for per_class, total in [(0, 5), (5, 0)]:
        g.case("CombinedNonMaxSuppression", boxes=shifted, scores=by_class, max_output_size_per_class=np.int32(per_class), max_total_size=np.int32(total), iou_threshold=f(0.4), score_threshold=f(0.3))
def fft(g):
    """Fourier transforms and the arithmetic of complex numbers."""
    for dtype, real, tolerance in [(np.complex64, np.float32, 3e-5), (np.complex128, np.float64, 1e-10)]:
        for n in [1, 2, 8, 7, 12, 15]:
            for op in ["FFT", "IFFT"]:
                g.case(op, tolerance, input=some(dtype, (2, n), n))
            g.case("RFFT", tolerance, input=some(real, (2, n), n), fft_length=i32(n), Tcomplex=dtype)
            g.case("IRFFT", tolerance, input=some(dtype, (2, n // 2 + 1), n), fft_length=i32(n), Treal=real)
        for length in [4, 6, 16]:
            g.case("RFFT", tolerance, input=some(real, (3, 6)), fft_length=i32(length), Tcomplex=dtype)
            g.case("IRFFT", tolerance, input=some(dtype, (3, 4)), fft_length=i32(length), Treal=real)
        for op in ["FFT2D", "IFFT2D"]:
            g.case(op, tolerance, input=some(dtype, (2, 3, 4)))
        for op in ["FFT3D", "IFFT3D"]:
            g.case(op, tolerance, input=some(dtype, (2, 3, 4)))
        g.case("RFFT2D", tolerance, input=some(real, (2, 5, 6)), fft_length=i32(4, 6), Tcomplex=dtype)
        g.case("IRFFT2D", tolerance, input=some(dtype, (2, 4, 4)), fft_length=i32(4, 6), Treal=real)
        g.case("RFFT3D", tolerance, input=some(real, (2, 3, 6)), fft_length=i32(2, 3, 6), Tcomplex=dtype)
        g.case("IRFFT3D", tolerance, input=some(dtype, (2, 3, 4)), fft_length=i32(2, 3, 6), Treal=real)
        for op in ["Add", "AddV2", "Sub", "Mul", "Div", "RealDiv", "SquaredDifference"]:
            g.case(op, tolerance, x=some(dtype, (2, 3)), y=some(dtype, (3,), 2))
            g.case(op, tolerance, x=some(dtype, ()), y=some(dtype, (2, 0), 2))
        for op in ["Neg", "Square", "Exp", "Log", "Inv", "Reciprocal", "OnesLike"]:
            g.case(op, tolerance, x=some(dtype, (2, 3)))
        for op in ["Sum", "Mean"]:
            g.case(op, tolerance, input=some(dtype, (2, 3)), axis=i32(1))
            g.case(op, tolerance, input=some(dtype, (2, 3)), axis=i32(0, 1), keep_dims=True)
        g.case("AddN", tolerance, inputs=[some(dtype, (2, 3)), some(dtype, (2, 3), 2), some(dtype, (2, 3), 3)])
    g.case("FFT", input=some(np.complex64, ()))
    g.case("RFFT", input=some(np.float32, (4,)), fft_length=i32(-1))
    g.case("RFFT", input=some(np.float32, (4,)), fft_length=i32(2, 2))


def images_of(dtype, shape, seed=1):
    return np.random.RandomState(seed).rand(*shape).astype(dtype)


def colour(g):
    f = np.float32
    for dtype in FLOAT_TYPES:
        for shape in [(2, 3, 3), (3,), (0, 3), (1, 2, 2, 3)]:
            for op in ["RGBToHSV", "HSVToRGB"]:
                g.case(op, 1e-2 if dtype not in (np.float32, np.float64) else 2e-6, images=images_of(dtype, shape))
    edges = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.2], [0.2, 0.5, 0.5], [0.5, 0.2, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, -1, 2]], f)
    for op in ["RGBToHSV", "HSVToRGB"]:
        g.case(op, images=edges)
        g.case(op, images=images_of(f, (2, 4)))
        g.case(op, images=f(1))
    for value in [-1, -0.4, 0, 0.1, 0.5, 1]:
        g.case("AdjustHue", 1e-5, images=images_of(f, (2, 3, 2, 3)), delta=f(value))
        g.case("AdjustHue", 1e-5, images=edges[None], delta=f(value))
    for value in [0, 0.5, 1, 2, -1]:
        g.case("AdjustSaturation", 1e-5, images=images_of(f, (2, 3, 2, 3)), scale=f(value))
        g.case("AdjustSaturation", 1e-5, images=edges[None, :8], scale=f(value))
        g.case("AdjustContrastv2", 1e-5, images=images_of(f, (2, 3, 2, 4)), contrast_factor=f(value))
    for op, name in [("AdjustHue", "delta"), ("AdjustSaturation", "scale"), ("AdjustContrastv2", "contrast_factor")]:
        for images, by in [(images_of(f, (0, 2, 3)), f(0.5)), (images_of(f, (2, 3)), f(1)), (images_of(f, (2, 2, 4)), f(1)), (images_of(f, (2, 2, 3)), np.ones(2, f))]:
            g.case(op, 1e-5, images=images, **{name: by})


def wav(samples, channels=1, rate=8000, bits=16, format=1, extra=b"", junk=b"", size=16, frame=None, per_second=None):
    data = np.asarray(samples, "<i2").tobytes()
    frame = 2 * channels if frame is None else frame
    head = np.uint32(size).tobytes() + np.uint16(format).tobytes() + np.uint16(channels).tobytes() + np.uint32(rate).tobytes()
    head += np.uint32(frame * rate if per_second is None else per_second).tobytes() + np.uint16(frame).tobytes() + np.uint16(bits).tobytes() + extra
    body = b"WAVEfmt " + head + junk + b"data" + np.uint32(len(data)).tobytes() + data
    return b"RIFF" + np.uint32(len(body)).tobytes() + body


def audio(g):
    f = np.float32
    for size, stride, shape in [(16, 8, (40, 1)), (12, 5, (40, 2)), (2, 1, (5, 1)), (33, 40, (100, 1)), (16, 8, (10, 2)), (8, 3, (0, 1))]:
        for squared in [False, True]:
            g.case("AudioSpectrogram", 2e-4, input=some(f, shape), window_size=size, stride=stride, magnitude_squared=squared)
    g.case("AudioSpectrogram", input=some(f, (10,)), window_size=4, stride=2)
    g.case("AudioSpectrogram", input=some(f, (10, 1)), window_size=1, stride=2)
    spectrogram = np.abs(some(f, (2, 3, 65)))
    for kw in [{}, dict(upper_frequency_limit=3000.0, lower_frequency_limit=100.0, filterbank_channel_count=20, dct_coefficient_count=13), dict(filterbank_channel_count=5, dct_coefficient_count=5)]:
        g.case("Mfcc", 2e-5, spectrogram=spectrogram, sample_rate=np.int32(16000), **kw)
    g.case("Mfcc", 2e-5, spectrogram=np.zeros((1, 2, 65), f), sample_rate=np.int32(16000))
    g.case("Mfcc", 2e-5, spectrogram=spectrogram, sample_rate=np.int32(4000))
    g.case("Mfcc", 2e-5, spectrogram=spectrogram[:, :0], sample_rate=np.int32(16000))
    for kw in [dict(spectrogram=spectrogram[0]), dict(sample_rate=i32(16000)), dict(sample_rate=np.int32(0)), dict(dct_coefficient_count=41), dict(lower_frequency_limit=5000.0), dict(spectrogram=spectrogram[:, :, :1]), dict(filterbank_channel_count=0)]:
        g.case("Mfcc", **{**dict(spectrogram=spectrogram, sample_rate=np.int32(16000)), **kw})
    mono, stereo = [0, 1, -1, 32767, -32768, 1000], [1, 2, 3, 4, -5, -6]
    good = [wav(mono), wav(stereo, 2), wav(mono, size=18, extra=b"\0\0"), wav(mono, junk=b"LIST\4\0\0\0abcd"), wav([]), wav(mono) + b"tail\2\0\0\0xy"]
    for content in good:
        g.case("DecodeWav", contents=np.array(content, object))
    for content in good[:2]:
        for kw in [dict(desired_channels=1), dict(desired_channels=3), dict(desired_samples=2), dict(desired_samples=9, desired_channels=2)]:
            g.case("DecodeWav", contents=np.array(content, object), **kw)
    bad = [b"", b"RIFF", wav(mono)[:30], wav(mono)[:-1], wav(mono, format=3), wav(mono, bits=8), wav(mono, channels=0), wav(mono, size=17), wav(mono, frame=3), wav(mono, per_second=1), wav(mono).replace(b"data", b"dada"), b"RIFX" + wav(mono)[4:], wav(mono) + b"data\2\0\0\0xy"]
    for content in bad:
        g.case("DecodeWav", contents=np.array(content, object))
    g.case("DecodeWav", contents=texts("a", "b"))
    for shape in [(5, 1), (3, 2)]:
        g.case("EncodeWav", audio=some(f, shape) / 4, sample_rate=np.int32(44100))
    g.case("EncodeWav", audio=np.array([[2], [-2], [0.5 / 32767], [1.5 / 32767], [-1.5 / 32767]], f), sample_rate=np.int32(100))
    for shape, rate in [((5,), np.int32(1)), ((5, 1), np.int32(0)), ((5, 1), i32(1)), ((0, 1), np.int32(1)), ((5, 0), np.int32(1))]:
        g.case("EncodeWav", audio=np.zeros(shape, f), sample_rate=rate)


def ctc(g):
    for dtype in [np.float32, np.float64]:
        for shape, lengths in [((6, 2, 4), [6, 3]), ((9, 1, 3), [9]), ((3, 2, 5), [0, 2]), ((4, 0, 3), [])]:
            inputs, length = some(dtype, shape, shape[0]), np.array(lengths, np.int32)
            for merge in [False, True]:
                for blank in [-1, 0, 1]:
                    g.case("CTCGreedyDecoder", 1e-5, inputs=inputs, sequence_length=length, merge_repeated=merge, blank_index=blank)
                for width, paths in [(1, 1), (3, 1), (4, 2), (50, 3)]:
                    g.case("CTCBeamSearchDecoder", 1e-5, inputs=inputs, sequence_length=length, beam_width=width, top_paths=paths, merge_repeated=merge)
        for seed in range(4):
            inputs = some(dtype, (12, 3, 5), 20 + seed)
            g.case("CTCBeamSearchDecoder", 1e-5, inputs=inputs, sequence_length=i32(12, 8, 10), beam_width=6, top_paths=4, merge_repeated=seed % 2 == 0)
    x = some(np.float32, (4, 2, 3))
    for op, kw in [("CTCGreedyDecoder", {}), ("CTCBeamSearchDecoder", dict(beam_width=4, top_paths=1))]:
        for inputs, length in [(x, i32(4)), (x, i32(5, 1)), (x, np.int32(4)), (x[0], i32(1, 1)), (x[:0], i32(0, 0)), (x[:, :, :0], i32(1, 1))]:
            g.case(op, inputs=inputs, sequence_length=length, **kw)
    g.case("CTCGreedyDecoder", inputs=x, sequence_length=i32(1, 1), blank_index=3)
    g.case("CTCGreedyDecoder", inputs=x, sequence_length=i32(1, 1), blank_index=-4)
    g.case("CTCBeamSearchDecoder", inputs=x, sequence_length=i32(1, 1), beam_width=2, top_paths=3)
    g.case("CTCBeamSearchDecoder", inputs=x, sequence_length=i32(1, 0), beam_width=5, top_paths=5)


def gradients(g):
    """And losses."""
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


def matrix_solve(g):
    for dtype, t in [(np.float32, 2e-4), (np.float64, 1e-10)]:
        for shape in [(3, 3), (1, 1), (2, 4, 4), (2, 1, 3, 3), (0, 0), (2, 0, 0), (0, 3, 3)]:
            a = some(dtype, shape, 3) + 4 * np.eye(shape[-1], dtype=dtype)
            b = some(dtype, shape[:-1] + (2,), 4)
            g.case("Cholesky", t, input=(a @ np.swapaxes(a, -1, -2)).astype(dtype))
            g.case("MatrixDeterminant", t, input=a)
            g.case("LogMatrixDeterminant", t, input=-a)
            g.case("Lu", t, input=a, output_idx_type=tf.int32)
            for adjoint in [False, True]:
                g.case("MatrixInverse", t, input=a, adjoint=adjoint)
                g.case("MatrixSolve", t, matrix=a, rhs=b, adjoint=adjoint)
                for lower in [False, True]:
                    g.case("MatrixTriangularSolve", t, matrix=a, rhs=b, lower=lower, adjoint=adjoint)
        for shape in [(4, 2), (2, 4), (2, 3, 3)]:
            for fast, l2 in [(True, 0.5), (True, 0.0), (False, 0.0)]:
                g.case("MatrixSolveLs", 50 * t, matrix=some(dtype, shape, 3), rhs=some(dtype, shape[:-1] + (2,), 4), l2_regularizer=np.float64(l2), fast=fast)
        g.case("MatrixTriangularSolve", t, matrix=some(dtype, (2, 1, 3, 3), 5), rhs=some(dtype, (4, 3, 2), 6))
        g.case("Lu", t, input=some(dtype, (2, 4, 4), 8), output_idx_type=tf.int64)
    for dtype in [np.float32, np.float64, np.int32, np.int64, np.int16, np.uint8]:
        g.case("Cross", 1e-5, a=some(dtype, (2, 3)), b=some(dtype, (2, 3), 2))
    x = some(np.float32, (3, 3))
    singular = np.ones((2, 2), np.float32)
    for op in ["Cholesky", "MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Lu"]:
        for value in [x[0], x[:2]] + ([singular, np.zeros((2, 2), np.float32)] if op != "Cholesky" else []):
            g.case(op, input=value)
    for op in ["MatrixSolve", "MatrixTriangularSolve"]:
        for matrix, rhs in [(x, x[:2]), (x[:2], x[:2]), (x, x[0]), (np.zeros((3, 3), np.float32), x), (np.stack([x, x]), np.stack([x, x, x]))]:
            g.case(op, matrix=matrix, rhs=rhs)
    g.case("MatrixSolve", matrix=singular, rhs=singular)
    g.case("Cross", a=x[:, :2], b=x[:, :2])
    g.case("Cross", a=x, b=x[0])


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


def windows(g):
    """Pooling with positions, dilation, patches of volumes."""
    f = np.float32
    for dtype in [f, np.float64, np.float16, np.int32, np.uint8]:
        for padding in ["SAME", "VALID"]:
            for size, stride in [(2, 2), (3, 1), (2, 3)]:
                for batch in [False, True]:
                    g.case("MaxPoolWithArgmax", input=some(dtype, (2, 5, 4, 2)), ksize=[1, size, size, 1], strides=[1, stride, stride, 1], padding=padding, include_batch_in_index=batch, Targmax=tf.int64 if batch else tf.int32)
    for dtype in [f, np.float64, np.float16, np.int32, np.int64, np.uint8]:
        for padding in ["SAME", "VALID"]:
            for strides, rates in [([1, 1, 1, 1], [1, 1, 1, 1]), ([1, 2, 2, 1], [1, 1, 1, 1]), ([1, 1, 1, 1], [1, 2, 2, 1])]:
                g.case("Dilation2D", 1e-3 if dtype == np.float16 else 1e-5, input=some(dtype, (2, 5, 5, 2)), filter=some(dtype, (2, 2, 2), 2), strides=strides, rates=rates, padding=padding)
            for size, stride in [(2, 2), (2, 1), (3, 2)]:
                g.case("ExtractVolumePatches", input=some(dtype, (1, 4, 3, 3, 2)), ksizes=[1, size, size, size, 1], strides=[1, stride, stride, stride, 1], padding=padding)
    x = some(f, (2, 3, 3, 2))
    g.case("MaxPoolWithArgmax", input=x[:0], ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    g.case("MaxPoolWithArgmax", input=x[0], ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    g.case("MaxPoolWithArgmax", input=np.full((1, 2, 2, 1), np.nan, f), ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    g.case("Dilation2D", input=x, filter=some(f, (2, 2, 3)), strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="SAME")
    g.case("Dilation2D", input=x, filter=some(f, (4, 4, 2)), strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="VALID")
    g.case("Dilation2D", input=x[0], filter=some(f, (2, 2, 2)), strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="VALID")
    g.case("ExtractVolumePatches", input=x, ksizes=[1, 2, 2, 2, 1], strides=[1, 1, 1, 1, 1], padding="VALID")


def matrix_factors(g):
    for dtype, t in [(np.float32, 2e-5), (np.float64, 1e-11)]:
        for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 3), (1, 1), (1, 3), (3, 1), (0, 3, 3)]:
            a = some(dtype, shape, 3)
            for full in [False, True]:
                g.case("Qr", t, input=a, full_matrices=full)
                for uv in [False, True]:
                    g.case("Svd", t, only=[0], input=a, full_matrices=full, compute_uv=uv)
            if shape[-1] == shape[-2]:
                for vectors in [False, True]:
                    g.case("SelfAdjointEigV2", t, only=[0], input=a + np.swapaxes(a, -1, -2), compute_v=vectors)
        g.case("Svd", t, only=[0], input=np.ones((3, 3), dtype))
        g.case("SelfAdjointEigV2", t, only=[0], input=np.arange(9).astype(dtype).reshape(3, 3))
    x = some(np.float32, (3,))
    for op in ["Qr", "Svd", "SelfAdjointEigV2"]:
        g.case(op, input=x)
    g.case("SelfAdjointEigV2", input=some(np.float32, (2, 3)))


def complex_matrices(g):
    for dtype, t in [(np.complex64, 2e-4), (np.complex128, 1e-10)]:
        part = np.float32 if dtype == np.complex64 else np.float64
        for shape in [(3, 3), (1, 1), (2, 2, 2), (0, 0), (4, 2), (2, 4)]:
            a = (some(part, shape, 3) + 1j * some(part, shape, 4)).astype(dtype)
            b = (some(part, shape[:-1] + (2,), 5) - 1j * some(part, shape[:-1] + (2,), 6)).astype(dtype)
            for full in [False, True]:
                g.case("Qr", t, input=a, full_matrices=full)
                for op in ["Svd", "BatchSvd"]:
                    g.case(op, t, only=[0], input=a, full_matrices=full, compute_uv=full)
            g.case("MatrixSolveLs", 50 * t, matrix=a, rhs=b, l2_regularizer=np.float64(0.5), fast=True)
            if shape[-1] != shape[-2]:
                continue
            own = (a + 4 * np.eye(shape[-1])).astype(dtype)
            adjoint = np.conj(np.swapaxes(a, -1, -2))
            g.case("Cholesky", t, input=(own @ np.conj(np.swapaxes(own, -1, -2))).astype(dtype))
            g.case("LogMatrixDeterminant", t, input=own)
            g.case("Lu", t, input=a, output_idx_type=tf.int64)
            g.case("SelfAdjointEigV2", t, only=[0], input=(a + adjoint).astype(dtype), compute_v=True)
            g.case("SelfAdjointEigV2", t, only=[0], input=a, compute_v=False)
            g.case("MatrixDeterminant", t, input=own)
            for adjoint in [False, True]:
                g.case("MatrixInverse", t, input=own, adjoint=adjoint)
                g.case("MatrixSolve", t, matrix=own, rhs=b, adjoint=adjoint)
                for lower in [False, True]:
                    g.case("MatrixTriangularSolve", t, matrix=own, rhs=b, lower=lower, adjoint=adjoint)
        d = (some(part, (2, 3, 5), 7) + 1j * some(part, (2, 3, 5), 8)).astype(dtype)
        x = (some(part, (2, 5, 2), 9) + 1j * some(part, (2, 5, 2), 10)).astype(dtype)
        for pivoting in [False, True]:
            g.case("TridiagonalSolve", 50 * t, diagonals=d, rhs=x, partial_pivoting=pivoting)
        g.case("TridiagonalMatMul", t, superdiag=d[:, :1], maindiag=d[:, 1:2], subdiag=d[:, 2:], rhs=x)
    singular = np.array([[1, 1j], [1j, -1]], np.complex64)
    for op in ["MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Lu"]:
        for value in [np.zeros((2, 2), np.complex64), singular[:1]]:
            g.case(op, input=value)
    g.case("MatrixSolve", matrix=singular, rhs=singular)


def matrix_functions(g):
    """Eigenvalues of unequal magnitudes, and functions of matrices."""
    for dtype, t in [(np.float32, 1e-4), (np.float64, 1e-10), (np.complex64, 1e-4), (np.complex128, 1e-10)]:
        part = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        for shape in [(3, 3), (1, 1), (2, 4, 4), (0, 0), (0, 3, 3)]:
            a = (some(part, shape, 3) / 3 + (1j * some(part, shape, 4) / 3 if np.iscomplexobj(dtype()) else 0)).astype(dtype)
            # Eigenvalues that are real and far apart.
            own = (a / 10 + np.diag(np.arange(1, shape[-1] + 1))).astype(dtype)
            for vectors in [False, True]:
                g.case("Eig", t, only=[0], input=own, compute_v=vectors, Tout=tf.complex64 if part == np.float32 else tf.complex128)
            g.case("MatrixExponential", t, input=a)
            g.case("MatrixExponential", t, input=4 * a)
            g.case("MatrixSquareRoot", t, input=own)
            if np.iscomplexobj(a):
                g.case("Eig", t, only=[0], input=a, compute_v=True, Tout=dtype)
                g.case("MatrixSquareRoot", t, input=a)
                g.case("MatrixLogarithm", t, input=a)
                g.case("MatrixLogarithm", t, input=own)
        for value in [np.zeros((2, 2), dtype), np.eye(2, dtype=dtype), np.array([[1, 1], [0, 1]], dtype), np.array([[0, 1], [-1, 0]], dtype), np.diag(np.array([4, -9], dtype))]:
            g.case("MatrixExponential", t, input=value)
            if value.any():
                g.case("MatrixSquareRoot", t, input=value)
            if np.iscomplexobj(value) and value.any():
                g.case("MatrixLogarithm", t, input=value)
    for dtype in [np.float32, np.float64]:
        for n in [2, 3, 5, 8, 12]:
            g.case("Eig", 1e-3 if dtype == np.float32 else 1e-10, only=[0], input=some(dtype, (n, n), n), Tout=tf.complex64 if dtype == np.float32 else tf.complex128)
        g.case("Eig", 1e-6, only=[0], input=np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype), Tout=tf.complex64 if dtype == np.float32 else tf.complex128)
    x = some(np.float32, (2, 3))
    nan = np.full((2, 2), np.nan, np.float32)
    for value in [x, x[0], nan]:
        g.case("Eig", input=value, Tout=tf.complex64)
        g.case("MatrixExponential", input=value)
        g.case("MatrixSquareRoot", input=value)
        g.case("MatrixLogarithm", input=value.astype(np.complex64))


def batch_matrices(g):
    for dtype, t in [(np.float32, 2e-4), (np.float64, 1e-10)]:
        for shape in [(3, 3), (2, 4, 4), (2, 0, 0), (0, 3, 3)]:
            a = some(dtype, shape, 3) + 4 * np.eye(shape[-1], dtype=dtype)
            b = some(dtype, shape[:-1] + (2,), 4)
            symmetric = (a @ np.swapaxes(a, -1, -2)).astype(dtype)
            g.case("BatchCholesky", t, input=symmetric)
            g.case("BatchMatrixDeterminant", t, input=a)
            g.case("BatchMatrixInverse", t, input=a)
            g.case("BatchMatrixSolve", t, matrix=a, rhs=b)
            g.case("BatchMatrixSolveLs", 50 * t, matrix=a[..., :2], rhs=b, l2_regularizer=np.float64(0.5))
            g.case("BatchMatrixTriangularSolve", t, matrix=a, rhs=b)
            g.case("BatchSvd", t, only=[0], input=a)
            g.case("BatchSelfAdjointEigV2", t, only=[0], input=symmetric)
        # Vectors of a diagonal matrix have no sign to choose.
        d = np.diag(np.array([3, 1, 2], dtype))
        for op in ["SelfAdjointEig", "BatchSelfAdjointEig"]:
            g.case(op, t, input=d)
            g.case(op, t, input=np.stack([d, 2 * d]))
            g.case(op, t, input=d[:0, :0])
            g.case(op, input=d[0])
            g.case(op, input=d[:2])
    for dtype in [np.float32, np.int64, np.complex64, bool]:
        x = some(dtype, (2, 3, 3)) if dtype != bool else some(np.int64, (2, 3, 3)) > 0
        g.case("BatchMatrixBandPart", input=x.astype(np.int64) if dtype == bool else x, num_lower=np.int64(1), num_upper=np.int64(0))
        g.case("BatchMatrixDiag", diagonal=x[0])
        g.case("BatchMatrixDiagPart", input=x)
        g.case("BatchMatrixSetDiag", input=x, diagonal=x[:, 0])
    x = some(np.float32, (3,))
    for op in ["BatchCholesky", "BatchMatrixInverse", "BatchMatrixDeterminant", "BatchSvd", "BatchSelfAdjointEigV2", "BatchMatrixDiagPart"]:
        g.case(op, input=x)


def banded_triangles(g):
    for dtype, t in [(np.float32, 1e-4), (np.float64, 1e-11), (np.complex64, 1e-4), (np.complex128, 1e-11)]:
        part = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        make = lambda shape, seed: (some(part, shape, seed) + (1j * some(part, shape, seed + 1) if np.iscomplexobj(dtype()) else 0)).astype(dtype)
        for bands, rhs in [((2, 4), (4, 1)), ((1, 3), (3, 2)), ((3, 4), (2, 4, 1)), ((2, 1, 2, 3), (1, 2, 3, 1))]:
            a = make(bands, 3)
            a[..., [0, -1], :] += 5
            for lower in [False, True]:
                for adjoint in [False, True]:
                    g.case("BandedTriangularSolve", t, matrix=a, rhs=make(rhs, 5), lower=lower, adjoint=adjoint)
    x = some(np.float32, (2, 4))
    for matrix, rhs in [(x[:0], x), (x, x[:, :0]), (x, x), (x[0], x), (np.zeros((2, 2), np.float32), x), (np.stack([x] * 2), np.stack([x.T] * 3))]:
        g.case("BandedTriangularSolve", matrix=matrix, rhs=rhs)


def variable_scatter(g):
    for dtype in [np.float32, np.float64, np.int32, np.int64]:
        p = g.program(f"parts of a variable of {np.dtype(dtype).name}")
        v = p.step("VarHandleOp", dtype=tf.as_dtype(dtype), shape=[4, 2], shared_name=f"v {np.dtype(dtype).name}")
        p.step("AssignVariableOp", resource=v, value=some(dtype, (4, 2)))
        read = lambda: p.step("ReadVariableOp", resource=v, dtype=tf.as_dtype(dtype))
        for kind in ["Update", "Add", "Sub", "Mul", "Max", "Min"] + (["Div"] if dtype in (np.float32, np.float64) else []):
            p.step(f"ResourceScatter{kind}", resource=v, indices=i32(3, 0, 3), updates=some(dtype, (3, 2), 2))
            read()
            p.step(f"ResourceScatter{kind}", resource=v, indices=np.array([[1], [2]], np.int64), updates=dtype(3))
            read()
            p.step(f"ResourceScatter{kind}", resource=v, indices=i32(4), updates=some(dtype, (1, 2), 2))
            p.step(f"ResourceScatter{kind}", resource=v, indices=np.zeros(0, np.int32), updates=some(dtype, (0, 2), 2))
            read()
        for kind in ["Update", "Add", "Sub", "Max", "Min"]:
            p.step(f"ResourceScatterNd{kind}", ref=v, indices=np.array([[3, 1], [0, 0]], np.int32), updates=some(dtype, (2,), 2))
            p.step(f"ResourceScatterNd{kind}", ref=v, indices=np.array([[2]], np.int64), updates=some(dtype, (1, 2), 2))
            p.step(f"ResourceScatterNd{kind}", ref=v, indices=np.array([[2, 2]], np.int32), updates=some(dtype, (1,), 2))
            read()
        p.step("ResourceStridedSliceAssign", ref=v, begin=i32(0, 1), end=i32(4, 2), strides=i32(2, 1), value=some(dtype, (2, 1), 5))
        read()


def recurrent(g):
    """Cells of TensorFlow 1 that are one op."""
    f = np.float32

    def lstm(batch, inputs, cell, seed=1, scale=1.0):
        return dict(
            cs_prev=some(f, (batch, cell), seed + 1) * f(scale), h_prev=some(f, (batch, cell), seed + 2), w=some(f, (inputs + cell, 4 * cell), seed + 3) / f(2),
            wci=some(f, (cell,), seed + 4), wcf=some(f, (cell,), seed + 5), wco=some(f, (cell,), seed + 6), b=some(f, (4 * cell,), seed + 7),
        )

    for batch, inputs, cell in [(1, 2, 1), (2, 3, 2), (3, 1, 4), (1, 0, 2)]:
        for peephole in [False, True]:
            for clip in [3.0, 0.0, 0.5] + ([-1.0] if cell == 1 else []):
                for forget in [1.0, 0.0] if clip == 3 else [0.5]:
                    x = some(f, (batch, inputs), 9)
                    g.case("LSTMBlockCell", 1e-5, x=x, **lstm(batch, inputs, cell, scale=2), use_peephole=peephole, cell_clip=clip, forget_bias=forget)
                    g.case("BlockLSTM", 1e-5, seq_len_max=np.int64(2), x=some(f, (2, batch, inputs), 9), **lstm(batch, inputs, cell), use_peephole=peephole, cell_clip=clip, forget_bias=forget)
                g.case("BlockLSTMV2", 1e-5, seq_len_max=np.int64(2), x=some(f, (2, batch, inputs), 9), **lstm(batch, inputs, cell), use_peephole=peephole, cell_clip=clip)
        g.case("GRUBlockCell", 1e-5, x=some(f, (batch, inputs)), h_prev=some(f, (batch, cell), 2), w_ru=some(f, (inputs + cell, 2 * cell), 3), w_c=some(f, (inputs + cell, cell), 4), b_ru=some(f, (2 * cell,), 5), b_c=some(f, (cell,), 6))
    for op in ["BlockLSTM", "BlockLSTMV2"]:
        x = some(f, (4, 2, 3), 9)
        for steps in [0, 1, 3]:
            # Gates behind the end are what the buffer held.
            g.case(op, 1e-5, only=[1, 6], seq_len_max=np.int64(steps), x=x, **lstm(2, 3, 2))
        # A seq_len_max beyond the sequence ends the process of TensorFlow 2.21.
        for kw in [dict(seq_len_max=i64(4)), dict(x=x[0]), dict(x=x[:, :1]), dict(x=x[:, :, :2])]:
            g.case(op, **{**dict(seq_len_max=np.int64(4), x=x), **lstm(2, 3, 2), **kw})
        for name, value in lstm(2, 3, 2).items():
            for bad in [value[:1], value[None]]:
                g.case(op, **{**dict(seq_len_max=np.int64(4), x=x), **lstm(2, 3, 2), name: bad})
        g.case(op, 1e-5, seq_len_max=np.int64(0), x=x[:0], **lstm(2, 3, 2))
        g.case(op, 1e-5, seq_len_max=np.int64(4), x=x[:, :0], **lstm(0, 3, 2))
    x = some(f, (2, 3), 9)
    for name, value in lstm(2, 3, 2).items():
        # Smaller peepholes than a cell are read beyond their end there.
        for bad in [value[None]] + ([] if name.startswith("wc") else [value[:1]]):
            if name not in ("cs_prev", "h_prev", "w") or bad.ndim == 2:
                g.case("LSTMBlockCell", **{**dict(x=x), **lstm(2, 3, 2), name: bad})
    g.case("LSTMBlockCell", x=x[:1], **lstm(2, 3, 2))
    g.case("LSTMBlockCell", x=x[:0], **lstm(0, 3, 2))
    gru = dict(x=x, h_prev=some(f, (2, 2), 2), w_ru=some(f, (5, 4), 3), w_c=some(f, (5, 2), 4), b_ru=some(f, (4,), 5), b_c=some(f, (2,), 6))
    for name, value in gru.items():
        for bad in [value[:1], value[None], value[..., :1]]:
            g.case("GRUBlockCell", **{**gru, name: bad})
    g.case("GRUBlockCell", 1e-5, **{**gru, "x": x[:0], "h_prev": gru["h_prev"][:0]})


def drawing(g):
    f = np.float32
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.3, 0.7, 0.9], [-0.5, 0.25, 0.5, 2], [0.9, 0, 0.1, 1], [1.5, 0, 2, 1], [0, -2, 1, -1], [0.5, 0.5, 0.5, 0.5], [0, 0, 3, 0.4], [np.nan, 0, 1, 1], [0, 0, 1e30, 1], [0.3, -1e-6, 0.6, 1]], f)
    for depth in [1, 3, 4]:
        images = np.abs(some(f, (2, 4, 5, depth)))
        for pick in [[0, 1], [2, 3], [4, 6], [7, 8], [9, 10]]:
            each = np.stack([boxes[pick], boxes[pick[::-1]]])
            g.case("DrawBoundingBoxes", images=images, boxes=each)
            g.case("DrawBoundingBoxesV2", images=images, boxes=each, colors=some(f, (3, 4)))
        g.case("DrawBoundingBoxesV2", images=images[:1], boxes=boxes[None], colors=np.zeros((0, 4), f))
        g.case("DrawBoundingBoxes", images=images, boxes=np.zeros((2, 0, 4), f))
    tiny = np.zeros((1, 2, 2, 3), f)
    many = np.tile(np.array([[0.9, 0, 0.9, 1]], f), (12, 1))
    g.case("DrawBoundingBoxes", images=tiny, boxes=many[None])
    g.case("DrawBoundingBoxes", images=tiny[:, :0], boxes=many[None])
    g.case("DrawBoundingBoxes", images=tiny[:0], boxes=many[None][:0])
    one = many[None, :1]
    for kw in [dict(images=tiny[0]), dict(boxes=one[0]), dict(images=tiny[:0]), dict(images=tiny[..., :2]), dict(boxes=one[..., :3])]:
        g.case("DrawBoundingBoxes", **{**dict(images=tiny, boxes=one), **kw})
    for colours in [np.zeros((2,), f), np.zeros((2, 2), f)]:
        g.case("DrawBoundingBoxesV2", images=tiny, boxes=one, colors=colours)


def stateless_shuffle(g):
    key, counter = np.array([2**63 + 5], np.uint64), np.array([7, 11], np.uint64)
    for value in [some(np.float32, (9,)), some(np.int64, (5, 2)), some(object, (6,)), some(np.bool_, (7, 1, 2)), some(np.float32, (1, 3)), some(np.float32, (0, 3)), np.float32(2), some(np.complex64, (4,))]:
        for alg in [1, 3, 2]:
            g.case("StatelessShuffle", value=value, key=key, counter=counter, alg=np.int32(alg))
    x = some(np.float32, (4,))
    for kw in [dict(key=counter), dict(key=key[0]), dict(alg=i32(1)), dict(counter=np.arange(3).astype(np.uint64))]:
        g.case("StatelessShuffle", **{**dict(value=x, key=key, counter=counter, alg=np.int32(1)), **kw})


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


def generators(g):
    """Generators whose state is a variable."""
    for state in [[5, -1, 7], [-1, -1, 2**40]]:
        p = g.program(f"generator {state}")
        v = p.step("VarHandleOp", dtype=tf.int64, shape=[3], shared_name=f"generator {state}")
        p.step("AssignVariableOp", resource=v, value=i64(*state))
        read = lambda: p.step("ReadVariableOp", resource=v, dtype=tf.int64)
        algorithm = np.int64(1)
        p.step("RngReadAndSkip", resource=v, alg=np.int32(1), delta=np.uint64(3))
        p.step("RngReadAndSkip", resource=v, alg=np.int32(3), delta=np.uint64(0))
        p.step("RngReadAndSkip", resource=v, alg=np.int32(2), delta=np.uint64(1))
        p.step("RngReadAndSkip", resource=v, alg=np.int32(9), delta=np.uint64(1))
        read()
        p.step("RngSkip", resource=v, algorithm=algorithm, delta=np.int64(2**54 + 1))
        read()
        for dtype in [tf.float32, tf.float64, tf.float16, tf.bfloat16]:
            for op in ["StatefulUniform", "StatefulStandardNormalV2", "StatefulTruncatedNormal"]:
                p.step(op, resource=v, algorithm=algorithm, shape=i32(5), dtype=dtype)
        for dtype in [np.int32, np.int64, np.uint32, np.uint64]:
            if np.dtype(dtype).kind == "i":
                p.step("StatefulUniformInt", resource=v, algorithm=algorithm, shape=i64(2, 2), minval=dtype(3), maxval=dtype(90))
            p.step("StatefulUniformFullInt", resource=v, algorithm=algorithm, shape=i32(3), dtype=tf.as_dtype(dtype))
        p.step("StatefulUniform", resource=v, algorithm=np.int64(3), shape=i32(0, 2), dtype=tf.float32)
        p.step("StatefulUniform", resource=v, algorithm=np.int64(2), shape=i32(2), dtype=tf.float32)
        p.step("StatefulUniform", resource=v, algorithm=algorithm, shape=i32(-2), dtype=tf.float32)
        read()


def random_more(g):
    """Crops, candidates, bounded normal and binomial numbers, shuffled indices: by seeds."""
    for dtype in [np.float32, np.int32, np.int64, np.uint8]:
        p = g.program(f"RandomCrop {np.dtype(dtype).name}", "RandomCrop")
        for n in range(3):
            p.again("RandomCrop", n == 0, image=some(dtype, (5, 6, 2)), size=i64(3, 2), seed=7, seed2=8)
    for size in [[5, 6], [5, 2], [6, 2], [5, 7], [1], [0, 0]]:
        g.case("RandomCrop", image=some(np.float32, (5, 6, 1)), size=i64(*size), seed=7)
    g.case("RandomCrop", image=some(np.float32, (5, 6)), size=i64(1, 1), seed=7)
    boxes = np.array([[[0.1, 0.2, 0.6, 0.9], [0.0, 0.0, 0.3, 0.3]]], np.float32)
    for dtype in [np.int32, np.int64, np.uint8, np.int16]:
        size = np.array([48, 64, 3], dtype)
        p = g.program(f"SampleDistortedBoundingBox {np.dtype(dtype).name}")
        for n in range(3):
            p.again("SampleDistortedBoundingBox", n == 0, image_size=size, bounding_boxes=boxes, seed=5, seed2=6, min_object_covered=0.3)
        p = g.program(f"SampleDistortedBoundingBoxV2 {np.dtype(dtype).name}")
        for n in range(3):
            p.again("SampleDistortedBoundingBoxV2", n == 0, image_size=size, bounding_boxes=boxes, min_object_covered=np.float32(0.1), seed=5, seed2=7, area_range=[0.1, 0.5])
    for seed in [i64(1, 2), i32(3, -4), i64(7, 7), i64(8, 2**40), i64(9, 1), i64(10, 0)]:
        for covered, areas, ratios in [(0.1, [0.05, 1.0], [0.75, 1.33]), (0.9, [0.5, 1.0], [0.5, 2.0]), (0.0, [0.01, 0.02], [1.0, 1.0])]:
            g.case("StatelessSampleDistortedBoundingBox", image_size=i32(37, 53, 3), bounding_boxes=boxes, min_object_covered=np.float32(covered), seed=seed, area_range=areas, aspect_ratio_range=ratios, max_attempts=20)
    one = dict(min_object_covered=np.float32(0.1), seed=i64(1, 2))
    g.case("StatelessSampleDistortedBoundingBox", image_size=i32(37, 53, 3), bounding_boxes=boxes[:, :0], use_image_if_no_bounding_boxes=True, **one)
    for size, box in [(i32(37, 53, 3), boxes[:, :0]), (i32(37, 53), boxes), (i32(37, 53, 3), boxes[0]), (i32(37, 53, 3), boxes * 2), (i32(-1, 53, 3), boxes), (i32(0, 0, 3), boxes), (i32(1, 1, 3), boxes)]:
        g.case("StatelessSampleDistortedBoundingBox", image_size=size, bounding_boxes=box, **one)
    for more in [dict(area_range=[0.0, 1.0]), dict(area_range=[0.5, 1.5]), dict(aspect_ratio_range=[1.0]), dict(max_attempts=0)]:
        g.case("StatelessSampleDistortedBoundingBox", image_size=i32(37, 53, 3), bounding_boxes=boxes, **one, **more)
    for op in ["UniformCandidateSampler", "LogUniformCandidateSampler"]:
        for unique, most in [(True, 40), (False, 5), (True, 8), (False, 2**40), (True, 1000000)]:
            p = g.program(f"{op} {unique} {most}")
            for n in range(2):
                p.again(op, n == 0, true_classes=np.array([[1, 2], [3, 4]], np.int64), num_true=2, num_sampled=7, unique=unique, range_max=most, seed=3, seed2=4)
        for classes, unique, most in [([[1]], True, 6), ([[7]], False, 7), ([[-1]], False, 7), ([[1, 2]], False, 7), ([1], False, 7)]:
            g.case(op, true_classes=np.array(classes, np.int64), num_true=1, num_sampled=7, unique=unique, range_max=most, seed=3)
    g.case("AllCandidateSampler", true_classes=np.array([[1, 2], [3, 4]], np.int64), num_true=2, num_sampled=6, unique=True)
    g.case("AllCandidateSampler", true_classes=np.array([[1, 9]], np.int64), num_true=2, num_sampled=6, unique=True)
    for classes, sampled in [([[1, 2], [3, 1]], [3, 5, 1]), ([[1, 2]], [4, 4]), ([[2, 2]], [2, 0, 2])]:
        g.case("ComputeAccidentalHits", true_classes=np.array(classes, np.int64), sampled_candidates=i64(*sampled), num_true=2)
    g.case("ComputeAccidentalHits", true_classes=np.zeros((0, 2), np.int64), sampled_candidates=i64(1), num_true=2)
    g.case("ComputeAccidentalHits", true_classes=i64(1, 2), sampled_candidates=i64(1), num_true=2)
    g.case("ComputeAccidentalHits", true_classes=np.zeros((1, 2), np.int64), sampled_candidates=np.zeros((1, 2), np.int64), num_true=2)
    for dtype, t in [(np.float32, 1e-5), (np.float64, 1e-11), (np.float16, 5e-3)]:
        inf = np.inf
        for mean, deviation, low, high in [(0, 1, -2, 2), (1, 2, 3, inf), (0, 1, 4, 5), (-3, 0.5, -inf, -4), (0, 1, 0.1, 0.2), (0, 1, 3, inf), (5, 1, -1, 4)]:
            own = [np.array(v, dtype) for v in (mean, deviation, low, high)]
            g.case("StatelessParameterizedTruncatedNormal", t, shape=i32(9), seed=i64(5, 6), means=own[0], stddevs=own[1], minvals=own[2], maxvals=own[3])
            p = g.program(f"ParameterizedTruncatedNormal {np.dtype(dtype).name} {mean} {low}")
            for n in range(2):
                p.again("ParameterizedTruncatedNormal", n == 0, shape=i32(2, 3), means=own[0], stdevs=own[1], minvals=own[2], maxvals=own[3], seed=5, seed2=6)
        many = dict(means=np.array([0, 5, -1], dtype), minvals=np.array([[-1], [2]], dtype), maxvals=dtype(7))
        g.case("StatelessParameterizedTruncatedNormal", t, shape=i64(4, 2, 3), seed=i64(5, 6), stddevs=dtype(2), **many)
        g.case("ParameterizedTruncatedNormal", t, shape=i32(3, 4), means=many["means"], stdevs=np.array([1, 2, 1], dtype), minvals=dtype(-2), maxvals=dtype(6), seed=1)
    f = np.float32
    for low, high, deviation, shape in [(2, 1, 1, [3]), (-np.inf, np.inf, 1, [3]), (-1, 1, -1, [3]), (-1, 1, 1, [0]), (-1, 1, 1, []), (-1, 1, 1, [-2])]:
        g.case("StatelessParameterizedTruncatedNormal", 1e-5, shape=np.array(shape, np.int32), seed=i64(5, 6), means=f(0), stddevs=f(deviation), minvals=f(low), maxvals=f(high))
        g.case("ParameterizedTruncatedNormal", 1e-5, shape=np.array(shape, np.int32), means=f(0), stdevs=f(deviation), minvals=f(low), maxvals=f(high), seed=4)
    g.case("StatelessParameterizedTruncatedNormal", shape=i32(2, 2), seed=i64(5, 6), means=np.zeros(3, f), stddevs=f(1), minvals=f(0), maxvals=f(1))
    for dtype in [np.float32, np.float64, np.float16]:
        counts, probs = np.array([0, 1, 10, 50, 1000, 7], dtype), np.array([0.5, 0.0, 0.3, 0.5, 0.9, 1.0], dtype)
        for out in [tf.int32, tf.int64, tf.float32, tf.float64, tf.float16]:
            g.case("StatelessRandomBinomial", shape=i32(3, 6), seed=i64(1, 2), counts=counts, probs=probs, dtype=out)
        g.case("StatelessRandomBinomial", shape=i64(6, 6), seed=i64(3, 4), counts=counts[:, None], probs=probs, dtype=tf.float64)
    for shape in [[6], [2], [0, 6], []]:
        g.case("StatelessRandomBinomial", shape=np.array(shape, np.int32), seed=i64(1, 2), counts=np.ones(6), probs=np.full(6, 0.5), dtype=tf.int32)
    g.case("StatelessRandomBinomial", shape=i32(3), seed=i64(1, 2), counts=np.float64(5), probs=np.float64(np.nan), dtype=tf.float32)
    for state in [[1, 5, -1, 7], [1, -1, -1, 2**40], [3, 0, 0, 0], [2, 0, 0, 0], [9, 0, 0, 0], [1, 2]]:
        p = g.program(f"first form of a generator's state {state}", "StatefulStandardNormal")
        v = p.step("VarHandleOp", dtype=tf.int64, shape=[len(state)], shared_name=f"first form {state}")
        p.step("AssignVariableOp", resource=v, value=i64(*state))
        for dtype in [tf.float32, tf.float64, tf.float16]:
            p.step("StatefulStandardNormal", resource=v, shape=i32(5), dtype=dtype)
        p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p = g.program("binomial numbers of a generator")
    v = p.step("VarHandleOp", dtype=tf.int64, shape=[3], shared_name="binomial")
    p.step("AssignVariableOp", resource=v, value=i64(5, 6, 7))
    for algorithm in [1, 1, 2]:
        p.step("StatefulRandomBinomial", resource=v, algorithm=np.int64(algorithm), shape=i32(2, 3), counts=np.array([5, 100, 40], np.float32), probs=np.float32(0.4), dtype=tf.int64)
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    for dtype in [np.int32, np.int64, np.uint32, np.uint64]:
        seed = np.array([11, 2**31 - 7, 3], dtype)
        g.case("RandomIndexShuffle", index=np.arange(10, dtype=dtype), seed=seed, max_index=np.array(9, dtype))
        g.case("RandomIndexShuffle", index=np.array(3, dtype), seed=seed, max_index=np.array(2**20 + 5, dtype), rounds=8)
        g.case("RandomIndexShuffle", index=np.array([3, 0], dtype), seed=np.stack([seed, seed[::-1]]), max_index=np.array([7, 0], dtype))
    g.case("RandomIndexShuffle", index=np.int64(2**40), seed=i64(1, 2, 3), max_index=np.int64(2**45 + 1))
    g.case("RandomIndexShuffle", index=np.uint64(2**63 + 9), seed=i64(1, 2, 3), max_index=np.uint64(2**64 - 1))
    for index, seed, most in [(i64(1, 2), i64(1, 2), np.int64(5)), (i64(1, 2), i64(1, 2, 3), i64(5, 5, 5)), (np.int64(-1), i64(1, 2, 3), np.int64(5)), (np.int64(6), i64(1, 2, 3), np.int64(5)), (np.int64(0), i64(1, 2, 3), np.int64(-5)), (np.zeros((1, 1), np.int64), i64(1, 2, 3), np.int64(5))]:
        g.case("RandomIndexShuffle", index=index, seed=seed, max_index=most)


def older_and_rarer(g):
    """Fractional pooling, isotonic regression, data formats, first versions of ops."""
    for op in ["FractionalMaxPool", "FractionalAvgPool"]:
        for dtype in [np.float32, np.float64, np.int32, np.int64]:
            x = some(dtype, (2, 7, 6, 2))
            for pseudo in [False, True]:
                for overlapping in [False, True]:
                    g.case(op, value=x, pooling_ratio=[1.0, 1.44, 1.73, 1.0], pseudo_random=pseudo, overlapping=overlapping, deterministic=True, seed=5, seed2=6)
        p = g.program(op)
        for n in range(3):
            p.again(op, n == 0, value=some(np.float32, (1, 9, 9, 1), n), pooling_ratio=[1.0, 1.5, 1.5, 1.0], deterministic=True, seed=3, seed2=9)
        for pseudo in [False, True]:
            g.case(op, value=some(np.float32, (1, 8, 8, 1)), pooling_ratio=[1.0, 2.0, 2.0, 1.0], pseudo_random=pseudo, deterministic=True, seed=3)
            g.case(op, value=some(np.float32, (1, 23, 10, 1)), pooling_ratio=[1.0, 2.3, 3.1, 1.0], pseudo_random=pseudo, deterministic=True, seed=3)
        x = some(np.float32, (1, 4, 4, 1))
        g.case(op, value=np.where(x > 0, np.nan, x).astype(np.float32), pooling_ratio=[1.0, 1.5, 1.5, 1.0], deterministic=True, seed=3)
        for value, ratio in [(x[0], [1.0, 1.5, 1.5, 1.0]), (x, [1.0, 1.5, 1.5]), (x, [2.0, 1.5, 1.5, 2.0]), (x, [1.0, 5.0, 1.0, 1.0]), (x[:0], [1.0, 1.5, 1.5, 1.0])]:
            g.case(op, value=value, pooling_ratio=ratio, deterministic=True, seed=3)
        g.case(op, only=[], value=x, pooling_ratio=[1.0, 1.5, 1.5, 1.0])
        g.case(op, value=x, pooling_ratio=[1.0, 1.5, 1.5, 1.0], seed=3)
    for dtype, out in [(np.float32, tf.float32), (np.float64, tf.float64), (np.float16, tf.float16), (np.int8, tf.float32), (np.int16, tf.float32), (np.int32, tf.float64), (np.int64, tf.float64)]:
        for shape in [(6,), (2, 5), (2, 2, 3), (0, 3), (3, 0), (1, 1)]:
            g.case("IsotonicRegression", input=some(dtype, shape, 4), output_dtype=out)
    g.case("IsotonicRegression", input=np.array([3, 1, 2, np.nan, 5, 4, np.inf, 1], np.float32))
    for dtype in [np.int32, np.int64]:
        for source, target in [("NHWC", "NCHW"), ("NCHW", "NHWC"), ("HWNC", "NHWC"), ("NDHWC", "NCDHW"), ("NHWC", "NHWC")]:
            formats = dict(src_format=source, dst_format=target)
            g.case("DataFormatDimMap", x=np.arange(-len(source), len(source), dtype=dtype).reshape(2, -1), **formats)
            g.case("DataFormatDimMap", x=np.array(1, dtype), **formats)
            for shape in [(len(source),), (2,), (len(source), 2), (2, 2), (3,), (2, 3), (len(source), 1), (4,), (3, 2), (5,), (2, 2, 2), (0,)]:
                g.case("DataFormatVecPermute", x=np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape), **formats)
    for source, target in [("NHWC", "NHWX"), ("NHW", "NWH"), ("NHHC", "NHHC"), ("ABCD", "DCBA"), ("NHWC", "NCDHW")]:
        g.case("DataFormatDimMap", x=i32(0, 1), src_format=source, dst_format=target)
        g.case("DataFormatVecPermute", x=i32(0, 1), src_format=source, dst_format=target)
    for dtype in [np.float32, np.float64, np.uint8, np.int8, np.int16, np.int32]:
        for shape in [(2, 3, 4, 2), (3, 2, 1), (0, 2, 2, 3), (2, 0, 2, 3)]:
            g.case("AdjustContrast", 1e-5, images=some(dtype, shape), contrast_factor=np.float32(1.7), min_value=np.float32(-3), max_value=np.float32(4))
    x = some(np.float32, (2, 2, 2))
    for images, factor, low in [(x[0], 1, 0), (x, [1], 0), (x, 1, [0])]:
        g.case("AdjustContrast", images=images, contrast_factor=np.float32(factor) if factor == 1 else np.ones(1, np.float32), min_value=np.float32(0) if low == 0 else np.zeros(1, np.float32), max_value=np.float32(1))
    for dtype in [np.float32, np.float64]:
        x = np.concatenate([some(dtype, (2, 4)), np.array([[0.5, -0.5, 1.5, 2.5]], dtype)])
        for signed in [True, False]:
            for given in [True, False]:
                for bits in [8, 4]:
                    g.case("QuantizeAndDequantize", 1e-5, input=x, signed_input=signed, range_given=given, num_bits=bits, input_min=-2.0, input_max=3.0)
        g.case("QuantizeAndDequantize", input=x, range_given=True, input_min=3.0, input_max=-2.0)
        g.case("QuantizeAndDequantize", input=x[:0])
        g.case("QuantizeAndDequantize", input=x, num_bits=0)
        g.case("QuantizeAndDequantize", input=x, num_bits=63)
    for dtype in [np.float32, np.float16]:
        for k in [0, 1, 3, 5]:
            g.case("ApproxTopK", input=some(dtype, (2, 4)), k=k, static=True)
    for dtype in [np.float32, np.int64, object, np.complex64]:
        g.case("ParallelConcat", values=[some(dtype, (1, 3), n) for n in range(3)], shape=[3, 3], static=True)
    g.case("Fact")


def csr_matrices(g):
    """Sparse matrices in rows: variants, so programs."""
    def values(dtype, shape, seed):
        part = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        x = some(part, shape, seed)
        return (x + 1j * some(part, shape, seed + 1)).astype(dtype) if np.iscomplexobj(dtype()) else x

    def sparse(dtype, shape, seed=1):
        """Indices and values of some elements."""
        r = np.random.RandomState(seed)
        indices = np.argwhere(r.rand(*shape) < 0.4).astype(np.int64)
        return dict(indices=indices, values=values(dtype, (len(indices),), seed), dense_shape=i64(*shape))

    for dtype in [np.float32, np.float64, np.complex64, np.complex128]:
        kind = tf.as_dtype(dtype)
        for lead in [(), (2,)]:
            p = g.program(f"sparse matrices {kind.name} {lead}")
            a = p.step("SparseTensorToCSRSparseMatrix", static=True, **sparse(dtype, lead + (3, 4)))
            b = p.step("SparseTensorToCSRSparseMatrix", static=True, **sparse(dtype, lead + (4, 3), 2))
            dense = values(dtype, lead + (3, 4), 3)
            c = p.step("DenseToCSRSparseMatrix", static=True, dense_input=dense, indices=np.argwhere(dense.real > 0).astype(np.int64))
            for m in [a, b, c]:
                p.step("CSRSparseMatrixToDense", sparse_input=m, type=kind)
            p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=c, type=kind)
            p.step("SparseMatrixNNZ", sparse_matrix=a)
            p.step("CSRSparseMatrixComponents", static=True, csr_sparse_matrix=a, index=np.int32(len(lead)), type=kind)
            p.step("CSRSparseMatrixComponents", static=True, csr_sparse_matrix=a, index=np.int32(2), type=kind)
            for conjugate in [False, True]:
                t = p.step("SparseMatrixTranspose", input=a, conjugate=conjugate, type=kind)
                p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=t, type=kind)
            for turns, left, right in [({}, a, b), (dict(transpose_a=True), a, c), (dict(adjoint_b=True), a, c), (dict(adjoint_a=True, transpose_b=True), a, b)]:
                product = p.step("SparseMatrixSparseMatMul", a=left, b=right, type=kind, **turns)
                p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=product, type=kind)
            for turns, shape in [({}, (4, 2)), (dict(transpose_a=True), (3, 2)), (dict(adjoint_a=True, adjoint_b=True), (2, 3)), (dict(transpose_b=True, transpose_output=True), (2, 4)), (dict(transpose_output=True, conjugate_output=True), (4, 2)), (dict(conjugate_output=True), (4, 1))]:
                p.step("SparseMatrixMatMul", a=a, b=values(dtype, lead + shape, 5), **turns)
            p.step("SparseMatrixMatMul", a=a, b=values(dtype, lead + (3, 2), 5))
            p.step("SparseMatrixMatMul", a=a, b=values(dtype, lead + (1, 4, 2), 5))
            p.step("SparseMatrixSparseMatMul", a=a, b=a, type=kind)
    p = g.program("sparse matrices that are refused, or empty")
    f = np.float32
    for indices, count, shape in [([[0, 3]], 1, [2, 3]), ([[2, 0]], 1, [2, 3]), ([[-1, 0]], 1, [2, 3]), ([[5, 0, 0]], 1, [2, 2, 3]), (np.zeros((0, 2)), 0, [-2, 3])]:
        p.step("SparseTensorToCSRSparseMatrix", static=True, indices=np.array(indices, np.int64), values=np.ones(count, f), dense_shape=i64(*shape))
    for indices, shape in [([[0, 3]], (2, 3)), ([[2, 0]], (2, 3))]:
        p.step("DenseToCSRSparseMatrix", static=True, dense_input=np.ones(shape, f), indices=np.array(indices, np.int64))
    for shape in [(2, 3), (0, 3), (2, 0), (0, 2, 3), (2, 0, 3)]:
        p = g.program(f"sparse matrix without elements {shape}")
        m = p.step("SparseTensorToCSRSparseMatrix", static=True, indices=np.zeros((0, len(shape)), np.int64), values=np.zeros(0, f), dense_shape=i64(*shape))
        p.step("CSRSparseMatrixToDense", sparse_input=m, type=tf.float32)
        p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=m, type=tf.float32)
        p.step("SparseMatrixNNZ", sparse_matrix=m)
        if shape == (2, 3):  # of nothing TensorFlow ends with a division by zero
            p.step("SparseMatrixMatMul", a=m, b=np.ones((3, 2), f))


def rows_and_sparse_texts(g):
    """Scripts, sparse tensors as strings, rows in place, nearest centres, tridiagonal systems."""
    g.case("UnicodeScript", input=np.array([[65, 0x3B1, 0x4E2D, 0x3042, 0x1F600], [-1, 0x110000, 0x10FFFF, 0xD800, 0x378]], np.int32))
    g.case("UnicodeScript", input=np.int32(1077))
    g.case("UnicodeScript", input=np.arange(0, 0x30000, 97, dtype=np.int32))
    g.case("UnicodeScript", input=np.zeros((0, 2), np.int32))
    for dtype in INT_TYPES + FLOAT_TYPES + [object, np.bool_, np.complex64]:
        for shape, indices in [((4, 3), [[0, 1], [0, 2], [2, 0]]), ((3, 2, 2), [[1, 0, 1], [2, 1, 1]]), ((2, 2), np.zeros((0, 2)))]:
            sparse = dict(sparse_indices=np.array(indices, np.int64), sparse_values=some(dtype, (len(indices),)), sparse_shape=i64(*shape))
            g.case("SerializeSparse", **sparse)
            g.case("SerializeManySparse", **sparse)
    ragged = dict(sparse_indices=np.array([[0], [2]], np.int64), sparse_values=some(np.float32, (2,)), sparse_shape=i64(4))
    g.case("SerializeSparse", **ragged)
    g.case("SerializeManySparse", **ragged)
    g.case("SerializeManySparse", **{**ragged, "sparse_values": some(np.float32, (3,))})
    text = lambda indices, values, shape: [tf.io.serialize_tensor(v).numpy() for v in (np.array(indices, np.int64).reshape(-1, len(shape)), values, i64(*shape))]
    for dtype in INT_TYPES + FLOAT_TYPES + [object, np.bool_, np.complex64]:
        one = text([[0, 1], [3, 2]], some(dtype, (2,)), (4, 3))
        two = text([[1, 4]], some(dtype, (1,)), (2, 5))
        none = text([], some(dtype, (0,)), (1, 1))
        of = tf.string if dtype is object else tf.as_dtype(dtype)
        g.case("DeserializeSparse", serialized_sparse=np.array(one, object), dtype=of)
        g.case("DeserializeSparse", serialized_sparse=np.array([[one, two], [none, one]], object), dtype=of)
        g.case("DeserializeManySparse", serialized_sparse=np.array([one, two, none], object), dtype=of)
        g.case("DeserializeManySparse", serialized_sparse=np.array([none], object), dtype=of)
    flat = text([[1]], some(np.float32, (1,)), (2,))
    other = text([[0, 1]], some(np.float32, (1,)), (4, 3))
    for bad in [np.array([flat, other], object), np.array(flat, object), np.array([["a", "b", "c"]], object), np.array([flat[:2]], object), np.zeros((0, 3), object), np.array([flat[::-1]], object)]:
        g.case("DeserializeManySparse", serialized_sparse=bad, dtype=tf.float32)
    g.case("DeserializeManySparse", serialized_sparse=np.array([flat], object), dtype=tf.int32)
    for dtype in INT_TYPES + FLOAT_TYPES:
        for op in ["InplaceUpdate", "InplaceAdd", "InplaceSub"]:
            g.case(op, x=some(dtype, (4, 2)), i=i32(1, -1, 5), v=some(dtype, (3, 2), seed=2))
    g.case("InplaceUpdate", x=some(np.float32, (3,)), i=i32(2, 2), v=some(np.float32, (2,), seed=2))
    for op in ["InplaceUpdate", "InplaceAdd"]:
        g.case(op, x=some(np.float32, (3, 0)), i=i32(1), v=some(np.float32, (1, 0)))
        for bad in [dict(i=np.int32(1)), dict(v=some(np.float32, (3,))), dict(v=some(np.float32, (2, 3))), dict(i=i32(1))]:
            g.case(op, **{**dict(x=some(np.float32, (4, 2)), i=i32(1, 2), v=some(np.float32, (2, 2))), **bad})
    points, centers = some(np.float32, (5, 3)), some(np.float32, (4, 3), seed=2)
    for k in [1, 2, 4, 9, 0]:
        g.case("NearestNeighbors", points=points, centers=centers, k=np.int64(k), tolerance=1e-5)
    for bad in [dict(points=points[0]), dict(centers=centers[:, :2]), dict(k=i64(1)), dict(points=points[:0]), dict(centers=centers[:0])]:
        g.case("NearestNeighbors", **{**dict(points=points, centers=centers, k=np.int64(2)), **bad})
    for dtype in [np.float32, np.float64]:
        for shape in [(5,), (2, 3), (1,)]:
            batch, n = shape[:-1], shape[-1]
            d = some(dtype, batch + (3, n))
            x = some(dtype, batch + (n, 2), seed=3)
            for pivoting in [True, False]:
                g.case("TridiagonalSolve", diagonals=d, rhs=x, partial_pivoting=pivoting, tolerance=1e-4 if dtype == np.float32 else 1e-10)
            g.case("TridiagonalMatMul", superdiag=d[..., :1, :], maindiag=d[..., 1:2, :], subdiag=d[..., 2:, :], rhs=x)
        g.case("TridiagonalSolve", diagonals=np.zeros((3, 3), dtype), rhs=np.ones((3, 1), dtype))
        g.case("TridiagonalSolve", diagonals=np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]], dtype), rhs=np.ones((3, 1), dtype), partial_pivoting=False)
        g.case("TridiagonalSolve", diagonals=np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]], dtype), rhs=np.ones((3, 1), dtype))
    x = some(np.float32, (3, 2))
    for bad in [dict(diagonals=x), dict(rhs=x[:2]), dict(rhs=x[None])]:
        g.case("TridiagonalSolve", **{**dict(diagonals=some(np.float32, (3, 3)), rhs=x), **bad})


def encoded_images(g):
    """Images to files. The bytes of a PNG are its zlib's: only that there is one is promised."""
    r = np.random.RandomState(7)
    y, x = np.mgrid[0:21, 0:35]
    smooth = np.stack([(x * 7 + y) % 256, (y * 11) % 256, (x * y) % 256], -1).astype(np.uint8)
    noise = r.randint(0, 256, (17, 18, 3)).astype(np.uint8)
    flat = np.full((16, 16, 3), 255, np.uint8)
    for image in [smooth, noise, flat, noise[:1, :1], noise[:9, :3], noise[:8, :8]]:
        for kw in [dict(), dict(quality=30), dict(quality=100, chroma_downsampling=False)]:
            g.case("EncodeJpeg", image=image, **kw)
        g.case("EncodeJpeg", image=image[..., 1:2], quality=75)
    g.case("EncodeJpeg", image=noise[:4, :5], quality=0, density_unit="cm", x_density=72, y_density=90, xmp_metadata="<x/>", format="rgb")
    g.case("EncodeJpeg", image=noise[:4, :5, :1], format="grayscale")
    for bad in [dict(image=noise[0]), dict(image=noise[..., :2]), dict(image=noise, format="grayscale"), dict(image=noise[..., :1], format="rgb"), dict(image=noise[:0])]:
        g.case("EncodeJpeg", **bad)
    for quality in [1, 60, 101]:
        g.case("EncodeJpegVariableQuality", images=noise, quality=np.int32(quality))
    g.case("EncodeJpegVariableQuality", images=noise, quality=i32(60))
    files = [tf.io.encode_jpeg(image, **kw).numpy() for image, kw in [(smooth, dict()), (noise[..., :1], dict(format="grayscale")), (noise, dict(progressive=True))]]
    for data in files + [files[0][:400], files[0][:100], b"", b"x", b"\x89PNG\r\n\x1a\n"]:
        for dtype in [tf.int32, tf.int64] if data == files[0] else [tf.int32]:
            g.case("ExtractJpegShape", contents=np.array(data, object), output_type=dtype)
    g.case("ExtractJpegShape", contents=np.array([files[0]], object))
    for dtype in [np.uint8, np.uint16]:
        for channels in [1, 2, 3, 4]:
            g.case("EncodePng", image=r.randint(0, 256, (5, 6, channels)).astype(dtype), only=[])
        g.case("EncodePng", image=r.randint(0, 256, (2, 3, 5, 6, 3)).astype(dtype), compression=9, only=[])
    for bad in [noise[0], np.zeros((2, 2, 5), np.uint8), np.zeros((2, 2, 0), np.uint8), np.zeros((0, 2, 3), np.uint8)]:
        g.case("EncodePng", image=bad)


def random_rates(g):
    """Gamma and Poisson numbers, by seeds."""
    key, counter = np.array([2**63 + 5], np.uint64), np.array([2**64 - 1, 77], np.uint64)
    for dtype in [np.float32, np.float64, np.float16]:
        alpha = np.array([0.1, 0.9, 1.0, 1.5, 30.0], dtype)
        rate = np.array([0.0, 0.5, 9.5, 10.0, 45.0, 900.0], dtype)
        for shape in [(5,), (3, 5), (2, 2, 5)]:
            g.case("StatelessRandomGammaV2", shape=i32(*shape), seed=i64(5, -6), alpha=alpha, tolerance=1e-5)
            g.case("StatelessRandomGammaV3", shape=i32(*shape), key=key, counter=counter, alg=np.int32(1), alpha=alpha, tolerance=1e-5)
        for out in [tf.int32, tf.int64, tf.float32]:
            g.case("StatelessRandomPoisson", shape=i32(2), seed=i64(1, 2), lam=np.array(np.inf, dtype), dtype=out)
        for out in [tf.int32, tf.int64, tf.float32, tf.float64, tf.float16]:
            g.case("StatelessRandomPoisson", shape=i32(7, 6), seed=i64(1, 2), lam=rate, dtype=out)
        for op, parameter, more in [("RandomGamma", dict(alpha=alpha), {}), ("RandomPoissonV2", dict(rate=rate), dict(dtype=tf.int64))]:
            p = g.program(f"{op} {np.dtype(dtype).name}")
            for n in [4, 4]:
                p.again(op, p.entry["steps"] == [], shape=i32(n), **parameter, seed=7, seed2=2**40 + 3, **more)
    for shape in [i32(3), i32(2, 4), i32(-1, 5), i32(0, 5), i32()]:
        g.case("StatelessRandomGammaV2", shape=shape, seed=i64(5, -6), alpha=np.ones(5, np.float32))
    g.case("StatelessRandomGammaV2", shape=i32(3), seed=i64(5, -6), alpha=np.float32(2.5), tolerance=1e-5)
    g.case("StatelessRandomPoisson", shape=i32(3), seed=i64(5, -6), lam=np.float32(2.5), dtype=tf.float32)
    g.case("StatelessRandomPoisson", shape=i32(3), seed=i64(5, -6, 1), lam=np.float32(2.5), dtype=tf.float32)


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


def glimpses(g):
    """Windows around places, without noise where they leave the image."""
    x = (np.arange(2 * 5 * 6 * 3).reshape(2, 5, 6, 3) % 47).astype(np.float32)
    for op in ["ExtractGlimpse", "ExtractGlimpseV2"]:
        for centered, normalized in [(False, False), (True, False), (False, True), (True, True)]:
            for offsets in [[[0, 0], [1, -1]], [[0.4, 0.6], [-0.5, 0.25]], [[2, 3], [-9, 2]]]:
                g.case(op, input=x, size=i32(3, 4), offsets=np.array(offsets, np.float32), centered=centered, normalized=normalized, uniform_noise=False, noise="zero")
        g.case(op, input=x[:, :, :, 0], size=i32(3, 4), offsets=np.zeros((2, 2), np.float32), noise="zero", uniform_noise=False)
        g.case(op, input=x, size=i32(3, 4, 1), offsets=np.zeros((2, 2), np.float32), noise="zero", uniform_noise=False)
        g.case(op, input=x, size=i32(3, 4), offsets=np.zeros((3, 2), np.float32), noise="zero", uniform_noise=False)
        g.case(op, input=x, size=i32(2, 2), offsets=np.ones((2, 2), np.float32), centered=False, normalized=False, only=[])


def files(g):
    p = g.program("ReadFile")
    p.step("ReadFile", filename=p.file(b"bytes \x00\xff of a file\n"))
    p.step("ReadFile", filename=p.file(b""))
    g.case("ReadFile", filename=texts("a", "b"))


def protos(g):
    """Every type of field, as every dtype that it may become; fields that lack, repeat, are packed or written in another form; damaged messages."""
    from google.protobuf import descriptor_pb2

    kind = descriptor_pb2.FieldDescriptorProto
    scalars = "DOUBLE FLOAT INT64 UINT64 INT32 FIXED64 FIXED32 BOOL STRING GROUP MESSAGE BYTES UINT32 ENUM SFIXED32 SFIXED64 SINT32 SINT64".split()
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="t.proto", package="t", syntax="proto2")
    message = file.message_type.add(name="M")
    group = message.nested_type.add(name="Group")
    group.field.add(name="x", number=1, type=kind.TYPE_INT32, label=1)
    numbers = {}
    for n, scalar in enumerate(scalars, 1):
        of = {"GROUP": ".t.M.Group", "MESSAGE": ".t.M", "ENUM": ".t.E"}.get(scalar)
        for prefix, first, label in (("", 0, 1), ("r_", 30, 3)):
            # The name of a group's field is that of its type.
            name = prefix + scalar.lower()
            numbers[name] = first + n
            message.field.add(name=name, number=first + n, type=getattr(kind, f"TYPE_{scalar}"), type_name=of, label=label)
    message.field.add(name="seven", number=61, type=kind.TYPE_INT64, label=1, default_value="7")
    message.field.add(name="hey", number=62, type=kind.TYPE_STRING, label=1, default_value="hey")
    message.field.add(name="five", number=63, type=kind.TYPE_ENUM, type_name=".t.E", label=1, default_value="B")
    message.field.add(name="half", number=64, type=kind.TYPE_DOUBLE, label=1, default_value="0.5")
    enum = file.enum_type.add(name="E")
    enum.value.add(name="A", number=3)
    enum.value.add(name="B", number=5)
    source = b"bytes://" + files.SerializeToString()

    def varint(value):
        value &= 2**64 - 1
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def field(name, wire, payload):
        return varint(numbers.get(name, name if isinstance(name, int) else 0) << 3 | wire) + payload

    def decode(messages, names, types, **options):
        array = np.array(messages, object) if isinstance(messages, list) else messages
        g.case("DecodeProtoV2", bytes=array, message_type=options.pop("message_type", "t.M"), field_names=names, output_types=types, descriptor_source=options.pop("source", source), **options)

    f32, f64, i32, i64, u32, u64, flag, text = tf.float32, tf.float64, tf.int32, tf.int64, tf.uint32, tf.uint64, tf.bool, tf.string
    for scalar in scalars:
        name = scalar.lower()
        eight, four = bytes(range(0xF0, 0xF8)), b"\x01\x02\x83\xc4"
        wire, values = {
            "DOUBLE": (1, [eight, bytes(6) + b"\xf0\x3f"]), "FLOAT": (5, [four, b"\x00\x00\xc0\x7f"]), "FIXED64": (1, [eight]), "FIXED32": (5, [four]), "SFIXED32": (5, [four]), "SFIXED64": (1, [eight]),
            "STRING": (2, [b"\x02\xff\xfe", b"\x00"]), "BYTES": (2, [b"\x02\xff\xfe"]), "MESSAGE": (2, [b"\x02\x28\x01"]), "GROUP": (3, [b"\x08\x05" + varint(10 << 3 | 4)]),
        }.get(scalar, (0, [varint(v) for v in (1, -1, 2**31, 2**32 + 5, 2**63 - 2)]))
        for type_ in (f32, f64, i32, i64, u32, u64, flag, text):
            decode([b"".join(field(name, wire, v) for v in values[:1])], [name], [type_])
        allowed = {"DOUBLE": f64, "FLOAT": f64, "INT64": i64, "UINT64": u64, "INT32": i64, "FIXED64": u64, "FIXED32": u64, "BOOL": flag, "UINT32": u64, "ENUM": i32, "SFIXED32": i64, "SFIXED64": i64, "SINT32": i64, "SINT64": i64}.get(scalar, text)
        for value in values:
            decode([field(name, wire, value), b""], [name], [allowed])
        if wire != 3:
            many = b"".join(field("r_" + name, wire, v) for v in values)
            decode([[many], [b""], [many + many]], ["r_" + name], [allowed])
        if wire in (0, 1, 5):
            packed = b"".join(values)
            decode([field("r_" + name, 2, varint(len(packed)) + packed) + field("r_" + name, wire, values[0]), b""], ["r_" + name], [allowed])
            decode([field("r_" + name, 2, varint(len(packed) + 1) + packed + b"\xff")], ["r_" + name], [allowed])
        decode([field(name, 2 if wire != 2 else 0, b"\x00"), b""], [name], [allowed])
        decode([field(name, 5 if wire != 5 else 1, bytes(4 if wire != 5 else 8))], [name], [allowed])
    one = lambda value: field("int32", 0, varint(value))
    decode([one(5) + one(6), b""], ["int32", "string"], [i32, text])
    decode([[one(5), b""], [one(6), one(-7)]], ["int32", "seven", "hey", "five", "half"], [i32, i64, text, i32, f64])
    decode(np.array(one(5), object), ["int32"], [i32])
    decode([one(5)], [], [])
    decode([one(5)], ["int32", "int32"], [i32, i64])
    decode(np.zeros([0], object), ["int32"], [i32])
    decode(np.zeros([0, 2], object), ["int32"], [i32])
    decode([one(5)], ["none"], [i32])
    decode([one(5)], ["int32"], [i32], message_type="t.N")
    decode([one(5)], ["int32"], [i32], source="local://")
    decode([b"", field("int32", 2, b"\x02\x05\x06")], ["int32"], [i32])
    decode([field("int32", 2, b"\x02\x05\x06") + one(4)], ["int32"], [i32])
    decode([one(4) + field("int32", 2, b"\x02\x05\x06")], ["int32"], [i32])
    decode([field("r_int64", 2, b"\x02\xff\xff"), field("r_int64", 2, b"\x03\x01\xff\xff")], ["r_int64"], [i64])
    decode([field("r_int64", 2, b"\x02\xff\xff")], ["r_int64"], [i64])
    for damage in (field("int32", 0, b""), b"\xff", field("string", 2, b"\x05ab"), field(99, 2, b"\x05ab"), field(99, 0, b""), field(99, 3, b""), field(99, 4, b""), b"\x00\x01", field("r_int32", 2, b"\x05\x01"), field("fixed32", 5, b"\x01"), field(99, 6, b""), field("group", 3, b"\x08\x05")):
        decode([b"", one(1) + damage], ["int32", "string", "r_int32", "fixed32", "group"], [i32, text, i32, u32, text])
    unknown = field(99, 3, field(98, 0, b"\x01") + field(97, 3, field(97, 4, b"")) + field(99, 4, b"")) + field(96, 1, bytes(8)) + field(95, 5, bytes(4)) + field(94, 2, b"\x01x")
    decode([unknown + one(8) + unknown], ["int32"], [i32])
    example = tf.train.Example()
    example.features.feature["a"].int64_list.value.extend([1, 2])
    decode([example.SerializeToString()], ["features"], [text], message_type="tensorflow.Example", source="local://")
    decode([example.features.SerializeToString()], ["feature"], [text], message_type="tensorflow.Features", source="local://")


FAMILIES = {
    "glimpses": glimpses,
    "files": files,
    "complex-more": complex_more,
    "layer-gradients": layer_gradients,
    "random-rates": random_rates,
    "encoded-images": encoded_images,
    "rows-and-sparse-texts": rows_and_sparse_texts,
    "special-integrals": special_integrals,
    "generators": generators,
    "random-more": random_more,
    "csr-matrices": csr_matrices,
    "older-and-rarer": older_and_rarer,
    "drawing": drawing,
    "stateless-shuffle": stateless_shuffle,
    "recurrent": recurrent,
    "matrix-factors": matrix_factors,
    "complex-matrices": complex_matrices,
    "matrix-functions": matrix_functions,
    "batch-matrices": batch_matrices,
    "banded-triangles": banded_triangles,
    "variable-scatter": variable_scatter,
    "quantize-dequantize": quantize_dequantize,
    "windows": windows,
    "gradients": gradients,
    "matrix-solve": matrix_solve,
    "colour": colour,
    "audio": audio,
    "ctc": ctc,
    "fft": fft,
    "leftovers": leftovers,
    "protos": protos,
    "array-shape": array_shape,
    "array-slice": array_slice,
    "array-gather": array_gather,
    "array-join": array_join,
    "math-binary": math_binary,
    "math-unary": math_unary,
    "compare": compare,
    "cast": cast,
    "reduce": reduce,
    "search": search,
    "strings": strings,
    "regex": regex,
    "tables": tables,
    "parse": parse,
    "sparse": sparse,
    "segments": segments,
    "ragged": ragged,
    "random": random,
    "sparse-more": sparse_more,
    "ragged-more": ragged_more,
    "parse-sequence": parse_sequence,
    "images": images,
    "math-more": math_more,
    "strings-more": strings_more,
    "array-more": array_more,
    "matrix-parts": matrix_parts,
    "resampling": resampling,
    "detection": detection,
}
