"""Convolutions, pooling, normalisation, images and what stands around them."""

import numpy as np

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F16, F32, F64, I32, I64, U8


@family
def convolutions():
    for padding in ["VALID", "SAME"]:
        for stride in [1, 2, 3]:
            for kernel in [1, 2, 3]:
                case("Conv2D", input=rand(F32, [2, 7, 6, 2]), filter=C(rand(F32, [kernel, kernel, 2, 3])), strides=[1, stride, stride, 1], padding=padding)
                case("DepthwiseConv2dNative", input=rand(F32, [1, 7, 6, 2]), filter=C(rand(F32, [kernel, 2, 2, 2])), strides=[1, stride, stride, 1], padding=padding)
                case("MaxPool", input=rand(F32, [1, 7, 6, 2]), ksize=[1, kernel, 2, 1], strides=[1, stride, stride, 1], padding=padding)
                case("AvgPool", value=rand(F32, [1, 7, 6, 2]), ksize=[1, kernel, 2, 1], strides=[1, stride, stride, 1], padding=padding)
                case("Conv2DBackpropInput", input_sizes=np.array([1, 6, 6, 2], I32) if True else None, filter=C(rand(F32, [kernel, kernel, 2, 3])),
                     out_backprop=rand(F32, [1, *([-(-6 // stride)] * 2 if padding == "SAME" else [(6 - kernel) // stride + 1] * 2), 3]), strides=[1, stride, stride, 1], padding=padding)
        case("Conv2D", input=rand(F32, [1, 9, 8, 2]), filter=C(rand(F32, [3, 3, 2, 3])), strides=[1, 1, 1, 1], padding=padding, dilations=[1, 2, 3, 1])
        case("DepthwiseConv2dNative", input=rand(F32, [1, 9, 8, 2]), filter=C(rand(F32, [3, 3, 2, 1])), strides=[1, 1, 1, 1], padding=padding, dilations=[1, 2, 2, 1])
        case("Conv3D", input=rand(F32, [1, 4, 5, 4, 2]), filter=C(rand(F32, [2, 3, 2, 2, 3])), strides=[1, 1, 2, 1, 1], padding=padding)
        case("MaxPool3D", input=rand(F32, [1, 4, 5, 4, 2]), ksize=[1, 2, 2, 2, 1], strides=[1, 2, 2, 2, 1], padding=padding)
        case("AvgPool3D", input=rand(F32, [1, 4, 5, 4, 2]), ksize=[1, 2, 3, 2, 1], strides=[1, 2, 2, 2, 1], padding=padding)
    case("Conv2D", input=rand(F32, [1, 7, 6, 2]), filter=C(rand(F32, [3, 3, 2, 3])), strides=[1, 2, 2, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
    case("Conv2D", input=rand(F32, [1, 4, 4, 4]), filter=C(rand(F32, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 4, 4, 2]), filter=rand(F32, [3, 3, 2, 4]), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [0, 4, 4, 2]), filter=C(rand(F32, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 4, 4, 3]), filter=C(rand(F32, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F16, [1, 4, 4, 2]), filter=C(rand(F16, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    for op in ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"]:
        case(op, _only=[0], x=rand(F32, [2, 3, 2, 4], -9, 9), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=False, epsilon=1e-3)
    case("FusedBatchNormV3", _only=[0], x=rand(F32, [2, 3, 2, 4]) + 1000, scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]) + 1000, variance=rand(F32, [4], 0.1, 4), is_training=False)
    case("FusedBatchNormV3", _only=[0], x=rand(F16, [2, 3, 2, 4]), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=False)
    none = C(np.zeros([0], F32))
    for layout, shape in [("NHWC", [2, 3, 2, 4]), ("NCHW", [1, 4, 6, 1])]:
        case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F32, shape, -9, 9), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=none, variance=none, is_training=True, epsilon=1e-3, data_format=layout)
    case("LRN", input=rand(F32, [1, 2, 2, 7]), depth_radius=2, bias=1.5, alpha=0.3, beta=0.6)
    case("LRN", input=rand(F32, [1, 2, 2, 12]))
    for dtype in [F32, F64]:
        case("DepthToSpace", input=rand(dtype, [2, 2, 3, 12]), block_size=2)
        case("SpaceToDepth", input=rand(dtype, [2, 4, 6, 3]), block_size=2)
    for dtype in [F32, I32]:
        case("SpaceToBatchND", input=rand(dtype, [2, 5, 3]), block_shape=C(np.array([2], I32)), paddings=C(np.array([[2, 1]], I32)))
        case("SpaceToBatchND", input=rand(dtype, [1, 4, 4, 2]), block_shape=C(np.array([2, 2], I32)), paddings=C(np.array([[0, 0], [2, 0]], I32)))
        case("SpaceToBatchND", input=rand(dtype, [2, 4]), block_shape=C(np.array([2], I32)), paddings=C(np.array([[0, 0]], I32)))
        case("BatchToSpaceND", input=rand(dtype, [4, 2, 3, 2]), block_shape=C(np.array([2, 2], I32)), crops=C(np.array([[0, 1], [1, 0]], I32)))
        case("BatchToSpaceND", input=rand(dtype, [6, 2, 3]), block_shape=C(np.array([3], I32)), crops=C(np.array([[0, 0]], I32)))
    case("SpaceToBatchND", input=rand(F32, [2, 5, 3]), block_shape=C(np.array([2], I32)), paddings=C(np.array([[0, 0]], I32)))
    for align, half in [(False, False), (True, False), (False, True)]:
        for size in [[3, 5], [7, 14], [2, 1], [1, 1], [21, 3]]:
            for op in ["ResizeBilinear", "ResizeNearestNeighbor"]:
                case(op, images=rand(F32, [1, 7, 7, 2]), size=C(np.array(size, I32)), align_corners=align, half_pixel_centers=half)
        case("ResizeBilinear", images=rand(U8, [1, 5, 4, 2], 0, 255), size=np.array([6, 3], I32), align_corners=align, half_pixel_centers=half)
        case("ResizeNearestNeighbor", images=rand(I32, [1, 49, 9, 1], 0, 255), size=np.array([7, 27], I32), align_corners=align, half_pixel_centers=half)
    for half in [False, True]:
        for size in [[8, 16], [16, 4], [2, 8], [2, 2], [32, 32], [1, 1], [4, 24]]:
            case("ResizeBilinear", images=rand(F32, [2, 4, 8, 3]), size=C(np.array(size, I32)), align_corners=False, half_pixel_centers=half)
        case("ResizeBilinear", images=rand(F32, [0, 4, 8, 3]), size=C(np.array([8, 16], I32)), align_corners=False, half_pixel_centers=half)
        case("ResizeBilinear", images=rand(U8, [1, 4, 8, 1], 0, 255), size=C(np.array([8, 8], I32)), align_corners=False, half_pixel_centers=half)
    case("ResizeBilinear", images=rand(F32, [1, 4, 8, 3]), size=C(np.array([8, 16], I32)), align_corners=True, half_pixel_centers=False)
    for padding in ["SAME", "VALID"]:
        for length, stride in [(2, 2), (3, 1), (3, 2), (2, 3)]:
            windows = dict(ksize=[1, length, 1, 1], strides=[1, stride, 1, 1], padding=padding)
            case("MaxPool", input=rand(F32, [2, 7, 1, 3]), **windows)
            case("AvgPool", value=rand(F32, [2, 7, 1, 3]), **windows)
        case("MaxPool", input=rand(F32, [2, 7, 1, 8]), ksize=[1, 2, 1, 1], strides=[1, 2, 2, 1], padding=padding)


@family
def transposed_volumes():
    for padding in ["VALID", "SAME"]:
        for stride in [1, 2]:
            for kernel in [1, 2, 3]:
                small = -(-6 // stride) if padding == "SAME" else (6 - kernel) // stride + 1
                case("Conv3DBackpropInputV2", input_sizes=np.array([2, 6, 6, 6, 2], I32), filter=C(rand(F32, [kernel, kernel, kernel, 2, 3])),
                     out_backprop=rand(F32, [2, small, small, small, 3]), strides=[1, stride, stride, stride, 1], padding=padding)
    case("Conv3DBackpropInputV2", input_sizes=np.array([1, 4, 6, 2, 2], I64), filter=rand(F32, [2, 3, 1, 2, 1]),
         out_backprop=rand(F32, [1, 2, 6, 1, 1]), strides=[1, 2, 1, 2, 1], padding="SAME")


@family
def narrow_convolutions():
    for kernel, outputs in [([3, 3], 1), ([3, 3], 4), ([2, 3], 3), ([1, 5], 2), ([7, 7], 1), ([4, 4], 4), ([8, 7], 3)]:
        for padding in ["VALID", "SAME"]:
            case("Conv2D", input=rand(F32, [2, 9, 8, 5]), filter=C(rand(F32, [*kernel, 5, outputs])), strides=[1, 1, 1, 1], padding=padding)
    case("Conv2D", input=rand(F32, [2, 9, 8, 5]), filter=rand(F32, [3, 2, 5, 2]), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [0, 9, 8, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 1, 1, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 7, 6, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
    case("Conv2D", input=rand(F32, [1, 7, 6, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 4, 0, 2, 3, 0, 0])
    case("Conv2D", input=rand(F32, [1, 7, 6, 10]), filter=C(rand(F32, [3, 3, 5, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 7, 6, 4]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="SAME")


@family
def channel_windows():
    for beta in [0.5, 0.75, 1.0, 0.6]:
        for radius in [0, 1, 5]:
            case("LRN", input=rand(F32, [2, 3, 2, 9]), depth_radius=radius, bias=1.5, alpha=0.3, beta=beta)
        case("LRN", input=rand(F32, [0, 3, 2, 9]), beta=beta)
        case("LRN", input=np.zeros([1, 1, 2, 3], F32), bias=0.0, beta=beta)
        case("LRN", input=rand(F32, [1, 1, 2, 3]), bias=-1.0, alpha=0.001, beta=beta)
    case("LRN", input=rand(F32, [1, 1, 1, 515]), depth_radius=2, bias=2.0, alpha=1e-2, beta=0.75)
    case("LRN", input=rand(F32, [1, 2, 2, 64]), depth_radius=100, bias=2.0, alpha=1e-2, beta=0.75)


@family
def wide_strides():
    """Strides beyond the window, in one dimension or in both, and strides with dilations."""
    for length in [1, 4, 7, 8, 9]:
        for op, extra in [("Conv2D", [3]), ("DepthwiseConv2dNative", [1])]:
            case(op, input=rand(F32, [1, length, 9, 2]), filter=C(rand(F32, [3, 3, 2, *extra])), strides=[1, 4, 4, 1], padding="SAME")
        case("Conv2D", input=rand(F32, [1, length, 9, 2]), filter=C(rand(F32, [1, 3, 2, 3])), strides=[1, 2, 2, 1], padding="SAME")
        case("Conv2D", input=rand(F32, [1, length, 9, 2]), filter=C(rand(F32, [3, 2, 2, 3])), strides=[1, 2, 3, 1], dilations=[1, 2, 3, 1], padding="SAME")
        case("MaxPool", input=rand(F32, [1, length, 9, 2]) - 2, ksize=[1, 3, 1, 1], strides=[1, 4, 2, 1], padding="SAME")
        case("AvgPool", value=rand(F32, [1, length, 9, 2]), ksize=[1, 3, 1, 1], strides=[1, 4, 2, 1], padding="SAME")


@family
def batch_statistics():
    """Layers in training mode: what they write back to their moving averages."""
    for layout, shape in [("NHWC", [2, 3, 2, 4]), ("NCHW", [2, 4, 3, 2])]:
        for factor in [0.01, 0.25]:
            case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F32, shape, -9, 9), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=True, exponential_avg_factor=factor, data_format=layout)
    for op in ["FusedBatchNorm", "FusedBatchNormV2"]:
        case(op, _only=[0, 1, 2], x=rand(F32, [3, 2, 2, 3]), scale=rand(F32, [3]), offset=rand(F32, [3]), mean=rand(F32, [3]), variance=rand(F32, [3], 0.1, 4), is_training=True, exponential_avg_factor=0.1)
    case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F16, [2, 3, 2, 4]), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=True, exponential_avg_factor=0.1)
    # One value per channel, whose variance is 0, and none, whose mean is NaN.
    for shape in [[1, 1, 1, 4], [0, 2, 3, 4]]:
        case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F32, shape), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=True, exponential_avg_factor=0.5)


@family
def transposed_lengths():
    """Every length that a convolution may have had for its output's, and the two beside, which are refused."""
    for padding in ["VALID", "SAME"]:
        for stride, kernel in [(2, 3), (3, 2), (2, 4), (3, 1)]:
            longest = 3 * stride if padding == "SAME" else 2 * stride + kernel + stride - 1
            for length in range(longest - stride, longest + 2):
                case("Conv2DBackpropInput", input_sizes=np.array([2, length, longest, 2], I32), filter=C(rand(F32, [kernel, kernel, 2, 3])),
                     out_backprop=rand(F32, [2, 3, 3, 3]), strides=[1, stride, stride, 1], padding=padding)
    case("Conv3DBackpropInputV2", input_sizes=np.array([1, 5, 6, 4, 2], I32), filter=C(rand(F32, [3, 3, 3, 2, 3])),
         out_backprop=rand(F32, [1, 3, 3, 4, 3]), strides=[1, 2, 2, 1, 1], padding="SAME")


@family
def volumes():
    """Convolutions of volumes in blocks of channels, which are computed as those of planes."""
    case("Conv3D", input=rand(F32, [2, 4, 3, 4, 16]), filter=C(rand(F32, [3, 3, 3, 16, 16])), strides=[1, 1, 1, 1, 1], padding="VALID")
    case("Conv3D", input=rand(F32, [1, 3, 4, 3, 16]), filter=C(rand(F32, [2, 3, 3, 16, 16])), strides=[1, 1, 1, 1, 1], padding="SAME")


@family
def reflections_of_nothing():
    """REFLECT refuses what has no element in any dimension, even where it pads others; SYMMETRIC does not."""
    for mode in ["REFLECT", "SYMMETRIC"]:
        for shape, paddings in [([0, 4], [[0, 0], [1, 1]]), ([0, 3, 4, 2], [[0, 0], [1, 1], [2, 1], [0, 0]]), ([0, 3], [[0, 0], [0, 0]]), ([2, 3], [[0, 0], [0, 0]]), ([2, 0], [[1, 0], [0, 0]])]:
            case("MirrorPad", input=rand(F32, shape), paddings=C(np.array(paddings, I32)), mode=mode)


@family
def contrasts():
    for shape in [[2, 5, 4, 3], [3, 2, 1], [0, 2, 2, 3], [2, 0, 2, 3], [2, 2, 3, 4, 2], [1, 16, 24, 3]]:
        for factor in [0, 0.5, 1.2, -1]:
            case("AdjustContrastv2", images=rand(F32, shape, 0, 255), contrast_factor=C(np.array(factor, F32)))
        case("AdjustContrastv2", images=rand(F32, shape), contrast_factor=np.array(1.5, F32))


@family
def point_convolutions():
    """Of lines, place by place: Conv1D with a kernel of one."""
    for shape in [[2, 1, 6, 3], [2, 6, 1, 3], [0, 1, 6, 3], [1, 1, 1, 3]]:
        for padding in ["VALID", "SAME"]:
            case("Conv2D", input=rand(F32, shape), filter=C(rand(F32, [1, 1, 3, 5])), strides=[1, 1, 1, 1], padding=padding)
    case("Conv2D", input=rand(F32, [2, 1, 6, 4]), filter=C(rand(F32, [1, 1, 2, 6])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [2, 1, 6, 3]), filter=rand(F32, [1, 1, 3, 5]), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [2, 1, 6, 3]), filter=C(rand(F32, [1, 1, 3, 5])), strides=[1, 1, 2, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [2, 1, 6, 3]), filter=C(rand(F32, [1, 1, 3, 5])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
