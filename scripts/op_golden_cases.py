"""The cases of make_op_goldens.py: for each family of ops a function that lists them."""

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


FAMILIES = {
    "array-shape": array_shape,
    "array-slice": array_slice,
}
