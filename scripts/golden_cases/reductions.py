"""Many elements to one: over axes, over segments, by search and by counting."""

import numpy as np
import tensorflow as tf

from golden_cases.values import MOVED_TYPES, i32, i64, some


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


FAMILIES = {
    "reduce": reduce,
    "search": search,
    "segments": segments,
}
