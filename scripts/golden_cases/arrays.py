"""Shapes, and elements that are moved, cut, joined or counted."""

import numpy as np
import tensorflow as tf

from golden_cases.values import BIG, MOVED_TYPES, i32, i64, some, texts


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
    for dtype in [np.int32, np.int64, np.uint32]:
        p = g.program(f"products of {np.dtype(dtype).name} that wrap")
        v = p.step("VarHandleOp", dtype=tf.as_dtype(dtype), shape=[2], shared_name=f"w {np.dtype(dtype).name}")
        p.step("AssignVariableOp", resource=v, value=np.array([np.iinfo(dtype).max, 123456789], dtype))
        for _ in range(3):
            p.step("ResourceScatterMul", resource=v, indices=i32(0, 1), updates=np.array([2**31 - 19, 1234567891], dtype))
            p.step("ReadVariableOp", resource=v, dtype=tf.as_dtype(dtype))


FAMILIES = {
    "array-shape": array_shape,
    "array-slice": array_slice,
    "array-gather": array_gather,
    "array-join": array_join,
    "array-more": array_more,
    "windows": windows,
    "variable-scatter": variable_scatter,
}
