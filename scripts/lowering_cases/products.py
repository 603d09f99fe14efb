"""Products of matrices."""

import numpy as np
import tensorflow as tf

from lowering_cases.recorded import C, case, family, rand
from lowering_cases.values import F32, F64, I8, I16, I32, I64, U8, FLOATS, INTS


@family
def products():
    for dtype in FLOATS + [I32, I64]:
        for ta in [False, True]:
            for tb in [False, True]:
                a, b = rand(dtype, [2, 3]), rand(dtype, [3, 4])
                case("MatMul", a=a.T.copy() if ta else a, b=b.T.copy() if tb else b, transpose_a=ta, transpose_b=tb)
                a, b = rand(dtype, [2, 1, 2, 3]), rand(dtype, [3, 3, 4])
                case("BatchMatMulV2", x=a.swapaxes(-1, -2).copy() if ta else a, y=b.swapaxes(-1, -2).copy() if tb else b, adj_x=ta, adj_y=tb)
        case("BatchMatMul", x=rand(dtype, [2, 2, 3]), y=rand(dtype, [2, 3, 2]))
        case("BiasAdd", value=rand(dtype, [2, 3]), bias=rand(dtype, [3]))
        case("BiasAdd", value=rand(dtype, [2, 2, 2, 3]), bias=rand(dtype, [3]))
        case("BiasAdd", value=rand(dtype, [2, 3, 2, 2]), bias=rand(dtype, [3]), data_format="NCHW")
        case("Einsum", inputs=[rand(dtype, [2, 3, 4]), rand(dtype, [4, 5])], equation="abc,cd->abd")
    case("MatMul", a=rand(F32, [0, 3]), b=rand(F32, [3, 4]))
    case("MatMul", a=rand(F32, [2, 0]), b=rand(F32, [0, 4]))
    case("MatMul", a=rand(F32, [2, 3]), b=rand(F32, [4, 4]))
    case("MatMul", a=rand(F32, [3]), b=rand(F32, [3, 4]))
    case("MatMul", a=rand(F32, [1, 2, 3]), b=rand(F32, [3, 4]))
    case("MatMul", a=rand(F32, [33, 70]), b=rand(F32, [70, 5]))
    case("BatchMatMulV2", x=rand(F32, [2, 3, 4]), y=rand(F32, [4, 5]))
    case("BatchMatMulV2", x=rand(F32, [0, 3, 4]), y=rand(F32, [0, 4, 5]), adj_y=False)
    case("BatchMatMulV3", x=rand(F32, [2, 3, 4]), y=rand(F32, [2, 4, 5]), Tout=tf.float32)
    for equation, shapes in [("abcd,aecd->acbe", ([2, 3, 4, 5], [2, 6, 4, 5])), ("ij->ji", ([2, 3],)), ("ij->", ([2, 3],)), ("ij->i", ([2, 3],)),
                             ("...ij,...jk->...ik", ([2, 2, 3], [2, 3, 4])), ("bij,bjk->bik", ([2, 2, 3], [2, 3, 4])), ("i,j->ij", ([2], [3])),
                             ("BTNH,BFNH->BNFT", ([2, 3, 2, 4], [2, 5, 2, 4])), ("abc,cde->abde", ([2, 3, 4], [4, 2, 3])), ("abcd,cde->abe", ([2, 3, 2, 4], [2, 4, 5])),
                             ("ab,cd->ac", ([2, 3], [4, 5])), ("...i,i->...", ([2, 3, 4], [4])), ("i...,j...->ij...", ([2, 3], [4, 3])), ("...ij,jk->...ik", ([2, 3, 4, 2], [2, 3])),
                             ("...ab,...bc->...ac", ([3, 1, 2, 4], [5, 4, 2])), ("abc,cd->abd", ([0, 3, 4], [4, 5])), ("abcd,aecd->acbe", ([0, 3, 4, 5], [0, 6, 4, 5])), ("ab,bc->ac", ([2, 0], [0, 3])),
                             ("ab,bc->ac", ([2, 3], [4, 3]))]:
        case("Einsum", inputs=[rand(F32, s) for s in shapes], equation=equation)
    for left in [I8, U8, tf.bfloat16.as_numpy_dtype]:
        for right in [I8, U8, tf.bfloat16.as_numpy_dtype]:
            for ta, tb in [(False, False), (True, False), (False, True), (True, True)] if left != right else [(False, False), (True, True)]:
                a, b = (rand(dtype if dtype in (I8, U8) else F32, shape, -128, 127).astype(dtype) for dtype, shape in [(left, [2, 1, 2, 3]), (right, [3, 3, 4])])
                out = tf.int32 if left in (I8, U8) and right in (I8, U8) else tf.bfloat16
                case("BatchMatMulV3", x=a.swapaxes(-1, -2).copy() if ta else a, y=b.swapaxes(-1, -2).copy() if tb else b, Tout=out, adj_x=ta, adj_y=tb)
    for dtype, out in [(F64, tf.float64), (I16, tf.int16), (I32, tf.int32), (I64, tf.int64)]:
        case("BatchMatMulV3", x=rand(dtype, [2, 3, 2]), y=rand(dtype, [3, 1]), Tout=out, adj_x=True)
    case("BatchMatMulV3", x=np.full([1, 1, 600], -128, I8), y=np.full([1, 600, 1], 255, U8), Tout=tf.int32)
    case("BatchMatMulV3", x=rand(I8, [2, 0, 3]), y=rand(U8, [2, 3, 2]), Tout=tf.int32)


@family
def sparse_products():
    for left in [F32, tf.bfloat16.as_numpy_dtype]:
        for right in [F32, tf.bfloat16.as_numpy_dtype]:
            for ta in [False, True]:
                for tb in [False, True]:
                    a, b = rand(F32, [2, 3]).astype(left), rand(F32, [3, 4]).astype(right)
                    case("SparseMatMul", a=a.T.copy() if ta else a, b=b.T.copy() if tb else b, transpose_a=ta, transpose_b=tb, a_is_sparse=ta)
    case("SparseMatMul", a=rand(F32, [0, 3]), b=rand(F32, [3, 4]))
    case("SparseMatMul", a=rand(F32, [2, 3]), b=rand(F32, [4, 4]))


@family
def integer_products():
    for dtype in INTS:
        x = rand(dtype, [2, 3, 4], -2, 3)
        for axes in [[1], [-1, 0], [2, 1, 0], []]:
            for keep in [False, True]:
                case("Prod", input=x, axis=C(np.array(axes, I32)), keep_dims=keep)
        case("Prod", input=rand(dtype, [9], -2, 3), axis=C(np.array([0], I32)))
        case("Prod", input=rand(dtype, [8], -2, 3), axis=C(np.array(-1, I32)))
        case("Prod", input=np.array([100, 101, 7], np.int64).astype(dtype), axis=C(np.array([0], I32)))
    case("Prod", input=np.array([2**40 + 1, 2**30 + 1, 3], I64), axis=C(np.array([0], I64)))
    case("Prod", input=np.array([2**31 - 1, 2**31 - 1, -3], I32), axis=C(np.array([0], I64)))
    case("Prod", input=np.zeros([0, 3], I64), axis=C(np.array([1], I32)))
