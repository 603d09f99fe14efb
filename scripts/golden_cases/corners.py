"""The corners of ops: no elements, infinities, negative lengths, operands of odd forms."""

import zlib

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, i64, texts


def corners(g):
    for pos, size in [(0, -1), (1, -2), (3, -1), (-2, -1), (4, -1)]:
        for unit in ["BYTE", "UTF8_CHAR"]:
            g.case("Substr", input=texts("abc"), pos=np.int32(pos), len=np.int32(size), unit=unit)
    for shape in [(0,), (0, 4), (3, 0), (2, 0, 3)]:
        for dtype in [np.bool_, np.int32]:
            g.case("StringFormat", inputs=[np.zeros(shape, dtype)], template="v: {}!", placeholder="{}", summarize=3)
    for index in [np.int32, np.int64]:
        g.case("UnravelIndex", indices=np.zeros(0, index), dims=np.array([2, 3], index))
        g.case("UnravelIndex", indices=np.array([1], index), dims=np.zeros(0, index))
        g.case("UnravelIndex", indices=np.zeros(1, index), dims=np.array([-2, -3], index))
    g.case("UnravelIndex", indices=i32(0), dims=i32(2**16, 2**16))
    for shape in [i64(0, 4), i64(2, 0), i64(0, 0)]:
        empty = dict(hypothesis_indices=np.zeros((0, 2), np.int64), hypothesis_values=i64(), hypothesis_shape=shape)
        g.case("EditDistance", **empty, truth_indices=np.zeros((0, 2), np.int64), truth_values=i64(), truth_shape=shape)
    for kind in ["GZIP", "ZLIB"]:
        g.case("DecodeCompressed", bytes=texts("bad"), compression_type=kind)
        g.case("DecodeCompressed", bytes=texts(zlib.compress(b"good" * 9), "bad"), compression_type=kind)
    for dtype in [np.int32, np.int64, np.uint8, np.int16]:
        for axis in [i32(0), i32(0, 1), i32(1)]:
            g.case("Mean", input=np.zeros((0, 3), dtype), axis=axis, keep_dims=False)
    for dtype in [np.float32, np.float64]:
        a, x = (v.reshape(-1) for v in np.meshgrid(np.array([0.5, 1, 3, np.inf], dtype), np.array([0, 0.5, 1, 3, np.inf, np.nan], dtype)))
        for op in ["Igamma", "Igammac"]:
            g.case(op, a=a, x=x, tolerance=2e-5)
        g.case("Zeta", x=a, q=x, tolerance=2e-5)
    for value in [np.ones((2, 3), np.int32), np.ones(4, np.float32)]:
        g.case("StringFormat", inputs=[value], template="{}", placeholder="{}", summarize=0)
    m = np.arange(12, dtype=np.float64).reshape(3, 4) / 4 - 1
    for dtype in [np.float32, np.float64, np.int32, np.int64]:
        a = np.asarray(m * (2**16 if np.dtype(dtype).kind == "i" else 1)).astype(dtype)
        for equation, inputs in [("ij,jk->ik", [a, a.T]), ("ii->i", [a[:, :3]]), ("ii->", [a[:, :3]]), ("ij->", [a]), ("...j,jk->...k", [a, a.T]), ("...j,jk->...k", [np.stack([a, a]), a.T]),
                                 ("ii,ij->j", [a[:, :3], a]), ("...ij->j...i", [a[None]]), ("ij,jk->ik", [a[:, :0], a.T[:0]]), ("ij,jk->ik", [a, a]), ("...i,...i->", [a, a])]:
            g.case("Einsum", inputs=inputs, equation=equation, tolerance=1e-6)
        for value, bias, order in [(a, a[0], "NHWC"), (a[:, :, None], a[0], "NCHW"), (np.stack([a, a]), a[:, 0], "NCHW"), (a, a[:, 0], "NCHW")]:
            g.case("BiasAdd", value=value, bias=bias, data_format=order)
        if np.dtype(dtype).kind == "f":
            g.case("Svd", input=np.zeros((0, 2, 3), dtype), compute_uv=True, full_matrices=False)
            for value in [np.nan, -np.inf]:
                g.case("FractionalMaxPool", value=np.full((1, 4, 4, 1), value, dtype), pooling_ratio=[1.0, 2.0, 2.0, 1.0])
            for rows in [1, 4, 9]:
                g.case("Qr", input=np.sin((np.arange(rows * 3) + 1.0) ** 2).astype(dtype).reshape(rows, 3), full_matrices=False)
    g.case("OneHot", indices=i32(0, 2, -1), depth=np.int32(0), on_value=np.float32(1), off_value=np.float32(0), axis=-1)


def order_of_nan(g):
    """What compares with nothing, among what is put in order: every comparison that is made shows."""
    draw = np.random.default_rng(3)

    def row(dtype, *shape):
        x = draw.integers(-9, 9, shape).astype(dtype)
        x[draw.random(shape) < draw.choice([0.05, 0.2, 0.6])] = np.nan
        return x

    for dtype in [np.float32, np.float64, np.float16, tf.bfloat16.as_numpy_dtype]:
        for length, k in [(5, 1), (9, 1), (16, 1), (21, 1), (7, 7), (16, 16), (40, 40), (9, 4), (30, 10), (30, 28)]:
            for _ in range(3 if dtype == np.float32 else 1):
                g.case("TopKV2", input=row(dtype, 4, length), k=np.int32(k))
        for k in [1, 3, 6]:
            g.case("TopKV2", input=np.full((2, 6), np.nan, dtype), k=np.int32(k))
    g.case("TopKV2", input=row(np.float32, 300), k=np.int32(300))
    g.case("TopKV2", input=row(np.float32, 300), k=np.int32(100))
    for dtype in [np.float32, np.float64]:
        for op in ["LowerBound", "UpperBound"]:
            for _ in range(3):
                g.case(op, sorted_inputs=row(dtype, 2, 13), values=row(dtype, 2, 9), out_type=tf.int32)
            g.case(op, sorted_inputs=np.array([[-1, 0, 2, np.nan, np.nan]], dtype), values=np.array([[np.nan, 3, 0, -np.inf, np.inf]], dtype), out_type=tf.int64)
    f = np.float32
    for _ in range(4):
        boxes = (draw.integers(0, 6, (14, 4)) / 4).astype(f)
        boxes[draw.random((14, 4)) < 0.06] = np.nan
        boxes[draw.random((14, 4)) < 0.03] = np.inf
        scores = (draw.integers(-2, 8, 14) / 10).astype(f)
        scores[3] = np.nan
        common = dict(boxes=boxes, scores=scores, max_output_size=np.int32(9), iou_threshold=f(0.4))
        g.case("NonMaxSuppressionV2", **common)
        for least in [-1, 0.1]:
            g.case("NonMaxSuppressionV3", **common, score_threshold=f(least))
            for soft in [0, 0.5]:
                g.case("NonMaxSuppressionV5", **common, score_threshold=f(least), soft_nms_sigma=f(soft))
        overlaps = draw.random((9, 9)).astype(f)
        overlaps[draw.random((9, 9)) < 0.2] = np.nan
        g.case("NonMaxSuppressionWithOverlaps", overlaps=overlaps, scores=scores[:9], max_output_size=np.int32(5), overlap_threshold=f(0.4), score_threshold=f(-1))
        g.case("CombinedNonMaxSuppression", boxes=boxes.reshape(1, 14, 1, 4), scores=scores.reshape(1, 14, 1), max_output_size_per_class=np.int32(9), max_total_size=np.int32(9), iou_threshold=f(0.4), score_threshold=f(0.05), pad_per_class=False, clip_boxes=False)

    for boxes in [[[0, -np.inf, 1, np.inf], [2, -np.inf, 3, np.inf]], [[0, 0, np.inf, 1], [0, 5, np.inf, 6]], [[0, 0, 1, 1], [2, -np.inf, 3, np.inf]], [[0, 0, 3e38, 3e38], [0, 4, 1, 5]]]:
        g.case("NonMaxSuppressionV3", boxes=np.array(boxes, f), scores=f([0.9, 0.8]), max_output_size=np.int32(5), iou_threshold=f(0.5), score_threshold=f(0.1))

    # Ties, which the steps of the kernel's heap and sort break.
    for classes, per_class in [(1, 5), (3, 4), (6, 9)]:
        boxes = (draw.integers(0, 9, (1, 12, 1, 4)) / 4).astype(f)
        scores = (draw.integers(0, 4, (1, 12, classes)) / 4).astype(f)
        g.case("CombinedNonMaxSuppression", boxes=boxes, scores=scores, max_output_size_per_class=np.int32(per_class), max_total_size=np.int32(11), iou_threshold=f(0.6), score_threshold=f(0.05), pad_per_class=False, clip_boxes=False)


def order_of_heaps(g):
    """The largest elements where no order is asked for: as the heap happens to hold them."""
    draw = np.random.default_rng(4)
    for dtype in [np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8]:
        for length, k in [(6, 0), (6, 1), (6, 2), (6, 6), (17, 9), (40, 5), (40, 39)]:
            g.case("TopKV2", input=draw.integers(0, 20, (2, length)).astype(dtype), k=np.int32(k), sorted=False)
    x = draw.integers(0, 20, (3, 30)).astype(np.float32)
    x[draw.random((3, 30)) < 0.1] = np.nan
    g.case("TopKV2", input=x, k=np.int32(12), sorted=False)
    g.case("TopKV2", input=x, k=np.int32(0))


FAMILIES = {"corners": corners, "order-of-nan": order_of_nan, "order-of-heaps": order_of_heaps}
