"""What an engine would read on with, or has no single op for."""

import numpy as np

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F16, F32, F64, I16, I32, I64, INTS


@family
def corners():
    """What the engine would read on with, or refuses: batches that differ, no classes, no elements, images without a side."""
    p = rand(F32, [2, 3, 4])
    for shape, batch, axis in [([1, 2], 1, 1), ([3, 2], 1, 1), ([2, 2], 1, 1), ([2, 2, 2], 2, 2), ([1, 3, 2], 2, 2), ([1, 2], 1, 2), ([0, 2], 1, 1)]:
        case("GatherV2", params=p, indices=np.zeros(shape, I32), axis=C(np.array(axis, I32)), batch_dims=batch)
    on = dict(on_value=np.array(5, F32), off_value=np.array(-1, F32))
    for shape in [[], [3], [0], [2, 3]]:
        for axis in [-1, 0, 1]:
            if axis <= len(shape):
                for depth in [0, 1, 4]:
                    case("OneHot", indices=rand(I32, shape, -1, 4), depth=np.array(depth, I32), axis=axis, **on)
                    case("OneHot", indices=rand(I64, shape, -1, 4), depth=C(np.array(depth, I32)), axis=axis, **on)
    case("OneHot", indices=np.array([1], I32), depth=np.array(-1, I32), **on)
    for op in ["Max", "Min"]:
        for dtype in INTS + [F32]:
            for shape, axis in [([0, 3], 0), ([0, 3], 1), ([2, 0], 1)]:
                case(op, input=rand(dtype, shape), axis=C(np.array([axis], I32)))
    for dtype in [F32, I16]:
        for shape, block, paddings in [([2, 5, 3], [2], [[2, 1]]), ([1, 4, 4, 2], [2, 2], [[0, 0], [2, 0]]), ([2, 4], [2], [[0, 0]]), ([2, 3, 2, 1, 2], [3], [[0, 0]]), ([0, 4, 3], [2], [[1, 1]]), ([2, 4, 0], [2], [[0, 0]])]:
            case("SpaceToBatchND", input=rand(dtype, shape), block_shape=C(np.array(block, I32)), paddings=C(np.array(paddings, I32)))
    for op in ["ResizeBilinear", "ResizeNearestNeighbor"]:
        for size in [[0, 5], [5, 0], [1, 1], [-1, 3]]:
            case(op, images=rand(F32, [1, 4, 4, 2]), size=np.array(size, I32))


@family
def compositions():
    """Ops that the compiler puts others in the place of."""
    for dtype in [F32, F16]:
        for scaled in [False, True]:
            for shape in [[2, 3, 2, 4], [0, 2, 2, 4]]:
                case("BatchNormWithGlobalNormalization", _producer=8, t=rand(dtype, shape), m=rand(dtype, [4]), v=rand(dtype, [4], 0.5, 4), beta=rand(dtype, [4]), gamma=rand(dtype, [4]),
                     variance_epsilon=1e-3, scale_after_normalization=scaled)
    pads = C(np.array([[0, 0], [2, 1], [1, 0], [0, 0]], I32))
    for dtype in [F32, F64, F16]:
        for mode in ["REFLECT", "SYMMETRIC"]:
            for stride, padding in [(1, "VALID"), (2, "SAME"), (2, "VALID")]:
                common = dict(paddings=pads, filter=C(rand(dtype, [3, 2, 2, 3])), mode=mode, strides=[1, stride, stride, 1], padding=padding)
                case("FusedPadConv2D", input=rand(dtype, [1, 5, 4, 2]), **common)
                for align in [False, True] if dtype != F64 and stride == 1 else []:
                    for size in [[5, 4], [7, 9], [3, 3]]:
                        case("FusedResizeAndPadConv2D", input=rand(dtype, [1, 5, 4, 2]), size=C(np.array(size, I32)), resize_align_corners=align, **common)
    case("FusedPadConv2D", input=rand(F32, [2, 2, 2, 2]), paddings=pads, filter=C(rand(F32, [3, 2, 2, 3])), mode="REFLECT", strides=[1, 1, 1, 1], padding="VALID")
    for dtype in [F32, F64, F16, I32]:
        for padding in ["SAME", "VALID"]:
            for stride, dilations in [(1, []), (2, []), (1, [1, 2, 1, 1])]:
                case("Conv", input=rand(dtype, [2, 5, 6, 4]), filter=C(rand(dtype, [3, 2, 4, 2])), strides=[1, stride, stride, 1], padding=padding, dilations=dilations)
            if dtype != I32:
                case("Conv", input=rand(dtype, [1, 3, 4, 5, 2]), filter=C(rand(dtype, [2, 2, 3, 2, 3])), strides=[1, 1, 2, 1, 1], padding=padding)
    case("Conv", input=rand(F32, [1, 5, 6, 2]), filter=C(rand(F32, [3, 2, 2, 2])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
    for padding in ["SAME", "VALID"]:
        for stride in [1, 2]:
            small = [-(-length // stride) if padding == "SAME" else (length - 2) // stride + 1 for length in [4, 5, 4]]
            case("Conv3DBackpropInput", _producer=9, input=rand(F32, [1, 4, 5, 4, 2]), filter=C(rand(F32, [2, 2, 2, 2, 3])), out_backprop=rand(F32, [1, *small, 3]), strides=[1, stride, stride, stride, 1], padding=padding)
