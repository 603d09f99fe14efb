"""Shapes, slices, and windows into other tensors."""

import numpy as np
import tensorflow as tf

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F16, F32, F64, I16, I32, I64, U8, FLOATS, INTS


@family
def arrays():
    for dtype in FLOATS + INTS + [bool]:
        x = rand(dtype, [2, 3, 4], -50, 50)
        case("Reshape", tensor=x, shape=C(np.array([4, -1], I32)))
        case("Transpose", x=x, perm=C(np.array([2, 0, 1], I32)))
        case("ConcatV2", values=[x, x], axis=C(np.array(-1, I32)))
        case("Pack", values=[x, x], axis=1)
        case("Unpack", value=x, num=3, axis=1)
        case("Slice", input=x, begin=C(np.array([0, 1, 1], I32)), size=C(np.array([1, -1, 2], I32)))
        case("Tile", input=x, multiples=C(np.array([1, 2, 1], I32)))
        case("ReverseV2", tensor=x, axis=C(np.array([1, -1], I32)))
        case("PadV2", input=x, paddings=C(np.array([[1, 0], [0, 2], [1, 1]], I32)), constant_values=np.array(1, dtype))
        case("MirrorPad", input=x, paddings=C(np.array([[1, 0], [0, 2], [1, 1]], I32)), mode="REFLECT")
        case("MirrorPad", input=x, paddings=C(np.array([[2, 1], [0, 3], [1, 1]], I32)), mode="SYMMETRIC")
        case("BroadcastTo", input=x, shape=C(np.array([2, 2, 3, 4], I32)))
        case("Fill", dims=np.array([2, 3], I32), value=rand(dtype, []))
        case("ZerosLike", x=x)
        case("OnesLike", x=x)
        case("Roll", input=x, shift=C(np.array([1, -6], I32)), axis=C(np.array([0, 2], I32)))
        case("Split", axis=C(np.array(2, I32)), value=x, num_split=2)
        case("StridedSlice", input=x, begin=C(np.array([0, 1], I32)), end=C(np.array([1, 3], I32)), strides=C(np.array([1, 1], I32)), shrink_axis_mask=1)
    x = rand(F32, [2, 3, 4])
    for shape in [[2, 12], [-1], [24, 1], [2, 0], [3, -1, 2]]:
        case("Reshape", tensor=x, shape=np.array(shape, I64))
    case("Reshape", tensor=rand(F32, [0, 3]), shape=np.array([-1, 3], I32))
    case("Reshape", tensor=rand(F32, [0, 3]), shape=np.array([0, 7], I32))
    case("Reshape", tensor=rand(F32, [1]), shape=np.array([], I32))
    case("ExpandDims", input=x, axis=C(np.array(-1, I32)))
    case("ExpandDims", input=x, axis=C(np.array(1, I64)))
    case("ExpandDims", input=x, axis=np.array(-2, I32))
    case("ExpandDims", input=np.array(3, F32), axis=C(np.array(0, I32)))
    case("Squeeze", input=rand(F32, [1, 2, 1]))
    case("Squeeze", input=rand(F32, [1, 2, 1]), axis=[-1])
    case("Squeeze", input=rand(F32, [1, 2, 1]), axis=[0, 2])
    case("Squeeze", input=rand(F32, [1, 2, 1]), axis=[1])
    case("ConcatV2", values=[rand(F32, [2, 0]), rand(F32, [2, 3]), rand(F32, [2, 1])], axis=C(np.array(1, I32)))
    case("Concat", concat_dim=C(np.array(0, I32)), values=[rand(F32, [1, 3]), rand(F32, [2, 3])])
    case("ConcatV2", values=[rand(F32, [2, 2]), rand(F32, [3, 3])], axis=C(np.array(1, I32)))
    case("Pack", values=[np.array(1, I32), np.array(2, I32)])
    case("Pack", values=[rand(F32, [2, 3])], axis=-1)
    case("Unpack", value=rand(F32, [3]), num=3)
    case("Unpack", value=rand(F32, [2, 3]), num=3, axis=-1)
    case("Unpack", value=rand(F32, [2, 3]), num=2, axis=-1)
    case("Split", axis=C(np.array(-1, I32)), value=rand(F32, [2, 12]), num_split=4)
    case("Split", axis=C(np.array(1, I32)), value=rand(F32, [2, 5]), num_split=2)
    case("Split", axis=C(np.array(0, I32)), value=rand(F32, [0, 5]), num_split=2)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=C(np.array([2, -1, 1], I32)), axis=C(np.array(1, I32)), num_split=3)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=np.array([2, 4, 1], I64), axis=C(np.array(-1, I32)), num_split=3)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=np.array([2, 4, 2], I64), axis=C(np.array(-1, I32)), num_split=3)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=np.array([2, -1, 2], I64), axis=C(np.array(-1, I32)), num_split=3)
    for begin, size in [([0, 1, 1], [2, 2, -1]), ([1, 0, 0], [1, 3, 4]), ([0, 0, 0], [0, 3, 4]), ([0, 2, 0], [2, 2, 4]), ([-1, 0, 0], [1, 1, 1]), ([2, 0, 0], [0, 1, 1])]:
        case("Slice", input=x, begin=np.array(begin, I64), size=np.array(size, I64))
        case("Slice", input=x, begin=C(np.array(begin, I32)), size=C(np.array(size, I32)))
    case("Tile", input=rand(F32, [2, 3]), multiples=np.array([0, 2], I32))
    case("Tile", input=rand(F32, [2, 3]), multiples=np.array([3, 2], I64))
    case("BroadcastTo", input=rand(F32, [3, 1]), shape=np.array([2, 3, 4], I32))
    case("BroadcastTo", input=np.array(2, F32), shape=np.array([2, 0], I32))
    case("Fill", dims=np.array([], I32), value=np.array(2, F32))
    case("Fill", dims=np.array([2, 0], I64), value=np.array(2, F32))
    for dtype in [F32, F64, I32, I64, I16]:
        case("Range", start=np.array(1, dtype), limit=np.array(8, dtype), delta=np.array(2, dtype))
        case("Range", start=np.array(5, dtype), limit=np.array(0, dtype), delta=np.array(-2, dtype)) if dtype != I16 else None
        case("Range", start=np.array(0, dtype), limit=np.array(0, dtype), delta=np.array(1, dtype))
    case("Range", start=np.array(0, F32), limit=np.array(1, F32), delta=np.array(0.1, F32))
    case("Range", start=np.array(0, I32), limit=np.array(1, I32), delta=np.array(0, I32))
    for dtype in [F32, F64]:
        for num in [1, 2, 5]:
            case("LinSpace", start=np.array(1, dtype), stop=np.array(3, dtype), num=np.array(num, I32))
    case("Shape", input=x)
    case("Shape", input=x, out_type=tf.int64)
    case("ShapeN", input=[x, rand(F32, [5])])
    case("Size", input=x)
    case("Rank", input=x)
    case("Rank", input=np.array(1, F32))
    case("Shape", input=np.array(1, F32))
    case("Pad", input=rand(F32, [2, 3]), paddings=C(np.array([[0, 0], [2, 1]], I32)))
    case("Pad", input=rand(F32, [2, 3]), paddings=np.array([[0, 1], [2, 1]], I32))
    case("Pad", input=rand(F32, [2, 3]), paddings=np.array([[0, -1], [2, 1]], I32))
    case("Pad", input=rand(F32, [0, 3]), paddings=C(np.array([[0, 1], [2, 1]], I32)))
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[2, 2]], I32)), mode="REFLECT")
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[3, 0]], I32)), mode="REFLECT")
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[3, 3]], I32)), mode="SYMMETRIC")
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[4, 0]], I32)), mode="SYMMETRIC")
    case("ReverseV2", tensor=rand(F32, [3]), axis=C(np.array([], I32)))
    case("ReverseV2", tensor=rand(F32, [0, 3]), axis=C(np.array([0], I32)))
    case("ReverseSequence", input=rand(F32, [2, 4, 3]), seq_lengths=np.array([3, 0], I64), seq_dim=1, batch_dim=0)
    case("ReverseSequence", input=rand(F32, [4, 2]), seq_lengths=np.array([1, 4], I32), seq_dim=0, batch_dim=1)
    case("ReverseSequence", input=rand(F32, [4, 2]), seq_lengths=np.array([1, 5], I32), seq_dim=0, batch_dim=1)
    case("Roll", input=rand(F32, [5]), shift=C(np.array(2, I32)), axis=C(np.array(0, I32)))
    case("Roll", input=rand(F32, [0, 2]), shift=C(np.array([2], I32)), axis=C(np.array([0], I32)))
    case("Identity", input=x)
    case("IdentityN", input=[x, rand(I32, [2])])
    case("EnsureShape", input=x, shape=[2, 3, 4])


@family
def strided_slices():
    x = rand(F32, [4, 5, 6])
    def ss(spec, data=x, fed=False, dtype=I32):
        begin, end, strides = [], [], []
        masks = dict(begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0)
        for i, s in enumerate(spec):
            if s is Ellipsis:
                masks["ellipsis_mask"] |= 1 << i; begin.append(0); end.append(0); strides.append(1)
            elif s is None:
                masks["new_axis_mask"] |= 1 << i; begin.append(0); end.append(0); strides.append(1)
            elif isinstance(s, slice):
                if s.start is None: masks["begin_mask"] |= 1 << i
                if s.stop is None: masks["end_mask"] |= 1 << i
                begin.append(s.start or 0); end.append(s.stop or 0); strides.append(s.step or 1)
            else:
                masks["shrink_axis_mask"] |= 1 << i; begin.append(s); end.append(s + 1); strides.append(1)
        wrap = (lambda a: np.array(a, dtype)) if fed else (lambda a: C(np.array(a, dtype)))
        case("StridedSlice", input=data, begin=wrap(begin), end=wrap(end), strides=C(np.array(strides, dtype)), **masks)
    S = slice
    for spec in [(0,), (-1,), (S(1, 3),), (S(None, None, -1),), (S(3, 0, -2),), (S(None, 2), S(-2, None)), (Ellipsis, 0), (Ellipsis, -1), (0, Ellipsis, 2),
                 (None, 0), (S(None), None), (Ellipsis, None), (None, Ellipsis, S(1, 4, 2), None), (1, 2, 3), (S(None), 2, None, S(1, None)), (Ellipsis, 1, S(2, 4)),
                 (S(10, 20),), (S(-100, 100),), (S(2, 1),), (S(None), S(None), S(None, None, -2)), (Ellipsis,), (None, 1, Ellipsis, 2, None), (S(5, None, -1),),
                 (4,), (-5,), (0, 5), (S(None, -1), Ellipsis, S(1, None)), (Ellipsis, 0, 1), (Ellipsis, S(None, 3), 1, None)]:
        ss(spec)
        ss(spec, fed=True, dtype=I64)
    v = np.array([7, 8, 9], I32)
    for spec in [(0,), (2,), (S(1, 2),), (S(None, -1),), (S(1, None),), (None,)]:
        ss(spec, v)
        ss(spec, v, fed=True)
    ss((S(None), 0), rand(F32, [0, 3]))
    ss((S(1, 3),), rand(F32, [0, 3]))


@family
def window_updates():
    for dtype in [*FLOATS, *INTS, bool, tf.bfloat16.as_numpy_dtype]:
        target, update = rand(F32, [3, 4]).astype(dtype), rand(F32, [2, 3]).astype(dtype)
        for indices in ([1, 0], [-3, 9]):
            case("XlaDynamicUpdateSlice", input=target, update=update, indices=np.array(indices, I32))
    x = rand(F32, [2, 5, 3])
    for update, indices in (([2, 1, 3], [0, 4, 0]), ([1, 5, 2], [1, 0, 1]), ([2, 5, 3], [5, 5, 5]), ([2, 0, 3], [0, 2, 0])):
        case("XlaDynamicUpdateSlice", input=x, update=rand(F32, update), indices=np.array(indices, I64))
        case("XlaDynamicUpdateSlice", input=C(x), update=rand(F32, update), indices=C(np.array(indices, I32)))
    case("XlaDynamicUpdateSlice", input=rand(F32, [0, 3]), update=rand(F32, [0, 3]), indices=np.array([0, 0], I32))
    case("XlaDynamicUpdateSlice", input=rand(F32, []), update=rand(F32, []), indices=np.zeros(0, I32))
    case("XlaDynamicUpdateSlice", input=x, update=rand(F32, [2, 6, 3]), indices=np.zeros(3, I32))
    case("XlaDynamicUpdateSlice", input=x, update=rand(F32, [2, 1, 3]), indices=np.zeros(2, I32))
    for dtype in [F32, F64, F16, I32, I64, U8, bool]:
        value = rand(F32, [3, 4]) > 0 if dtype is bool else rand(dtype, [3, 4])
        for start, size in [([1, 1], [2, 2]), ([9, -3], [2, 2]), ([0, 2], [0, 1])]:
            case("XlaDynamicSlice", input=value, start_indices=np.array(start, I32), size_indices=C(np.array(size, I32)))
    for start, size in [([1, 2], [2, 3]), ([0, 0], [4, 1]), ([0, 0], [-1, 2]), ([0], [1]), ([0, 0], [1, 2, 3]), ([[0, 0]], [[1, 1]])]:
        case("XlaDynamicSlice", input=rand(F32, [3, 4]), start_indices=np.array(start, I64), size_indices=np.array(size, I64))
    case("XlaDynamicSlice", input=rand(F32, []), start_indices=np.zeros(0, I32), size_indices=np.zeros(0, I32))
    case("XlaDynamicSlice", input=rand(F32, [0, 3]), start_indices=np.zeros(2, I32), size_indices=np.array([0, 2], I32))


@family
def window_slices():
    """Convolutions and pooling without an engine kernel, and first and second forms of window ops."""
    for dtype in [F64, I32]:
        for strides, dilation, padding in [(1, 1, "SAME"), (2, 1, "SAME"), (3, 1, "VALID"), (1, 2, "SAME"), (1, 2, "VALID")]:
            case("Conv2D", input=rand(dtype, [2, 7, 6, 3]), filter=C(rand(dtype, [3, 2, 3, 4])), strides=[1, strides, strides, 1], padding=padding, dilations=[1, dilation, dilation, 1])
        case("Conv2D", input=rand(dtype, [1, 5, 5, 2]), filter=C(rand(dtype, [1, 1, 2, 3])), strides=[1, 3, 3, 1], padding="SAME")
        case("Conv2D", input=rand(dtype, [1, 5, 5, 2]), filter=C(rand(dtype, [2, 3, 2, 3])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
        case("Conv2D", input=rand(dtype, [0, 5, 5, 2]), filter=C(rand(dtype, [2, 3, 2, 3])), strides=[1, 2, 2, 1], padding="SAME")
        case("Conv2D", input=rand(dtype, [1, 2, 5, 2]), filter=C(rand(dtype, [4, 3, 2, 3])), strides=[1, 1, 1, 1], padding="VALID")
    for strides, padding in [([1, 1, 1, 1, 1], "SAME"), ([1, 2, 1, 2, 1], "SAME"), ([1, 2, 2, 2, 1], "VALID")]:
        case("Conv3D", input=rand(F64, [1, 4, 5, 6, 2]), filter=C(rand(F64, [2, 3, 2, 2, 3])), strides=strides, padding=padding)
    for strides, padding, multiplier in [(1, "SAME", 1), (2, "SAME", 2), (1, "VALID", 3)]:
        case("DepthwiseConv2dNative", input=rand(F64, [2, 7, 6, 3]), filter=C(rand(F64, [3, 2, 3, multiplier])), strides=[1, strides, strides, 1], padding=padding)
    for dtype in [F64, I64, I32, U8, I16]:
        for kernel, stride, padding in [(2, 2, "VALID"), (3, 2, "SAME"), (2, 3, "SAME")]:
            case("MaxPool", input=rand(dtype, [2, 7, 6, 3]), ksize=[1, kernel, kernel, 1], strides=[1, stride, stride, 1], padding=padding)
            if dtype == F64:
                case("AvgPool", value=rand(dtype, [2, 7, 6, 3]), ksize=[1, kernel, 2, 1], strides=[1, stride, stride, 1], padding=padding)
    for dtype in [F32, F64]:
        case("MaxPoolV2", input=rand(dtype, [2, 7, 6, 3]), ksize=C(np.array([1, 3, 2, 1], I32)), strides=C(np.array([1, 2, 2, 1], I32)), padding="SAME")
    for dtype in [F32, I32]:
        case("SpaceToBatch", input=rand(dtype, [1, 4, 5, 2]), block_size=2, paddings=C(np.array([[0, 0], [1, 0]], I32)))
        case("BatchToSpace", input=rand(dtype, [8, 2, 3, 2]), block_size=2, crops=C(np.array([[0, 1], [1, 0]], I32)))
