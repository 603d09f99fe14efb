"""Many elements to one, where NaN and nothing are among them."""

import numpy as np
import tensorflow as tf

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F16, F32, F64, I32, I64, FLOATS, INTS


@family
def reductions():
    for op in ["Sum", "Prod", "Max", "Min", "Mean"]:
        for dtype in FLOATS + INTS:
            x = rand(dtype, [2, 3, 4], -2, 3)
            case(op, input=x, axis=C(np.array([0, -1], I32)))
            case(op, input=x, axis=C(np.array(1, I32)), keep_dims=True)
    for op in ["Sum", "Prod", "Max", "Min", "Mean", "EuclideanNorm"]:
        x = rand(F32, [2, 3, 4])
        case(op, input=x, axis=np.array([1, 2], I32))
        case(op, input=x, axis=np.array([], I32))
        case(op, input=x, axis=C(np.array([], I32)))
        case(op, input=x, axis=C(np.array([0, 1, 2], I64)))
        case(op, input=np.array(3, F32), axis=C(np.array([], I32)))
        case(op, input=np.zeros([0, 3], F32), axis=C(np.array([0], I32)))
        case(op, input=np.zeros([0, 3], F32), axis=C(np.array([1], I32)), keep_dims=True)
        case(op, input=np.zeros([2, 0], F32), axis=C(np.array([0, 1], I32)))
        case(op, input=np.zeros([0, 3], F32), axis=C(np.array([-1], I32)))
        case(op, input=np.zeros([2, 0, 3], F32), axis=C(np.array([-2, 0], I32)), keep_dims=True)
        case(op, input=rand(F32, [3, 400]), axis=C(np.array([1], I32)))
    for dtype in [I32, I64]:
        for op in ["Sum", "Prod", "Max", "Min"]:
            case(op, input=np.zeros([0, 3], dtype), axis=C(np.array([0], I32)))
    case("Sum", input=np.array([2**62, 2**62], I64), axis=C(np.array([0], I32)))
    case("Sum", input=np.array([2**31 - 1, 1], I32), axis=C(np.array([0], I32)))
    case("Prod", input=np.array([2**20, 2**20], I32), axis=C(np.array([0], I32)))
    case("Max", input=np.array([2**62 + 1, 2**62], I64), axis=C(np.array([0], I32)))
    for dtype in [F64, F16]:
        case("EuclideanNorm", input=rand(dtype, [2, 3]), axis=C(np.array([1], I32)))
    for op in ["All", "Any"]:
        for _ in range(3):
            case(op, input=rand(bool, [2, 3]), axis=C(np.array([1], I32)))
        case(op, input=rand(bool, [2, 3]), axis=C(np.array([0, 1], I32)), keep_dims=True)
        case(op, input=np.zeros([0, 2], bool), axis=C(np.array([0], I32)))
        case(op, input=np.ones([0, 2], bool), axis=C(np.array([0, 1], I32)))
    for op in ["ArgMax", "ArgMin"]:
        for dtype in FLOATS + INTS + [bool]:
            case(op, input=rand(dtype, [3, 4], -3, 3), dimension=C(np.array(1, I32)))
            case(op, input=rand(dtype, [3, 4], -3, 3), dimension=C(np.array(0, I32)), output_type=tf.int32)
        case(op, input=rand(F32, [2, 3, 4]), dimension=C(np.array(-2, I64)))
        case(op, input=np.zeros([0, 4], F32), dimension=C(np.array(1, I32)))
        case(op, input=np.zeros([0, 4], F32), dimension=C(np.array(0, I32)))
        case(op, input=np.array([1, 1, 1], F32), dimension=C(np.array(0, I32)))
    for dtype in FLOATS + INTS:
        case("Cumsum", x=rand(dtype, [2, 4], -3, 3), axis=C(np.array(1, I32)))
    for exclusive in [False, True]:
        for reverse in [False, True]:
            case("Cumsum", x=rand(F32, [2, 4]), axis=np.array(-1, I32), exclusive=exclusive, reverse=reverse)
            case("Cumsum", x=rand(I64, [4]), axis=C(np.array(0, I64)), exclusive=exclusive, reverse=reverse)
    case("Cumsum", x=np.zeros([0], I64), axis=C(np.array(0, I32)))
    for dtype in FLOATS + INTS:
        case("TopKV2", input=rand(dtype, [3, 6], -3, 3), k=C(np.array(4, I32)))
    case("TopKV2", input=np.array([1, 3, 3, 2, 3, 1], F32), k=np.array(4, I32))
    case("TopKV2", input=rand(F32, [2, 3, 5]), k=C(np.array(5, I32)))
    case("TopKV2", input=rand(F32, [5]), k=C(np.array(0, I32)))
    case("TopKV2", input=rand(F32, [5]), k=np.array(6, I32))
    case("TopKV2", input=rand(F32, [0, 5]), k=C(np.array(2, I32)))
    case("TopKV2", input=rand(F32, [1, 300]), k=C(np.array(10, I32)))
    for dtype in FLOATS:
        case("L2Loss", t=rand(dtype, [2, 3]))


@family
def top_of_nan():
    """Rows of NaN alone, as a NaN in a query makes them, beside others."""
    for dtype in [F32, F16]:
        for length, k in [(5, 1), (5, 3), (9, 9), (300, 5), (300, 100)]:
            x = rand(dtype, [3, length], -9, 9)
            x[1] = np.nan
            case("TopKV2", input=x, k=C(np.array(k, I32)))
        case("TopKV2", input=x, k=np.array(7, I32))
        case("TopKV2", input=np.full([40], np.nan, dtype), k=np.array(6, I32))


@family
def extremes_beside_nan():
    """NaN is never the extreme, and neither is an infinity that could not be one."""
    inf, nan = np.inf, np.nan
    rows = [[nan, 1, 2], [1, nan, 0], [nan, nan, nan], [nan, -inf, inf], [-inf, nan, -inf], [inf, nan, inf], [nan, -inf, nan], [nan, inf, nan]]
    for op in ["ArgMax", "ArgMin"]:
        for dtype in [F32, F64, F16]:
            case(op, input=np.array(rows, dtype), dimension=C(np.array(1, I32)))
            case(op, input=np.array(rows, dtype), dimension=C(np.array(0, I32)))
