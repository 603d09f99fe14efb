"""Rows read and written by index."""

import numpy as np
import tensorflow as tf

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F16, F32, F64, I8, I32, I64, U8, FLOATS, INTS, SPECIAL


@family
def gathers():
    for dtype in FLOATS + INTS + [bool]:
        p = rand(dtype, [5, 3], -50, 50)
        case("GatherV2", params=p, indices=rand(I32, [2, 2], 0, 4), axis=C(np.array(0, I32)))
        case("GatherV2", params=p, indices=rand(I64, [4], 0, 2), axis=C(np.array(-1, I32)))
        case("GatherNd", params=p, indices=np.array([[0, 1], [4, 2]], I32))
        case("OneHot", indices=np.array([0, 2, -1, 5], I64), depth=C(np.array(3, I32)), on_value=np.array(1, dtype), off_value=np.array(0, dtype))
    p = rand(F32, [5, 3])
    for index in [-1, 5, 4]:
        case("GatherV2", params=p, indices=np.array([0, index], I32), axis=C(np.array(0, I32)))
        case("GatherV2", params=p, indices=C(np.array([0, index], I64)), axis=C(np.array(0, I32)))
        case("Gather", params=p, indices=np.array([0, index], I64))
        case("GatherNd", params=p, indices=np.array([[0], [index]], I64))
    case("GatherV2", params=p, indices=np.array(2, I32), axis=C(np.array(0, I32)))
    case("GatherV2", params=p, indices=np.zeros([0], I32), axis=C(np.array(0, I32)))
    case("GatherV2", params=np.zeros([0, 3], F32), indices=np.zeros([0], I32), axis=C(np.array(0, I32)))
    p = rand(F32, [2, 3, 4, 5])
    case("GatherV2", params=p, indices=rand(I32, [2, 2], 0, 3), axis=C(np.array(2, I32)))
    for batch, axis, shape in [(1, 1, [2, 2]), (1, 1, [2]), (2, 2, [2, 3, 2]), (1, 2, [2, 2]), (1, 3, [2, 2, 2]), (-1, 1, [2, 2]), (1, -1, [2, 2]), (2, 3, [2, 3])]:
        limit = p.shape[axis] - 1
        case("GatherV2", params=p, indices=rand(I32, shape, 0, limit), axis=C(np.array(axis, I32)), batch_dims=batch)
    case("GatherV2", params=p, indices=np.array([[0, -1], [1, 1]], I32), axis=C(np.array(1, I32)), batch_dims=1)
    case("GatherV2", params=p, indices=np.array([[0, 3], [1, 1]], I32), axis=C(np.array(1, I32)), batch_dims=1)
    case("GatherNd", params=p, indices=np.array([[[0, 1], [1, 2]]], I32))
    case("GatherNd", params=p, indices=np.array([0, 1, 2, 3], I32))
    case("GatherNd", params=p, indices=np.zeros([0, 2], I32))
    case("GatherNd", params=p, indices=np.array([[0, -1]], I32))
    case("GatherNd", params=p, indices=np.array([[0, 3]], I32))
    for axis in [-1, 0, 1]:
        for dtype in [F32, I32, bool]:
            case("OneHot", indices=np.array([[0, 2, -1], [3, 1, -7]], I32), depth=np.array(3, I32), on_value=rand(dtype, []), off_value=rand(dtype, []), axis=axis)
    case("OneHot", indices=np.array([0, 2, 255], U8), depth=np.array(3, I32), on_value=np.array(5, F32), off_value=np.array(-1, F32))
    case("OneHot", indices=np.array(1, I64), depth=C(np.array(3, I32)), on_value=np.array(5, F32), off_value=np.array(-1, F32))
    case("OneHot", indices=np.zeros([0], I64), depth=C(np.array(3, I32)), on_value=np.array(5, F32), off_value=np.array(-1, F32))
    for dtype in [F32, F64] + INTS:
        x = rand(dtype, [9], 0, 3)
        if dtype in (F32, F64):
            x = np.round(x)
        case("Unique", x=x)
        case("UniqueWithCounts", x=x, out_idx=tf.int64)
        case("UniqueV2", x=x, axis=C(np.zeros([0], I64)))
    case("UniqueV2", x=np.array([3, 1, 3], I64), axis=C(np.array([0], I64)))
    case("Unique", x=np.zeros([0], I64))
    for lower, upper in [(0, 0), (-1, 0), (0, -1), (1, 1), (-1, -1), (2, 0), (0, 5)]:
        case("MatrixBandPart", input=rand(F32, [2, 3, 4]), num_lower=C(np.array(lower, I64)), num_upper=C(np.array(upper, I64)))
    for dtype in [F32, I32, I64, bool]:
        case("MatrixBandPart", input=rand(dtype, [4, 4]), num_lower=C(np.array(-1, I32)), num_upper=C(np.array(0, I32)))
        case("MatrixDiag", diagonal=rand(dtype, [2, 3]))


@family
def scatters():
    for dtype in FLOATS + [I32, I64, I8, U8]:
        case("ScatterNd", indices=np.array([[1], [3], [1]], I32), updates=rand(dtype, [3, 2], -9, 9), shape=np.array([5, 2], I32))
        for op in ["TensorScatterUpdate", "TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin"]:
            case(op, tensor=rand(dtype, [4, 2], -9, 9), indices=np.array([[3], [0]], I32), updates=rand(dtype, [2, 2], -9, 9))
    for index in [-1, 5]:
        case("ScatterNd", indices=np.array([[1], [index]], I32), updates=rand(F32, [2, 2]), shape=np.array([5, 2], I32))
        case("TensorScatterUpdate", tensor=rand(F32, [5, 2]), indices=np.array([[1], [index]], I32), updates=rand(F32, [2, 2]))
    case("ScatterNd", indices=np.array([[0, 1], [1, 1]], I64), updates=rand(F32, [2]), shape=C(np.array([2, 2], I64)))
    for op in ["UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin"]:
        for dtype in [F32, F64, I32, I64]:
            case(op, data=rand(dtype, [4, 2], -9, 9), segment_ids=np.array([2, 0, 2, -1], I32), num_segments=C(np.array(4, I32)))
        case(op, data=rand(F32, [2, 2, 3]), segment_ids=np.array([[0, 1], [1, 1]], I64), num_segments=np.array(2, I32))
        case(op, data=rand(F32, [2]), segment_ids=np.array([0, 3], I64), num_segments=np.array(3, I32))
        case(op, data=rand(F32, [0, 2]), segment_ids=np.zeros([0], I64), num_segments=np.array(3, I32))
    for op in ["SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin"]:
        for dtype in [F32, F64, I32, I64]:
            case(op, data=rand(dtype, [5, 2], -9, 9), segment_ids=np.array([0, 0, 1, 3, 3], I32))
        case(op, data=rand(F32, [2, 2, 2]), segment_ids=np.array([1, 1], I64))
        case(op, data=rand(F32, [2, 2]), segment_ids=np.array([1, 0], I64))
        case(op, data=rand(F32, [0, 2]), segment_ids=np.zeros([0], I64))
    for op in ["SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN"]:
        for dtype in [F32, F64]:
            case(op, data=rand(dtype, [5, 2]), indices=np.array([0, 4, 4, 1], I32), segment_ids=np.array([0, 0, 0, 2], I32))
        case(op, data=rand(F32, [5, 2, 2]), indices=np.array([0, 4, 4, 1], I64), segment_ids=np.array([0, 1, 2, 2], I64))
        case(op, data=rand(F32, [5, 2]), indices=np.array([0, 5], I64), segment_ids=np.array([0, 1], I64))
        case(op, data=rand(F32, [5, 2]), indices=np.array([0, -1], I64), segment_ids=np.array([0, 1], I64))
        case(op, data=rand(F32, [5, 2]), indices=np.zeros([0], I64), segment_ids=np.zeros([0], I32))
        case(op + "WithNumSegments", data=rand(F32, [5, 2]), indices=np.array([0, 4, 1], I64), segment_ids=np.array([0, 1, 1], I64), num_segments=np.array(4, I32))
        case(op + "WithNumSegments", data=rand(F32, [5, 2]), indices=np.array([0, 4, 1], I64), segment_ids=np.array([0, 1, 4], I64), num_segments=np.array(4, I32))
    for aa in [False, True]:
        for ab in [False, True]:
            b = rand(F32, [3 if aa else 4, 2])
            case("SparseTensorDenseMatMul", a_indices=np.array([[0, 1], [0, 3], [2, 0]], I64), a_values=rand(F32, [3]), a_shape=np.array([3, 4], I64), b=b.T.copy() if ab else b, adjoint_a=aa, adjoint_b=ab)
    case("SparseTensorDenseMatMul", a_indices=np.zeros([0, 2], I64), a_values=rand(F32, [0]), a_shape=np.array([3, 4], I64), b=rand(F32, [4, 2]))
    for dtype in [F32, I64, bool, F16]:
        case("DynamicPartition", data=rand(dtype, [5, 2]), partitions=np.array([0, 2, 1, 0, 2], I32), num_partitions=4)
        case("DynamicStitch", indices=[np.array([0, 3], I32), np.array([1, 2, 5], I32)], data=[rand(dtype, [2, 2]), rand(dtype, [3, 2])])
    case("DynamicPartition", data=rand(F32, [2, 3, 2]), partitions=np.array([[0, 1, 1], [1, 0, 0]], I32), num_partitions=2)
    case("DynamicPartition", data=rand(F32, [2]), partitions=np.array([0, 2], I32), num_partitions=2)
    case("DynamicStitch", indices=[np.array(1, I32), np.array([[0, 2], [1, 3]], I32)], data=[rand(F32, [2]), rand(F32, [2, 2, 2])])
    case("ParallelDynamicStitch", indices=[np.array([0, 3], I32), np.array([1, 2], I32)], data=[rand(F32, [2]), rand(F32, [2])])
    none = lambda d: C(np.zeros([0], d))
    for dtype in [F32, F64, I32, I64]:
        case("Bincount", arr=np.array([1, 1, 3, 7, 0], I32), size=np.array(5, I32), weights=none(dtype))
        case("Bincount", arr=np.array([1, 1, 3, 7, 0], I32), size=np.array(5, I32), weights=rand(dtype, [5], 1, 4))
        for binary in [False, True]:
            case("DenseBincount", input=np.array([[1, 1, 3], [7, 0, 0]], I64), size=C(np.array(4, I64)), weights=none(dtype), binary_output=binary)
            case("DenseBincount", input=np.array([1, 1, 3], I32), size=C(np.array(4, I32)), weights=none(dtype), binary_output=binary)
    case("DenseBincount", input=np.array([[1, 1, 3], [7, 0, 0]], I64), size=C(np.array(4, I64)), weights=rand(F32, [2, 3]))
    case("DenseBincount", input=np.array([[1, -1, 3]], I64), size=C(np.array(4, I64)), weights=none(F32))
    case("DenseBincount", input=np.zeros([0, 3], I64), size=C(np.array(4, I64)), weights=none(F32))
    for dtype in [F32, F64, I32, I64]:
        case("Bucketize", input=rand(dtype, [2, 6], -5, 5), boundaries=[-2.0, 0.0, 1.5, 3.0])
        case("Bucketize", input=np.array([-2, 0, 3, 100], dtype), boundaries=[-2.0, 0.0, 1.5, 3.0])
    case("Bucketize", input=SPECIAL.astype(F32), boundaries=[0.1, 0.5, 1.0])
    for op in ["UnsortedSegmentSum", "UnsortedSegmentMax"]:
        case(op, data=rand(F32, [3]), segment_ids=np.array([1, -5, 0], I32), num_segments=np.array(2, I64))
        case(op, data=rand(F32, [2, 2]), segment_ids=np.array([0, 1], I32), num_segments=np.array(-1, I32))
        case(op, data=rand(F32, [3, 2]), segment_ids=np.array([0, 1], I32), num_segments=np.array(2, I32))
        case(op, data=rand(F32, [2, 2]), segment_ids=np.array([0, 2**63 - 1], I64), num_segments=np.array(2, I32))
        case(op, data=rand(F32, [0, 2]), segment_ids=np.zeros([0], I32), num_segments=np.array(0, I32))
    for op in ["SegmentSum", "SegmentMean", "SegmentMax"]:
        case(op, data=rand(F32, [3]), segment_ids=np.array([0, 2, 2], I32))
        case(op, data=rand(F32, [2, 2]), segment_ids=np.array([-1, 0], I32))
        case(op, data=rand(F32, [3, 2]), segment_ids=np.array([0, 1], I32))
